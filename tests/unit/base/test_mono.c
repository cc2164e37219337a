/* SPDX-License-Identifier: Apache-2.0 */
/* test_mono.c: arithmetic on times saturates instead of wrapping; the generator's range is kept; the arena gives aligned,
 * zeroed, disjoint pieces and never more than it has. */
#include "agent/base/mono.h"

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/prng.h"
#include "tests/unit/base/check.h"

static mono_t at(int64_t ns)
{
	return (mono_t){ ns };
}

static void test_add(void **state)
{
	static const struct {
		int64_t ns, ms, want;
	} rows[] = {
		{ 0, 1, 1000000 },
		{ 5000000, -2, 3000000 },
		{ 5000000, -7, -2000000 },
		{ INT64_MAX - 1, 1, INT64_MAX },
		{ 1, INT64_MAX, INT64_MAX },
		{ 1, INT64_MIN, INT64_MIN },
		{ INT64_MIN + 5, -1, INT64_MIN },
		{ INT64_MAX, -5, INT64_MAX }, /* never stays never */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_true(mono_add_ms(at(rows[i].ns), rows[i].ms).ns == rows[i].want);
}

static void test_diff(void **state)
{
	static const struct {
		int64_t a, b, want;
	} rows[] = {
		{ 5000000, 3000000, 2 },
		{ 3000000, 5000000, -2 },
		{ 1999999, 0, 1 },
		{ 0, 1999999, -1 },
		{ INT64_MAX, 0, INT64_MAX },
		{ 0, INT64_MAX, INT64_MIN },
		{ INT64_MAX, INT64_MAX, INT64_MAX },
		{ INT64_MIN, 10, INT64_MIN / 1000000 },
		{ INT64_MAX - 1, INT64_MIN, INT64_MAX / 1000000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_true(mono_diff_ms(at(rows[i].a), at(rows[i].b)) == rows[i].want);
}

static void test_compare(void **state)
{
	(void)state;
	assert_true(mono_before(at(1), at(2)) && !mono_before(at(2), at(2)) && mono_before(at(2), MONO_NEVER));
	assert_true(mono_reached(at(2), at(2)) && mono_reached(at(3), at(2)) && !mono_reached(at(1), at(2)));
	assert_false(mono_reached(MONO_NEVER, MONO_NEVER));
	assert_true(mono_is_never(MONO_NEVER) && !mono_is_never(at(0)));
	assert_true(mono_min(at(1), MONO_NEVER).ns == 1 && mono_min(MONO_NEVER, at(1)).ns == 1);
}

static void test_clock(void **state)
{
	mono_t a = mono_now(), b = mono_now();

	(void)state;
	assert_true(a.ns > 0 && b.ns >= a.ns);
}

/* All three of one moment: between two looks they go on alike, but for the blur; the wall clock may be put right. */
static void test_clocks(void **state)
{
	struct mono_clocks a = mono_clocks_now(), b = mono_clocks_now();
	int64_t went_on_ns = b.boot.ns - a.boot.ns;

	(void)state;
	assert_true(went_on_ns >= 0 && a.blur_ns >= 0);
	assert_true(b.monotonic_ns - a.monotonic_ns >= went_on_ns - a.blur_ns);
	assert_true(b.monotonic_ns - a.monotonic_ns <= went_on_ns + b.blur_ns);
	assert_true(a.realtime_ns > INT64_C(1500000000) * MS_PER_S * NS_PER_MS);
}

static void test_prng(void **state)
{
	struct prng p = { 1 }, q = { 1 };
	unsigned int seen[7] = { 0 };

	(void)state;
	for (size_t i = 0; i < 7000; i++) {
		int64_t v = prng_range(&p, -3, 3);

		assert_true(v >= -3 && v <= 3);
		seen[v + 3]++;
		assert_true(v == prng_range(&q, -3, 3)); /* the seed is all there is */
	}
	for (size_t i = 0; i < ARRAY_LEN(seen); i++)
		assert_in_range(seen[i], 800, 1200);
	assert_true(prng_range(&p, 5, 5) == 5);
	prng_range(&p, INT64_MIN, INT64_MAX); /* the whole span: no division by zero */
}

static void test_arena(void **state)
{
	static unsigned char store[1024] __attribute__((aligned(16)));
	struct arena a = { .base = store, .size = sizeof(store) }, none = { 0 };
	volatile size_t most = SIZE_MAX; /* the compiler shall not look ahead */
	unsigned char *before = NULL;
	size_t n = 0;

	(void)state;
	memset(store, 0xff, sizeof(store));
	for (unsigned char *p; (p = arena_take(&a, 33)); n++) {
		assert_int_equal((uintptr_t)p % 16, 0);
		assert_true(p >= store && p + 33 <= store + sizeof(store));
		assert_true(!before || p >= before + 33);
		for (size_t i = 0; i < 33; i++)
			assert_int_equal(p[i], 0);
		memset(p, 0xff, 33);
		before = p;
	}
	assert_int_equal(n, 21); /* 48 bytes apart */
	assert_null(arena_take(&a, most));
	arena_reset(&a);
	assert_null(arena_take_array(&a, SIZE_MAX / 2, 3));
	assert_null(arena_take(&a, sizeof(store) + 1));
	assert_non_null(arena_take(&a, sizeof(store)));
	assert_non_null(arena_take(&a, 0)); /* nothing is something: not an error */
	assert_null(arena_take(&a, 1));
	assert_null(arena_take(&none, 0)); /* without storage: "too small", so that the caller grows it */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),   cmocka_unit_test(test_diff), cmocka_unit_test(test_compare),
		cmocka_unit_test(test_clock), cmocka_unit_test(test_clocks), cmocka_unit_test(test_prng), cmocka_unit_test(test_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
