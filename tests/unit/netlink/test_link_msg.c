/* SPDX-License-Identifier: Apache-2.0 */
/* test_link_msg.c: what is read of link messages and of default routes: kinds, ports, events, next hops; and that nothing
 * cut or spoilt is believed.  Whole recorded messages are test_link_feed's. */
#include "netlink/link_msg.h"

#include "tests/unit/netlink/bytes.h"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "agent/base/text.h"
#include "netlink/default_msg.h"

static unsigned char buf[1024] __attribute__((aligned(16)));

/* ---- links ---- */

struct wish {
	const char *kind, *slave_kind; /* NULL = none */
	const char *name;	       /* NULL = "eth0" */
	unsigned int flags;
	uint32_t master, lower, event; /* 0 = none */
	uint16_t hardware;	       /* 0 = Ethernet */
	size_t mac_len;		       /* 0 = 6 */
	bool elsewhere;		       /* IFLA_LINK is of another namespace */
};

static struct nlmsghdr *link_message(const struct wish *w)
{
	static const uint8_t mac[20] = { 0, 0, 0x5e, 0, 0x53, 1, 9, 9 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = 7;
	ifi->ifi_type = w->hardware ? w->hardware : ARPHRD_ETHER;
	ifi->ifi_flags = w->flags;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, w->name ? w->name : "eth0");
	if (w->master)
		mnl_attr_put_u32(nlh, IFLA_MASTER, w->master);
	if (w->event)
		mnl_attr_put_u32(nlh, IFLA_EVENT, w->event);
	mnl_attr_put(nlh, IFLA_ADDRESS, w->mac_len ? w->mac_len : 6, mac);
	if (w->kind || w->slave_kind) {
		struct nlattr *info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);

		if (w->kind)
			mnl_attr_put_strz(nlh, IFLA_INFO_KIND, w->kind);
		if (w->slave_kind)
			mnl_attr_put_strz(nlh, IFLA_INFO_SLAVE_KIND, w->slave_kind);
		mnl_attr_nest_end(nlh, info);
	}
	if (w->lower)
		mnl_attr_put_u32(nlh, IFLA_LINK, w->lower);
	if (w->elsewhere)
		mnl_attr_put_u32(nlh, IFLA_LINK_NETNSID, 0);
	return nlh;
}

static int parse_link(const void *data, size_t len)
{
	struct link_msg m;

	return link_msg_parse(data, len, &m);
}

static struct link_msg read_link(struct wish w)
{
	const struct nlmsghdr *nlh = link_message(&w);
	struct link_msg m;

