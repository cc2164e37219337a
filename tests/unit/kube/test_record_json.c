/* SPDX-License-Identifier: Apache-2.0 */
/* What a node says of itself survives the way through its Lease; nonsense in it counts as absent, and is bounded. */
#include "agent/kube/record_json.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "agent/kube/lease_json.h"

static void decode(const char *notes, struct kube_record *ret)
{
	struct err_info err = ERR_INFO_INIT;
	struct buf json = BUF_INIT(256 * 1024);

	buf_printf(&json, "{\"kind\":\"Lease\",\"metadata\":{\"name\":\"leasehold-node-a\",\"annotations\":{%s}}}", notes);
	if (record_decode(buf_text(&json), json.len, ret, &err) < 0)
		fail_msg("%s: %s", notes, err.text);
	buf_fini(&json);
}

/* What a fully written Lease of a node reads as; 'body' = its text. */
static void through_lease(const struct kube_record *r, struct lease_keep *keep, struct buf *body, struct kube_record *ret)
{
	const struct kube_lease l = { .name = "leasehold-node-a", .holder = "a_1_2", .record = r };
	json_t *tree;

	assert_int_equal(lease_encode(&l, "ns", NULL, keep, body), 0);
	tree = json_loadb(body->data, body->len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(tree);
	json_decref(tree);
	assert_int_equal(record_decode(body->data, body->len, ret, NULL), 0);
}

static struct kube_record full(void)
{
	struct kube_record r;

	memset(&r, 0, sizeof(r));
	r.rank = 9;
	r.weight = 100;
	r.leaving = true;
	r.drain = UINT32_MAX;
	r.n_macs = RECORD_MACS_MAX;
	for (size_t i = 0; i < r.n_macs; i++)
		memcpy(r.macs[i], (uint8_t[]){ 2, 0, 0xab, 0xcd, 0xef, (uint8_t)i }, LINK_MAC_LEN);
	r.n_addresses = RECORD_ADDRESSES_MAX;
	for (size_t i = 0; i < r.n_addresses; i++)
		r.addresses[i] = (struct ip){ i % 2 ? IP_V6 : IP_V4, { 0x20, 1, 0x0d, (uint8_t)i } };
	r.n_busiest = RECORD_BUSIEST_MAX;
	for (size_t i = 0; i < r.n_busiest; i++) /* half of them IPv6, whose texts are longest */
		r.busiest[i] = (struct ip){ i % 2 ? IP_V6 : IP_V4, { 192, 0, 2, (uint8_t)i } };
	for (size_t i = 1; i < r.n_busiest; i += 2)
		memset(r.busiest[i].b, 0xa1 + (int)i, 16);
	r.n_answers = RECORD_ANSWERS_MAX;
	for (size_t i = 0; i < r.n_answers; i++) {
		snprintf(r.answers[i].lease, sizeof(r.answers[i].lease), "leasehold-group-%zu", i);
		r.answers[i].number = UINT32_MAX - (uint32_t)i;
		r.answers[i].ready = i % 2;
		if (r.answers[i].ready)
			r.answers[i].mac[5] = (uint8_t)i;
		else
			memset(r.answers[i].reason, '"', RECORD_REASON_MAX - 1);
	}
	return r;
}

static void test_round_trip(void **state)
{
	struct buf body = BUF_INIT(1024 * 1024);
	struct kube_record r = full(), back;

	(void)state;
	through_lease(&r, NULL, &body, &back);
	assert_memory_equal(&back, &r, sizeof(r));
	buf_reset(&body);
	memset(&r, 0, sizeof(r)); /* with a weight of 0, too */
	through_lease(&r, NULL, &body, &back);
	assert_memory_equal(&back, &r, sizeof(r));
	r.weight = 1; /* what a node weighs that says nothing, and so nothing is said */
	buf_reset(&body);
	through_lease(&r, NULL, &body, &back);
	assert_memory_equal(&back, &r, sizeof(r));
	assert_null(strstr(buf_text(&body), "weight"));
	buf_fini(&body);
}

/* Written over an earlier record: what others keep stays, what is ours is replaced, owners are not doubled. */
static void test_rewrite(void **state)
{
	static const char old[] =
		"{\"metadata\":{\"name\":\"leasehold-node-a\",\"labels\":{\"leasehold.io/kind\":\"node\",\"team\":\"a\"},"
		"\"annotations\":{\"leasehold.io/rank\":\"3\",\"leasehold.io/macs\":\"02:00:00:00:00:01\","
		"\"leasehold.io/leaving\":\"true\",\"leasehold.io/drain\":\"7\",\"leasehold.io/busiest\":\"192.0.2.1\",\"leasehold.io/prepared\":\"l=1!no\",\"x\":\"y\"}%s},\"spec\":{\"p\":1}}";
	struct lease_keep keep = LEASE_KEEP_INIT;
	struct buf body = BUF_INIT(64 * 1024);
	struct kube_record r, back;
	struct kube_lease l;
	char json[1024];

	(void)state;
	memset(&r, 0, sizeof(r));
	strcpy(r.owner, "a");
	strcpy(r.owner_uid, "u-1");
	for (int owned = 0; owned < 2; owned++) {
		snprintf(json, sizeof(json), old, owned ? ",\"ownerReferences\":[{\"uid\":\"other\"}]" : ",\"ownerReferences\":[]");
		assert_int_equal(lease_decode(json, strlen(json), &l, &keep, NULL), 0);
		assert_int_equal(keep.owned, owned);
		buf_reset(&body);
		through_lease(&r, &keep, &body, &back);
		assert_int_equal(back.n_macs + back.n_busiest + back.n_answers + back.rank + back.leaving, 0);
		assert_non_null(strstr(buf_text(&body), "\"x\":\"y\""));
		assert_non_null(strstr(buf_text(&body), "\"team\":\"a\""));
		assert_non_null(strstr(buf_text(&body), "\"p\":1"));
		assert_null(strstr(buf_text(&body), "leaseDurationSeconds"));
		assert_int_equal(strstr(buf_text(&body), "\"uid\":\"u-1\"") != NULL, !owned);
		assert_int_equal(strstr(buf_text(&body), "\"uid\":\"other\"") != NULL, owned);
	}
	lease_keep_fini(&keep);
	buf_fini(&body);
}

static void test_macs(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} rows[] = {
		{ "", 0 },
		{ "02:00:00:00:00:01", 1 },
		{ "02:00:00:00:00:01,02:00:00:00:00:02", 2 },
		{ "02:00:00:00:00:01,,nonsense,02:00:00:00:00:0", 1 },
		{ "02:00:00:00:00:0G", 0 },
		{ "02-00-00-00-00-01", 0 },
		{ "02:00:00:00:00:011", 0 },
		{ " 02:00:00:00:00:01", 0 },
		{ ",", 0 },
	};
	struct kube_record r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char notes[256];

		snprintf(notes, sizeof(notes), "\"leasehold.io/macs\":\"%s\"", rows[i].text);
		decode(notes, &r);
		if (r.n_macs != rows[i].n)
			fail_msg("\"%s\": %zu", rows[i].text, r.n_macs);
	}
}

