/* SPDX-License-Identifier: Apache-2.0 */
/* test_pause.c: which differences of the clocks are a suspend, a paused VM or a loop that stood still, each limit from
 * both sides, and that one look does not tell of the same pause twice. */
#include "agent/core/pause.h"

#include "tests/unit/core/make.h"

#define MARGIN_MS 60
#define RENEW_MS 750
#define YEAR_2026_MS INT64_C(1770000000000)

/* The clocks 'ms' after they were boot = 100 s, monotonic = 90 s, and the wall clock somewhere in 2026. */
static struct mono_clocks clocks_at(int64_t boot_ms, int64_t monotonic_ms, int64_t wall_ms)
{
	return (struct mono_clocks){ .boot = { (100000 + boot_ms) * NS_PER_MS },
				     .monotonic_ns = (90000 + monotonic_ms) * NS_PER_MS,
				     .realtime_ns = (YEAR_2026_MS + wall_ms) * NS_PER_MS };
}

struct row {
	const char *what;
	int64_t boot_ms, monotonic_ms, wall_ms; /* what the clocks went on by */
	int64_t blur_ms;
	int64_t due_ms; /* since the first look; -1 = never */
	enum pause_kind want;
};

static const struct row rows[] = {
	{ "nothing", 500, 500, 500, 0, 500, PAUSE_NONE },
	{ "no time at all", 0, 0, 0, 0, -1, PAUSE_NONE },
	{ "suspend of the margin", 560, 500, 560, 0, -1, PAUSE_NONE },
	{ "suspend of a little more", 561, 500, 561, 0, -1, PAUSE_JUMP },
	{ "suspend of an hour", 3600500, 500, 3600500, 0, -1, PAUSE_JUMP },
	{ "suspend is told before lateness", 3600500, 500, 3600500, 0, 500, PAUSE_JUMP },
	{ "no suspend: interrupted between the clocks", 600, 500, 600, 100, -1, PAUSE_NONE },
	{ "suspend, interrupted between the clocks", 661, 500, 661, 100, -1, PAUSE_JUMP },
	{ "wall clock forward by the limit", 500, 500, 1500, 0, -1, PAUSE_NONE },
	{ "wall clock forward by a little more", 500, 500, 1501, 0, -1, PAUSE_JUMP },
	{ "VM paused for ten minutes and put right", 500, 500, 600500, 0, 500, PAUSE_JUMP },
	{ "wall clock back by an hour", 500, 500, -3599500, 0, 500, PAUSE_NONE },
	{ "wall clock slewed by 500 ppm for ten minutes", 600000, 600000, 600300, 0, -1, PAUSE_NONE },
	{ "late by an interval", 1250, 1250, 1250, 0, 500, PAUSE_NONE },
	{ "late by a little more", 1251, 1251, 1251, 0, 500, PAUSE_LATE },
	{ "early", 300, 300, 300, 0, 500, PAUSE_NONE },
	{ "slept for long, as asked", 3600000, 3600000, 3600000, 0, 3600000, PAUSE_NONE },
	{ "slept for long, had no time to wake at", 3600000, 3600000, 3600000, 0, -1, PAUSE_NONE },
};

static mono_t due_at(int64_t ms)
{
	return ms < 0 ? MONO_NEVER : clocks_at(ms, 0, 0).boot;
}

static void test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		struct mono_clocks first = clocks_at(0, 0, 0), then = clocks_at(r->boot_ms, r->monotonic_ms, r->wall_ms);
		struct pause p;
		enum pause_kind got;

		then.blur_ns = r->blur_ms * NS_PER_MS;
		pause_init(&p, MARGIN_MS, RENEW_MS);
		assert_int_equal(pause_check(&p, &first, MONO_NEVER), PAUSE_NONE);
		got = pause_check(&p, &then, due_at(r->due_ms));
		if (got != r->want)
			fail_msg("%s: %d, not %d", r->what, got, r->want);
		assert_int_equal(pause_check(&p, &then, MONO_NEVER), PAUSE_NONE); /* told once */
	}
}

/* With a long margin it is the margin that says what is late. */
static void test_late_beyond_the_longer(void **state)
{
	struct mono_clocks at = clocks_at(0, 0, 0);
	struct pause p;

	(void)state;
	pause_init(&p, 2000, RENEW_MS);
	assert_int_equal(pause_check(&p, &at, due_at(-1)), PAUSE_NONE);
	at = clocks_at(3000, 3000, 3000);
	assert_int_equal(pause_check(&p, &at, due_at(1000)), PAUSE_NONE);
	assert_int_equal(pause_check(&p, &at, due_at(999)), PAUSE_LATE);
}

/* The first look knows no earlier clocks, but it knows when it should have come. */
static void test_first_look(void **state)
{
	struct mono_clocks at = clocks_at(5000, 0, 9999999);
	struct pause p;

	(void)state;
	pause_init(&p, MARGIN_MS, RENEW_MS);
	assert_int_equal(pause_check(&p, &at, due_at(4900)), PAUSE_NONE);
	pause_init(&p, MARGIN_MS, RENEW_MS);
	assert_int_equal(pause_check(&p, &at, due_at(1000)), PAUSE_LATE);
}

/* Many small differences, each within the limits, are clocks that run apart and no pause. */
static void test_drift_is_no_pause(void **state)
{
	struct mono_clocks at;
	struct pause p;

	(void)state;
	pause_init(&p, MARGIN_MS, RENEW_MS);
	for (int64_t i = 0; i < 1000; i++) {
		at = clocks_at(i * 510, i * 500, i * 1000);
		assert_int_equal(pause_check(&p, &at, due_at(-1)), PAUSE_NONE);
	}
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(pause_name(PAUSE_NONE), "");
	assert_string_equal(pause_name(PAUSE_JUMP), "clock jump");
	assert_string_equal(pause_name(PAUSE_LATE), "woke late");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),	       cmocka_unit_test(test_late_beyond_the_longer),
		cmocka_unit_test(test_first_look),     cmocka_unit_test(test_drift_is_no_pause),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
