/* SPDX-License-Identifier: Apache-2.0 */
/* test_wires.c: each member that decides where VIPs belong changes the digest; addresses of ours do not. */
#include "agent/core/wires.h"

#include "tests/unit/core/make.h"

static struct link links[2] = { { .index = 1, .name = "lo", .loopback = true }, { .index = 2, .name = "eth0", .ethernet = true } };
static struct link_addr addrs[3] = { { .index = 2, .ip = { IP_V4, { 192, 0, 2, 1 } }, .prefix_len = 24 },
				     { .index = 2, .ip = { IP_V4, { 192, 0, 2, 200 } }, .prefix_len = 32, .ours = true } };
static struct link_state state = { .links = links, .n_links = 2, .addrs = addrs, .n_addrs = 2, .default_v4 = 2 };

#define CHANGES(lvalue, value) \
	do { \
		__typeof__(lvalue) old_ = (lvalue); \
		uint64_t before_ = wires_digest(&state); \
		(lvalue) = (value); \
		assert_true(wires_digest(&state) != before_); \
		(lvalue) = old_; \
		assert_true(wires_digest(&state) == before_); \
	} while (0)

static void test_every_member(void **unused)
{
	(void)unused;
	CHANGES(state.n_links, 1);
	CHANGES(links[1].index, 3);
	CHANGES(links[1].name[3], '1');
	CHANGES(links[1].kind, LINK_BOND);
	CHANGES(links[1].master, 1);
	CHANGES(links[1].lower, 1);
	CHANGES(links[1].port, true);
	CHANGES(links[1].pair, true);
	CHANGES(links[1].announcements, 1);
	CHANGES(links[1].mac[5], 1);
	CHANGES(links[1].ethernet, false);
	CHANGES(links[1].up, true);
	CHANGES(links[1].carrier, true);
	CHANGES(links[1].loopback, true);
	CHANGES(links[1].noarp, true);
	CHANGES(links[1].born, 1);
	CHANGES(addrs[0].index, 1);
	CHANGES(addrs[0].ip.b[3], 2);
	CHANGES(addrs[0].prefix_len, 25);
	CHANGES(addrs[1].ours, false);
	CHANGES(state.default_v4, 1);
	CHANGES(state.default_v6, 1);
	CHANGES(state.default_v6_from_ra, true);
	CHANGES(state.default_v6_ra, 1);
}

static void test_ours_do_not_count(void **unused)
{
	uint64_t before = wires_digest(&state);

	(void)unused;
	addrs[1].ip.b[3] = 201;
	assert_true(wires_digest(&state) == before);
	addrs[2] = addrs[1];
	state.n_addrs = 3;
	assert_true(wires_digest(&state) == before);
	state.n_addrs = 1;
	assert_true(wires_digest(&state) == before);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_member), cmocka_unit_test(test_ours_do_not_count) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
