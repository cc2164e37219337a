/* SPDX-License-Identifier: Apache-2.0 */
/* nat_frame.c: table, sets, chains and rules to and from bytes.  libnftnl builds; what the kernel sends is read
 * by attr_walk, bounded.  Pure: nat_if talks to the kernel. */
#include "netlink/nat_frame.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/object.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_chain.h"
#include "netlink/nat_elem.h"
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

static void free_object(struct nftnl_obj **o)
{
	if (*o)
		nftnl_obj_free(*o);
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

int nat_frame_add_counter(struct batch *b, enum nat_drop why)
{
	AUTO(free_object) struct nftnl_obj *o = nftnl_obj_alloc();
	struct nlmsghdr *nlh;

	if (!o)
		return -ENOMEM;
	nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
	nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, NAT_TABLE);
	nftnl_obj_set_str(o, NFTNL_OBJ_NAME, nat_drop_counters[why]);
	/* Anything of it: without any the kernel misses the counter's attribute. */
	nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_PKTS, 0);
	nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_BYTES, 0);
	nlh = batch_message(b, NFT_MSG_NEWOBJ, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_obj_nlmsg_build_payload(nlh, o);
	batch_commit(b, nlh);
	return 0;
}

/* ---- sets ---- */

struct set {
	const char *name;
	const struct nat_set_shape *shape;
	struct nat_udata notes;
	uint32_t flags, size;
	bool counts;
};

static int put_set(struct batch *b, uint16_t type, uint16_t flags, const struct set *set)
{
	AUTO(free_set) struct nftnl_set *s = nftnl_set_alloc();
	struct nftnl_expr *counter;
	struct nlmsghdr *nlh;

	if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, NAT_TABLE) < 0 ||
	    nftnl_set_set_str(s, NFTNL_SET_NAME, set->name) < 0)
		return -ENOMEM;
	if (set->shape) {
		if (nftnl_set_set_data(s, NFTNL_SET_USERDATA, set->notes.data, (uint32_t)set->notes.len) < 0)
			return -ENOMEM;
		nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, set->shape->key_type);
		nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, set->shape->key_len);
		nftnl_set_set_u32(s, NFTNL_SET_FLAGS, set->flags);
		/* Needed by the kernel, though we refer to sets by name: any number that the transaction has once. */
		nftnl_set_set_u32(s, NFTNL_SET_ID, b->seq);
	}
	if (set->shape && nat_set_is_map(set->shape)) {
		nftnl_set_set_u32(s, NFTNL_SET_DATA_TYPE, set->shape->data_type);
		nftnl_set_set_u32(s, NFTNL_SET_DATA_LEN, set->shape->data_len);
	}
	if (set->size)
		nftnl_set_set_u32(s, NFTNL_SET_DESC_SIZE, set->size);
	if (set->counts) {
		counter = nftnl_expr_alloc("counter");
		if (!counter)
			return -ENOMEM;
		nftnl_set_add_expr(s, counter);
	}
	nlh = batch_message(b, type, flags, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_set_nlmsg_build_payload(nlh, s);
	batch_commit(b, nlh);
	return 0;
}

int nat_frame_add_set(struct batch *b, const struct nat_set_shape *shape)
{
	const struct set set = {
		.name = shape->name, .shape = shape, .notes = nat_udata_set(shape), .flags = nat_set_flags(shape),
		.counts = nat_set_counts(shape), .size = shape->kind == NAT_SET_KIND_CLIENTS ? NAT_CLIENTS_MAX : 0,
	};

	return put_set(b, NFT_MSG_NEWSET, NLM_F_CREATE, &set);
}

int nat_frame_del_set(struct batch *b, const char *name)
{
	const struct set set = { .name = name };

	return put_set(b, NFT_MSG_DELSET, 0, &set);
}

/* Those who have connections through a firewall. */
static int add_connections(struct batch *b, const char *name, enum ip_family family)
{
	/* Addresses of the family, like those of any set of addresses. */
	const struct nat_set_shape *shape = nat_set_of(NAT_SET_KIND_VIPS, family);
	const struct set set = {
		.name = name, .shape = shape, .notes = nat_udata_set(shape), .flags = NFT_SET_EVAL,
		.size = NAT_CONNECTIONS_MAX,
	};

	return put_set(b, NFT_MSG_NEWSET, NLM_F_CREATE, &set);
}

