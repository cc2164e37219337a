/* SPDX-License-Identifier: Apache-2.0 */
/* A Lease survives the way to JSON and back; what others keep in it stays; what is no Lease is refused by its place. */
#include "agent/kube/lease_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

static const char full[] =
	"{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{\"name\":\"leasehold-group-0\","
	"\"namespace\":\"kube-system\",\"uid\":\"u-1\",\"resourceVersion\":\"42\",\"labels\":{\"team\":\"a\"},"
	"\"annotations\":{\"leasehold.io/duration-ms\":\"3000\",\"note\":\"x\\u0000y\"},\"finalizers\":[\"f/1\"],"
	"\"ownerReferences\":[{\"name\":\"o\"}],\"managedFields\":[{\"manager\":\"m\"}]},"
	"\"spec\":{\"holderIdentity\":\"node-a_11112222_33334444\",\"leaseDurationSeconds\":3,\"leaseTransitions\":7,"
	"\"acquireTime\":\"2026-01-02T03:04:05.000006Z\",\"renewTime\":null,\"preferredHolder\":\"p\"}}";

static void test_decode(void **state)
{
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease l;

	(void)state;
	assert_int_equal(lease_decode(full, strlen(full), &l, NULL, &err), 0);
	assert_string_equal(l.name, "leasehold-group-0");
	assert_string_equal(l.holder, "node-a_11112222_33334444");
	assert_string_equal(l.version, "42");
	assert_string_equal(l.uid, "u-1");
	assert_int_equal(l.seconds, 3);
	assert_int_equal(l.annotation_ms, 3000);
	assert_int_equal(l.transitions, 7);
}

static void test_decode_sparse(void **state)
{
	const char *json = "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"holderIdentity\":null}}";
	struct kube_lease l;

	(void)state;
	assert_int_equal(lease_decode(json, strlen(json), &l, NULL, NULL), 0);
	assert_string_equal(l.holder, "");
	assert_string_equal(l.version, "");
	assert_int_equal(l.seconds, 0);
	assert_int_equal(l.annotation_ms, 0);
	assert_int_equal(l.transitions, 0);
	json = "{\"metadata\":{\"name\":\"n\"}}";
	assert_int_equal(lease_decode(json, strlen(json), &l, NULL, NULL), 0);
}

/* The annotation is anyone's to write: nonsense counts as absent. */
static void test_decode_annotation(void **state)
{
	static const struct {
		const char *value;
		int64_t ms;
	} rows[] = {
		{ "\"1\"", 1 }, { "\"86400000\"", 86400000 }, { "\"86400001\"", 0 }, { "\"0\"", 0 },  { "\"-3\"", 0 },
		{ "\"3s\"", 0 }, { "\"\"", 0 },		      { "3000", 0 },	     { "null", 0 }, { "\"3\\u0000\"", 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf json = BUF_INIT(1024);
		struct kube_lease l;

		buf_printf(&json, "{\"metadata\":{\"name\":\"n\",\"annotations\":{\"leasehold.io/duration-ms\":%s}}}",
			   rows[i].value);
		assert_int_equal(lease_decode(json.data, json.len, &l, NULL, NULL), 0);
		assert_int_equal(l.annotation_ms, rows[i].ms);
		buf_fini(&json);
	}
}

static void test_decode_refused(void **state)
{
	static const struct {
		const char *json, *text;
	} rows[] = {
		{ "", "not JSON" },
		{ "[]", "not a JSON object" },
		{ "{\"metadata\":{\"name\":\"n\"}} x", "not JSON" },
		{ "{\"kind\":\"Service\",\"metadata\":{\"name\":\"n\"}}", "kind: \"Service\" is not Lease" },
		{ "{}", "metadata.name: missing" },
		{ "{\"metadata\":[]}", "metadata: not an object" },
		{ "{\"metadata\":{\"name\":5}}", "metadata.name: not a string" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":7}", "spec: not an object" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"holderIdentity\":[]}}", "spec.holderIdentity: not a string" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"holderIdentity\":\"a\\u0000b\"}}",
		  "spec.holderIdentity: a string with a NUL in it" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"leaseDurationSeconds\":\"3\"}}",
		  "spec.leaseDurationSeconds: not a whole number" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"leaseDurationSeconds\":2147483648}}",
		  "spec.leaseDurationSeconds: not 0..2147483647" },
		{ "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"leaseTransitions\":-1}}",
		  "spec.leaseTransitions: not 0..2147483647" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct kube_lease l = { .name = "untouched" };

		assert_int_equal(lease_decode(rows[i].json, strlen(rows[i].json), &l, NULL, &err), -EINVAL);
		if (strncmp(err.text, rows[i].text, strlen(rows[i].text)) != 0)
			fail_msg("row %zu: \"%s\", wanted \"%s\"", i, err.text, rows[i].text);
		assert_string_equal(l.name, "untouched");
	}
}

static void test_decode_long(void **state)
{
	struct err_info err = ERR_INFO_INIT;
	char holder[400], json[600];
	struct kube_lease l;

	(void)state;
	memset(holder, 'h', sizeof(holder));
	for (size_t n = 318; n <= 320; n++) {
		int r = snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"n\"},\"spec\":{\"holderIdentity\":\"%.*s\"}}",
				 (int)n, holder);

		assert_int_equal(lease_decode(json, (size_t)r, &l, NULL, &err), 0);
		assert_int_equal(strlen(l.holder), n < 320 ? n : 319); /* cut: a stranger's, whoever it is */
	}
}

/* Each shorter text is no JSON; none is read past its end (the sanitizer build sees that: nothing lies behind the copy). */
static void test_decode_truncated(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof(full) - 1; n++) {
		char *cut = malloc(n ? n : 1);
		struct kube_lease l;

		assert_non_null(cut);
		memcpy(cut, full, n);
		assert_int_equal(lease_decode(cut, n, &l, NULL, NULL), -EINVAL);
		free(cut);
	}
}