static void test_drain(void **state)
{
	static const struct {
		const char *text;
		uint32_t drain;
	} rows[] = {
		{ "1", 1 }, { "4294967295", UINT32_MAX }, { "0", 0 }, { "4294967296", 0 }, { "-1", 0 }, { "", 0 }, { "1 ", 0 },
	};
	struct kube_record r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char notes[256];

		snprintf(notes, sizeof(notes), "\"leasehold.io/drain\":\"%s\"", rows[i].text);
		decode(notes, &r);
		if (r.drain != rows[i].drain)
			fail_msg("\"%s\": %" PRIu32, rows[i].text, r.drain);
	}
}

static void test_busiest(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		uint8_t last; /* byte of an IPv4 address: of the last one */
	} rows[] = {
		{ "", 0, 0 },
		{ "192.0.2.7", 1, 7 },
		{ "192.0.2.7,2001:db8::7,192.0.2.8", 3, 8 },
		{ "192.0.2.7,,nonsense,192.0.2.,192.0.2.9/32, 192.0.2.10,192.0.2.11", 2, 11 },
		{ "1111111111111111111111111111111111111111111111111111111111111111,192.0.2.1", 1, 1 },
		{ ",", 0, 0 },
	};
	struct kube_record r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char notes[256];

		snprintf(notes, sizeof(notes), "\"leasehold.io/busiest\":\"%s\"", rows[i].text);
		decode(notes, &r);
		if (r.n_busiest != rows[i].n)
			fail_msg("\"%s\": %zu", rows[i].text, r.n_busiest);
		if (r.n_busiest > 0)
			assert_int_equal(r.busiest[r.n_busiest - 1].b[3], rows[i].last);
	}
}