/* ---- chains ---- */

/* shape NULL: not hooked. */
static int put_chain(struct batch *b, uint16_t type, uint16_t flags, const char *name, const struct nat_chain_shape *shape)
{
	AUTO(free_chain) struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, NAT_TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name) < 0)
		return -ENOMEM;
	if (shape && nat_chain_type(shape)) {
		if (nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, nat_chain_type(shape)) < 0)
			return -ENOMEM;
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, shape->hook);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, shape->priority);
	}
	nlh = batch_message(b, type, flags, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_chain_nlmsg_build_payload(nlh, c);
	batch_commit(b, nlh);
	return 0;
}

int nat_frame_add_chain(struct batch *b, const struct nat_chain_shape *chain)
{
	return put_chain(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain->name, chain);
}

int nat_frame_del_chain(struct batch *b, const char *chain)
{
	return put_chain(b, NFT_MSG_DELCHAIN, 0, chain, NULL);
}

/* ---- rules ---- */

/* An error takes back what was written. */
static int written(struct batch *b, const struct batch *before, int r)
{
	if (r < 0)
		batch_rewind(b, before);
	return r;
}

int nat_frame_add_rules(struct batch *b, const struct nat_chain_shape *chain, const struct nat_options *options)
{
	const struct batch before = *b;
	char comment[NAT_COMMENT_MAX];
	struct nat_writer w = { .b = b, .chain = chain->name, .comment = nat_chain_comment(chain, options, comment) };

	nat_chain_write(&w, chain, options);
	return written(b, &before, w.error);
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

/* ---- chains that come and go ---- */

int nat_frame_add_own_rules(struct batch *b, const char *chain)
{
	const struct batch before = *b;
	struct nat_writer w = { .b = b, .chain = chain, .comment = NAT_LAYOUT };
	struct frontend f = { .vip.family = (uint8_t)nat_sticky_family(chain) };

	if (nat_return_parse(chain, &f))
		nat_write_return(&w, &f);
	else if (nat_balance_parse(chain, &f) && nat_balance_is_own(&f))
		nat_write_balance(&w, &f);
	else
		return -ENOENT;
	return written(b, &before, w.error);
}

static int add_own(struct batch *b, const char *name)
{
	int r = put_chain(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, name, NULL);

	return r == 0 ? nat_frame_add_own_rules(b, name) : r;
}

int nat_frame_add_balance(struct batch *b, const struct frontend *f)
{
	const struct batch before = *b;
	char name[NAT_NAME_MAX];
	int r = add_own(b, nat_balance_name(f, name));

	if (r == 0 && f->sticky_s > 0)
		r = add_own(b, nat_return_name(f, name));
	return written(b, &before, r);
}

/* Whether it is there or not: afterwards it is not. */
static int remove_chain(struct batch *b, const char *name)
{
	int r = put_chain(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, name, NULL);

	if (r == 0)
		r = nat_frame_del_rules(b, name, 0);
	return r == 0 ? nat_frame_del_chain(b, name) : r;
}

static int put_connections(struct batch *b, const char *firewall, bool wanted)
{
	static const enum ip_family families[] = { IP_V4, IP_V6 };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++) {
		char name[NAT_NAME_MAX];

		nat_firewall_set(firewall, families[i], name);
		r = add_connections(b, name, families[i]);
		if (r == 0 && !wanted)
			r = nat_frame_del_set(b, name);
	}
	return r;
}

static int put_sources(struct batch *b, struct nat_writer *w, const struct nat_firewall *fw)
{
	char name[NAT_NAME_MAX];
	int r = put_chain(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, nat_sources_chain(fw->name, name), NULL);

	if (r == 0)
		r = nat_frame_del_rules(b, name, 0);
	w->chain = name;
	if (r == 0)
		nat_write_sources(w, fw);
	return r == 0 ? w->error : r;
}

