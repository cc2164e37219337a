/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_msg.c: neighbour messages to and from bytes.  Pure: neigh_if talks to the kernel. */
#include "netlink/neigh_msg.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "netlink/attr_walk.h"

struct nlmsghdr *neigh_msg_dump(unsigned char buf[static NEIGH_MSG_MAX], int ifindex)
{
	const struct ndmsg all = { .ndm_family = AF_UNSPEC };
	struct nlmsghdr *nlh;

	memset(buf, 0, NEIGH_MSG_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_GETNEIGH;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(all)), &all, sizeof(all));
	mnl_attr_put_u32(nlh, NDA_IFINDEX, (uint32_t)ifindex);
	return nlh;
}

int neigh_msg_parse(const void *data, size_t len, struct neigh_msg *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nlattr *tb[NDA_LLADDR + 1];
	struct neigh_msg m = { 0 };
	const struct ndmsg *nd;

	if (!nlh || nlh->nlmsg_type != RTM_NEWNEIGH)
		return -EBADMSG;
	nd = attr_header(nlh, sizeof(*nd));
	if (!nd || attr_table(attr_walk_message(nlh, sizeof(*nd)), tb, NDA_LLADDR) < 0)
		return -EBADMSG;
	if (nd->ndm_family != AF_INET && nd->ndm_family != AF_INET6)
		return -EAFNOSUPPORT;
	m.ip.family = nd->ndm_family == AF_INET ? IP_V4 : IP_V6;
	if (nd->ndm_ifindex <= 0 || !tb[NDA_DST] || attr_len(tb[NDA_DST]) != ip_len(&m.ip))
		return -EBADMSG;
	if (!tb[NDA_LLADDR] || attr_len(tb[NDA_LLADDR]) != LINK_MAC_LEN || (nd->ndm_flags & NTF_PROXY) ||
	    (nd->ndm_state & (NUD_INCOMPLETE | NUD_FAILED | NUD_NOARP)))
		return -ENODATA;
	m.ifindex = nd->ndm_ifindex;
	memcpy(m.ip.b, attr_data(tb[NDA_DST]), ip_len(&m.ip));
	memcpy(m.mac, attr_data(tb[NDA_LLADDR]), LINK_MAC_LEN);
	*ret = m;
	return 0;
}
