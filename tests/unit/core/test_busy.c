/* SPDX-License-Identifier: Apache-2.0 */
/* test_busy.c: the list has the VIPs with most traffic in order, forgets old traffic, and is told again only when it would
 * mislead. */
#include "agent/core/busy.h"

#include "tests/unit/core/make.h"

static struct busy after(const struct busy *before, const uint64_t *bytes, uint32_t n)
{
	struct busy next = { .n = 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct ip vip = make_v4(i);

		busy_add(&next, before, &vip, bytes[i]);
	}
	return next;
}

static void assert_order(const struct busy *b, const uint32_t *vips, size_t n)
{
	assert_int_equal(b->n, n);
	for (size_t i = 0; i < n; i++) {
		struct ip vip = make_v4(vips[i]);

		assert_true(ip_eq(&b->v[i].ip, &vip));
	}
}

static void test_order(void **state)
{
	const struct busy none = { .n = 0 };
	struct busy b = after(&none, (uint64_t[]){ 5, 0, 9, 5, 10 }, 5);

	(void)state;
	assert_order(&b, (uint32_t[]){ 4, 2, 0, 3 }, 4);
	/* Half of the past counts: 0 has 2 + 4, 2 has 4 + 0, 4 has 5 + 2, 3 has 2 + 0; 1 is new. */
	b = after(&b, (uint64_t[]){ 4, 3, 0, 0, 2 }, 5);
	assert_order(&b, (uint32_t[]){ 4, 0, 2, 1, 3 }, 5);
	for (int i = 0; i < 3; i++)
		b = after(&b, (uint64_t[]){ 0, 0, 0, 0, 0 }, 5);
	assert_order(&b, NULL, 0);
}

static void test_many(void **state)
{
	const struct busy none = { .n = 0 };
	struct prng p = { 3 };
	uint64_t bytes[1000];
	struct busy b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++)
		bytes[i] = below(&p, 100000);
	b = after(&none, bytes, ARRAY_LEN(bytes));
	assert_int_equal(b.n, BUSY_MAX);
	for (size_t i = 0; i < ARRAY_LEN(bytes); i++) {
		size_t higher = 0;

		for (size_t k = 0; k < ARRAY_LEN(bytes); k++)
			higher += bytes[k] > bytes[i] || (bytes[k] == bytes[i] && k < i);
		if (higher < BUSY_MAX) {
			struct ip vip = make_v4((uint32_t)i);

			assert_true(ip_eq(&b.v[higher].ip, &vip));
			assert_int_equal(b.v[higher].score, bytes[i]);
		}
	}
	bytes[7] = UINT64_MAX;
	b = after(&b, bytes, ARRAY_LEN(bytes)); /* no overflow */
	b = after(&b, bytes, ARRAY_LEN(bytes));
	assert_int_equal(b.v[0].score, UINT64_MAX);
}

static struct busy list(const uint32_t *vips, size_t n)
{
	struct busy b = { .n = n };

	for (size_t i = 0; i < n; i++) {
		b.v[i].ip = make_v4(vips[i]);
		b.v[i].score = n - i;
	}
	return b;
}

static void test_differs(void **state)
{
	uint32_t order[BUSY_MAX + 1];
	struct ip told[BUSY_MAX];
	struct busy b;

	(void)state;
	for (uint32_t i = 0; i < BUSY_MAX; i++) {
		order[i] = i;
		told[i] = make_v4(i);
	}
	b = list(order, 0);
	assert_false(busy_differs(NULL, 0, &b)); /* nothing to tell */
	b = list(order, 1);
	assert_true(busy_differs(NULL, 0, &b));
	b = list(order, BUSY_MAX);
	assert_false(busy_differs(told, BUSY_MAX, &b));
	assert_false(busy_differs(told, 16, &b)); /* the tail does not matter */
	assert_true(busy_differs(told, 15, &b));
	order[0] = 15; /* still among the first 16 that were told */
	order[15] = 0;
	b = list(order, BUSY_MAX);
	assert_false(busy_differs(told, BUSY_MAX, &b));
	order[0] = 16;
	order[16] = 15;
	b = list(order, BUSY_MAX);
	assert_true(busy_differs(told, BUSY_MAX, &b));
	order[0] = 0;
	order[16] = 16;
	order[15] = 100;
	b = list(order, BUSY_MAX);
	assert_true(busy_differs(told, BUSY_MAX, &b));
	order[15] = 31;
	order[31] = 100;
	b = list(order, BUSY_MAX);
	assert_false(busy_differs(told, BUSY_MAX, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_order), cmocka_unit_test(test_many),
					    cmocka_unit_test(test_differs) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
