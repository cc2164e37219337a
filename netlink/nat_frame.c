/* SPDX-License-Identifier: Apache-2.0 */
/* nat_frame.c: table, sets, chains and rules to and from bytes.  libnftnl builds; what the kernel sends is read
 * by attr_walk, bounded.  Pure: nat_if talks to the kernel. */
#include "netlink/nat_frame.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_rule.h"
#include "netlink/nat_udata.h"

/* libnftnl builds without a bound; the largest of our messages has under 800 bytes (test_nat_frame.c). */
#define FRAME_ROOM 2048

/* ---- building ---- */

static void free_table(struct nftnl_table **t)
{
	if (*t)
		nftnl_table_free(*t);
}

static void free_set(struct nftnl_set **s)
{
	if (*s)
		nftnl_set_free(*s);
}

static void free_chain(struct nftnl_chain **c)
{
	if (*c)
		nftnl_chain_free(*c);
}

static void free_rule(struct nftnl_rule **r)
{
	if (*r)
		nftnl_rule_free(*r);
}

static int put_table(struct batch *b, uint16_t type, uint16_t flags)
{
	AUTO(free_table) struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *nlh;

	if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, NAT_TABLE) < 0)
		return -ENOMEM;
	nlh = batch_message(b, type, flags, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_table_nlmsg_build_payload(nlh, t);
	batch_commit(b, nlh);
	return 0;
}

int nat_frame_add_table(struct batch *b)
{
	return put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}

int nat_frame_del_table(struct batch *b)
{
	return put_table(b, NFT_MSG_DELTABLE, 0);
}

int nat_frame_add_set(struct batch *b, const struct nat_set_shape *set)
{
	AUTO(free_set) struct nftnl_set *s = nftnl_set_alloc();
	struct nat_udata u = nat_udata_set(set);
	struct nlmsghdr *nlh;

	if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, NAT_TABLE) < 0 ||
	    nftnl_set_set_str(s, NFTNL_SET_NAME, set->name) < 0 ||
	    nftnl_set_set_data(s, NFTNL_SET_USERDATA, u.data, (uint32_t)u.len) < 0)
		return -ENOMEM;
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, set->key_type);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, set->key_len);
	/* Needed by the kernel, though we refer to sets by name: any number that the transaction has once. */
	nftnl_set_set_u32(s, NFTNL_SET_ID, b->seq);
	if (set->kind == NAT_SET_KIND_FORMER)
		nftnl_set_set_u32(s, NFTNL_SET_FLAGS, NFT_SET_TIMEOUT);
	if (nat_set_is_map(set)) {
		nftnl_set_set_u32(s, NFTNL_SET_FLAGS, NFT_SET_MAP);
		nftnl_set_set_u32(s, NFTNL_SET_DATA_TYPE, set->data_type);
		nftnl_set_set_u32(s, NFTNL_SET_DATA_LEN, set->data_len);
	}
	nlh = batch_message(b, NFT_MSG_NEWSET, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_set_nlmsg_build_payload(nlh, s);
	batch_commit(b, nlh);
	return 0;
}

int nat_frame_add_chain(struct batch *b, const struct nat_chain_shape *chain)
{
	AUTO(free_chain) struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, NAT_TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain->name) < 0)
		return -ENOMEM;
	if (nat_chain_type(chain)) {
		if (nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, nat_chain_type(chain)) < 0)
			return -ENOMEM;
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chain->hook);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, chain->priority);
	}
	nlh = batch_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_chain_nlmsg_build_payload(nlh, c);
	batch_commit(b, nlh);
	return 0;
}

static int put_rule(struct batch *b, const struct nat_chain_shape *chain, unsigned int i)
{
	AUTO(free_rule) struct nftnl_rule *rule = nat_rule_new(chain, i);
	struct nlmsghdr *nlh;

	if (!rule)
		return -ENOMEM;
	nlh = batch_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	batch_commit(b, nlh);
	return 0;
}

int nat_frame_add_rules(struct batch *b, const struct nat_chain_shape *chain)
{
	struct batch before = *b;

	for (unsigned int i = 0; i < nat_chain_rules(chain); i++) {
		int r = put_rule(b, chain, i);

		if (r < 0) {
			batch_rewind(b, &before);
			return r;
		}
	}
	return 0;
}

int nat_frame_del_rules(struct batch *b, const char *chain, uint64_t handle)
{
	AUTO(free_rule) struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nlmsghdr *nlh;

	if (!rule || nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, NAT_TABLE) < 0 ||
	    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain) < 0)
		return -ENOMEM;
	if (handle)
		nftnl_rule_set_u64(rule, NFTNL_RULE_HANDLE, handle);
	nlh = batch_message(b, NFT_MSG_DELRULE, 0, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	batch_commit(b, nlh);
	return 0;
}

