/* SPDX-License-Identifier: Apache-2.0 */
/* Patches say exactly what they mean to change, with the lock where one is given; Events fit the API's limits. */
#include "agent/kube/write_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static struct ip ip_of(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static void check(struct buf *out, int r, const char *want)
{
	json_t *tree;

	assert_int_equal(r, 0);
	assert_string_equal(buf_text(out), want);
	tree = *want == '{' ? json_loads(want, JSON_REJECT_DUPLICATES, NULL) : json_null();
	assert_non_null(tree);
	json_decref(tree);
	buf_reset(out);
}

static void test_patches(void **state)
{
	const struct ip ips[] = { ip_of("203.0.113.10"), ip_of("2001:db8:1::10") };
	struct buf b = BUF_INIT(4096);

	(void)state;
	check(&b, allocation_patch(ips, 2, "leasehold-group-1", "7", &b),
	      "{\"metadata\":{\"resourceVersion\":\"7\",\"annotations\":{\"leasehold.io/allocated\":"
	      "\"203.0.113.10,2001:db8:1::10\",\"leasehold.io/lease\":\"leasehold-group-1\"}}}");
	check(&b, allocation_patch(NULL, 0, "", "", &b),
	      "{\"metadata\":{\"annotations\":{\"leasehold.io/allocated\":null,\"leasehold.io/lease\":null}}}");
	check(&b, allocation_patch(ips, 1, "a,b", NULL, &b),
	      "{\"metadata\":{\"annotations\":{\"leasehold.io/allocated\":\"203.0.113.10\",\"leasehold.io/lease\":\"a,b\"}}}");
	check(&b, record_patch("a,b", "7", &b),
	      "{\"metadata\":{\"resourceVersion\":\"7\",\"annotations\":{\"leasehold.io/lease\":\"a,b\"}}}");
	check(&b, status_patch(ips, 2, false, false, "7", &b),
	      "{\"metadata\":{\"resourceVersion\":\"7\",\"annotations\":{}},\"status\":{\"loadBalancer\":{\"ingress\":"
	      "[{\"ip\":\"203.0.113.10\",\"ipMode\":\"VIP\"},{\"ip\":\"2001:db8:1::10\",\"ipMode\":\"VIP\"}]}}}");
	check(&b, status_patch(NULL, 0, false, true, "", &b),
	      "{\"metadata\":{\"annotations\":{\"leasehold.io/allocated\":null,\"leasehold.io/lease\":null}},"
	      "\"status\":{\"loadBalancer\":{\"ingress\":null}}}");
	check(&b, status_patch(NULL, 0, false, false, "", &b),
	      "{\"metadata\":{\"annotations\":{}},\"status\":{\"loadBalancer\":{\"ingress\":null}}}");
	buf_fini(&b);
}

static void test_handover_request(void **state)
{
	struct buf b = BUF_INIT(4096);
	char longest[300];

	(void)state;
	check(&b, handover_request_patch(7, "node2", &b),
	      "{\"metadata\":{\"annotations\":{\"leasehold.io/handover-request\":\"7 node2\"}}}");
	check(&b, handover_request_patch(UINT32_MAX, "*", &b),
	      "{\"metadata\":{\"annotations\":{\"leasehold.io/handover-request\":\"4294967295 *\"}}}");
	check(&b, handover_request_patch(0, "", &b), "{\"metadata\":{\"annotations\":{\"leasehold.io/handover-request\":null}}}");
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(handover_request_patch(1, longest, &b), -EINVAL);
	buf_fini(&b);
}

static void test_path(void **state)
{
	struct buf b = BUF_INIT(1024);

	(void)state;
	check(&b, service_status_path("default", "web-1.x", &b), "/api/v1/namespaces/default/services/web-1.x/status");
	check(&b, service_status_path("a/b", "../?q#%\xc3\xa9", &b),
	      "/api/v1/namespaces/a%2Fb/services/..%2F%3Fq%23%25%C3%A9/status");
	buf_fini(&b);
}

static void test_full(void **state)
{
	const struct ip ip = ip_of("203.0.113.10");
	struct buf b = BUF_INIT(30);

	(void)state;
	assert_int_equal(status_patch(&ip, 1, true, false, "7", &b), -EMSGSIZE);
	buf_fini(&b);
}

static const struct event_body event = {
	.ns = "default",
	.service = "web",
	.uid = "u-1",
	.type = "Normal",
	.reason = "Assigned",
	.action = "Announce",
	.note = "203.0.113.10 is live on \"node-a\"\n",
	.instance = "node-a_1_2",
	.time_us = INT64_C(1767323045000006),
	.unique = 0xabc,
};

