/* SPDX-License-Identifier: Apache-2.0 */
/* test_link_table.c: the watch's arrays stay sorted under any order of changes, and a change is one only when something
 * is different. */
#include "netlink/link_table.h"

#include "agent/base/prng.h"
#include "tests/unit/netlink/bytes.h"

static struct link link_of(int index, const char *name, bool up)
{
	struct link l = { .index = index, .up = up, .ethernet = true };

	snprintf(l.name, sizeof(l.name), "%s", name);
	return l;
}

static struct link_addr addr_of(int index, const char *ip, uint8_t prefix_len, bool ours)
{
	return (struct link_addr){ .index = index, .ip = address(ip), .prefix_len = prefix_len, .ours = ours };
}

static void put_link(struct link_table *t, struct link l, enum link_table_result want)
{
	assert_int_equal(link_table_put_link(t, &l), want);
}

static void put_addr(struct link_table *t, struct link_addr a, enum link_table_result want)
{
	assert_int_equal(link_table_put_addr(t, &a), want);
}

static bool copied(struct link_table *to, const struct link_table *from)
{
	bool changed;

	assert_int_equal(link_table_copy(to, from, &changed), 0);
	return changed;
}

static void test_changes(void **state)
{
	struct link_table now = { 0 }, shown = { 0 };
	struct link_addr gone = addr_of(2, "192.0.2.1", 24, false);

	(void)state;
	assert_false(copied(&shown, &now));
	put_link(&now, link_of(2, "eth0", true), LINK_TABLE_CHANGED);
	put_link(&now, link_of(1, "lo", true), LINK_TABLE_CHANGED);
	put_link(&now, link_of(2, "eth0", true), LINK_TABLE_SAME);
	assert_true(copied(&shown, &now));
	assert_int_equal(shown.links[0].index, 1);
	assert_string_equal(shown.links[1].name, "eth0");
	assert_false(copied(&shown, &now));
	put_link(&now, link_of(2, "eth0", false), LINK_TABLE_CHANGED);
	assert_true(copied(&shown, &now));
	put_link(&now, link_of(2, "eth1", false), LINK_TABLE_CHANGED);
	assert_true(copied(&shown, &now));
	put_addr(&now, gone, LINK_TABLE_CHANGED);
	put_addr(&now, addr_of(2, "2001:db8::1", 64, false), LINK_TABLE_CHANGED);
	put_addr(&now, addr_of(1, "127.0.0.1", 8, false), LINK_TABLE_CHANGED);
	put_addr(&now, gone, LINK_TABLE_SAME);
	assert_true(copied(&shown, &now));
	assert_int_equal(shown.n_addrs, 3);
	gone.prefix_len = 32; /* not there */
	link_table_del_addr(&now, &gone);
	assert_false(copied(&shown, &now));
	gone.prefix_len = 24;
	link_table_del_addr(&now, &gone);
	assert_true(copied(&shown, &now));
	link_table_del_link(&now, 2);
	link_table_del_link(&now, 7);
	assert_true(copied(&shown, &now));
	assert_int_equal(shown.n_links, 1);
	assert_int_equal(shown.n_addrs, 1);
	link_table_fini(&now);
	link_table_fini(&shown);
}

static void test_an_address_twice_is_shown_once(void **state)
{
	struct link_table now = { 0 }, shown = { 0 };
	struct link_addr ours = addr_of(2, "192.0.2.1", 32, true);
	struct link_state s;

	(void)state;
	put_addr(&now, addr_of(2, "192.0.2.1", 24, false), LINK_TABLE_CHANGED);
	assert_true(copied(&shown, &now));
	put_addr(&now, ours, LINK_TABLE_CHANGED);
	put_addr(&now, addr_of(3, "192.0.2.1", 24, false), LINK_TABLE_CHANGED);
	assert_true(copied(&shown, &now));
	s = link_table_state(&shown);
	assert_int_equal(s.n_addrs, 2);
	assert_true(s.addrs[0].ours);
	assert_int_equal(s.addrs[0].prefix_len, 32);
	assert_int_equal(s.addrs[1].index, 3);
	link_table_del_addr(&now, &ours);
	assert_true(copied(&shown, &now));
	s = link_table_state(&shown);
	assert_false(s.addrs[0].ours);
	put_addr(&now, addr_of(3, "192.0.2.1", 24, true), LINK_TABLE_CHANGED); /* marked since */
	assert_true(copied(&shown, &now));
	link_table_fini(&now);
	link_table_fini(&shown);
}

static void test_defaults(void **state)
{
	struct link_table t = { 0 };
	struct link_state s;

	(void)state;
	link_table_put_default(&t, IP_V4, 3, 200, false);
	link_table_put_default(&t, IP_V4, 2, 100, false);
	link_table_put_default(&t, IP_V4, 4, 100, false); /* the first of equals */
	link_table_put_default(&t, IP_V4, 0, 0, false);	  /* without an interface */
	link_table_put_default(&t, IP_V6, 5, 20, false);
	link_table_put_default(&t, IP_V6, 6, 1024, true);
	s = link_table_state(&t);
	assert_int_equal(s.default_v4, 2);
	assert_int_equal(s.default_v6, 5);
	assert_true(s.default_v6_from_ra);
	assert_int_equal(s.default_v6_ra, 6); /* its own, not that of the preferred route */
	link_table_put_default(&t, IP_V6, 6, 2048, true);
	assert_int_equal(link_table_state(&t).default_v6_ra, 6);
	for (int index = 7; index >= 6; index--) { /* of several none speaks for the others */
		link_table_put_default(&t, IP_V6, index, 1024, true);
		assert_int_equal(link_table_state(&t).default_v6_ra, 0);
	}
	link_table_reset_defaults(&t);
	s = link_table_state(&t);
	assert_int_equal(s.default_v4 + s.default_v6 + s.default_v6_ra, 0);
	assert_false(s.default_v6_from_ra);
}

/* A plain set of (index, address) beside the table, changed in the same random way. */
static void test_random_changes(void **state)
{
	struct link_table now = { 0 }, shown = { 0 };
	struct prng prng = { .state = 1 };
	bool want[4][64] = { { false } };
	size_t n = 0, seen = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		int index = (int)prng_range(&prng, 0, 3), host = (int)prng_range(&prng, 0, 63);
		struct link_addr a = { .index = index + 1, .prefix_len = 32,
				       .ip = { .family = IP_V4, .b = { 192, 0, 2, (uint8_t)host } } };

		bool put = prng_range(&prng, 0, 1);

		if (put)
			put_addr(&now, a, want[index][host] ? LINK_TABLE_SAME : LINK_TABLE_CHANGED);
		else
			link_table_del_addr(&now, &a);
		n = n + put - want[index][host];
		want[index][host] = put;
		assert_int_equal(now.n_addrs, n);
	}
	copied(&shown, &now);
	for (size_t i = 0; i < 4; i++)
		for (size_t host = 0; host < 64; host++)
			if (want[i][host]) {
				assert_int_equal(shown.addrs[seen].index, i + 1);
				assert_int_equal(shown.addrs[seen].ip.b[3], host);
				seen++;
			}
	assert_int_equal(seen, shown.n_addrs);
	link_table_fini(&now);
	link_table_fini(&shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_changes),
					    cmocka_unit_test(test_an_address_twice_is_shown_once),
					    cmocka_unit_test(test_defaults), cmocka_unit_test(test_random_changes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
