/* SPDX-License-Identifier: Apache-2.0 */
/* filter_msg.c: qdisc and filter messages to and from bytes.  Pure: gate_if talks to the kernel, gate_watch listens, both
 * through this file. */
#include "netlink/filter_msg.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <netinet/in.h>
#include <string.h>

#include "netlink/attr_walk.h"

/* TC_H_MAKE() and the like mix signs. */
#define CLSACT_HANDLE UINT32_C(0xffff0000)

static const uint32_t hook_parents[FILTER_HOOK_N] = {
	[FILTER_INGRESS] = 0xfffffff2,
	[FILTER_EGRESS] = 0xfffffff3,
};
_Static_assert(FILTER_PARENT == TC_H_CLSACT && (CLSACT_HANDLE | TC_H_MIN_INGRESS) == 0xfffffff2 &&
		       (CLSACT_HANDLE | TC_H_MIN_EGRESS) == 0xfffffff3,
	       "linux/pkt_sched.h");

/* ---- requests ---- */

static struct nlmsghdr *put_header(unsigned char *buf, uint16_t type, uint16_t flags, const struct tcmsg *tcm)
{
	struct nlmsghdr *nlh;

	memset(buf, 0, FILTER_MSG_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm)), tcm, sizeof(*tcm));
	return nlh;
}

struct nlmsghdr *filter_msg_clsact(unsigned char buf[static FILTER_MSG_MAX], int ifindex, bool add)
{
	const struct tcmsg tcm = { .tcm_ifindex = ifindex, .tcm_handle = CLSACT_HANDLE, .tcm_parent = FILTER_PARENT };
	struct nlmsghdr *nlh = put_header(buf, add ? RTM_NEWQDISC : RTM_DELQDISC,
					  (uint16_t)(add ? NLM_F_CREATE | NLM_F_EXCL : 0), &tcm);

	mnl_attr_put_strz(nlh, TCA_KIND, "clsact");
	return nlh;
}

struct nlmsghdr *filter_msg_qdiscs(unsigned char buf[static FILTER_MSG_MAX])
{
	const struct tcmsg tcm = { .tcm_family = 0 };

	return put_header(buf, RTM_GETQDISC, NLM_F_DUMP, &tcm);
}

struct nlmsghdr *filter_msg_dump(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook)
{
	const struct tcmsg tcm = { .tcm_ifindex = ifindex, .tcm_parent = hook_parents[hook] };

	return put_header(buf, RTM_GETTFILTER, NLM_F_DUMP, &tcm);
}

/* tcm_info: priority and, in network byte order, protocol. */
static struct tcmsg ours(int ifindex, enum filter_hook hook, uint32_t handle)
{
	return (struct tcmsg){
		.tcm_ifindex = ifindex,
		.tcm_parent = hook_parents[hook],
		.tcm_handle = handle,
		.tcm_info = (uint32_t)FILTER_PRIORITY << 16 | htons(ETH_P_ALL),
	};
}

struct nlmsghdr *filter_msg_put(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook,
				uint32_t handle, int fd)
{
	const struct tcmsg tcm = ours(ifindex, hook, handle);
	struct nlmsghdr *nlh = put_header(buf, RTM_NEWTFILTER, NLM_F_CREATE, &tcm);
	struct nlattr *options;

	mnl_attr_put_strz(nlh, TCA_KIND, "bpf");
	options = mnl_attr_nest_start(nlh, TCA_OPTIONS);
	mnl_attr_put_u32(nlh, TCA_BPF_FD, (uint32_t)fd);
	mnl_attr_put_strz(nlh, TCA_BPF_NAME, FILTER_NAME);
	mnl_attr_put_u32(nlh, TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
	mnl_attr_put_u32(nlh, TCA_BPF_FLAGS_GEN, TCA_CLS_FLAGS_SKIP_HW); /* a NIC cannot run it */
	mnl_attr_nest_end(nlh, options);
	return nlh;
}

struct nlmsghdr *filter_msg_del(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook,
				uint32_t handle)
{
	const struct tcmsg tcm = ours(ifindex, hook, handle);
	struct nlmsghdr *nlh = put_header(buf, RTM_DELTFILTER, 0, &tcm);

	mnl_attr_put_strz(nlh, TCA_KIND, "bpf");
	return nlh;
}

struct nlmsghdr *filter_msg_link(unsigned char buf[static FILTER_MSG_MAX], int ifindex)
{
	const struct ifinfomsg ifi = { .ifi_index = ifindex };
	struct nlmsghdr *nlh;

	memset(buf, 0, FILTER_MSG_MAX);
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_GETLINK;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(ifi)), &ifi, sizeof(ifi));
	return nlh;
}

