/* SPDX-License-Identifier: Apache-2.0 */
/* test_lease.c: which duration governs a Lease, how it is rounded, which version is the older, and when two
 * identities name one node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/auto.h"
#include "election/lease.h"

static void test_duration(void **state)
{
	static const struct {
		int64_t seconds, annotation_ms, want_ms;
	} rows[] = {
		{ 3, 3000, 3000 },
		{ 1, 400, 400 },	     /* ceiling fits: the milliseconds govern */
		{ 1, 1000, 1000 },
		{ 1, 1001, 1001 },	     /* does not fit: the larger */
		{ 15, 400, 15000 },	     /* another client changed the seconds */
		{ 1, 60000, 60000 },
		{ 15, 0, 15000 },	     /* no annotation */
		{ 0, 700, 700 },	     /* no seconds */
		{ 0, 0, 1 },
		{ -5, -7, 1 },
		{ INT64_MIN, INT64_MIN, 1 },
		{ INT64_MAX, 5, LEASE_MS_MAX },
		{ 5, INT64_MAX, LEASE_MS_MAX },
		{ INT64_MAX, INT64_MAX, LEASE_MS_MAX },
		{ LEASE_MS_MAX / 1000, LEASE_MS_MAX, LEASE_MS_MAX },
		{ LEASE_MS_MAX / 1000 + 1, 1, LEASE_MS_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(lease_duration_ms(rows[i].seconds, rows[i].annotation_ms), rows[i].want_ms);
}

static void test_seconds(void **state)
{
	(void)state;
	assert_int_equal(lease_seconds(1), 1);
	assert_int_equal(lease_seconds(400), 1);
	assert_int_equal(lease_seconds(1000), 1);
	assert_int_equal(lease_seconds(1001), 2);
	assert_int_equal(lease_seconds(3000), 3);
	assert_int_equal(lease_seconds(LEASE_MS_MAX), 86400);
	assert_int_equal(lease_seconds(INT64_MAX), INT64_MAX / 1000 + 1);
	/* What we write is what we read back, for every duration that can be configured. */
	for (int64_t ms = LEASE_MS_MIN; ms < 20000; ms++)
		assert_int_equal(lease_duration_ms(lease_seconds(ms), ms), ms);
}

static void test_same_node(void **state)
{
	static const struct {
		const char *a, *b;
		bool want;
	} rows[] = {
		{ "node-1_0badcafe_11111111", "node-1_0badcafe_22222222", true },
		{ "node-1_0badcafe_11111111", "node-1_deadbeef_22222222", true },
		{ "node-1_0badcafe_11111111", "node-2_0badcafe_11111111", false },
		{ "node-1_0badcafe_11111111", "node-10_0badcafe_11111111", false },
		{ "a_b_c_d", "a_b_e_f", true }, /* a node "a_b" */
		{ "a_b_c_d", "a_x_c_d", false },
		{ "node-1", "node-1", false }, /* another program's identity */
		{ "node-1_x", "node-1_x", false },
		{ "_a_b", "_a_b", false }, /* no node */
		{ "__", "__", false },
		{ "", "", false },
		{ "n__", "n__", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(lease_same_node(rows[i].a, rows[i].b), rows[i].want);
		assert_int_equal(lease_same_node(rows[i].b, rows[i].a), rows[i].want);
	}
}

static void test_node(void **state)
{
	static const struct {
		const char *holder, *want;
		bool good;
	} rows[] = {
		{ "node1_a1b2c3d4_01234567", "node1", true }, { "a_b_c_d", "a_b", true }, { "n__", "n", true },
		{ "node1", "node1", false },		      { "_a_b", "_a_b", false },	  { "__", "__", false },
		{ "", "", false },
	};
	char node[8];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(lease_node(rows[i].holder, node, sizeof(node)), rows[i].good);
		assert_string_equal(node, rows[i].want);
	}
	assert_false(lease_node("node-number-one_a_b", node, sizeof(node))); /* cut */
	assert_string_equal(node, "node-nu");
}

static void test_version_older(void **state)
{
	static const struct {
		const char *a, *b;
		bool a_older, b_older;
	} rows[] = {
		{ "9", "10", true, false },
		{ "10", "11", true, false },
		{ "0010", "9", false, true },
		{ "010", "10", false, false },
		{ "0", "00", false, false },
		{ "18446744073709551615", "18446744073709551616", true, false },
		{ "", "1", false, false }, /* not numbers: no order is known */
		{ "", "", false, false },
		{ "1a", "2", false, false },
		{ "-1", "2", false, false },
		{ " 1", "2", false, false },
		{ "abc", "abd", false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(lease_version_older(rows[i].a, rows[i].b), rows[i].a_older);
		assert_int_equal(lease_version_older(rows[i].b, rows[i].a), rows[i].b_older);
	}
}

static void test_record_eq(void **state)
{
	struct lease_record a = { .holder = "n_b_r", .duration_ms = 3000, .transitions = 7 }, b = a;

	(void)state;
	/* Bytes after the NUL are no part of a name. */
	memset(b.holder + 6, 'x', 20);
	memset(b.successor + 1, 'x', 20);
	assert_true(lease_record_eq(&a, &b));
	b.transitions++;
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.duration_ms--;
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.holder[0] = 'm';
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.policy = LEASE_HOLD;
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.stage = LEASE_STAGE_PREPARE;
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.handover = 1;
	assert_false(lease_record_eq(&a, &b));
	b = a;
	b.successor[0] = 'm';
	assert_false(lease_record_eq(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_duration),      cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_same_node),     cmocka_unit_test(test_node),
		    cmocka_unit_test(test_version_older),
		cmocka_unit_test(test_record_eq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
