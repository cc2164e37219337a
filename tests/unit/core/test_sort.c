/* SPDX-License-Identifier: Apache-2.0 */
/* test_sort.c: sort_array() orders, keeps equals in their order, leaves the scratch arena as it was, and does not touch
 * the array when the scratch is too small. */
#include "agent/core/sort.h"

#include <errno.h>

#include "tests/unit/core/make.h"

struct item {
	uint32_t key;
	uint32_t place; /* before sorting */
	uint32_t odd;	/* a size that is no power of two */
};

static uint64_t n_compared;

static int item_cmp(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	n_compared++;
	return (x->key > y->key) - (x->key < y->key);
}

static void check(struct prng *p, size_t n, uint32_t n_keys)
{
	struct item *v = calloc(n ? n : 1, sizeof(*v));
	struct arena a = make_arena(n * sizeof(*v) + 48);

	assert_non_null(v);
	a.used = 5; /* whatever stood there before stays */
	for (uint32_t i = 0; i < n; i++)
		v[i] = (struct item){ below(p, n_keys), i, i * 3 };
	assert_int_equal(sort_array(v, n, sizeof(*v), item_cmp, &a), 0);
	assert_int_equal(a.used, 5);
	for (size_t i = 1; i < n; i++) {
		assert_true(v[i - 1].key <= v[i].key);
		if (v[i - 1].key == v[i].key)
			assert_true(v[i - 1].place < v[i].place);
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(v[i].odd, v[i].place * 3);
	drop_arena(&a);
	free(v);
}

static void test_orders_and_is_stable(void **state)
{
	struct prng p = { 1 };

	(void)state;
	for (size_t n = 0; n < 70; n++) {
		check(&p, n, 1);
		check(&p, n, 4);
		check(&p, n, 1000000);
	}
	check(&p, 5000, 50);
}

static void test_work_is_bounded(void **state)
{
	enum { N = 1 << 12 };
	static struct item v[N];
	struct arena a = make_arena(sizeof(v) + 16);

	(void)state;
	for (uint32_t i = 0; i < N; i++)
		v[i].key = i;
	n_compared = 0;
	assert_int_equal(sort_array(v, N, sizeof(*v), item_cmp, &a), 0);
	assert_int_equal(n_compared, N - 1);
	for (uint32_t i = 0; i < N; i++)
		v[i].key = N - i;
	n_compared = 0;
	assert_int_equal(sort_array(v, N, sizeof(*v), item_cmp, &a), 0);
	assert_true(n_compared <= (uint64_t)N * 13);
	drop_arena(&a);
}

static void test_too_little_scratch(void **state)
{
	struct item v[3] = { { 3, 0, 0 }, { 1, 1, 0 }, { 2, 2, 0 } }, before[3];

	(void)state;
	memcpy(before, v, sizeof(v));
	for (size_t size = 0; size < sizeof(v); size++) {
		struct arena a = make_arena(size);

		assert_int_equal(sort_array(v, 3, sizeof(*v), item_cmp, &a), -ENOSPC);
		assert_memory_equal(v, before, sizeof(v));
		drop_arena(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_orders_and_is_stable),
		cmocka_unit_test(test_work_is_bounded),
		cmocka_unit_test(test_too_little_scratch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
