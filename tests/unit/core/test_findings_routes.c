/* SPDX-License-Identifier: Apache-2.0 */
/* Proves what the doctor says of a node that advertises VIPs (announce: bgp): of lo, connections, and ways in. */
#include "tests/unit/core/findings_node.h"

/* announce: bgp, two VIPs, one router. */
static struct doctor_facts *advertising(void)
{
	struct doctor_facts *f = healthy();
	struct facts_routes *r = &f->net.routes;

	f->config.routed = f->config.bgp = f->config.pool_v6 = true;
	f->config.gate = false;
	f->rights.net_raw = false; /* nothing is announced */
	f->net.n_pools = f->wire.n_probes = 0;
	f->net.links[0].sysctls = (struct sysctl_facts){ .name = "eth0", .routed = true, .v4 = true, .v6 = true, .nft = true };
	f->net.links[0].sysctls.own[SYSCTL_FORWARD_V4] = f->net.links[0].sysctls.all[SYSCTL_FORWARD_V6] = 1;
	*r = (struct facts_routes){ .lo_up = true, .n_vips = 2, .listens = true, .n_peers = 1, .peers = { { .ip = address("192.0.2.60") } } };
	set(&r->asked, NULL);
	return f;
}

static void test_advertised_vips(void **state)
{
	struct doctor_facts *f = advertising();
	struct facts_routes *r = &f->net.routes;

	(void)state;
	expect(f, "");
	assert_true(says(f, FINDING_OK, "2 VIPs are on lo, with a lifetime"));
	assert_true(says(f, FINDING_OK, "TCP port 179: connected with 192.0.2.60"));
	assert_true(says(f, FINDING_OK, "eth0 is up, with carrier"));
	assert_true(says(f, FINDING_OK, "CAP_NET_ADMIN: addresses and nftables"));
	assert_non_null(strstr(means_of(f, "connected with"), "birdc show route export PROTOCOL, or vtysh"));
	assert_true(says(f, FINDING_OK, "eth0: forwarding and rp_filter as VIPs need them"));
	assert_true(says(f, FINDING_OK, "no address of a pool is on this node but by Leasehold"));
	r->n_peers = 2;
	r->peers[1] = (struct facts_peer){ .ip = address("fe80::1"), .link = "eth1" };
	r->n_more_peers = 3;
	assert_true(says(f, FINDING_OK, "TCP port 179: connected with 192.0.2.60, fe80::1%eth1 and 3 more"));
	r->peers[0].node = r->peers[1].node = true; /* of the others that is not known */
	expect(f, "");
	r->n_more_peers = 0;
	expect(f, "warning: TCP port 179: connected with 192.0.2.60, fe80::1%eth1, all nodes of this cluster\n");
	r->peers[1].node = false;
	expect(f, "");
	r->n_peers = 1;
	expect(f, "warning: TCP port 179: connected with 192.0.2.60, a node of this cluster\n");
	set(&r->asked, "reading TCP sockets: Operation not supported"); /* after some were found */
	r->peers[0].node = false;
	expect(f, "skipped: more TCP connections of port 179\n");
	set(&r->asked, NULL);

	r->n_peers = r->n_more_peers = 0;
	expect(f, "warning: a routing daemon listens on TCP port 179, and no BGP session is up\n");
	r->listens = false;
	r->n_vips = 0;
	expect(f, "skipped: VIPs on lo\nwarning: no BGP session is up on this node, and nobody listens on TCP port 179\n");
	assert_non_null(strstr(mend_of(f, "nobody listens"), "docs/bgp.md"));
	r->listens = true;
	assert_non_null(strstr(mend_of(f, "a routing daemon listens"), "birdc show protocols, or vtysh -c 'show bgp summary'"));
	f->config.in_pod = true;
	assert_non_null(strstr(mend_of(f, "a routing daemon listens"), "exec POD -c bird -- birdc show protocols (the chart's"));
	f->config.bgp = false; /* announce: none: nobody need export them */
	expect(f, "");
	assert_true(says(f, FINDING_OK, "CAP_NET_ADMIN: nftables"));
	f->net.proxy_mode[0] = '\0';
	expect(f, "skipped: kube-proxy\n");
	assert_null(strstr(means_of(f, "kube-proxy"), "the holder"));

	f = advertising();
	set(&r->asked, "reading TCP sockets: No such file or directory");
	r->lo_up = false;
	r->lo_v6_off = 1;
	r->n_lasting = 1;
	r->lasting = address("203.0.113.10");
	r->n_peers = 0;
	f->config.in_pod = true;
	assert_string_equal(mend_of(f, "lo.disable_ipv6"), "on the node itself: /proc/sys is read-only in a Pod");
	expect(f, "error: lo is down $ ip link set lo up\n"
		  "error: net.ipv6.conf.lo.disable_ipv6 is 1 $ sysctl -w net.ipv6.conf.lo.disable_ipv6=0\n"
		  "warning: on lo without a lifetime: 203.0.113.10\nskipped: BGP sessions\n");
	f = advertising();
	f->config.pool_v6 = false; /* then lo need not take IPv6 */
	r->lo_v6_off = 1;
	r->n_lasting = 2;
	r->lasting = address("203.0.113.10");
	expect(f, "warning: on lo without a lifetime: 203.0.113.10 and 1 more\n");
}