int nat_frame_add_firewall(struct batch *b, const struct nat_firewall *fw, bool exists)
{
	char chain[NAT_NAME_MAX], sources[NAT_NAME_MAX], comment[NAT_COMMENT_MAX], digest[NAT_DIGEST_MAX];
	struct nat_writer w = { .b = b, .comment = comment };
	const struct batch before = *b;
	int r;

	snprintf(comment, sizeof(comment), NAT_LAYOUT " %s " NAT_RULES_WORD "%u", nat_digest_text(fw->digest, digest),
		 nat_firewall_rules(fw));
	nat_firewall_chain(fw->name, chain);
	r = put_chain(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain, NULL);
	if (r == 0 && exists)
		r = nat_frame_del_rules(b, chain, 0);
	/* What it does not need goes, in case that it needed it before. */
	if (r == 0 && (fw->client_connections || exists))
		r = put_connections(b, fw->name, fw->client_connections > 0);
	if (r == 0 && fw->restricted)
		r = put_sources(b, &w, fw);
	else if (r == 0 && exists)
		r = remove_chain(b, nat_sources_chain(fw->name, sources));
	w.chain = chain;
	if (r == 0)
		nat_write_firewall(&w, fw);
	return written(b, &before, r == 0 ? w.error : r);
}

static int del_firewall(struct batch *b, const char *firewall)
{
	char sources[NAT_NAME_MAX];
	int r = remove_chain(b, nat_sources_chain(firewall, sources));

	return r == 0 ? put_connections(b, firewall, false) : r;
}

int nat_frame_del_own(struct batch *b, const char *chain)
{
	const struct batch before = *b;
	struct frontend f = { .vip.family = (uint8_t)nat_sticky_family(chain) };
	char name[NAT_NAME_MAX];
	int r = nat_frame_del_rules(b, chain, 0);

	if (r == 0)
		r = nat_frame_del_chain(b, chain);
	if (r == 0 && text_starts(chain, NAT_FIREWALL_PREFIX))
		r = del_firewall(b, chain + strlen(NAT_FIREWALL_PREFIX));
	else if (r == 0 && nat_balance_parse(chain, &f) && f.sticky_s > 0)
		r = remove_chain(b, nat_return_name(&f, name));
	return written(b, &before, r);
}

/* ---- reading ---- */

struct nlmsghdr *nat_frame_read(unsigned char buf[static NAT_READ_MAX], enum nat_read_what what,
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
		[NAT_READ_COUNTERS] = { NFT_MSG_GETOBJ, NLM_F_DUMP, NFTA_OBJ_TABLE },
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
	const struct nlattr *tb[NFTA_SET_EXPR + 1];
	struct nat_seen_set s = { 0 };
	int r = open_message(data, len, NFT_MSG_NEWSET, tb, NFTA_SET_EXPR);

	if (r < 0)
		return r;
	s.name = attr_text(tb[NFTA_SET_NAME]);
	if (!s.name || !attr_u32_be(tb[NFTA_SET_KEY_LEN], &s.key_len))
		return -EBADMSG;
	/* Absent stays 0. */
	IGNORE(attr_u32_be(tb[NFTA_SET_KEY_TYPE], &s.key_type));
	IGNORE(attr_u32_be(tb[NFTA_SET_DATA_TYPE], &s.data_type));
	IGNORE(attr_u32_be(tb[NFTA_SET_DATA_LEN], &s.data_len));
	IGNORE(attr_u32_be(tb[NFTA_SET_FLAGS], &s.flags));
	s.counts = tb[NFTA_SET_EXPR] != NULL;
	*ret = s;
	return 0;
}

int nat_frame_parse_chain(const void *data, size_t len, struct nat_seen_chain *ret)
{
	const struct nlattr *tb[NFTA_CHAIN_TYPE + 1];
	int r = open_message(data, len, NFT_MSG_NEWCHAIN, tb, NFTA_CHAIN_TYPE);
	const char *type;

	if (r < 0)
		return r;
	if (!attr_text(tb[NFTA_CHAIN_NAME]))
		return -EBADMSG;
	type = attr_text(tb[NFTA_CHAIN_TYPE]);
	*ret = (struct nat_seen_chain){ .name = attr_text(tb[NFTA_CHAIN_NAME]), .base = tb[NFTA_CHAIN_HOOK],
					.nat = type && text_eq(type, "nat") };
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
