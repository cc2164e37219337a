/* SPDX-License-Identifier: Apache-2.0 */
/* test_lifetime.c: lifetimes by number of addresses and time to the next refreshing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/base/auto.h"
#include "agent/core/lifetime.h"

static void test_table(void **state)
{
	static const struct {
		uint32_t least_s, n;
		int64_t left_ms;
		uint32_t want;
	} cases[] = {
		{ 5, 0, 0, 5 },	     { 5, 1, 0, 5 },	   { 5, 250, 0, 5 },   /* 100 a second, at half of it */
		{ 5, 251, 0, 6 },    { 5, 1000, 0, 20 },   { 5, 8192, 0, 164 },
		{ 12, 500, 0, 12 },  { 12, 601, 0, 13 },
		/* added between two refreshings */
		{ 5, 1, 2500, 5 },   { 5, 1, 1, 5 },	   { 5, 1, -4000, 5 },
		{ 5, 1000, 10000, 20 },
		/* when most have gone meanwhile */
		{ 5, 11, 10000, 13 }, { 5, 11, 9999, 13 }, { 5, 11, 9400, 12 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(lifetime_s(cases[i].least_s, cases[i].n, cases[i].left_ms), cases[i].want);
}

/* However their number changes, no address ends before it is refreshed, with time to spare. */
static void test_refreshed_in_time(void **state)
{
	(void)state;
	for (uint32_t before = 0; before < 4000; before += 37) {
		int64_t refresh_ms = (int64_t)lifetime_s(5, before, 0) * 1000 / 2;

		for (uint32_t n = 1; n < 4000; n += 131)
			for (int64_t at = 0; at < refresh_ms; at += 501)
				assert_true((int64_t)lifetime_s(5, n, refresh_ms - at) * 1000 >= refresh_ms - at + 2500);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_refreshed_in_time) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