/* 'keep': the JSON of the Lease that is replaced, NULL = none. */
static json_t *encode(const struct kube_lease *l, const char *keep)
{
	/* 2026-01-02 03:04:05 UTC */
	const struct lease_times times = { INT64_C(1767323045000006), INT64_C(1767323046999999) };
	struct lease_keep kept = LEASE_KEEP_INIT;
	struct buf out = BUF_INIT(64 * 1024);
	struct kube_lease old;
	json_t *tree;

	if (keep)
		assert_int_equal(lease_decode(keep, strlen(keep), &old, &kept, NULL), 0);
	assert_int_equal(lease_encode(l, "kube-system", &times, keep ? &kept : NULL, &out), 0);
	tree = json_loadb(out.data, out.len, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(tree);
	buf_fini(&out);
	lease_keep_fini(&kept);
	return tree;
}

static const char *text_at(const json_t *tree, const char *a, const char *b, const char *c)
{
	const json_t *node = json_object_get(tree, a);

	node = b ? json_object_get(node, b) : node;
	node = c ? json_object_get(node, c) : node;
	return json_string_value(node);
}

static void test_encode_new(void **state)
{
	const struct kube_lease l = { .name = "leasehold-group-0", .holder = "me \"quoted\"", .seconds = 3, .annotation_ms = 2500,
				      .transitions = 1 };
	json_t *t = encode(&l, NULL);
	const json_t *spec = json_object_get(t, "spec"), *meta = json_object_get(t, "metadata");

	(void)state;
	assert_string_equal(text_at(t, "apiVersion", NULL, NULL), "coordination.k8s.io/v1");
	assert_string_equal(text_at(t, "kind", NULL, NULL), "Lease");
	assert_string_equal(text_at(t, "metadata", "namespace", NULL), "kube-system");
	assert_string_equal(text_at(t, "metadata", "annotations", "leasehold.io/duration-ms"), "2500");
	assert_string_equal(text_at(t, "metadata", "labels", "app.kubernetes.io/managed-by"), "leasehold");
	assert_null(json_object_get(meta, "resourceVersion"));
	assert_null(json_object_get(meta, "uid"));
	assert_string_equal(text_at(t, "spec", "holderIdentity", NULL), "me \"quoted\"");
	assert_string_equal(text_at(t, "spec", "acquireTime", NULL), "2026-01-02T03:04:05.000006Z");
	assert_string_equal(text_at(t, "spec", "renewTime", NULL), "2026-01-02T03:04:06.999999Z");
	assert_int_equal(json_integer_value(json_object_get(spec, "leaseDurationSeconds")), 3);
	assert_int_equal(json_integer_value(json_object_get(spec, "leaseTransitions")), 1);
	json_decref(t);
}

/* A release: no holder, and the server wants at least one second. */
static void test_encode_release(void **state)
{
	const struct kube_lease l = { .name = "n", .version = "9", .uid = "u-9" };
	json_t *t = encode(&l, full);

	(void)state;
	assert_string_equal(text_at(t, "spec", "holderIdentity", NULL), "");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(t, "spec"), "leaseDurationSeconds")), 1);
	assert_string_equal(text_at(t, "metadata", "resourceVersion", NULL), "9");
	assert_string_equal(text_at(t, "metadata", "uid", NULL), "u-9");
	assert_null(text_at(t, "metadata", "annotations", "leasehold.io/duration-ms"));
	json_decref(t);
}

