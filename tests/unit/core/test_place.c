/* SPDX-License-Identifier: Apache-2.0 */
/* test_place.c: which interface carries a VIP, as a table over one node's links. */
#include "agent/core/place.h"

#include "tests/unit/core/make.h"

#define LINK(i, n, is_up, has_carrier, ...) \
	{ .index = (i), .name = n, .ethernet = true, .up = (is_up), .carrier = (has_carrier), __VA_ARGS__ }
#define ADDR4(i, a, b, c, d, len, ...) { .index = (i), .ip = { IP_V4, { a, b, c, d } }, .prefix_len = (len), __VA_ARGS__ }

static const struct link links[] = {
	LINK(1, "lo", true, true, .loopback = true),
	LINK(2, "eth0", true, true),
	LINK(3, "eth1", true, true),
	LINK(4, "eth2", true, false),
};

static const struct link_addr addrs[] = {
	ADDR4(1, 203, 0, 113, 1, 24),		      /* nobody's subnet on loopback */
	ADDR4(2, 192, 0, 2, 1, 24),
	ADDR4(3, 203, 0, 113, 77, 32),		      /* a host prefix: no subnet */
	ADDR4(3, 198, 51, 100, 9, 25, .ours = true), /* a VIP of ours */
	ADDR4(3, 192, 0, 2, 129, 25),
	ADDR4(4, 198, 18, 0, 1, 16),
	{ .index = 3, .ip = { IP_V6, { 0x20, 0x01, 0x0d, 0xb8, 0, 1, [15] = 1 } }, .prefix_len = 64 },
};

static const struct link_state node = { links, ARRAY_LEN(links), addrs, ARRAY_LEN(addrs), 2, 3, false };

struct row {
	int line;
	const char *ip;
	const char *names[3];
	const char *want; /* NULL = none */
};

#define ROW(...) { __LINE__, __VA_ARGS__ }

static void test_table(void **state)
{
	static const struct row rows[] = {
		/* by subnet; the longest prefix wins */
		ROW("192.0.2.5", { NULL }, "eth0"),
		ROW("192.0.2.200", { NULL }, "eth1"),
		ROW("198.18.77.1", { NULL }, "eth2"),
		ROW("2001:db8:1::5", { NULL }, "eth1"),
		/* no subnet: the default route's; loopback, host prefixes and our own addresses say nothing */
		ROW("203.0.113.5", { NULL }, "eth0"),
		ROW("203.0.113.77", { NULL }, "eth0"),
		ROW("198.51.100.9", { NULL }, "eth0"),
		ROW("2001:db8:2::5", { NULL }, "eth1"),
		/* names: the first with a subnet, else the first that exists */
		ROW("192.0.2.5", { "eth1", "eth0" }, "eth0"),
		ROW("192.0.2.200", { "eth1", "eth0" }, "eth1"),
		ROW("192.0.2.200", { "eth0", "eth1" }, "eth0"),
		ROW("203.0.113.5", { "eth1", "eth0" }, "eth1"),
		ROW("203.0.113.5", { "wlan0", "eth2", "eth0" }, "eth2"),
		ROW("203.0.113.5", { "wlan0" }, NULL),
		ROW("203.0.113.5", { "lo" }, NULL),
		ROW("2001:db8:1::5", { "eth0" }, "eth0"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i];
		const struct ip ip = make_ip(r->ip);
		const struct link *got;
		size_t n = 0;

		while (n < ARRAY_LEN(r->names) && r->names[n])
			n++;
		got = place_vip(&node, r->names, n, &ip);
		if ((got ? got->name : NULL) != r->want && (!got || !r->want || !text_eq(got->name, r->want)))
			fail_msg("row at line %d: %s", r->line, got ? got->name : "none");
	}
}

static void test_nothing_known(void **state)
{
	static const struct link_state nothing;
	static const struct link_state loop_default = { links, 1, addrs, 1, 1, 1, false };
	static const char *const names[] = { "eth0" };
	const struct ip v4 = make_ip("192.0.2.5"), v6 = make_ip("2001:db8::5");

	(void)state;
	assert_null(place_vip(&nothing, NULL, 0, &v4));
	assert_null(place_vip(&nothing, names, 1, &v6));
	assert_null(place_vip(&loop_default, NULL, 0, &v4));
	assert_null(place_vip(&loop_default, NULL, 0, &v6));
}

static void test_usable(void **state)
{
	static const struct link down = LINK(9, "x", false, true), bare = LINK(9, "x", true, false);
	static const struct link good = LINK(9, "x", true, true);

	(void)state;
	assert_false(place_usable(&down));
	assert_false(place_usable(&bare));
	assert_true(place_usable(&good));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_nothing_known),
		cmocka_unit_test(test_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