static json_t *encode(const struct event_body *e)
{
	struct buf b = BUF_INIT(16 * 1024);
	json_t *tree;

	assert_int_equal(event_encode(e, &b), 0);
	tree = json_loadb(b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(tree);
	buf_fini(&b);
	return tree;
}

static const char *text_of(const json_t *tree, const char *key)
{
	const char *text = json_string_value(json_object_get(tree, key));

	assert_non_null(text);
	return text;
}

static void test_event(void **state)
{
	json_t *t = encode(&event);
	const json_t *regarding = json_object_get(t, "regarding");

	(void)state;
	assert_string_equal(text_of(t, "apiVersion"), "events.k8s.io/v1");
	assert_string_equal(text_of(t, "kind"), "Event");
	assert_string_equal(text_of(json_object_get(t, "metadata"), "name"), "web.0000000000000abc");
	assert_string_equal(text_of(json_object_get(t, "metadata"), "namespace"), "default");
	assert_string_equal(text_of(t, "eventTime"), "2026-01-02T03:04:05.000006Z");
	assert_string_equal(text_of(t, "reportingController"), "leasehold.io/agent");
	assert_string_equal(text_of(t, "reportingInstance"), "node-a_1_2");
	assert_string_equal(text_of(t, "action"), "Announce");
	assert_string_equal(text_of(t, "reason"), "Assigned");
	assert_string_equal(text_of(t, "type"), "Normal");
	assert_string_equal(text_of(t, "note"), event.note);
	assert_string_equal(text_of(regarding, "apiVersion"), "v1");
	assert_string_equal(text_of(regarding, "kind"), "Service");
	assert_string_equal(text_of(regarding, "namespace"), "default");
	assert_string_equal(text_of(regarding, "name"), "web");
	assert_string_equal(text_of(regarding, "uid"), "u-1");
	json_decref(t);
}

/* Whatever the texts: within the limits, valid UTF-8, and cut between characters. */
static void test_event_limits(void **state)
{
	struct event_body e = event;
	char note[4000], name[300], instance[200];
	json_t *t;

	(void)state;
	memset(name, 'n', sizeof(name));
	memset(instance, 'i', sizeof(instance));
	name[sizeof(name) - 1] = instance[sizeof(instance) - 1] = '\0';
	e.note = note;
	e.service = name;
	e.instance = instance;
	/* Two-byte characters behind one byte: 1024 falls into the middle of one. */
	note[0] = 'x';
	for (size_t i = 1; i + 2 < sizeof(note); i += 2)
		memcpy(note + i, "\xc3\xa9", 3);
	t = encode(&e);
	assert_int_equal(strlen(text_of(t, "note")), 1023);
	assert_memory_equal(text_of(t, "note"), note, 1023);
	assert_int_equal(strlen(text_of(t, "reportingInstance")), 128);
	assert_int_equal(strlen(text_of(json_object_get(t, "metadata"), "name")), 253);
	json_decref(t);
	/* Not UTF-8: each byte becomes three. */
	memset(note, 0xff, sizeof(note) - 1);
	note[sizeof(note) - 1] = '\0';
	t = encode(&e);
	assert_in_range(strlen(text_of(t, "note")), 900, 1024);
	json_decref(t);
	/* Continuation bytes alone: there is no boundary to cut at. */
	memset(note, 0x80, sizeof(note) - 1);
	t = encode(&e);
	assert_in_range(strlen(text_of(t, "note")), 0, 1024);
	json_decref(t);
	e.note = "";
	t = encode(&e);
	assert_string_equal(text_of(t, "note"), "");
	json_decref(t);
}

static void test_event_hostile_name(void **state)
{
	struct event_body e = event;
	json_t *t;

	(void)state;
	e.service = "a\",\"x\":\"";
	t = encode(&e);
	assert_string_equal(text_of(json_object_get(t, "metadata"), "name"), "a\",\"x\":\".0000000000000abc");
	assert_null(json_object_get(json_object_get(t, "metadata"), "x"));
	json_decref(t);
}

static void test_event_times(void **state)
{
	static const struct {
		int64_t us;
		const char *text;
	} rows[] = {
		{ -1, "1970-01-01T00:00:00.000000Z" },
		{ 0, "1970-01-01T00:00:00.000000Z" },
		{ INT64_C(951782400123456), "2000-02-29T00:00:00.123456Z" },
		{ INT64_MAX, "9999-12-31T23:59:59.999999Z" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct event_body e = event;
		json_t *t;

		e.time_us = rows[i].us;
		t = encode(&e);
		assert_string_equal(text_of(t, "eventTime"), rows[i].text);
		json_decref(t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patches),
		cmocka_unit_test(test_handover_request),	     cmocka_unit_test(test_path),
		cmocka_unit_test(test_full),	     cmocka_unit_test(test_event),
		cmocka_unit_test(test_event_limits), cmocka_unit_test(test_event_hostile_name),
		cmocka_unit_test(test_event_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