	assert_int_equal(link_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
	return m;
}

static void test_kinds(void **state)
{
	static const struct {
		const char *kind;
		enum link_kind want;
		bool pair;
	} rows[] = {
		{ NULL, LINK_PLAIN, false },	    { "vlan", LINK_VLAN, false },    { "bond", LINK_BOND, false },
		{ "team", LINK_BOND, false },	    { "bridge", LINK_BRIDGE, false }, { "macvlan", LINK_MACVLAN, false },
		{ "vrf", LINK_VRF, false },	    { "veth", LINK_PLAIN, true },    { "tun", LINK_PLAIN, true },
		{ "openvswitch", LINK_PLAIN, false }, { "vxlan", LINK_OTHER, false }, { "geneve", LINK_OTHER, false },
		{ "gretap", LINK_OTHER, false },    { "macvtap", LINK_OTHER, false }, { "vlan2", LINK_PLAIN, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct link_msg m = read_link((struct wish){ .kind = rows[i].kind });

		assert_int_equal(m.link.kind, rows[i].want);
		assert_int_equal(m.link.pair, rows[i].pair);
	}
	assert_int_equal(read_link((struct wish){ .kind = "dummy", .flags = IFF_NOARP }).link.kind, LINK_OTHER);
	assert_int_equal(read_link((struct wish){ .kind = "vrf", .flags = IFF_NOARP }).link.kind, LINK_VRF);
	assert_int_equal(read_link((struct wish){ .kind = "wireguard", .hardware = ARPHRD_NONE }).link.kind, LINK_OTHER);
	assert_int_equal(read_link((struct wish){ .hardware = ARPHRD_INFINIBAND, .mac_len = 20 }).link.kind, LINK_OTHER);
}

static void test_ports(void **state)
{
	static const char *const masters[] = { "bridge", "bond", "team", "openvswitch", NULL };
	struct link l;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(masters); i++) {
		l = read_link((struct wish){ .kind = "veth", .master = 3, .slave_kind = masters[i] }).link;
		assert_int_equal(l.master, 3);
		assert_true(l.port);
		assert_int_equal(l.kind, LINK_PLAIN);
	}
	l = read_link((struct wish){ .master = 3, .slave_kind = "vrf" }).link;
	assert_int_equal(l.master, 3);
	assert_false(l.port);
	l = read_link((struct wish){ .kind = "bridge" }).link;
	assert_int_equal(l.master, 0);
	assert_false(l.port);
	assert_int_equal(read_link((struct wish){ .master = UINT32_MAX }).link.master, 0);
}

static void test_what_a_link_stands_on(void **state)
{
	(void)state;
	assert_int_equal(read_link((struct wish){ .kind = "vlan", .lower = 3 }).link.lower, 3);
	assert_int_equal(read_link((struct wish){ .kind = "macvlan", .lower = 3 }).link.lower, 3);
	assert_int_equal(read_link((struct wish){ .kind = "macvlan", .lower = 3, .elsewhere = true }).link.lower, 0);
	assert_int_equal(read_link((struct wish){ .kind = "veth", .lower = 3 }).link.lower, 0); /* its other end */
	assert_int_equal(read_link((struct wish){ .kind = "vlan", .lower = UINT32_MAX }).link.lower, 0);
}

static void test_events(void **state)
{
	(void)state;
	for (uint32_t event = IFLA_EVENT_NONE; event <= IFLA_EVENT_BONDING_OPTIONS + 1; event++)
		assert_int_equal(read_link((struct wish){ .event = event }).announce,
				 event == IFLA_EVENT_NOTIFY_PEERS || event == IFLA_EVENT_BONDING_FAILOVER);
}

static void test_flags_name_and_mac(void **state)
{
	static const uint8_t mac[] = { 0, 0, 0x5e, 0, 0x53, 1 }, none[6] = { 0 };
	struct link l = read_link((struct wish){ .name = "fifteen-letters", .flags = IFF_UP | IFF_LOWER_UP }).link;

	(void)state;
	assert_int_equal(l.index, 7);
	assert_string_equal(l.name, "fifteen-letters");
	assert_true(l.up && l.carrier && l.ethernet && !l.loopback);
	assert_memory_equal(l.mac, mac, sizeof(mac));
	l = read_link((struct wish){ .flags = IFF_LOOPBACK, .hardware = ARPHRD_LOOPBACK }).link;
	assert_true(!l.up && !l.carrier && !l.ethernet && l.loopback);
	assert_memory_equal(l.mac, none, sizeof(none));
	assert_memory_equal(read_link((struct wish){ .mac_len = 8 }).link.mac, none, sizeof(none));
}

static void test_bad_links(void **state)
{
	static const struct wish whole = { .kind = "vlan", .slave_kind = "bridge", .master = 3, .lower = 2, .event = 4 };
	struct nlmsghdr *nlh = link_message(&whole);
	struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct link_msg m;

	(void)state;
	assert_no_part(buf, nlh->nlmsg_len, parse_link);
	try_changes(buf, nlh->nlmsg_len, parse_link);
	nlh->nlmsg_type = RTM_NEWADDR;
	assert_int_equal(parse_link(buf, nlh->nlmsg_len), -EBADMSG);
	nlh->nlmsg_type = RTM_DELLINK;
	assert_int_equal(link_msg_parse(buf, nlh->nlmsg_len, &m), 0);
	assert_true(m.gone);
	ifi->ifi_family = AF_BRIDGE;
	assert_int_equal(parse_link(buf, nlh->nlmsg_len), -EAFNOSUPPORT);
	ifi->ifi_family = AF_UNSPEC;
	for (int index = -1; index <= 0; index++) {
		ifi->ifi_index = index;
		assert_int_equal(parse_link(buf, nlh->nlmsg_len), -EBADMSG);
	}
	nlh = link_message(&(struct wish){ .name = "sixteen-letters-" });
	assert_int_equal(parse_link(nlh, nlh->nlmsg_len), -EBADMSG);
	nlh = link_message(&(struct wish){ .name = "" });
	assert_int_equal(parse_link(nlh, nlh->nlmsg_len), -EBADMSG);
}

/* ---- default routes ---- */

static struct nlmsghdr *route_message(struct rtmsg rtm, uint32_t oif, uint32_t metric)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = RTM_NEWROUTE;
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(rtm)), &rtm, sizeof(rtm));
	if (metric)
		mnl_attr_put_u32(nlh, RTA_PRIORITY, metric);
	if (oif)
		mnl_attr_put_u32(nlh, RTA_OIF, oif);
	return nlh;
}

