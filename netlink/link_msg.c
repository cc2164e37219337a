/* SPDX-License-Identifier: Apache-2.0 */
/* link_msg.c: link messages from bytes, as rtnl_fill_ifinfo() writes them (net/core/rtnetlink.c).  link_watch
 * listens through this file. */
#include "netlink/link_msg.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"

/* Kinds whose name decides (rtnl_link_ops.kind).  A team takes over links as a bond does. */
static const struct {
	const char *name;
	enum link_kind kind;
} kinds[] = {
	{ "vlan", LINK_VLAN },	    { "bond", LINK_BOND },	 { "team", LINK_BOND },	      { "bridge", LINK_BRIDGE },
	{ "macvlan", LINK_MACVLAN }, { "vrf", LINK_VRF },	 { "vxlan", LINK_OTHER },     { "geneve", LINK_OTHER },
	{ "gretap", LINK_OTHER },   { "ip6gretap", LINK_OTHER }, { "erspan", LINK_OTHER },    { "ip6erspan", LINK_OTHER },
	{ "macvtap", LINK_OTHER },  { "ipvtap", LINK_OTHER },
};

/* Every other kind is judged by what it does: Ethernet with ARP is as good as a card. */
static enum link_kind kind_of(const char *name, const struct link *l, unsigned int flags)
{
	for (size_t i = 0; name && i < ARRAY_LEN(kinds); i++)
		if (text_eq(kinds[i].name, name))
			return kinds[i].kind;
	return l->ethernet && !(flags & IFF_NOARP) ? LINK_PLAIN : LINK_OTHER;
}

static void take_kinds(const struct nlattr *linkinfo, unsigned int flags, struct link *l)
{
	const struct nlattr *tb[IFLA_INFO_SLAVE_KIND + 1];
	const char *kind = NULL, *slave_kind = NULL;

	if (linkinfo && attr_table(attr_walk_nested(linkinfo), tb, IFLA_INFO_SLAVE_KIND) == 0) {
		kind = attr_text(tb[IFLA_INFO_KIND]);
		slave_kind = attr_text(tb[IFLA_INFO_SLAVE_KIND]);
	}
	l->kind = kind_of(kind, l, flags);
	l->pair = kind && (text_eq(kind, "veth") || text_eq(kind, "tun"));
	/* A master takes the frames of its ports (rx_handler), whatever it is: bridge, bond, team, Open vSwitch; one without
	 * a kind, too, as that of a virtual function.  Only a VRF leaves them their own addresses. */
	l->port = l->master > 0 && !(slave_kind && text_eq(slave_kind, "vrf"));
}

static bool take_name(const struct nlattr *a, char ret[static LINK_NAME_MAX])
{
	const char *name = attr_text(a);

	if (!name || !*name || strlen(name) >= LINK_NAME_MAX)
		return false;
	memcpy(ret, name, strlen(name) + 1);
	return true;
}

static void take_mac(const struct nlattr *a, struct link *l)
{
	if (l->ethernet && a && attr_len(a) == sizeof(l->mac))
		memcpy(l->mac, attr_data(a), sizeof(l->mac));
}

/* Of a veth pair IFLA_LINK is the other end, which nothing stands on. */
static void take_lower(const struct nlattr *const *tb, struct link *l)
{
	uint32_t lower;

	if ((l->kind == LINK_VLAN || l->kind == LINK_MACVLAN) && !tb[IFLA_LINK_NETNSID] && attr_u32(tb[IFLA_LINK], &lower) &&
	    lower <= INT32_MAX)
		l->lower = (int)lower;
}

static bool asks_for_announcements(const struct nlattr *event)
{
	uint32_t v;

	return attr_u32(event, &v) && (v == IFLA_EVENT_NOTIFY_PEERS || v == IFLA_EVENT_BONDING_FAILOVER);
}

int link_msg_parse(const void *data, size_t len, struct link_msg *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nlattr *tb[IFLA_EVENT + 1];
	struct link_msg m = { .gone = false };
	const struct ifinfomsg *ifi;
	uint32_t master;

	if (!nlh || (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK))
		return -EBADMSG;
	ifi = attr_header(nlh, sizeof(*ifi));
	if (!ifi || attr_table(attr_walk_message(nlh, sizeof(*ifi)), tb, IFLA_EVENT) < 0 || ifi->ifi_index <= 0)
		return -EBADMSG;
	if (ifi->ifi_family != AF_UNSPEC)
		return -EAFNOSUPPORT;
	m.gone = nlh->nlmsg_type == RTM_DELLINK;
	m.link.index = ifi->ifi_index;
	if (!take_name(tb[IFLA_IFNAME], m.link.name) && !m.gone)
		return -EBADMSG;
	m.link.ethernet = ifi->ifi_type == ARPHRD_ETHER;
	m.link.up = ifi->ifi_flags & IFF_UP;
	m.link.carrier = ifi->ifi_flags & IFF_LOWER_UP;
	m.link.loopback = ifi->ifi_flags & IFF_LOOPBACK;
	m.link.noarp = ifi->ifi_flags & IFF_NOARP;
	take_mac(tb[IFLA_ADDRESS], &m.link);
	if (attr_u32(tb[IFLA_MASTER], &master) && master <= INT32_MAX)
		m.link.master = (int)master;
	take_kinds(tb[IFLA_LINKINFO], ifi->ifi_flags, &m.link);
	take_lower(tb, &m.link);
	m.announce = asks_for_announcements(tb[IFLA_EVENT]);
	*ret = m;
	return 0;
}
