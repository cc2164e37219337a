/* SPDX-License-Identifier: Apache-2.0 */
/* record_json.c: a node's annotations from and to JSON. */
#include "agent/kube/record_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/object.h"
#include "agent/base/text.h"
#include "agent/kube/json_walk.h"

#define MAC_TEXT 17 /* "02:00:00:00:00:01" */

#define NAME_PREFIX "leasehold-node-"
#define NAME_CUT 200 /* of a node's name that is too long beside the prefix; a hash follows */

/* --- reading -------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* text[0..len) */
static bool mac_decode(const char *text, size_t len, uint8_t ret[static LINK_MAC_LEN])
{
	uint8_t mac[LINK_MAC_LEN];

	if (len != MAC_TEXT)
		return false;
	for (size_t i = 0; i < LINK_MAC_LEN; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i + 1 < LINK_MAC_LEN && text[3 * i + 2] != ':'))
			return false;
		mac[i] = (uint8_t)(high << 4 | low);
	}
	memcpy(ret, mac, sizeof(mac));
	return true;
}

static void macs_decode(const char *text, struct kube_record *r)
{
	while (*text && r->n_macs < RECORD_MACS_MAX) {
		size_t len = strcspn(text, ",");

		if (mac_decode(text, len, r->macs[r->n_macs]))
			r->n_macs++;
		text += len;
		text += *text == ',';
	}
}

/* At most 'max' addresses, commas between them. */
static size_t ips_decode(const char *text, struct ip *ret, size_t max)
{
	char one[IP_TEXT_MAX];
	size_t n = 0;

	while (*text && n < max) {
		size_t len = strcspn(text, ",");

		if (len < sizeof(one)) {
			memcpy(one, text, len);
			one[len] = '\0';
			n += ip_parse(one, &ret[n]) == 0;
		}
		text += len;
		text += *text == ',';
	}
	return n;
}

/* text[0..len): "LEASE=NUMBER/MAC" or "LEASE=NUMBER!REASON" */
static bool answer_decode(const char *text, size_t len, struct kube_answer *ret)
{
	const char *equals = memchr(text, '=', len), *end = text + len, *mark;
	struct kube_answer a;
	char number[16];
	uint64_t v;
	size_t n;

	memset(&a, 0, sizeof(a));
	n = equals ? (size_t)(equals - text) : 0;
	if (n == 0 || n >= sizeof(a.lease))
		return false;
	memcpy(a.lease, text, n); /* the rest is zero */
	for (mark = equals + 1; mark < end && *mark != '/' && *mark != '!'; mark++)
		;
	n = (size_t)(mark - equals - 1);
	if (mark == end || n >= sizeof(number))
		return false;
	memcpy(number, equals + 1, n);
	number[n] = '\0';
	if (text_to_u64(number, UINT32_MAX, &v) < 0 || v == 0)
		return false;
	a.number = (uint32_t)v;
	a.ready = *mark++ == '/';
	n = (size_t)(end - mark);
	if (a.ready ? !mac_decode(mark, n, a.mac) : n >= sizeof(a.reason))
		return false;
	if (!a.ready)
		memcpy(a.reason, mark, n); /* likewise */
	*ret = a;
	return true;
}

static void answers_decode(const char *text, struct kube_record *r)
{
	while (*text && r->n_answers < RECORD_ANSWERS_MAX) {
		size_t len = strcspn(text, ",");

		if (answer_decode(text, len, &r->answers[r->n_answers]))
			r->n_answers++;
		text += len;
		text += *text == ',';
	}
}

