/* SPDX-License-Identifier: Apache-2.0 */
/* arp_guard_frame.c: the ARP guard's table to and from bytes, in the forms that nft 1.0.6 itself would write, so that it
 * can print them.  libnftnl builds; what the kernel sends is read by attr_walk, bounded.  Pure: arp_guard_if talks to
 * the kernel. */
#include "netlink/arp_guard_frame.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/if_arp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_arp.h>
#include <stdbool.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_udata.h"

/* libnftnl builds without a bound; the largest of our messages has under 512 bytes (test_arp_guard_frame.c). */
#define FRAME_ROOM 1024
#define FRAMES 16 /* messages that are no elements; there are fewer */
/* An element message but for its elements, and an element of the set with the longer key. */
#define LIST_ROOM 64
#define ELEMENT_ROOM 24
/* An attribute's length has 16 bits, and the list of elements is one attribute. */
#define LIST_ELEMENTS ((size_t)(UINT16_MAX / ELEMENT_ROOM - 1))

/* ARP for IPv4 over Ethernet (RFC 826), from the start of its header. */
#define AT_OPERATION 6
#define AT_SPA 14
#define AT_TPA 24

/* ---- shapes ---- */

/* nft's numbers for data types, 6 bits each in a concatenation, and for its notes on a set (nat_udata.c has them, too). */
#define TYPE_IPV4 7u
#define TYPE_IFINDEX 20u
struct note {
	uint8_t type, len;
	uint32_t value;
} __attribute__((packed));

struct homes_note {
	struct note key_byte_order; /* none */
	uint8_t typeof_type, typeof_len;
	struct note kind; /* a concatenation */
	uint8_t members_type, members_len;
} __attribute__((packed));

static const struct note vips_note = { 0, sizeof(uint32_t), 2 }; /* big endian */
static const struct homes_note homes_note = { { 0, sizeof(uint32_t), 0 }, 3, 8, { 0, sizeof(uint32_t), 13 }, 1, 0 };

struct shape {
	const char *name;
	uint32_t key_type, key_len;
	const void *note;
	uint32_t note_len;
};

enum guard_set {
	SET_VIPS,
	SET_HOMES,
};

static const struct shape shapes[] = {
	[SET_VIPS] = { "vips", TYPE_IPV4, 4, &vips_note, sizeof(vips_note) },
	[SET_HOMES] = { "homes", TYPE_IPV4 << 6 | TYPE_IFINDEX, 8, &homes_note, sizeof(homes_note) },
};

static const struct {
	const char *name;
	uint32_t hook;
	uint32_t address; /* where the VIP stands in the packet */
	uint32_t interface;
} chains[ARP_GUARD_CHAIN_N] = {
	[ARP_GUARD_INPUT] = { "input", NF_ARP_IN, AT_TPA, NFT_META_IIF },
	[ARP_GUARD_OUTPUT] = { "output", NF_ARP_OUT, AT_SPA, NFT_META_OIF },
};

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

static struct nlmsghdr *message(struct batch *b, uint16_t type, uint16_t flags, size_t need)
{
	struct nlmsghdr *nlh = batch_message(b, type, flags, need);

	if (nlh)
		((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = NFPROTO_ARP;
	return nlh;
}

static int put_table(struct batch *b, uint16_t type, uint16_t flags)
{
	AUTO(free_table) struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *nlh;

	if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, ARP_GUARD_TABLE) < 0)
		return -ENOMEM;
	nlh = message(b, type, flags, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_table_nlmsg_build_payload(nlh, t);
	batch_commit(b, nlh);
	return 0;
}

static int put_set(struct batch *b, const struct shape *shape)
{
	AUTO(free_set) struct nftnl_set *s = nftnl_set_alloc();
	struct nlmsghdr *nlh;

	if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, ARP_GUARD_TABLE) < 0 ||
	    nftnl_set_set_str(s, NFTNL_SET_NAME, shape->name) < 0 ||
	    nftnl_set_set_data(s, NFTNL_SET_USERDATA, shape->note, shape->note_len) < 0)
		return -ENOMEM;
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, shape->key_type);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, shape->key_len);
	/* Needed by the kernel, though we refer to sets by name: any number that the transaction has once. */
	nftnl_set_set_u32(s, NFTNL_SET_ID, b->seq);
	nlh = message(b, NFT_MSG_NEWSET, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_set_nlmsg_build_payload(nlh, s);
	batch_commit(b, nlh);
	return 0;
}