/* Of the interfaces that lead to routers nothing is asked but what lets packets for VIPs pass. */
static void test_ways_in(void **state)
{
	struct doctor_facts *f = advertising();
	struct sysctl_facts *y = &f->net.links[0].sysctls;

	(void)state;
	y->own[SYSCTL_ARP_IGNORE] = 8;
	y->own[SYSCTL_DISABLE_IPV6] = y->own[SYSCTL_DROP_GRATUITOUS_ARP] = y->own[SYSCTL_RP_FILTER] = 1;
	expect(f, "");
	f->net.links[0].carrier = false;
	expect(f, "error: eth0 has no carrier\n");
	f->net.links[0].up = false;
	f->net.links[1] = f->net.links[0];
	f->net.links[1].up = f->net.links[1].carrier = true;
	strcpy(f->net.links[1].name, "eth1");
	f->net.n_links = 2;
	f->net.n_more_links = 3;
	expect(f, "warning: eth0 is down $ ip link set eth0 up\nskipped: 3 more interfaces\n");
	f->net.n_links = 1;
	f->net.n_more_links = 0;
	f->net.links[0].up = f->net.links[0].carrier = true;
	y->several = f->config.manage = true;
	y->own[SYSCTL_FORWARD_V4] = 0;
	expect(f, "error: net.ipv4.conf.eth0.forwarding is 0 $ sysctl -w net.ipv4.conf.eth0.forwarding=1\n"
		  "warning: net.ipv4.conf.eth0.rp_filter is 1 $ sysctl -w net.ipv4.conf.eth0.rp_filter=2\n");
	assert_non_null(strstr(mend_of(f, "rp_filter"), "where ip route show default names all interfaces that lead to routers, eth0"));
	y->watched = true; /* then the agent sets forwarding */
	expect(f, "warning: net.ipv4.conf.eth0.rp_filter is 1 $ sysctl -w net.ipv4.conf.eth0.rp_filter=2\n");
	y->guessed = true; /* then strict may be right */
	expect(f, "");
	y->watched = false;
	expect(f, "warning: net.ipv4.conf.eth0.forwarding is 0 $ sysctl -w net.ipv4.conf.eth0.forwarding=1\n");
	y->guessed = false;
	y->own[SYSCTL_FORWARD_V4] = y->default_v4_elsewhere = 1;
	y->several = false;
	expect(f, "warning: net.ipv4.conf.eth0.rp_filter is 1 $ sysctl -w net.ipv4.conf.eth0.rp_filter=2\n");
	f->net.n_links = 0;
	expect(f, "skipped: sysctls\n");

	f = advertising();
	f->net.n_strangers = 1;
	f->net.strangers[0] = (struct facts_stranger){ .ip = address("203.0.113.10"), .len = 32, .link = "lo", .on_lo = true };
	set(&f->node.arp, "none");
	expect(f, "warning: nf_tables for ARP does not work $ sysctl -w net.ipv4.conf.all.arp_ignore=1\n"
		  "error: 203.0.113.10/32 on lo is in a pool, and not marked as Leasehold's $ ip address del 203.0.113.10/32 dev lo\n");
	f->net.strangers[0].vip = f->net.strangers[0].dynamic = true; /* its mark is lost: by ip address change, for one */
	set(&f->node.arp, NULL);
	expect(f, "error: 203.0.113.10/32 on lo is a VIP, and not marked as Leasehold's $ ip address del 203.0.113.10/32 dev lo\n");
	assert_non_null(strstr(mend_of(f, "is a VIP"), "the agent puts it back"));
	f->net.strangers[0].len = 24; /* none that an agent has put there */
	expect(f, "error: 203.0.113.10/24 on lo, maybe this node's own, is in a pool\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_advertised_vips),
		cmocka_unit_test(test_ways_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