static void test_encode_keeps(void **state)
{
	struct kube_lease l;
	json_t *t;

	(void)state;
	assert_int_equal(lease_decode(full, strlen(full), &l, NULL, NULL), 0);
	strcpy(l.holder, "node-b");
	t = encode(&l, full);
	assert_string_equal(text_at(t, "metadata", "labels", "team"), "a");
	assert_string_equal(text_at(t, "metadata", "labels", "app.kubernetes.io/managed-by"), "leasehold");
	assert_int_equal(json_string_length(json_object_get(
				 json_object_get(json_object_get(t, "metadata"), "annotations"), "note")), 3);
	assert_int_equal(json_array_size(json_object_get(json_object_get(t, "metadata"), "finalizers")), 1);
	assert_int_equal(json_array_size(json_object_get(json_object_get(t, "metadata"), "ownerReferences")), 1);
	assert_null(json_object_get(json_object_get(t, "metadata"), "managedFields"));
	assert_string_equal(text_at(t, "metadata", "uid", NULL), "u-1");
	assert_string_equal(text_at(t, "spec", "preferredHolder", NULL), "p");
	assert_string_equal(text_at(t, "spec", "holderIdentity", NULL), "node-b");
	json_decref(t);
}

/* Every member survives, also with texts at their bounds. */
static void test_encode_round_trip(void **state)
{
	const struct lease_times times = { 0, 0 };
	struct kube_lease l = { .name = "n", .holder = "h", .seconds = 15, .annotation_ms = 14001, .transitions = INT32_MAX,
				.version = "1", .uid = "u", .hold = true,
				.move = { KUBE_LEASE_CLAIM, UINT32_MAX, "node-b_1_2" },
				.request = { 7, "*" }, .result = { 6, true, "" } };
	struct buf out = BUF_INIT(64 * 1024);
	struct kube_lease back;

	(void)state;
	for (int longest = 0; longest < 2; longest++) {
		buf_reset(&out);
		assert_int_equal(lease_encode(&l, "ns", &times, NULL, &out), 0);
		assert_int_equal(lease_decode(out.data, out.len, &back, NULL, NULL), 0);
		assert_memory_equal(&l, &back, sizeof(l));
		memset(l.move.successor, 's', sizeof(l.move.successor) - 1);
		memset(l.request.node, 'n', sizeof(l.request.node) - 1);
		memset(l.result.text, 't', sizeof(l.result.text) - 1);
		l.move.stage = KUBE_LEASE_PREPARE;
		l.result.ok = false;
	}
	buf_fini(&out);
}

/* What is ours is written anew: an earlier move does not stay for lack of a present one. */
static void test_encode_replaces_ours(void **state)
{
	static const char old[] =
		"{\"metadata\":{\"name\":\"n\",\"annotations\":{\"leasehold.io/policy\":\"hold\",\"x\":\"y\","
		"\"leasehold.io/handover\":\"claim 3 b\",\"leasehold.io/handover-request\":\"3 *\","
		"\"leasehold.io/handover-result\":\"2 ok\",\"leasehold.io/duration-ms\":\"9\"}}}";
	const struct kube_lease l = { .name = "n", .holder = "h", .seconds = 1 };
	json_t *t = encode(&l, old);
	const json_t *notes = json_object_get(json_object_get(t, "metadata"), "annotations");

	(void)state;
	assert_int_equal(json_object_size(notes), 2);
	assert_string_equal(json_string_value(json_object_get(notes, "x")), "y");
	assert_string_equal(json_string_value(json_object_get(notes, "leasehold.io/policy")), "fence");
	json_decref(t);
}

/* Once its size is reached, a buffer is written without growing: the renewal path needs no memory. */
static void test_encode_keeps_its_buffer(void **state)
{
	const struct kube_lease l = { .name = "n", .holder = "h", .seconds = 1, .version = "1", .uid = "u" };
	const struct lease_times times = { 1, 2 };
	struct buf out = BUF_INIT(64 * 1024);
	const char *data;
	size_t cap;

	(void)state;
	assert_int_equal(lease_encode(&l, "ns", &times, NULL, &out), 0);
	data = out.data;
	cap = out.cap;
	for (int i = 0; i < 3; i++) {
		buf_reset(&out);
		assert_int_equal(lease_encode(&l, "ns", &times, NULL, &out), 0);
		assert_ptr_equal(out.data, data);
		assert_int_equal(out.cap, cap);
	}
	buf_fini(&out);
}