static int put_chain(struct batch *b, enum arp_guard_chain i)
{
	AUTO(free_chain) struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, ARP_GUARD_TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chains[i].name) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter") < 0)
		return -ENOMEM;
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chains[i].hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, 0);
	nlh = message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_chain_nlmsg_build_payload(nlh, c);
	batch_commit(b, nlh);
	return 0;
}

struct value {
	uint16_t attr;
	uint32_t v;
};

/* Appends an expression with these numbers; NULL when memory lacks. */
static struct nftnl_expr *append(struct nftnl_rule *rule, const char *name, const struct value *values, size_t n)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	if (!e)
		return NULL;
	for (size_t i = 0; i < n; i++)
		nftnl_expr_set_u32(e, values[i].attr, values[i].v);
	nftnl_rule_add_expr(rule, e);
	return e;
}

#define APPEND(rule, name, ...)                                                    \
	append((rule), (name), (const struct value[]){ __VA_ARGS__ },              \
	       sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value))

static bool put_load(struct nftnl_rule *rule, uint32_t offset, uint32_t len)
{
	return APPEND(rule, "payload", { NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER },
		      { NFTNL_EXPR_PAYLOAD_OFFSET, offset }, { NFTNL_EXPR_PAYLOAD_LEN, len },
		      { NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1 });
}

static bool put_lookup(struct nftnl_rule *rule, enum guard_set set, uint32_t flags)
{
	struct nftnl_expr *e = APPEND(rule, "lookup", { NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1 },
				      { NFTNL_EXPR_LOOKUP_FLAGS, flags });

	return e && nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, shapes[set].name) == 0;
}

/* Only requests are answered; whatever else names a VIP as target is none of the guard's business. */
static bool put_request_match(struct nftnl_rule *rule)
{
	const uint16_t request = htobe16(ARPOP_REQUEST);
	struct nftnl_expr *e;

	if (!put_load(rule, AT_OPERATION, sizeof(request)))
		return false;
	e = APPEND(rule, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, NFT_CMP_EQ });
	return e && nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, &request, sizeof(request)) == 0;
}

/* Nothing answers what comes in; and what goes out asks in nobody's name: SPA 0, as an ARP probe (RFC 5227, 1.1), which
 * tells the neighbours nothing and is answered like any other request.  The interface may be a Pod's, which must be found. */
static bool put_verdict(struct nftnl_rule *rule, enum arp_guard_chain i)
{
	const uint32_t nobody = 0;
	struct nftnl_expr *e;

	if (i == ARP_GUARD_INPUT)
		return APPEND(rule, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT }, { NFTNL_EXPR_IMM_VERDICT, NF_DROP });
	e = APPEND(rule, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_1 });
	return e && nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, &nobody, sizeof(nobody)) == 0 &&
	       APPEND(rule, "payload", { NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1 },
		      { NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER },
		      { NFTNL_EXPR_PAYLOAD_OFFSET, chains[i].address }, { NFTNL_EXPR_PAYLOAD_LEN, sizeof(nobody) },
		      { NFTNL_EXPR_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_NONE }, { NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, 0 },
		      { NFTNL_EXPR_PAYLOAD_FLAGS, 0 });
}

/* The interface's register stands behind that of the address: register 1 has 16 bytes, NFT_REG32_xx 4 each. */
static bool put_expressions(struct nftnl_rule *rule, enum arp_guard_chain i)
{
	if (i == ARP_GUARD_INPUT && !put_request_match(rule))
		return false;
	return put_load(rule, chains[i].address, 4) && put_lookup(rule, SET_VIPS, 0) &&
	       put_load(rule, chains[i].address, 4) &&
	       APPEND(rule, "meta", { NFTNL_EXPR_META_KEY, chains[i].interface }, { NFTNL_EXPR_META_DREG, NFT_REG32_01 }) &&
	       put_lookup(rule, SET_HOMES, NFT_LOOKUP_F_INV) && put_verdict(rule, i);
}

static int put_rule(struct batch *b, enum arp_guard_chain i)
{
	const struct nat_udata comment = nat_udata_comment(ARP_GUARD_LAYOUT);
	AUTO(free_rule) struct nftnl_rule *rule = nftnl_rule_alloc();
	struct nlmsghdr *nlh;

	if (!rule || nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, ARP_GUARD_TABLE) < 0 ||
	    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chains[i].name) < 0 ||
	    nftnl_rule_set_data(rule, NFTNL_RULE_USERDATA, comment.data, (uint32_t)comment.len) < 0 ||
	    !put_expressions(rule, i))
		return -ENOMEM;
	nlh = message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	batch_commit(b, nlh);
	return 0;
}

