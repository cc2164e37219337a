/* SPDX-License-Identifier: Apache-2.0 */
/* test_uplinks.c: of a node's interfaces those count that have neighbours: neither lo with its VIPs, nor those of Pods, nor
 * ports; and of their addresses those that neighbours can reach it by. */
#include "agent/core/uplinks.h"

#include "tests/unit/core/make.h"

enum { LO = 1, ETH0, ETH1, BOND, PORT, POD, TUNNEL, VETH, VLAN, WIREGUARD };

#define MAC .mac = { 2 }

static const struct link links[] = {
	{ .index = LO, .name = "lo", .loopback = true },
	{ .index = ETH0, .name = "eth0", MAC },
	{ .index = ETH1, .name = "eth1", MAC },
	{ .index = BOND, .name = "bond0", MAC },
	{ .index = PORT, .name = "eth2", .port = true, .master = BOND, MAC },
	{ .index = POD, .name = "cali1", .pair = true, MAC },
	{ .index = TUNNEL, .name = "tunl0", .kind = LINK_OTHER },
	{ .index = VETH, .name = "veth0", .pair = true, MAC },
	{ .index = VLAN, .name = "eth1.7", .kind = LINK_VLAN, .lower = ETH1, MAC },
	{ .index = WIREGUARD, .name = "wg0", .kind = LINK_OTHER, .noarp = true },
};

static const struct row {
	const char *name;
	int index;
	const char *ip; /* NULL = none */
	uint8_t len;
	bool ours;
	int default_v4, default_v6;
	bool reachable, uplink;
} rows[] = {
	{ "an address in a subnet", ETH0, "192.0.2.11", 24, false, 0, 0, true, true },
	{ "likewise, IPv6", ETH0, "2001:db8::11", 64, false, 0, 0, true, true },
	{ "of a bond", BOND, "192.0.2.11", 24, false, 0, 0, true, true },
	{ "of a VLAN", VLAN, "192.0.2.11", 24, false, 0, 0, true, true },
	{ "the other end here, but a subnet: as in a container", VETH, "192.0.2.11", 24, false, 0, 0, true, true },
	{ "a VIP on lo", LO, "203.0.113.10", 32, true, 0, 0, false, false },
	{ "a host's address on lo", LO, "198.51.100.1", 32, false, 0, 0, false, false },
	{ "a subnet on lo", LO, "127.0.0.1", 8, false, 0, 0, false, false },
	{ "a default route by lo", LO, NULL, 0, false, LO, LO, false, false },
	{ "a VIP of ours", ETH0, "203.0.113.10", 24, true, 0, 0, false, false },
	{ "a host's address", TUNNEL, "198.51.100.1", 32, false, 0, 0, false, false },
	{ "likewise, IPv6", POD, "2001:db8:1::1", 128, false, 0, 0, false, false },
	{ "a subnet of a link without a MAC", WIREGUARD, "198.51.100.1", 24, false, 0, 0, false, false },
	{ "likewise, IPv6", WIREGUARD, "2001:db8:1::1", 64, false, 0, 0, false, false },
	{ "a subnet of a link that is not in view", 99, "192.0.2.11", 24, false, 0, 0, false, false },
	{ "of this link alone", POD, "fe80::1", 64, false, 0, 0, false, false },
	{ "the default route leaves there", ETH1, NULL, 0, false, ETH1, 0, false, true },
	{ "the IPv6 one does", ETH1, "fe80::1", 64, false, ETH0, ETH1, false, true },
	{ "by an interface whose other end is here", VETH, NULL, 0, false, VETH, VETH, false, false },
	{ "nothing at all", ETH1, NULL, 0, false, ETH0, ETH0, false, false },
	{ "a port with an address", PORT, "192.0.2.11", 24, false, 0, 0, true, false },
};

static void test_links(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		const struct link_addr addr = { .index = r->index, .ip = r->ip ? make_ip(r->ip) : (struct ip){ .family = IP_NONE },
						.prefix_len = r->len, .ours = r->ours };
		const struct link_state s = { .links = links, .n_links = sizeof(links) / sizeof(links[0]), .addrs = &addr,
					      .n_addrs = r->ip != NULL, .default_v4 = r->default_v4, .default_v6 = r->default_v6 };

		if ((link_find(&s, r->index) && uplinks_is(&s, link_find(&s, r->index))) != r->uplink)
			fail_msg("%s: uplink %d", r->name, !r->uplink);
		if (r->ip && uplinks_reachable(&s, &addr) != r->reachable)
			fail_msg("%s: reachable %d", r->name, !r->reachable);
	}
}

/* An address makes no other interface an uplink. */
static void test_of_others(void **state)
{
	const struct link_addr addr = { .index = ETH0, .ip = make_ip("192.0.2.11"), .prefix_len = 24 };
	const struct link_state s = { .links = links, .n_links = sizeof(links) / sizeof(links[0]), .addrs = &addr, .n_addrs = 1 };

	(void)state;
	for (size_t i = 0; i < s.n_links; i++)
		assert_int_equal(uplinks_is(&s, &links[i]), links[i].index == ETH0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_links), cmocka_unit_test(test_of_others) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
