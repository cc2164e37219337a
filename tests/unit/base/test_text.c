/* SPDX-License-Identifier: Apache-2.0 */
/* test_text.c: numbers and durations as tables, bounds and near misses included; bounded copies. */
#include "agent/base/text.h"

#include "tests/unit/base/check.h"

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		uint64_t max, want;
		int r;
	} rows[] = {
		{ "0", 0, 0, 0 },
		{ "42", 100, 42, 0 },
		{ "007", 100, 7, 0 },
		{ "100", 100, 100, 0 },
		{ "101", 100, 0, -ERANGE },
		{ "18446744073709551615", UINT64_MAX, UINT64_MAX, 0 },
		{ "18446744073709551616", UINT64_MAX, 0, -ERANGE },
		{ "99999999999999999999999", UINT64_MAX, 0, -ERANGE },
		{ "", 100, 0, -EINVAL },
		{ "-1", 100, 0, -EINVAL },
		{ "+1", 100, 0, -EINVAL },
		{ " 1", 100, 0, -EINVAL },
		{ "1 ", 100, 0, -EINVAL },
		{ "1x", 100, 0, -EINVAL },
		{ "0x1", 100, 0, -EINVAL },
		{ "1e2", 100, 0, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t v = 12345;
		int r = text_to_u64(rows[i].text, rows[i].max, &v);

		if (r != rows[i].r || v != (r == 0 ? rows[i].want : 12345))
			fail_msg("\"%s\": %d", rows[i].text, r);
	}
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
		int r;
	} rows[] = {
		{ "600ms", 600, 0 },
		{ "0s", 0, 0 },
		{ "3s", 3000, 0 },
		{ "1m", 60000, 0 },
		{ "1h", 3600000, 0 },
		{ "1.5s", 1500, 0 },
		{ "0.25s", 250, 0 },
		{ "0.001s", 1, 0 },
		{ "1.5m", 90000, 0 },
		{ "0.75h", 2700000, 0 },
		{ "24h", 86400000, 0 },
		{ "86400000ms", 86400000, 0 },
		{ "24.5h", 0, -ERANGE },
		{ "24.001h", 0, -ERANGE },
		{ "25h", 0, -ERANGE },
		{ "86400001ms", 0, -ERANGE },
		{ "1440.5m", 0, -ERANGE },
		{ "99999999999999999999h", 0, -ERANGE },
		{ "", 0, -EINVAL },
		{ "3", 0, -EINVAL },
		{ "s", 0, -EINVAL },
		{ ".5s", 0, -EINVAL },
		{ "1.s", 0, -EINVAL },
		{ "1.5ms", 0, -EINVAL },
		{ "0.0005s", 0, -EINVAL },
		{ "1.0001h", 0, -EINVAL },
		{ "-3s", 0, -EINVAL },
		{ "3 s", 0, -EINVAL },
		{ "3s ", 0, -EINVAL },
		{ "3S", 0, -EINVAL },
		{ "3sec", 0, -EINVAL },
		{ "1m30s", 0, -EINVAL },
		{ "3us", 0, -EINVAL },
		{ "1.2.3s", 0, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ms = 12345;
		int r = text_to_ms(rows[i].text, &ms);

		if (r != rows[i].r || ms != (r == 0 ? rows[i].want : 12345))
			fail_msg("\"%s\": %d, %lld ms", rows[i].text, r, (long long)ms);
	}
}

static void test_of_ms(void **state)
{
	static const struct {
		int64_t ms;
		const char *want;
	} rows[] = { { 750, "750ms" }, { 3000, "3s" },	 { 0, "0s" },	     { 1500, "1500ms" },
		     { 90000, "1m30s" }, { 59000, "59s" }, { 60000, "1m0s" }, { 60001, "60001ms" } };
	char buf[32], tiny[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(text_of_ms(rows[i].ms, buf, sizeof(buf)), rows[i].want);
	assert_string_equal(text_of_ms(123456, tiny, sizeof(tiny)), "123");
}

static void test_copy(void **state)
{
	char buf[6];

	(void)state;
	assert_true(text_copy(buf, sizeof(buf), ""));
	assert_string_equal(buf, "");
	assert_true(text_copy(buf, sizeof(buf), "12345"));
	assert_string_equal(buf, "12345");
	assert_false(text_copy(buf, sizeof(buf), "123456"));
	assert_string_equal(buf, "12345");
	assert_false(text_copy(buf, 1, "x"));
	assert_string_equal(buf, "");
}

static void test_compare(void **state)
{
	(void)state;
	assert_true(text_eq("", "") && text_eq("ab", "ab"));
	assert_false(text_eq("ab", "a") || text_eq("a", "ab") || text_eq("a", "A"));
	assert_true(text_starts("abc", "ab") && text_starts("abc", "") && text_starts("abc", "abc"));
	assert_false(text_starts("ab", "abc") || text_starts("xab", "ab"));
}

static void test_matches(void **state)
{
	static const struct {
		const char *pattern, *text;
		bool want;
	} rows[] = {
		{ "", "", true },	    { "", "a", false },		{ "a", "", false },	   { "eth0", "eth0", true },
		{ "eth0", "eth01", false }, { "eth01", "eth0", false }, { "*", "", true },	   { "*", "abc", true },
		{ "eth*", "eth", true },    { "eth*", "eth12", true },	{ "eth*", "xeth1", false }, { "*.7", "bond0.7", true },
		{ "*.7", "bond0.70", false }, { "?", "", false },	{ "?", "a", true },	   { "?", "ab", false },
		{ "a?c", "abc", true },	    { "a*b*c", "axxbyybzc", true }, { "a*b*c", "axxbyy", false }, { "**a", "bba", true },
		{ "a*", "b", false },	    { "*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false }, { "[a]", "a", false },
		{ "*", "*", true },	    { "??*", "a", false },	{ "*?", "a", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (text_matches(rows[i].pattern, rows[i].text) != rows[i].want)
			fail_msg("\"%s\" and \"%s\"", rows[i].pattern, rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers), cmocka_unit_test(test_durations), cmocka_unit_test(test_of_ms),
		cmocka_unit_test(test_copy),	cmocka_unit_test(test_compare), cmocka_unit_test(test_matches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
