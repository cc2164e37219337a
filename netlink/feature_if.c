/* SPDX-License-Identifier: Apache-2.0 */
/* feature_if.c: two small transactions that are never committed. */
#include "netlink/feature_if.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_arp.h>

#include "netlink/batch.h"

#define TABLE "leasehold-doctor"
#define ROOM 512 /* bytes of a message's attributes */

struct trial {
	uint8_t family;
	const char *type;
	uint32_t hook;
	int32_t priority;
};

static void free_table(struct nftnl_table **t)
{
	if (*t)
		nftnl_table_free(*t);
}

static void free_chain(struct nftnl_chain **c)
{
	if (*c)
		nftnl_chain_free(*c);
}

static struct nlmsghdr *message(struct batch *b, uint16_t type, uint8_t family)
{
	struct nlmsghdr *nlh = batch_message(b, type, NLM_F_CREATE, ROOM);

	if (nlh)
		((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = family;
	return nlh;
}

static int put(struct batch *b, const struct trial *trial)
{
	AUTO(free_table) struct nftnl_table *t = nftnl_table_alloc();
	AUTO(free_chain) struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (!t || !c || nftnl_table_set_str(t, NFTNL_TABLE_NAME, TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, TABLE) < 0 || nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, "trial") < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, trial->type) < 0)
		return -ENOMEM;
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, trial->hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, trial->priority);
	nlh = message(b, NFT_MSG_NEWTABLE, trial->family);
	if (!nlh)
		return -ENOSPC;
	nftnl_table_nlmsg_build_payload(nlh, t);
	batch_commit(b, nlh);
	nlh = message(b, NFT_MSG_NEWCHAIN, trial->family);
	if (!nlh)
		return -ENOSPC;
	nftnl_chain_nlmsg_build_payload(nlh, c);
	batch_commit(b, nlh);
	return 0;
}

static int try(struct nlsock *s, const struct trial *trial, struct err_info *err)
{
	unsigned char buf[4096] __attribute__((aligned(16)));
	struct batch b;
	int r;

	batch_init(&b, buf, sizeof(buf));
	r = put(&b, trial);
	if (r < 0)
		return err_errno(err, r, "nf_tables");
	b.last->nlmsg_flags |= NLM_F_ACK; /* and no batch_end(): the kernel takes all back */
	r = nlsock_batch_once(s, &b, NULL, err);
	/* nfnetlink's answer when no subsystem of that number is there. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(err, -EOPNOTSUPP, "this kernel has no nf_tables (CONFIG_NF_TABLES), or it is not loaded");
	return r < 0 ? err_wrap(err, r, "nf_tables") : 0;
}

int feature_if_nat(struct nlsock *s, struct err_info *err)
{
	static const struct trial nat = { NFPROTO_INET, "nat", NF_INET_PRE_ROUTING, -110 };

	return try(s, &nat, err);
}

int feature_if_arp(struct nlsock *s, struct err_info *err)
{
	static const struct trial arp = { NFPROTO_ARP, "filter", NF_ARP_IN, 0 };

	return try(s, &arp, err);
}
