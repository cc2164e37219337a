/* SPDX-License-Identifier: Apache-2.0 */
/* nat_frame.c: table, sets, chains and rules to and from bytes.  Pure: nat_if talks to the kernel. */
#include "netlink/nat_frame.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_chain.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_udata.h"
#include "netlink/nft_frame.h"

/* The largest of our messages but for rules (nat_rule.c) has under 800 bytes (test_nat_frame.c). */
#define FRAME_ROOM 2048

/* ---- building ---- */

static const struct nft_table table = { NAT_TABLE, NFPROTO_INET, FRAME_ROOM };

int nat_frame_add_table(struct batch *b)
{
	return nft_frame_add_table(b, &table);
}

int nat_frame_del_table(struct batch *b)
{
	return nft_frame_del_table(b, &table);
}

int nat_frame_add_counter(struct batch *b, enum nat_drop why)
{
	struct nlmsghdr *nlh = nft_frame_message(b, &table, NFT_MSG_NEWOBJ, NLM_F_CREATE, FRAME_ROOM);
	struct nlattr *data;

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_OBJ_TABLE, NAT_TABLE);
	mnl_attr_put_strz(nlh, NFTA_OBJ_NAME, nat_drop_counters[why]);
	mnl_attr_put_u32(nlh, NFTA_OBJ_TYPE, htobe32(NFT_OBJECT_COUNTER));
	data = mnl_attr_nest_start(nlh, NFTA_OBJ_DATA);
	mnl_attr_put_u64(nlh, NFTA_COUNTER_BYTES, 0);
	mnl_attr_put_u64(nlh, NFTA_COUNTER_PACKETS, 0);
	mnl_attr_nest_end(nlh, data);
	batch_commit(b, nlh);
	return 0;
}

/* ---- sets ---- */

struct set {
	const char *name;
	const struct nat_set_shape *shape;
	uint32_t flags, size;
	bool counts;
};

static int put_set(struct batch *b, const struct set *set)
{
	const struct nft_set key = { set->name, set->shape->key_type, set->shape->key_len };
	const struct nat_udata note = nat_udata_set(set->shape);
	AUTO(nft_frame_free_setp) struct nftnl_set *s = nft_frame_new_set(b, &table, &key, &note);
	struct nftnl_expr *counter;

	if (!s)
		return -ENOMEM;
	nftnl_set_set_u32(s, NFTNL_SET_FLAGS, set->flags);
	if (nat_set_is_map(set->shape)) {
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
	return nft_frame_add_set(b, &table, s);
}

int nat_frame_add_set(struct batch *b, const struct nat_set_shape *shape)
{
	const struct set set = {
		.name = shape->name, .shape = shape, .flags = nat_set_flags(shape), .counts = nat_set_counts(shape),
		.size = shape->kind == NAT_SET_KIND_CLIENTS ? NAT_CLIENTS_MAX : 0,
	};

	return put_set(b, &set);
}

int nat_frame_del_set(struct batch *b, const char *name)
{
	return nft_frame_del_set(b, &table, name);
}

/* Those who have connections through a firewall. */
static int add_connections(struct batch *b, const char *name, enum ip_family family)
{
	/* Addresses of the family, like those of any set of addresses. */
	const struct nat_set_shape *shape = nat_set_of(NAT_SET_KIND_VIPS, family);
	const struct set set = {
		.name = name, .shape = shape, .flags = NFT_SET_EVAL, .size = NAT_CONNECTIONS_MAX,
	};

	return put_set(b, &set);
}

/* ---- chains ---- */

int nat_frame_add_chain(struct batch *b, const struct nat_chain_shape *chain)
{
	const struct nft_hook hook = { nat_chain_type(chain), chain->hook, chain->priority };

	return nft_frame_add_chain(b, &table, chain->name, hook.type ? &hook : NULL);
}

/* A chain that is only jumped to. */
static int add_chain(struct batch *b, const char *name)
{
	return nft_frame_add_chain(b, &table, name, NULL);
}

int nat_frame_del_chain(struct batch *b, const char *chain)
{
	return nft_frame_del_chain(b, &table, chain);
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
	return written(b, &before, w.rule.error);
}

int nat_frame_del_rules(struct batch *b, const char *chain, uint64_t handle)
{
	struct nlmsghdr *nlh = nft_frame_message(b, &table, NFT_MSG_DELRULE, 0, FRAME_ROOM);

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, NAT_TABLE);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	if (handle)
		mnl_attr_put_u64(nlh, NFTA_RULE_HANDLE, htobe64(handle));
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
	return written(b, &before, w.rule.error);
}

static int add_own(struct batch *b, const char *name)
{
	int r = add_chain(b, name);

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
	int r = add_chain(b, name);

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
	int r = add_chain(b, nat_sources_chain(fw->name, name));

	if (r == 0)
		r = nat_frame_del_rules(b, name, 0);
	w->chain = name;
	if (r == 0)
		nat_write_sources(w, fw);
	return r == 0 ? w->rule.error : r;
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
	r = add_chain(b, chain);
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
	return written(b, &before, r == 0 ? w.rule.error : r);
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
	struct nlmsghdr *nlh = nft_frame_request(buf, NAT_READ_MAX, &table, requests[what].type, requests[what].flags);

	if (requests[what].table)
		mnl_attr_put_strz(nlh, requests[what].table, NAT_TABLE);
	if (set)
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
	return nlh;
}

int nat_frame_parse_set(const void *data, size_t len, struct nat_seen_set *ret)
{
	const struct nlattr *tb[NFTA_SET_EXPR + 1];
	struct nat_seen_set s = { 0 };
	int r = nft_frame_open(attr_message(data, len), &table, NFT_MSG_NEWSET, tb, NFTA_SET_EXPR);

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
	int r = nft_frame_open(attr_message(data, len), &table, NFT_MSG_NEWCHAIN, tb, NFTA_CHAIN_TYPE);
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
	int r = nft_frame_open(attr_message(data, len), &table, NFT_MSG_NEWRULE, tb, NFTA_RULE_USERDATA);

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