size_t arp_guard_frame_room(size_t n)
{
	size_t lists = n / LIST_ELEMENTS + 1;

	return BATCH_OVERHEAD + (size_t)FRAMES * FRAME_ROOM +
	       ARRAY_LEN(shapes) * (n * ELEMENT_ROOM + lists * (NLMSG_HDRLEN + sizeof(struct nfgenmsg) + LIST_ROOM));
}

int arp_guard_frame_remove(struct batch *b)
{
	int r = put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE); /* to delete what is absent would be an error */

	return r == 0 ? put_table(b, NFT_MSG_DELTABLE, 0) : r;
}

int arp_guard_frame_make(struct batch *b)
{
	int r = put_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);

	for (size_t i = 0; i < ARRAY_LEN(shapes) && r == 0; i++)
		r = put_set(b, &shapes[i]);
	for (enum arp_guard_chain i = 0; i < ARP_GUARD_CHAIN_N && r == 0; i++) {
		r = put_chain(b, i);
		if (r == 0)
			r = put_rule(b, i);
	}
	return r;
}

/* ---- elements ---- */

static void put_element(struct nlmsghdr *nlh, const struct shape *shape, const struct arp_home *home)
{
	uint8_t key[8];
	struct nlattr *elem, *value;

	memcpy(key, home->ip.b, 4);
	memcpy(key + 4, &home->ifindex, 4); /* the host's byte order, as the kernel compares it */
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	value = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
	mnl_attr_put(nlh, NFTA_DATA_VALUE, shape->key_len, key);
	mnl_attr_nest_end(nlh, value);
	mnl_attr_nest_end(nlh, elem);
}

/* One message of as many of homes[0..n) as fit into a list; none: to delete all that is in the set. */
static int put_elements(struct batch *b, const struct shape *shape, const struct arp_home *homes, size_t n)
{
	size_t need = LIST_ROOM + n * ELEMENT_ROOM;
	struct nlmsghdr *nlh = n > 0 ? message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, need) :
				       message(b, NFT_MSG_DELSETELEM, 0, need);
	struct nlattr *list;

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, ARP_GUARD_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, shape->name);
	if (n > 0) {
		list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
		for (size_t i = 0; i < n; i++)
			put_element(nlh, shape, &homes[i]);
		mnl_attr_nest_end(nlh, list);
	}
	batch_commit(b, nlh);
	return 0;
}

int arp_guard_frame_fill(struct batch *b, const struct arp_home *homes, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		assert(homes[i].ip.family == IP_V4);
	for (size_t i = 0; i < ARRAY_LEN(shapes) && r == 0; i++) {
		r = put_elements(b, &shapes[i], NULL, 0);
		for (size_t at = 0, part; at < n && r == 0; at += part) {
			part = n - at < LIST_ELEMENTS ? n - at : LIST_ELEMENTS;
			r = put_elements(b, &shapes[i], homes + at, part);
		}
	}
	return r;
}

/* ---- reading ---- */

struct nlmsghdr *arp_guard_frame_read(unsigned char buf[static ARP_GUARD_READ_MAX])
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, ARP_GUARD_READ_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = NFPROTO_ARP;
	nfg->version = NFNETLINK_V0;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, ARP_GUARD_TABLE);
	return nlh;
}

int arp_guard_frame_parse(const void *data, size_t len, enum arp_guard_chain *ret)
{
	const struct nlattr *tb[NFTA_RULE_USERDATA + 1];
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;
	const char *chain, *comment = NULL;

	if (!nfg || nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE) ||
	    attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, NFTA_RULE_USERDATA) < 0 ||
	    !attr_text(tb[NFTA_RULE_TABLE]) || !attr_text(tb[NFTA_RULE_CHAIN]))
		return -EBADMSG;
	chain = attr_text(tb[NFTA_RULE_CHAIN]);
	if (tb[NFTA_RULE_USERDATA])
		comment = nat_udata_find_comment(attr_data(tb[NFTA_RULE_USERDATA]), attr_len(tb[NFTA_RULE_USERDATA]));
	if (nfg->nfgen_family != NFPROTO_ARP || !text_eq(attr_text(tb[NFTA_RULE_TABLE]), ARP_GUARD_TABLE) || !comment ||
	    !text_eq(comment, ARP_GUARD_LAYOUT))
		return -ENOENT;
	for (enum arp_guard_chain i = 0; i < ARP_GUARD_CHAIN_N; i++) {
		if (text_eq(chain, chains[i].name)) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}
