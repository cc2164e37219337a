/* SPDX-License-Identifier: Apache-2.0 */
/* nat_event.c: reads of a notification just whose it is; what has become of it, nat_if_read() tells. */
#include "netlink/nat_event.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_layout.h"

/* NFT_MSG_DESTROY*, since Linux 6.3; older headers lack them. */
enum destroy {
	DESTROY_TABLE = 26,
	DESTROY_CHAIN,
	DESTROY_RULE,
	DESTROY_SET,
	DESTROY_SETELEM,
	DESTROY_OBJ,
};

#define NAME_ATTR_MAX 3

static bool is_our_chain(const char *name)
{
	struct frontend f = { .n_slots = 0 };

	return nat_chain_named(name) || text_starts(name, NAT_FIREWALL_PREFIX) || text_starts(name, NAT_SOURCES_PREFIX) ||
	       nat_return_parse(name, &f) || (nat_balance_parse(name, &f) && nat_balance_is_own(&f));
}

static bool is_our_set(const char *name)
{
	return nat_set_named(name) || text_starts(name, "connections4-") || text_starts(name, "connections6-");
}

static bool is_kept_element(const char *set)
{
	const struct nat_set_shape *shape = nat_set_named(set);

	return shape && shape->kind != NAT_SET_KIND_FORMER && shape->kind != NAT_SET_KIND_CLIENTS;
}

static bool is_our_counter(const char *name)
{
	for (size_t i = 0; i < NAT_DROP_N; i++)
		if (text_eq(name, nat_drop_counters[i]))
			return true;
	return false;
}

bool nat_event_is_ours(const void *data, size_t len)
{
	const struct nlattr *tb[NAME_ATTR_MAX + 1];
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;
	const char *name;

	/* The table's name is attribute 1 in all of them (of NEWGEN it is a number), the name of a chain or set the second or,
	 * of chains themselves, the third. */
	if (!nfg || nlh->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || nfg->nfgen_family != NFPROTO_INET ||
	    attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, NAME_ATTR_MAX) < 0 || !attr_text(tb[1]) ||
	    !text_eq(attr_text(tb[1]), NAT_TABLE))
		return false;
	name = attr_text(tb[2]);
	switch (nlh->nlmsg_type & 0xff) {
	case NFT_MSG_NEWTABLE:
	case NFT_MSG_DELTABLE:
	case DESTROY_TABLE:
		return true;
	case NFT_MSG_NEWCHAIN:
	case NFT_MSG_DELCHAIN:
	case DESTROY_CHAIN:
		name = attr_text(tb[NFTA_CHAIN_NAME]);
		return name && is_our_chain(name);
	case NFT_MSG_NEWRULE:
	case NFT_MSG_DELRULE:
	case DESTROY_RULE:
		return name && is_our_chain(name) && !text_eq(name, NAT_USER_CHAIN);
	case NFT_MSG_NEWSET:
	case NFT_MSG_DELSET:
	case DESTROY_SET:
		return name && is_our_set(name);
	case NFT_MSG_NEWSETELEM:
	case NFT_MSG_DELSETELEM:
	case DESTROY_SETELEM:
		return name && is_kept_element(name);
	case NFT_MSG_NEWOBJ:
	case NFT_MSG_DELOBJ:
	case DESTROY_OBJ:
		return name && is_our_counter(name);
	default: /* generations, flowtables */
		return false;
	}
}