/* ---- what the kernel says ---- */

/* Cut rather than refused: it is for people and for comparing with short names of ours. */
static void take_text(const struct nlattr *a, char ret[static FILTER_TEXT_MAX])
{
	const char *text = attr_text(a);
	size_t n;

	if (!text)
		return;
	n = strnlen(text, FILTER_TEXT_MAX - 1);
	memcpy(ret, text, n);
	ret[n] = '\0';
}

static int take_bpf(const struct nlattr *options, struct filter_msg *m)
{
	const struct nlattr *tb[TCA_BPF_MAX + 1];
	uint32_t flags = 0;

	if (attr_table(attr_walk_nested(options), tb, TCA_BPF_MAX) < 0)
		return -EBADMSG;
	take_text(tb[TCA_BPF_NAME], m->name);
	IGNORE(attr_u32(tb[TCA_BPF_ID], &m->prog_id)); /* absent: a classic program */
	IGNORE(attr_u32(tb[TCA_BPF_FLAGS], &flags));   /* absent: none */
	m->direct = flags & TCA_BPF_FLAG_ACT_DIRECT;
	return 0;
}

int filter_msg_parse(const void *data, size_t len, struct filter_msg *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nlattr *tb[TCA_CHAIN + 1];
	struct filter_msg m = { .ifindex = 0 };
	const struct tcmsg *tcm;

	if (!nlh)
		return -EBADMSG;
	m.qdisc = nlh->nlmsg_type == RTM_NEWQDISC || nlh->nlmsg_type == RTM_DELQDISC;
	m.gone = nlh->nlmsg_type == RTM_DELQDISC || nlh->nlmsg_type == RTM_DELTFILTER;
	if (!m.qdisc && !m.gone && nlh->nlmsg_type != RTM_NEWTFILTER)
		return -EBADMSG;
	tcm = attr_header(nlh, sizeof(*tcm));
	if (!tcm || attr_table(attr_walk_message(nlh, sizeof(*tcm)), tb, TCA_CHAIN) < 0)
		return -EBADMSG;
	m.ifindex = tcm->tcm_ifindex > 0 ? tcm->tcm_ifindex : 0; /* TCM_IFINDEX_MAGIC_BLOCK */
	m.parent = tcm->tcm_parent;
	m.handle = tcm->tcm_handle;
	take_text(tb[TCA_KIND], m.kind);
	if (!m.qdisc) {
		m.priority = (uint16_t)(tcm->tcm_info >> 16);
		m.protocol = ntohs((uint16_t)tcm->tcm_info);
		IGNORE(attr_u32(tb[TCA_CHAIN], &m.chain)); /* absent: chain 0 */
		if (strcmp(m.kind, "bpf") == 0 && take_bpf(tb[TCA_OPTIONS], &m) < 0)
			return -EBADMSG;
	}
	*ret = m;
	return 0;
}

int filter_msg_parse_link(const void *data, size_t len, unsigned int *ret_type)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct ifinfomsg *ifi = nlh && nlh->nlmsg_type == RTM_NEWLINK ? attr_header(nlh, sizeof(*ifi)) : NULL;

	if (!ifi)
		return -EBADMSG;
	*ret_type = ifi->ifi_type;
	return 0;
}

bool filter_msg_is_ours(const struct filter_msg *m)
{
	return !m->qdisc && m->priority == FILTER_PRIORITY && m->chain == 0 && m->direct &&
	       (m->handle == FILTER_HANDLE_A || m->handle == FILTER_HANDLE_B) && strcmp(m->name, FILTER_NAME) == 0;
}