int record_decode(const char *json, size_t len, struct kube_record *ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	const json_t *notes;
	const char *text;
	uint64_t rank, weight, drain;
	int r = walk_parse(json, len, "Lease", &tree, err);

	if (r < 0)
		return r;
	memset(ret, 0, sizeof(*ret));
	notes = json_object_get(json_object_get(tree, "metadata"), "annotations");
	text = walk_plain_text(json_object_get(notes, RECORD_MACS));
	if (text)
		macs_decode(text, ret);
	text = walk_plain_text(json_object_get(notes, RECORD_ADDRESSES));
	if (text)
		ret->n_addresses = ips_decode(text, ret->addresses, RECORD_ADDRESSES_MAX);
	text = walk_plain_text(json_object_get(notes, RECORD_RANK));
	if (text && text_to_u64(text, RECORD_RANK_MAX, &rank) == 0)
		ret->rank = (unsigned int)rank;
	text = walk_plain_text(json_object_get(notes, RECORD_WEIGHT));
	ret->weight = text && text_to_u64(text, WEIGHT_MAX, &weight) == 0 ? (unsigned int)weight : 1;
	text = walk_plain_text(json_object_get(notes, RECORD_LEAVING));
	ret->leaving = text && text_eq(text, "true");
	text = walk_plain_text(json_object_get(notes, RECORD_DRAIN));
	if (text && text_to_u64(text, UINT32_MAX, &drain) == 0)
		ret->drain = (uint32_t)drain;
	text = walk_plain_text(json_object_get(notes, RECORD_BUSIEST));
	if (text)
		ret->n_busiest = ips_decode(text, ret->busiest, RECORD_BUSIEST_MAX);
	text = walk_plain_text(json_object_get(notes, RECORD_PREPARED));
	if (text)
		answers_decode(text, ret);
	return 0;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static void put_mac(const uint8_t mac[static LINK_MAC_LEN], struct buf *out)
{
	for (size_t i = 0; i < LINK_MAC_LEN; i++)
		buf_printf(out, "%s%02x", i ? ":" : "", mac[i]);
}

static void put_answer(const struct kube_answer *a, struct buf *out)
{
	buf_printf(out, "%s=%u%c", a->lease, a->number, a->ready ? '/' : '!');
	if (a->ready) {
		put_mac(a->mac, out);
		return;
	}
	for (const char *p = a->reason; *p; p++)
		buf_append(out, *p == ',' ? ";" : p, 1);
}

static void put_ips(const char *name, const struct ip *v, size_t n, struct buf *out)
{
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		if (i == 0)
			buf_printf(out, ",\"%s\":\"", name);
		buf_printf(out, "%s%s", i ? "," : "", ip_format(&v[i], text));
	}
	buf_puts(out, n > 0 ? "\"" : "");
}

void record_annotations(const struct kube_record *r, struct buf *out)
{
	struct buf answers = BUF_INIT(RECORD_ANSWERS_MAX * sizeof(struct kube_answer) * 2);

	buf_printf(out, "\"" RECORD_RANK "\":\"%u\"", r->rank);
	if (r->weight != 1)
		buf_printf(out, ",\"" RECORD_WEIGHT "\":\"%u\"", r->weight);
	if (r->n_macs > 0) {
		buf_puts(out, ",\"" RECORD_MACS "\":\"");
		for (size_t i = 0; i < r->n_macs; i++) {
			buf_puts(out, i ? "," : "");
			put_mac(r->macs[i], out);
		}
		buf_puts(out, "\"");
	}
	put_ips(RECORD_ADDRESSES, r->addresses, r->n_addresses, out);
	if (r->leaving)
		buf_puts(out, ",\"" RECORD_LEAVING "\":\"true\"");
	if (r->drain > 0)
		buf_printf(out, ",\"" RECORD_DRAIN "\":\"%" PRIu32 "\"", r->drain);
	put_ips(RECORD_BUSIEST, r->busiest, r->n_busiest, out);
	for (size_t i = 0; i < r->n_answers; i++) {
		buf_puts(&answers, i ? "," : "");
		put_answer(&r->answers[i], &answers);
	}
	if (answers.len > 0) {
		buf_puts(out, ",\"" RECORD_PREPARED "\":");
		buf_json_string(out, buf_text(&answers));
	}
	buf_fini(&answers);
}

/* A node's name may be as long as the Lease's, prefix and all: then it is cut, and a hash tells it from others. */
void record_name(const char *node, char name[static RECORD_NAME_MAX + 1])
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	if (strlen(NAME_PREFIX) + strlen(node) <= RECORD_NAME_MAX) {
		IGNORE(snprintf(name, RECORD_NAME_MAX + 1, NAME_PREFIX "%s", node)); /* fits */
		return;
	}
	for (const char *p = node; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	IGNORE(snprintf(name, RECORD_NAME_MAX + 1, NAME_PREFIX "%.*sx%016" PRIx64, NAME_CUT, node, h)); /* fits */
}
