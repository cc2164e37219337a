/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_own.c: thousands of chains are remembered, found, forgotten and swept, as a plain list of flags would have it. */
#include "netlink/nat_private.h"

#include "tests/unit/netlink/bytes.h"

#define NAMES 3000

static const char *name_of(unsigned int i)
{
	static char name[48];

	snprintf(name, sizeof(name), "turn-3-198.18.%u.%u-tcp-80", i / 256, i % 256);
	return name;
}

static void count(void *ctx, struct nat_own_chain *c)
{
	size_t *n = ctx;

	(void)c;
	++*n;
}

static void test_as_a_list(void **state)
{
	static bool there[NAMES], idle[NAMES];
	struct nat_own own = { .n = 0 };
	size_t n = 0, n_idle = 0, walked = 0;

	(void)state;
	srandom(4711);
	for (unsigned int round = 0; round < 50000; round++) {
		unsigned int i = (unsigned int)random() % NAMES;
		struct nat_own_chain *c = nat_own_find(&own, name_of(i));

		assert_int_equal(c != NULL, there[i]);
		if (c)
			assert_string_equal(c->name, name_of(i));
		if (random() % 3 == 0) {
			nat_own_del(&own, name_of(i));
			there[i] = idle[i] = false;
		} else if (c) {
			assert_int_equal(c->idle, idle[i]);
			idle[i] = random() % 2;
			nat_own_set_idle(&own, c, idle[i]);
		} else {
			assert_int_equal(nat_own_add(&own, name_of(i)), 0);
			assert_int_equal(nat_own_add(&own, name_of(i)), 0); /* known already */
			there[i] = true;
		}
	}
	for (unsigned int i = 0; i < NAMES; i++) {
		n += there[i];
		n_idle += idle[i];
	}
	nat_own_walk(&own, count, &walked);
	assert_int_equal(own.n, n);
	assert_int_equal(walked, n);
	assert_int_equal(own.n_idle, n_idle);
	nat_own_fini(&own);
	assert_null(nat_own_find(&own, name_of(0)));
}

static void test_a_reading_forgets_what_it_has_not_seen(void **state)
{
	struct nat_own own = { .n = 0 };

	(void)state;
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(nat_own_add(&own, name_of(i)), 0);
	nat_own_find(&own, name_of(2))->uses = 7;
	nat_own_set_idle(&own, nat_own_find(&own, name_of(1)), true);
	nat_own_begin(&own);
	for (unsigned int i = 0; i < 100; i += 2)
		assert_int_equal(nat_own_add(&own, name_of(i)), 0);
	nat_own_end(&own);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(nat_own_find(&own, name_of(i)) != NULL, i % 2 == 0);
	assert_int_equal(nat_own_find(&own, name_of(2))->uses, 7);
	assert_int_equal(own.n, 50);
	assert_int_equal(own.n_idle, 0);
	nat_own_fini(&own);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_a_list),
		cmocka_unit_test(test_a_reading_forgets_what_it_has_not_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