static int parse_route(const void *data, size_t len)
{
	struct default_msg m;

	return default_msg_parse(data, len, &m);
}

static const struct rtmsg v4 = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST };
static const struct rtmsg v6 = { .rtm_family = AF_INET6, .rtm_table = RT_TABLE_MAIN, .rtm_type = RTN_UNICAST,
				 .rtm_protocol = RTPROT_RA };

static struct default_msg read_route(const struct nlmsghdr *nlh)
{
	struct default_msg m;

	assert_int_equal(default_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
	return m;
}

static void test_routes(void **state)
{
	struct rtmsg rtm = v4;
	struct default_msg m = read_route(route_message(v4, 3, 100));

	(void)state;
	assert_true(m.family == IP_V4 && m.index == 3 && m.metric == 100 && !m.from_ra && !m.has_dead);
	m = read_route(route_message(v6, 4, 0));
	assert_true(m.family == IP_V6 && m.index == 4 && m.metric == 0 && m.from_ra && !m.has_dead);
	rtm.rtm_flags = RTNH_F_DEAD;
	m = read_route(route_message(rtm, 3, 100));
	assert_true(m.index == 0 && m.has_dead);
	rtm = v4;
	rtm.rtm_type = RTN_UNREACHABLE;
	assert_int_equal(read_route(route_message(rtm, 3, 0)).index, 0);
	assert_int_equal(read_route(route_message(v4, UINT32_MAX, 0)).index, 0);
	assert_no_part(buf, NLMSG_LENGTH(sizeof(rtm)) + 8, parse_route);
}

static void test_other_routes(void **state)
{
	struct rtmsg rtm = v4;
	struct nlmsghdr *nlh;

	(void)state;
	rtm.rtm_dst_len = 1;
	nlh = route_message(rtm, 3, 0);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -ENOENT);
	rtm = v4;
	rtm.rtm_table = RT_TABLE_DEFAULT;
	nlh = route_message(rtm, 3, 0);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -ENOENT);
	rtm = v4;
	rtm.rtm_flags = RTM_F_CLONED;
	nlh = route_message(rtm, 3, 0);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -ENOENT);
	rtm = v4;
	rtm.rtm_family = RTNL_FAMILY_IPMR;
	nlh = route_message(rtm, 3, 0);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -ENOENT);
	nlh = route_message(v4, 3, 0);
	nlh->nlmsg_type = RTM_NEWLINK;
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -EBADMSG);
}

struct hop {
	struct rtnexthop header;
	struct nlattr gateway;
	uint8_t ip[4];
};

static struct nlmsghdr *multipath(const struct hop *hops, size_t n)
{
	struct nlmsghdr *nlh = route_message(v4, 0, 100);

	mnl_attr_put(nlh, RTA_MULTIPATH, n * sizeof(*hops), hops);
	return nlh;
}

static void test_the_first_hop_that_lives_counts(void **state)
{
	struct hop hops[2] = {
		{ { sizeof(struct hop), 0, 0, 3 }, { 8, RTA_GATEWAY }, { 192, 0, 2, 1 } },
		{ { sizeof(struct hop), 0, 0, 4 }, { 8, RTA_GATEWAY }, { 198, 51, 100, 1 } },
	};
	struct default_msg m = read_route(multipath(hops, 2));
	struct nlmsghdr *nlh;

	(void)state;
	assert_true(m.index == 3 && !m.has_dead && m.metric == 100);
	hops[0].header.rtnh_flags = RTNH_F_DEAD;
	m = read_route(multipath(hops, 2));
	assert_true(m.index == 4 && m.has_dead);
	hops[1].header.rtnh_flags = RTNH_F_DEAD | RTNH_F_LINKDOWN;
	m = read_route(multipath(hops, 2));
	assert_true(m.index == 0 && m.has_dead);
	nlh = multipath(hops, 2);
	assert_no_part(nlh, nlh->nlmsg_len, parse_route);
	try_changes(nlh, nlh->nlmsg_len, parse_route);
	hops[1].header.rtnh_len = sizeof(struct hop) + 1; /* beyond the end */
	nlh = multipath(hops, 2);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -EBADMSG);
	hops[1].header.rtnh_len = 0; /* would never end */
	nlh = multipath(hops, 2);
	assert_int_equal(parse_route(nlh, nlh->nlmsg_len), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_what_a_link_stands_on),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_flags_name_and_mac),
		cmocka_unit_test(test_bad_links),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_other_routes),
		cmocka_unit_test(test_the_first_hop_that_lives_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
