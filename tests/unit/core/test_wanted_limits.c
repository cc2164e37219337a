/* SPDX-License-Identifier: Apache-2.0 */
/* test_wanted_limits.c: wanted_service() at the limits of its input and with too little memory; VIPs of all Services. */
#include <errno.h>

#include "tests/unit/core/cluster.h"

/* publishNotReadyAddresses: the controller publishes the endpoints as ready, whatever else is said of them (discovery/v1
 * EndpointConditions.ready), and so they count. */
static void test_published_not_ready(void **state)
{
	static struct cluster c;
	struct endpoint endpoints[2];
	struct arena a = make_arena(ARENA);
	struct nat_service s;

	(void)state;
	make_plain(&c, endpoints, 2);
	for (size_t i = 0; i < 2; i++)
		endpoints[i].serving = false;
	endpoints[1].terminating = true;
	s = build(&c, &a);
	assert_int_equal(s.n_frontends, 1);
	assert_int_equal(s.frontends[0].n_backends, 2);
	drop_arena(&a);
}

/* More endpoints than there are slots: the first ones, in order. */
static void test_too_many_backends(void **state)
{
	enum { N = 6000 };
	static struct endpoint endpoints[N];
	static struct cluster c;
	struct arena a = make_arena((size_t)8 << 20);

	(void)state;
	for (uint8_t balance = BALANCE_HASH; balance <= BALANCE_ROUND_ROBIN; balance++) {
		struct nat_service s;

		make_plain(&c, endpoints, N);
		c.service.balance = (enum balance)balance;
		arena_reset(&a);
		s = build(&c, &a);
		assert_int_equal(s.frontends[0].n_backends, NAT_SLOTS_MAX);
		assert_int_equal(s.frontends[0].n_slots, NAT_SLOTS_MAX);
		for (uint32_t i = 0; i < NAT_SLOTS_MAX; i++)
			assert_true(ip_eq(&s.frontends[0].backends[i].ip, &(struct ip){ IP_V4, { 198, 18, (uint8_t)((100 + i) >> 8),
											    (uint8_t)(100 + i) } }));
		assert_int_equal(s.n_members, 1 + NAT_SLOTS_MAX);
	}
	drop_arena(&a);
}

static void test_long_name(void **state)
{
	static struct cluster c;
	static char name[80];
	struct endpoint endpoints[1];
	struct arena a = make_arena(ARENA);
	struct nat_service s = { .n_members = 12345 };

	(void)state;
	make_plain(&c, endpoints, 1);
	c.service.client_connections = 1;
	memset(name, 'x', 63);
	c.service.meta.ns = name;
	c.service.meta.name = name;
	s = build(&c, &a);
	assert_int_equal(strlen(s.firewall->name), NAT_FIREWALL_NAME_MAX - 1);
	name[63] = 'x';
	s.n_members = 12345;
	assert_int_equal(wanted_service(&c.in, &a, &s), -ENAMETOOLONG);
	assert_int_equal(s.n_members, 12345);
	drop_arena(&a);
}

static void test_vips(void **state)
{
	const struct pool_decision decisions[] = {
		{ .state = POOL_KEEP, .ips = { make_v4(5), make_v6(1) }, .n_ips = 2 },
		{ .state = POOL_RELEASE, .ips = { make_v4(1) }, .n_ips = 1 },
		{ .state = POOL_FOREIGN, .ips = { make_v4(2) }, .n_ips = 1 },
		{ .state = POOL_ASSIGN, .ips = { make_v4(3) }, .n_ips = 1 },
		{ .state = POOL_FAILED },
		{ .state = POOL_FAILED, .ips = { make_v4(4), make_v4(5) }, .n_ips = 2 },
		{ .state = POOL_KEEP, .ips = { make_v6(1) }, .n_ips = 1 },
	};
	const struct wanted_vip want[] = { { make_v4(3), 3 }, { make_v4(4), 5 }, { make_v4(5), 0 }, { make_v6(1), 0 } };
	struct wanted_vip *v = NULL;
	size_t n = 12345;

	(void)state;
	for (size_t size = 0; n == 12345; size += 8) {
		struct arena a = make_arena(size);
		int r = wanted_vips(decisions, ARRAY_LEN(decisions), &a, &v, &n);

		assert_int_equal(r, n == 12345 ? -ENOSPC : 0);
		for (size_t i = 0; r == 0 && i < ARRAY_LEN(want); i++) {
			assert_true(ip_eq(&v[i].ip, &want[i].ip));
			assert_int_equal(v[i].service, want[i].service);
		}
		drop_arena(&a);
	}
	assert_int_equal(n, ARRAY_LEN(want));
}

static int build_in(struct arena *a, void *ctx)
{
	struct nat_service s = { .n_members = 12345 };
	int r = wanted_service(ctx, a, &s);

	if (r < 0)
		assert_int_equal(s.n_members, 12345);
	return r;
}

static void test_small_arena(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		make_cluster(&c, seed);
		refuse_all_smaller(build_in, &c.in, ARENA, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_not_ready), cmocka_unit_test(test_too_many_backends),
		cmocka_unit_test(test_long_name),	    cmocka_unit_test(test_vips),
		cmocka_unit_test(test_small_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
