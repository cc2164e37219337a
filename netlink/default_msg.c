/* SPDX-License-Identifier: Apache-2.0 */
/* default_msg.c: default routes from bytes, as fib_dump_info() and rt6_fill_node() write them.  link_watch listens
 * through this file; routes of our own are made elsewhere. */
#include "netlink/default_msg.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink/attr_walk.h"

/* Of several next hops the first that lives counts: an interface is wanted, not a path. */
static int take_hops(const struct nlattr *multipath, struct default_msg *m)
{
	const unsigned char *at = attr_data(multipath);
	size_t left = attr_len(multipath);
	struct rtnexthop hop;

	while (left >= sizeof(hop)) {
		size_t step;

		memcpy(&hop, at, sizeof(hop));
		if (hop.rtnh_len < sizeof(hop) || hop.rtnh_len > left)
			return -EBADMSG;
		if (hop.rtnh_flags & RTNH_F_DEAD)
			m->has_dead = true;
		else if (m->index == 0 && hop.rtnh_ifindex > 0)
			m->index = hop.rtnh_ifindex;
		step = NLMSG_ALIGN((size_t)hop.rtnh_len);
		if (step > left)
			step = left;
		at += step;
		left -= step;
	}
	return left == 0 ? 0 : -EBADMSG;
}

static int take_paths(const struct nlattr *const *tb, const struct rtmsg *rtm, struct default_msg *m)
{
	uint32_t index;

	if (rtm->rtm_type != RTN_UNICAST)
		return 0;
	if (tb[RTA_MULTIPATH])
		return take_hops(tb[RTA_MULTIPATH], m);
	m->has_dead = rtm->rtm_flags & RTNH_F_DEAD;
	if (!m->has_dead && attr_u32(tb[RTA_OIF], &index) && index <= INT32_MAX)
		m->index = (int)index;
	return 0;
}

int default_msg_parse(const void *data, size_t len, struct default_msg *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nlattr *tb[RTA_MULTIPATH + 1];
	struct default_msg m = { .index = 0 };
	const struct rtmsg *rtm;
	int r;

	if (!nlh || (nlh->nlmsg_type != RTM_NEWROUTE && nlh->nlmsg_type != RTM_DELROUTE))
		return -EBADMSG;
	rtm = attr_header(nlh, sizeof(*rtm));
	if (!rtm)
		return -EBADMSG;
	/* Before anything else: a router has a million others. */
	if (rtm->rtm_dst_len != 0 || rtm->rtm_table != RT_TABLE_MAIN || (rtm->rtm_flags & RTM_F_CLONED) ||
	    (rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6))
		return -ENOENT;
	if (attr_table(attr_walk_message(nlh, sizeof(*rtm)), tb, RTA_MULTIPATH) < 0)
		return -EBADMSG;
	m.family = rtm->rtm_family == AF_INET ? IP_V4 : IP_V6;
	m.from_ra = rtm->rtm_protocol == RTPROT_RA;
	IGNORE(attr_u32(tb[RTA_PRIORITY], &m.metric)); /* absent: 0 */
	r = take_paths(tb, rtm, &m);
	if (r == 0)
		*ret = m;
	return r;
}
