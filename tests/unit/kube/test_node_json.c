/* SPDX-License-Identifier: Apache-2.0 */
/* Our Node says whether VIPs are welcome; what it does not say is no reason to leave. */
#include "agent/kube/node_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define LONG "0123456789012345678901234567890123456789012345678901234567890123" /* 64: a label's value has 63 at most */
#define NOTES(text) "{\"metadata\":{\"annotations\":{" text "}}}"
#define LABELS(text) "{\"metadata\":{\"labels\":{" text "}}}"

static void test_rows(void **state)
{
	static const struct {
		const char *json;
		struct kube_node want;
	} rows[] = {
		{ "{}", { .weight = -1, .rank = -1 } },
		{ "{\"kind\":\"Node\",\"metadata\":{\"uid\":\"u-1\"},\"spec\":{\"unschedulable\":false}}", { .uid = "u-1", .weight = -1, .rank = -1 } },
		{ "{\"spec\":{\"unschedulable\":true}}", { .unschedulable = true, .weight = -1, .rank = -1 } },
		{ "{\"metadata\":{\"deletionTimestamp\":\"2026-01-02T03:04:05Z\"}}", { .deleting = true, .weight = -1, .rank = -1 } },
		{ LABELS("\"node.kubernetes.io/exclude-from-external-load-balancers\":\"\""), { .excluded = true, .weight = -1, .rank = -1 } },
		{ LABELS("\"leasehold.io/rank\":\"0\""), { .weight = -1, .rank = 0 } },
		{ LABELS("\"leasehold.io/rank\":\"9\""), { .weight = -1, .rank = 9 } },
		{ LABELS("\"leasehold.io/rank\":\"10\""), { .weight = -1, .rank = -1 } },
		{ LABELS("\"leasehold.io/rank\":\"first\""), { .weight = -1, .rank = -1 } },
		{ LABELS("\"topology.kubernetes.io/zone\":\"east\""), { .zone = "east", .weight = -1, .rank = -1 } },
		{ LABELS("\"topology.kubernetes.io/zone\":7"), { .weight = -1, .rank = -1 } },
		{ LABELS("\"topology.kubernetes.io/zone\":\"" LONG "\""), { .weight = -1, .rank = -1 } },
		{ NOTES("\"leasehold.io/weight\":\"0\""), { .weight = 0, .rank = -1 } },
		{ NOTES("\"leasehold.io/weight\":\"100\""), { .weight = 100, .rank = -1 } },
		{ NOTES("\"leasehold.io/weight\":\"101\""), { .weight = -1, .rank = -1 } },
		{ NOTES("\"leasehold.io/weight\":\"heavy\""), { .weight = -1, .rank = -1 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct kube_node n;

		assert_int_equal(node_decode(rows[i].json, strlen(rows[i].json), &n, NULL, NULL), 0);
		if (memcmp(&n, &rows[i].want, sizeof(n)) != 0)
			fail_msg("%s", rows[i].json);
	}
}

/* Only labels that were asked for are kept; what a value cannot be is not there. */
static void test_labels(void **state)
{
	static const struct {
		const char *json, *rack, *zone; /* NULL = not there */
	} rows[] = {
		{ "{}", NULL, NULL },
		{ LABELS("\"rack\":\"a\""), "a", NULL },
		{ LABELS("\"rack\":\"\",\"other\":\"x\",\"example.com/zone\":\"z-1\""), "", "z-1" },
		{ LABELS("\"rack\":7,\"example.com/zone\":null"), NULL, NULL },
		{ LABELS("\"rack\":\"" LONG "\""), NULL, NULL },
		{ LABELS("\"rack\":\"a\\u0000b\""), NULL, NULL },
		{ NOTES("\"rack\":\"a\""), NULL, NULL },
	};
	struct labels labels = { .v = { { .key = "rack", .there = true, .value = "of before, longer" }, { .key = "example.com/zone" } },
				 .n = 2 };
	struct kube_node n;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *const want[] = { rows[i].rack, rows[i].zone };

		assert_int_equal(node_decode(rows[i].json, strlen(rows[i].json), &n, &labels, NULL), 0);
		for (size_t k = 0; k < 2; k++) {
			assert_int_equal(labels.v[k].there, want[k] != NULL);
			assert_string_equal(labels.v[k].value, want[k] ? want[k] : "");
		}
	}
	assert_int_equal(node_decode(LABELS("\"rack\":\"a\""), strlen(LABELS("\"rack\":\"a\"")), &n, &labels, NULL), 0);
	assert_int_equal(node_decode("{", 1, &n, &labels, NULL), -EINVAL);
	assert_string_equal(labels.v[0].value, "a");
}

static void test_refused(void **state)
{
	static const char *const rows[] = { "[]", "{\"kind\":\"Pod\"}", "{\"metadata\":7}", "{\"spec\":{\"unschedulable\":1}}",
					    "{\"metadata\":{\"labels\":[]}}", "{\"metadata\":{\"annotations\":[]}}", "{\"metadata\":{\"uid\":7}}", "{" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct kube_node n;

		assert_int_equal(node_decode(rows[i], strlen(rows[i]), &n, NULL, &err), -EINVAL);
		assert_true(*err.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_labels), cmocka_unit_test(test_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
