/* SPDX-License-Identifier: Apache-2.0 */
/* test_schedule.c: the burst's times, the steady interval's bounds, and that a stalled sender neither bunches rounds up
 * nor loses the burst. */
#include "agent/core/schedule.h"

#include "tests/unit/core/make.h"

#define T0 ((mono_t){ INT64_C(1000000000000) })

static void test_burst_on_time(void **state)
{
	static const int64_t want_ms[] = { 0, 100, 300, 1100, 2200, 5000 };
	struct prng p = { 7 };
	struct schedule s;

	(void)state;
	schedule_start(&s, T0);
	for (size_t i = 0; i < ARRAY_LEN(want_ms); i++) {
		assert_int_equal(mono_diff_ms(s.next, T0), want_ms[i]);
		assert_int_equal(s.round, i);
		schedule_sent(&s, s.next, &p);
	}
	assert_int_equal(s.round, ARRAY_LEN(want_ms));
}

static void test_steady(void **state)
{
	struct prng p = { 11 };
	struct schedule s;
	int64_t least = INT64_MAX, most = 0;

	(void)state;
	schedule_start(&s, T0);
	for (size_t i = 0; i < 6; i++)
		schedule_sent(&s, s.next, &p);
	for (size_t i = 0; i < 1000; i++) {
		mono_t now = s.next;
		int64_t gap;

		schedule_sent(&s, now, &p);
		gap = mono_diff_ms(s.next, now);
		least = gap < least ? gap : least;
		most = gap > most ? gap : most;
	}
	assert_in_range(least, 30000, 33000); /* the whole span is used: VIPs of one node drift apart */
	assert_in_range(most, 57000, 60000);
}

static void test_stall(void **state)
{
	struct prng p = { 13 };
	struct schedule s;
	mono_t now = mono_add_ms(T0, 8000); /* past the burst's end */

	(void)state;
	schedule_start(&s, T0);
	for (unsigned int i = 0; i < 6; i++) {
		assert_true(mono_reached(now, s.next));
		schedule_sent(&s, now, &p);
		assert_true(mono_diff_ms(s.next, now) >= 100);
		now = s.next;
	}
	assert_true(mono_diff_ms(now, T0) >= 8000 + 500 + 30000);
}

static void test_steady_waits_for_company(void **state)
{
	struct prng p = { 19 };
	struct schedule s;

	(void)state;
	schedule_start(&s, T0);
	for (size_t i = 0; i < 6; i++) {
		assert_false(schedule_steady(&s));
		assert_int_equal(schedule_wake(&s).ns, s.next.ns); /* the burst is on time */
		schedule_sent(&s, s.next, &p);
	}
	assert_true(schedule_steady(&s));
	assert_int_equal(mono_diff_ms(schedule_wake(&s), s.next), 250);
}

static void test_restart(void **state)
{
	struct prng p = { 17 };
	struct schedule s;
	mono_t later = mono_add_ms(T0, 20000);

	(void)state;
	schedule_start(&s, T0);
	for (unsigned int i = 0; i < 9; i++)
		schedule_sent(&s, s.next, &p);
	schedule_start(&s, later);
	assert_int_equal(s.round, 0);
	assert_int_equal(s.next.ns, later.ns);
	schedule_sent(&s, later, &p);
	assert_int_equal(mono_diff_ms(s.next, later), 100);
}

/* A defence: one round at once, whatever was due; it brings no burst with it, and takes none away. */
static void test_once(void **state)
{
	struct prng p = { 17 };
	struct schedule s;
	mono_t now;

	(void)state;
	schedule_start(&s, T0);
	schedule_sent(&s, T0, &p);
	now = mono_add_ms(T0, 20);
	schedule_once(&s, now);
	assert_true(mono_reached(now, s.next));
	schedule_sent(&s, now, &p);
	assert_int_equal(mono_diff_ms(s.next, T0), 300); /* instead of the round at 0.1 s */
	while (!schedule_steady(&s))
		schedule_sent(&s, s.next, &p);
	now = mono_add_ms(s.next, -10000);
	schedule_once(&s, now);
	assert_int_equal(schedule_wake(&s).ns, now.ns);
	schedule_sent(&s, now, &p);
	assert_true(schedule_steady(&s));
	assert_in_range(mono_diff_ms(s.next, now), 30000, 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once), cmocka_unit_test(test_burst_on_time),
		cmocka_unit_test(test_steady),
		cmocka_unit_test(test_steady_waits_for_company),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_restart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