static void test_answers(void **state)
{
	static const struct {
		const char *text, *lease, *reason; /* lease NULL: none */
		uint32_t number;
		bool ready;
		uint8_t last;
	} rows[] = {
		{ "l=7/02:00:00:00:00:01", "l", "", 7, true, 1 },
		{ "l=7!it is full", "l", "it is full", 7, false, 0 },
		{ "l=7!", "l", "", 7, false, 0 },
		{ "l=7!a/b=c!d", "l", "a/b=c!d", 7, false, 0 },
		{ "nonsense,l=7!x", "l", "x", 7, false, 0 },
		{ "l=7", NULL, NULL, 0, false, 0 },
		{ "l=0!x", NULL, NULL, 0, false, 0 },
		{ "l=4294967296!x", NULL, NULL, 0, false, 0 },
		{ "l=-1!x", NULL, NULL, 0, false, 0 },
		{ "l=7/02:00", NULL, NULL, 0, false, 0 },
		{ "=7!x", NULL, NULL, 0, false, 0 },
		{ "l", NULL, NULL, 0, false, 0 },
	};
	struct kube_record r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char notes[256];

		snprintf(notes, sizeof(notes), "\"leasehold.io/prepared\":\"%s\"", rows[i].text);
		decode(notes, &r);
		if (r.n_answers != (rows[i].lease != NULL))
			fail_msg("\"%s\": %zu", rows[i].text, r.n_answers);
		if (!rows[i].lease)
			continue;
		assert_string_equal(r.answers[0].lease, rows[i].lease);
		assert_string_equal(r.answers[0].reason, rows[i].reason);
		assert_int_equal(r.answers[0].number, rows[i].number);
		assert_int_equal(r.answers[0].ready, rows[i].ready);
		assert_int_equal(r.answers[0].mac[5], rows[i].last);
	}
}

/* Longer lists than ours, longer texts, other types: cut or left out, never an error. */
static void test_hostile(void **state)
{
	struct buf notes = BUF_INIT(128 * 1024);
	struct kube_record r;

	(void)state;
	buf_puts(&notes, "\"leasehold.io/macs\":\"");
	for (int i = 0; i < 100; i++)
		buf_printf(&notes, "02:00:00:00:00:%02x,", i);
	buf_puts(&notes, "\",\"leasehold.io/prepared\":\"");
	for (int i = 0; i < 100; i++)
		buf_printf(&notes, "l%d=1!no,", i);
	buf_puts(&notes, "\",\"leasehold.io/busiest\":\"");
	for (int i = 0; i < 100; i++)
		buf_printf(&notes, "192.0.2.%d,", i);
	buf_puts(&notes, "\"");
	decode(buf_text(&notes), &r);
	assert_int_equal(r.n_busiest, RECORD_BUSIEST_MAX);
	assert_int_equal(r.n_macs, RECORD_MACS_MAX);
	assert_int_equal(r.n_answers, RECORD_ANSWERS_MAX);
	buf_reset(&notes);
	buf_printf(&notes, "\"leasehold.io/prepared\":\"%0*d=1!no,l=1!%0*d,ok=1!%0*d\"", 64, 0, RECORD_REASON_MAX, 0,
		   RECORD_REASON_MAX - 1, 0);
	decode(buf_text(&notes), &r);
	assert_int_equal(r.n_answers, 1);
	assert_string_equal(r.answers[0].lease, "ok");
	decode("\"leasehold.io/rank\":\"10\",\"leasehold.io/weight\":\"101\",\"leasehold.io/leaving\":\"yes\",\"leasehold.io/macs\":7,\"leasehold.io/prepared\":[]", &r);
	assert_int_equal(r.rank + r.leaving + r.n_macs + r.n_answers, 0);
	assert_int_equal(r.weight, 1);
	assert_int_equal(record_decode("{\"metadata\":7}", 14, &r, NULL), 0);
	assert_int_equal(record_decode("[]", 2, &r, NULL), -22);
	buf_fini(&notes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_rewrite), cmocka_unit_test(test_macs),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_busiest),
		cmocka_unit_test(test_answers),	   cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
