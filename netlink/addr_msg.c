/* SPDX-License-Identifier: Apache-2.0 */
/* addr_msg.c: address messages to and from bytes.  Pure: addr_if talks to the kernel, link_watch listens, both
 * through this file. */
#include "netlink/addr_msg.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netlink/attr_walk.h"

static struct nlmsghdr *put_header(unsigned char *buf, uint16_t type, uint16_t flags, const struct ifaddrmsg *ifa)
{
	struct nlmsghdr *nlh;

	memset(buf, 0, ADDR_MSG_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa)), ifa, sizeof(*ifa));
	return nlh;
}

static struct ifaddrmsg vip_header(int ifindex, const struct ip *ip)
{
	return (struct ifaddrmsg){
		.ifa_family = ip->family == IP_V4 ? AF_INET : AF_INET6,
		.ifa_prefixlen = (uint8_t)(ip_len(ip) * 8),
		.ifa_index = (uint32_t)ifindex,
	};
}

struct nlmsghdr *addr_msg_put(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip,
			      uint32_t valid_s, bool replace)
{
	const struct ifaddrmsg ifa = vip_header(ifindex, ip);
	/* Deprecated at once for IPv6, so that the node never chooses a VIP as its source; IPv4's choice ignores
	 * that, and a /32 is not chosen anyway. */
	const struct ifa_cacheinfo life = { .ifa_valid = valid_s, .ifa_prefered = ip->family == IP_V4 ? valid_s : 0 };
	uint32_t flags = IFA_F_NOPREFIXROUTE | (ip->family == IP_V6 ? IFA_F_NODAD : 0);
	struct nlmsghdr *nlh =
		put_header(buf, RTM_NEWADDR, (uint16_t)(NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)), &ifa);

	mnl_attr_put(nlh, IFA_LOCAL, ip_len(ip), ip->b);
	mnl_attr_put(nlh, IFA_ADDRESS, ip_len(ip), ip->b);
	mnl_attr_put_u32(nlh, IFA_FLAGS, flags);
	mnl_attr_put(nlh, IFA_CACHEINFO, sizeof(life), &life);
	mnl_attr_put_u32(nlh, IFA_RT_PRIORITY, ADDR_METRIC_LEASEHOLD);
	mnl_attr_put_u8(nlh, IFA_PROTO, ADDR_PROTO_LEASEHOLD);
	return nlh;
}

struct nlmsghdr *addr_msg_del(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip)
{
	const struct ifaddrmsg ifa = vip_header(ifindex, ip);
	struct nlmsghdr *nlh = put_header(buf, RTM_DELADDR, 0, &ifa);

	mnl_attr_put(nlh, IFA_LOCAL, ip_len(ip), ip->b);
	mnl_attr_put(nlh, IFA_ADDRESS, ip_len(ip), ip->b);
	return nlh;
}

struct nlmsghdr *addr_msg_get(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip)
{
	const struct ifaddrmsg ifa = { .ifa_family = AF_INET6, .ifa_index = (uint32_t)ifindex };
	struct nlmsghdr *nlh = put_header(buf, RTM_GETADDR, 0, &ifa);

	mnl_attr_put(nlh, IFA_ADDRESS, ip_len(ip), ip->b);
	return nlh;
}

struct nlmsghdr *addr_msg_dump(unsigned char buf[static ADDR_MSG_MAX], uint8_t family, int ifindex)
{
	const struct ifaddrmsg ifa = { .ifa_family = family, .ifa_index = (uint32_t)ifindex };

	return put_header(buf, RTM_GETADDR, NLM_F_DUMP, &ifa);
}

/* IFA_LOCAL is the address where both are there (then IFA_ADDRESS is the peer's); IPv6 mostly has the other. */
static bool take_ip(const struct nlattr *const *tb, struct ip *ret)
{
	const struct nlattr *a = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];

	if (!a || attr_len(a) != ip_len(ret))
		return false;
	memcpy(ret->b, attr_data(a), attr_len(a));
	return true;
}

static bool is_ours(const struct nlattr *const *tb)
{
	uint8_t proto;
	uint32_t metric;

	if (attr_u8(tb[IFA_PROTO], &proto) && proto != 0)
		return proto == ADDR_PROTO_LEASEHOLD;
	return attr_u32(tb[IFA_RT_PRIORITY], &metric) && metric == ADDR_METRIC_LEASEHOLD;
}

int addr_msg_parse(const void *data, size_t len, struct addr_msg *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nlattr *tb[IFA_PROTO + 1];
	struct addr_msg m = { .valid_s = ADDR_FOREVER, .preferred_s = ADDR_FOREVER };
	struct ifa_cacheinfo life;
	const struct ifaddrmsg *ifa;

	if (!nlh || (nlh->nlmsg_type != RTM_NEWADDR && nlh->nlmsg_type != RTM_DELADDR))
		return -EBADMSG;
	ifa = attr_header(nlh, sizeof(*ifa));
	if (!ifa || attr_table(attr_walk_message(nlh, sizeof(*ifa)), tb, IFA_PROTO) < 0)
		return -EBADMSG;
	if (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6)
		return -EAFNOSUPPORT;
	m.gone = nlh->nlmsg_type == RTM_DELADDR;
	m.addr.ip.family = ifa->ifa_family == AF_INET ? IP_V4 : IP_V6;
	if (!take_ip(tb, &m.addr.ip) || ifa->ifa_prefixlen > ip_len(&m.addr.ip) * 8)
		return -EBADMSG;
	if (ifa->ifa_index == 0 || ifa->ifa_index > INT32_MAX)
		return -EBADMSG;
	m.addr.index = (int)ifa->ifa_index;
	m.addr.prefix_len = ifa->ifa_prefixlen;
	m.addr.ours = is_ours(tb);
	m.flags = ifa->ifa_flags; /* the low byte of IFA_FLAGS */
	IGNORE(attr_u32(tb[IFA_FLAGS], &m.flags)); /* absent: the header's */
	m.addr.dynamic = !(m.flags & IFA_F_PERMANENT);
	if (tb[IFA_CACHEINFO] && attr_len(tb[IFA_CACHEINFO]) >= sizeof(life)) {
		memcpy(&life, attr_data(tb[IFA_CACHEINFO]), sizeof(life));
		m.valid_s = life.ifa_valid;
		m.preferred_s = life.ifa_prefered;
	}
	*ret = m;
	return 0;
}