/* ---- reading ---- */

struct nlmsghdr *nat_frame_read(unsigned char buf[static NAT_READ_MAX], enum nat_read what,
				const struct nat_set_shape *set)
{
	static const struct {
		uint16_t type, flags;
		uint16_t table; /* attribute that names the table; 0 = the kernel takes none */
	} requests[] = {
		[NAT_READ_TABLE] = { NFT_MSG_GETTABLE, 0, NFTA_TABLE_NAME },
		[NAT_READ_SETS] = { NFT_MSG_GETSET, NLM_F_DUMP, NFTA_SET_TABLE },
		[NAT_READ_CHAINS] = { NFT_MSG_GETCHAIN, NLM_F_DUMP, 0 },
		[NAT_READ_RULES] = { NFT_MSG_GETRULE, NLM_F_DUMP, NFTA_RULE_TABLE },
		[NAT_READ_ELEMENTS] = { NFT_MSG_GETSETELEM, NLM_F_DUMP, NFTA_SET_ELEM_LIST_TABLE },
	};
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, NAT_READ_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | requests[what].type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | requests[what].flags);
	nfg->nfgen_family = NFPROTO_INET;
	nfg->version = NFNETLINK_V0;
	if (requests[what].table)
		mnl_attr_put_strz(nlh, requests[what].table, NAT_TABLE);
	if (set)
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
	return nlh;
}

/* The attributes of a message of that type.  Dumps of some kinds have other families' tables too. */
static int open_message(const void *data, size_t len, uint8_t type, const struct nlattr **tb, uint16_t max)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;

	if (!nfg || nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | type))
		return -EBADMSG;
	if (attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, max) < 0 || !attr_text(tb[1]))
		return -EBADMSG;
	/* Attribute 1 is the table's name in sets, chains and rules alike. */
	_Static_assert(NFTA_SET_TABLE == 1 && NFTA_CHAIN_TABLE == 1 && NFTA_RULE_TABLE == 1, "first attribute");
	return nfg->nfgen_family == NFPROTO_INET && text_eq(attr_text(tb[1]), NAT_TABLE) ? 0 : -ENOENT;
}

int nat_frame_parse_set(const void *data, size_t len, struct nat_seen_set *ret)
{
	const struct nlattr *tb[NFTA_SET_DATA_LEN + 1];
	struct nat_seen_set s = { 0 };
	int r = open_message(data, len, NFT_MSG_NEWSET, tb, NFTA_SET_DATA_LEN);

	if (r < 0)
		return r;
	s.name = attr_text(tb[NFTA_SET_NAME]);
	if (!s.name || !attr_u32_be(tb[NFTA_SET_KEY_LEN], &s.key_len))
		return -EBADMSG;
	/* Absent stays 0. */
	IGNORE(attr_u32_be(tb[NFTA_SET_KEY_TYPE], &s.key_type));
	IGNORE(attr_u32_be(tb[NFTA_SET_DATA_TYPE], &s.data_type));
	IGNORE(attr_u32_be(tb[NFTA_SET_DATA_LEN], &s.data_len));
	*ret = s;
	return 0;
}

int nat_frame_parse_chain(const void *data, size_t len, struct nat_seen_chain *ret)
{
	const struct nlattr *tb[NFTA_CHAIN_HOOK + 1];
	int r = open_message(data, len, NFT_MSG_NEWCHAIN, tb, NFTA_CHAIN_HOOK);

	if (r < 0)
		return r;
	if (!attr_text(tb[NFTA_CHAIN_NAME]))
		return -EBADMSG;
	*ret = (struct nat_seen_chain){ .name = attr_text(tb[NFTA_CHAIN_NAME]), .base = tb[NFTA_CHAIN_HOOK] };
	return 0;
}

int nat_frame_parse_rule(const void *data, size_t len, struct nat_seen_rule *ret)
{
	const struct nlattr *tb[NFTA_RULE_USERDATA + 1], *udata;
	struct nat_seen_rule s = { .comment = NULL };
	int r = open_message(data, len, NFT_MSG_NEWRULE, tb, NFTA_RULE_USERDATA);

	if (r < 0)
		return r;
	s.chain = attr_text(tb[NFTA_RULE_CHAIN]);
	if (!s.chain || !attr_u64_be(tb[NFTA_RULE_HANDLE], &s.handle))
		return -EBADMSG;
	udata = tb[NFTA_RULE_USERDATA];
	if (udata)
		s.comment = nat_udata_find_comment(attr_data(udata), attr_len(udata));
	if (!s.comment)
		s.comment = "";
	*ret = s;
	return 0;
}
