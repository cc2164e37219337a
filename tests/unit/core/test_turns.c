/* SPDX-License-Identifier: Apache-2.0 */
/* test_turns.c: in one round each backend has exactly as many turns as it weighs, and they are spread: between two turns of one
 * lies about the mean distance. */
#include "agent/core/turns.h"

#include <errno.h>

#include "agent/base/nat.h"
#include "tests/unit/core/make.h"

static struct backend b[NAT_SLOTS_MAX];
static uint16_t slots[NAT_SLOTS_MAX];
static unsigned int counts[NAT_SLOTS_MAX];

static void fill(size_t n, uint16_t n_slots)
{
	struct arena a = make_arena(64 * 1024);

	assert_int_equal(turns_count(b, n), n_slots);
	memset(slots, 0xff, sizeof(slots));
	assert_int_equal(turns_fill(b, n, slots, &a), 0);
	assert_int_equal(a.used, 0);
	drop_arena(&a);
	memset(counts, 0, sizeof(counts));
	for (size_t i = 0; i < n_slots; i++) {
		assert_true(slots[i] < n);
		counts[slots[i]]++;
	}
}

static void weigh(size_t n, const uint16_t *weights)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (struct backend){ { make_v4((uint32_t)i), 80 }, weights ? weights[i] : 1 };
}

static void test_equal(void **state)
{
	static const size_t sizes[] = { 1, 2, 7, 100, 1000, NAT_SLOTS_MAX };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		weigh(sizes[k], NULL);
		fill(sizes[k], (uint16_t)sizes[k]);
		for (size_t i = 0; i < sizes[k]; i++)
			assert_int_equal(slots[i], i);
	}
}

/* By hand: 5, 1, 1 is the example that the algorithm is known by. */
static void test_written_down(void **state)
{
	static const struct {
		const char *want;
		uint16_t weights[3];
	} rows[] = { { "aabacaa", { 5, 1, 1 } }, { "bab", { 1, 2, 0 } }, { "abcab", { 2, 2, 1 } }, { "cacbcc", { 1, 1, 4 } } };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		const size_t n = rows[k].weights[2] ? 3 : 2;
		char got[8] = "";

		weigh(n, rows[k].weights);
		fill(n, (uint16_t)strlen(rows[k].want));
		for (size_t i = 0; rows[k].want[i]; i++)
			got[i] = (char)('a' + slots[i]);
		assert_string_equal(got, rows[k].want);
	}
}

static void test_weights(void **state)
{
	struct prng p = { 3 };

	(void)state;
	for (size_t round = 0; round < 200; round++) {
		const size_t n = 1 + below(&p, 50);
		uint16_t weights[50], sum = 0;

		for (size_t i = 0; i < n; i++) {
			weights[i] = (uint16_t)(1 + below(&p, 100));
			sum = (uint16_t)(sum + weights[i]);
		}
		weigh(n, weights);
		if (sum == n)
			continue;
		fill(n, sum <= NAT_SLOTS_MAX ? sum : 0);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(counts[i], weights[i]);
		for (size_t i = 0; i < n; i++) { /* after every turn nobody lags more than the others' turns allow */
			unsigned int had = 0;

			for (size_t t = 0; t < sum; t++) {
				had += slots[t] == i;
				assert_true(had < (double)(t + 1) * weights[i] / sum + (n * sum > 131072 ? 2.5 : 1.5));
			}
		}
	}
}

/* More turns than slots: each has one at least, and the heavier more. */
static void test_too_many(void **state)
{
	uint16_t n_slots;

	(void)state;
	weigh(1000, NULL);
	for (size_t i = 0; i < 1000; i++)
		b[i].weight = (uint16_t)(i % 10 == 0 ? 100 : 1);
	n_slots = turns_count(b, 1000);
	assert_in_range(n_slots, 1000, NAT_SLOTS_MAX);
	fill(1000, n_slots);
	for (size_t i = 0; i < 1000; i++)
		assert_in_range(counts[i], i % 10 == 0 ? 30 : 1, i % 10 == 0 ? 100 : 1);
}

static void test_too_little_scratch(void **state)
{
	(void)state;
	weigh(50, NULL);
	for (size_t size = 0; size < 50 * sizeof(int32_t); size++) {
		struct arena a = make_arena(size);

		assert_int_equal(turns_fill(b, 50, slots, &a), -ENOSPC);
		assert_int_equal(a.used, 0);
		drop_arena(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_equal),	 cmocka_unit_test(test_written_down),	     cmocka_unit_test(test_weights),
		cmocka_unit_test(test_too_many), cmocka_unit_test(test_too_little_scratch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