static void test_decode_moves(void **state)
{
	static const struct {
		const char *key, *value;
		struct kube_lease_move move;
		struct kube_lease_request request;
		struct kube_lease_result result;
		bool hold;
	} rows[] = {
		{ .key = "policy", .value = "hold", .hold = true },
		{ .key = "policy", .value = "fence" },
		{ .key = "policy", .value = "Hold" },
		{ .key = "handover", .value = "prepare 1 b_1_2", .move = { KUBE_LEASE_PREPARE, 1, "b_1_2" } },
		{ .key = "handover", .value = "claim 4294967295 b", .move = { KUBE_LEASE_CLAIM, UINT32_MAX, "b" } },
		{ .key = "handover", .value = "" },
		{ .key = "handover", .value = "claim" },
		{ .key = "handover", .value = "claim 1" },
		{ .key = "handover", .value = "claim 1 " },
		{ .key = "handover", .value = "claim 0 b" },
		{ .key = "handover", .value = "claim 4294967296 b" },
		{ .key = "handover", .value = "claim -1 b" },
		{ .key = "handover", .value = "claim 1 b c" },
		{ .key = "handover", .value = "claim  1 b" },
		{ .key = "handover", .value = " claim 1 b" },
		{ .key = "handover", .value = "take 1 b" },
		{ .key = "handover", .value = "claimclaim 1 b" },
		{ .key = "handover-request", .value = "12 *", .request = { 12, "*" } },
		{ .key = "handover-request", .value = "12 node-b", .request = { 12, "node-b" } },
		{ .key = "handover-request", .value = "12" },
		{ .key = "handover-request", .value = "* 12" },
		{ .key = "handover-request", .value = "12 a b" },
		{ .key = "handover-result", .value = "12 ok", .result = { 12, true, "" } },
		{ .key = "handover-result", .value = "12 failed it is full", .result = { 12, false, "it is full" } },
		{ .key = "handover-result", .value = "12 maybe" },
		{ .key = "handover-result", .value = "ok 12" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_lease l;
		char json[512];

		snprintf(json, sizeof(json), "{\"metadata\":{\"name\":\"n\",\"annotations\":{\"leasehold.io/%s\":\"%s\"}}}",
			 rows[i].key, rows[i].value);
		assert_int_equal(lease_decode(json, strlen(json), &l, NULL, NULL), 0);
		if (l.hold != rows[i].hold || memcmp(&l.move, &rows[i].move, sizeof(l.move)) != 0 ||
		    memcmp(&l.request, &rows[i].request, sizeof(l.request)) != 0 ||
		    memcmp(&l.result, &rows[i].result, sizeof(l.result)) != 0)
			fail_msg("leasehold.io/%s: \"%s\"", rows[i].key, rows[i].value);
	}
}

static void test_encode_fails(void **state)
{
	const struct kube_lease l = { .name = "n", .holder = "h" };
	const struct lease_times times = { 0, 0 };
	struct lease_keep kept = LEASE_KEEP_INIT;
	struct buf small = BUF_INIT(20);
	struct kube_lease old;

	(void)state;
	assert_int_equal(lease_encode(&l, "ns", &times, NULL, &small), -EMSGSIZE);
	kept.annotations.max = 8; /* what others keep does not fit: the Lease counts as unread, and none of it is lost */
	assert_int_equal(lease_decode(full, strlen(full), &old, &kept, NULL), -EMSGSIZE);
	lease_keep_fini(&kept);
	buf_fini(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode),		 cmocka_unit_test(test_decode_sparse),
		cmocka_unit_test(test_decode_annotation), cmocka_unit_test(test_decode_refused),
		cmocka_unit_test(test_decode_long),	 cmocka_unit_test(test_decode_truncated),
		cmocka_unit_test(test_encode_new),	 cmocka_unit_test(test_encode_release),
		cmocka_unit_test(test_encode_keeps),
		cmocka_unit_test(test_encode_round_trip), cmocka_unit_test(test_encode_fails), cmocka_unit_test(test_decode_moves),
		cmocka_unit_test(test_encode_replaces_ours), cmocka_unit_test(test_encode_keeps_its_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
