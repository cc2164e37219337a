/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_frame.c: the tables to bytes, in the forms that nft 1.0.6 itself would write, so that it can print them.  Pure:
 * rendezvous_if talks to the kernel. */
#include "netlink/rendezvous_frame.h"

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
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* libnftnl builds without a bound; the largest of our messages has under 600 bytes (test_rendezvous_frame.c). */
#define FRAME_ROOM 1024
#define FRAMES 12 /* messages that are neither elements nor rules for peers; there are fewer */
#define LIST_ROOM 64
#define ELEMENT_ROOM 40
/* An attribute's length has 16 bits, and the list of elements is one attribute. */
#define LIST_ELEMENTS ((size_t)(UINT16_MAX / ELEMENT_ROOM - 1))

#define SET_VIPS "vips"
#define SET_MACS "nodes"
#define STRAYS "strays"
#define HOOKED "prerouting"
#define PRIORITY (-160) /* after conntrack, -200, before whatever drops or translates */

#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define SOURCE_MAC_AT 6
#define TYPE_ETHER_ADDR 9 /* nft's data type */

#define LIMIT_PACKETS 20000 /* a second */

/* nft's note on a set, and its numbers for data types (nat_udata.c has them, too). */
struct note {
	uint8_t type, len;
	uint32_t value;
} __attribute__((packed));

static const struct note set_note = { 0, sizeof(uint32_t), 2 }; /* big endian */

struct family {
	uint8_t ip, nfproto;
	uint32_t type, len, daddr; /* nft's data type; bytes of an address; where the destination stands */
	uint32_t ttl;		   /* and the TTL or hop limit */
};

static const struct family families[] = {
	{ IP_V4, NFPROTO_IPV4, 7, 4, 16, 8 },
	{ IP_V6, NFPROTO_IPV6, 8, 16, 24, 7 },
};

/* A set, and what goes into it: n keys, 'stride' bytes from one to the next. */
struct set {
	const char *name;
	uint32_t type, len; /* nft's data type; bytes of a key */
	const uint8_t *keys;
	size_t stride, n;
	uint32_t timeout_ms; /* 0 = they stay */
};

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

static struct nlmsghdr *message(struct batch *b, const struct family *f, uint16_t type, uint16_t flags, size_t need)
{
	struct nlmsghdr *nlh = batch_message(b, type, flags, need);

	if (nlh)
		((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = f->nfproto;
	return nlh;
}

static int put_table(struct batch *b, const struct family *f, uint16_t type, uint16_t flags)
{
	AUTO(free_table) struct nftnl_table *t = nftnl_table_alloc();
	struct nlmsghdr *nlh;

	if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, RENDEZVOUS_TABLE) < 0)
		return -ENOMEM;
	nlh = message(b, f, type, flags, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_table_nlmsg_build_payload(nlh, t);
	batch_commit(b, nlh);
	return 0;
}

static int put_set(struct batch *b, const struct family *f, const struct set *of)
{
	AUTO(free_set) struct nftnl_set *s = nftnl_set_alloc();
	struct nlmsghdr *nlh;

	if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, RENDEZVOUS_TABLE) < 0 || nftnl_set_set_str(s, NFTNL_SET_NAME, of->name) < 0 ||
	    nftnl_set_set_data(s, NFTNL_SET_USERDATA, &set_note, sizeof(set_note)) < 0)
		return -ENOMEM;
	nftnl_set_set_u32(s, NFTNL_SET_FLAGS, of->timeout_ms ? NFT_SET_TIMEOUT : 0);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, of->type);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, of->len);
	/* Needed by the kernel, though we refer to sets by name: any number that the transaction has once. */
	nftnl_set_set_u32(s, NFTNL_SET_ID, b->seq);
	nlh = message(b, f, NFT_MSG_NEWSET, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_set_nlmsg_build_payload(nlh, s);
	batch_commit(b, nlh);
	return 0;
}

static int put_elements(struct batch *b, const struct family *f, const struct set *of, size_t from, size_t n)
{
	struct nlmsghdr *nlh = message(b, f, NFT_MSG_NEWSETELEM, NLM_F_CREATE, LIST_ROOM + n * ELEMENT_ROOM);
	struct nlattr *list, *elem, *key;

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, RENDEZVOUS_TABLE);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, of->name);
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (size_t i = 0; i < n; i++) {
		elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
		key = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_KEY);
		mnl_attr_put(nlh, NFTA_DATA_VALUE, of->len, of->keys + (from + i) * of->stride);
		mnl_attr_nest_end(nlh, key);
		if (of->timeout_ms)
			mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64(of->timeout_ms));
		mnl_attr_nest_end(nlh, elem);
	}
	mnl_attr_nest_end(nlh, list);
	batch_commit(b, nlh);
	return 0;
}

static int put_filled(struct batch *b, const struct family *f, const struct set *of)
{
	int r = put_set(b, f, of);

	for (size_t at = 0, part; at < of->n && r == 0; at += part) {
		part = of->n - at < LIST_ELEMENTS ? of->n - at : LIST_ELEMENTS;
		r = put_elements(b, f, of, at, part);
	}
	return r;
}

static int put_chain(struct batch *b, const struct family *f, const char *name, bool hooked)
{
	AUTO(free_chain) struct nftnl_chain *c = nftnl_chain_alloc();
	struct nlmsghdr *nlh;

	if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, RENDEZVOUS_TABLE) < 0 ||
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name) < 0 ||
	    (hooked && nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter") < 0))
		return -ENOMEM;
	if (hooked) {
		nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, NF_INET_PRE_ROUTING);
		nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, PRIORITY);
	}
	nlh = message(b, f, NFT_MSG_NEWCHAIN, NLM_F_CREATE, FRAME_ROOM);
	if (!nlh)
		return -ENOSPC;
	nftnl_chain_nlmsg_build_payload(nlh, c);
	batch_commit(b, nlh);
	return 0;
}

/* ---- rules ---- */

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

static bool put_load(struct nftnl_rule *rule, uint32_t base, uint32_t offset, uint32_t len)
{
	return APPEND(rule, "payload", { NFTNL_EXPR_PAYLOAD_BASE, base }, { NFTNL_EXPR_PAYLOAD_OFFSET, offset },
		      { NFTNL_EXPR_PAYLOAD_LEN, len }, { NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1 });
}

static bool put_compare(struct nftnl_rule *rule, uint32_t op, const void *data, uint32_t len)
{
	struct nftnl_expr *e = APPEND(rule, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, op });

	return e && nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len) == 0;
}

/* The bits of the register, compared with none. */
static bool put_bits(struct nftnl_rule *rule, const void *mask, uint32_t len, uint32_t op)
{
	static const uint8_t zero[4];
	struct nftnl_expr *e = APPEND(rule, "bitwise", { NFTNL_EXPR_BITWISE_SREG, NFT_REG_1 },
				      { NFTNL_EXPR_BITWISE_DREG, NFT_REG_1 }, { NFTNL_EXPR_BITWISE_LEN, len });

	assert(len <= sizeof(zero));
	return e && nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, mask, len) == 0 &&
	       nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, len) == 0 && put_compare(rule, op, zero, len);
}

static bool put_meta(struct nftnl_rule *rule, uint32_t key, const void *data, uint32_t len)
{
	return APPEND(rule, "meta", { NFTNL_EXPR_META_KEY, key }, { NFTNL_EXPR_META_DREG, NFT_REG_1 }) &&
	       put_compare(rule, NFT_CMP_EQ, data, len);
}

static bool put_verdict(struct nftnl_rule *rule, int verdict, const char *chain)
{
	struct nftnl_expr *e = APPEND(rule, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT },
				      { NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict });

	return e && (!chain || nftnl_expr_set_str(e, NFTNL_EXPR_IMM_CHAIN, chain) == 0);
}

static bool put_counter(struct nftnl_rule *rule)
{
	return APPEND(rule, "counter", { NFTNL_EXPR_CTR_PACKETS, 0 }, { NFTNL_EXPR_CTR_BYTES, 0 });
}

static bool put_among(struct nftnl_rule *rule, const char *set)
{
	struct nftnl_expr *e = APPEND(rule, "lookup", { NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1 });

	return e && nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, set) == 0;
}

/* TCP in the middle of a connection to a VIP that conntrack here knows nothing of. */
static bool put_stray(struct nftnl_rule *rule, const struct family *f)
{
	static const uint8_t tcp = IPPROTO_TCP, syn = TCP_SYN;
	static const uint32_t unknown = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_BIT(IP_CT_NEW);

	return put_load(rule, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len) && put_among(rule, SET_VIPS) &&
	       put_meta(rule, NFT_META_L4PROTO, &tcp, sizeof(tcp)) &&
	       put_load(rule, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_AT, 1) && put_bits(rule, &syn, sizeof(syn), NFT_CMP_EQ) &&
	       APPEND(rule, "ct", { NFTNL_EXPR_CT_KEY, NFT_CT_STATE }, { NFTNL_EXPR_CT_DREG, NFT_REG_1 }) &&
	       put_bits(rule, &unknown, sizeof(unknown), NFT_CMP_NEQ) && put_verdict(rule, NFT_GOTO, STRAYS);
}

static bool put_returned(struct nftnl_rule *rule)
{
	static const uint16_t ethernet = ARPHRD_ETHER;

	return put_meta(rule, NFT_META_IIFTYPE, &ethernet, sizeof(ethernet)) &&
	       put_load(rule, NFT_PAYLOAD_LL_HEADER, SOURCE_MAC_AT, LINK_MAC_LEN) && put_among(rule, SET_MACS) &&
	       put_counter(rule) && put_verdict(rule, NF_DROP, NULL);
}

/* dup takes one off, and asks nobody whether one is left (nf_dup_ipv4(), nf_dup_ipv6()). */
static bool put_worn_out(struct nftnl_rule *rule, const struct family *f)
{
	static const uint8_t last = 1;

	return put_load(rule, NFT_PAYLOAD_NETWORK_HEADER, f->ttl, sizeof(last)) &&
	       put_compare(rule, NFT_CMP_LTE, &last, sizeof(last)) && put_counter(rule) && put_verdict(rule, NF_DROP, NULL);
}

static bool put_dup(struct nftnl_rule *rule, const struct family *f, const struct rendezvous_peer *peer)
{
	struct nftnl_expr *e = APPEND(rule, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_1 });
	const uint32_t dev = (uint32_t)peer->ifindex;

	if (!e || nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, peer->ip.b, f->len) < 0)
		return false;
	e = APPEND(rule, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_2 });
	return e && nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, &dev, sizeof(dev)) == 0 &&
	       APPEND(rule, "dup", { NFTNL_EXPR_DUP_SREG_ADDR, NFT_REG_1 }, { NFTNL_EXPR_DUP_SREG_DEV, NFT_REG_2 }) &&
	       put_counter(rule);
}

static int begin_rule(struct nftnl_rule **ret, const struct family *f, const char *chain)
{
	*ret = nftnl_rule_alloc();
	if (!*ret || nftnl_rule_set_str(*ret, NFTNL_RULE_TABLE, RENDEZVOUS_TABLE) < 0 ||
	    nftnl_rule_set_str(*ret, NFTNL_RULE_CHAIN, chain) < 0)
		return -ENOMEM;
	nftnl_rule_set_u32(*ret, NFTNL_RULE_FAMILY, f->nfproto);
	return 0;
}

static int end_rule(struct batch *b, const struct family *f, struct nftnl_rule *rule)
{
	struct nlmsghdr *nlh = message(b, f, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, FRAME_ROOM);

	if (!nlh)
		return -ENOSPC;
	nftnl_rule_nlmsg_build_payload(nlh, rule);
	batch_commit(b, nlh);
	return 0;
}

/* Far above what connections under way need: while two nodes know of each other's leaving not yet, packets go round between
 * them, but not ever more of them. */
static bool put_limit(struct nftnl_rule *rule)
{
	struct nftnl_expr *e = APPEND(rule, "limit", { NFTNL_EXPR_LIMIT_BURST, LIMIT_PACKETS },
				      { NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS }, { NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV });

	if (!e)
		return false;
	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, LIMIT_PACKETS);
	nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1); /* second */
	return put_counter(rule) && put_verdict(rule, NF_DROP, NULL);
}

enum what {
	WHAT_LIMIT,
	WHAT_STRAY,
	WHAT_RETURNED,
	WHAT_WORN_OUT,
	WHAT_DUP,
	WHAT_DROP,
};

static int put_rule(struct batch *b, const struct family *f, enum what what, const struct rendezvous_peer *peer)
{
	AUTO(free_rule) struct nftnl_rule *rule = NULL;
	int r = begin_rule(&rule, f, what == WHAT_STRAY ? HOOKED : STRAYS);
	bool put = false;

	if (r < 0)
		return r;
	switch (what) {
	case WHAT_LIMIT:
		put = put_limit(rule);
		break;
	case WHAT_STRAY:
		put = put_stray(rule, f);
		break;
	case WHAT_RETURNED:
		put = put_returned(rule);
		break;
	case WHAT_WORN_OUT:
		put = put_worn_out(rule, f);
		break;
	case WHAT_DUP:
		put = put_dup(rule, f, peer);
		break;
	case WHAT_DROP:
		put = put_verdict(rule, NF_DROP, NULL);
		break;
	}
	return put ? end_rule(b, f, rule) : -ENOMEM;
}

static bool has_peer(const struct rendezvous *r, const struct family *f)
{
	for (size_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].ip.family == f->ip)
			return true;
	return false;
}

static int put_strays(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	int r = put_chain(b, f, STRAYS, false);

	if (r == 0)
		r = put_rule(b, f, WHAT_RETURNED, NULL);
	if (r == 0)
		r = put_rule(b, f, WHAT_WORN_OUT, NULL);
	if (r == 0)
		r = put_rule(b, f, WHAT_LIMIT, NULL);
	for (size_t i = 0; i < p->n_peers && r == 0; i++)
		if (p->peers[i].ip.family == f->ip)
			r = put_rule(b, f, WHAT_DUP, &p->peers[i]);
	return r == 0 ? put_rule(b, f, WHAT_DROP, NULL) : r;
}

static int make(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	size_t at = 0, end;
	struct set vips = { SET_VIPS, f->type, f->len, NULL, sizeof(*p->vips), 0, p->timeout_ms };
	const struct set macs = { SET_MACS, TYPE_ETHER_ADDR, LINK_MAC_LEN, (const uint8_t *)p->macs, LINK_MAC_LEN, p->n_macs, 0 };
	int r = put_table(b, f, NFT_MSG_NEWTABLE, NLM_F_CREATE);

	while (at < p->n_vips && p->vips[at].family != f->ip)
		at++;
	for (end = at; end < p->n_vips && p->vips[end].family == f->ip; end++)
		;
	vips.n = end - at;
	vips.keys = vips.n > 0 ? p->vips[at].b : NULL;
	if (r == 0)
		r = put_filled(b, f, &vips);
	if (r == 0)
		r = put_filled(b, f, &macs);
	if (r == 0)
		r = put_strays(b, f, p);
	if (r == 0)
		r = put_chain(b, f, HOOKED, true);
	return r == 0 ? put_rule(b, f, WHAT_STRAY, NULL) : r;
}

static const struct family *family_of(uint8_t ip)
{
	return &families[ip == IP_V6];
}

size_t rendezvous_frame_room(const struct rendezvous *r)
{
	size_t n = r->n_vips + r->n_macs, lists = n / LIST_ELEMENTS + 3;

	return BATCH_OVERHEAD + (FRAMES + RENDEZVOUS_PEERS_MAX) * FRAME_ROOM + n * ELEMENT_ROOM +
	       lists * (NLMSG_HDRLEN + sizeof(struct nfgenmsg) + LIST_ROOM);
}

int rendezvous_frame_remove(struct batch *b, uint8_t family)
{
	const struct family *f = family_of(family);
	int r = put_table(b, f, NFT_MSG_NEWTABLE, NLM_F_CREATE); /* to delete what is absent would be an error */

	return r == 0 ? put_table(b, f, NFT_MSG_DELTABLE, 0) : r;
}

int rendezvous_frame_make(struct batch *b, const struct rendezvous *p, uint8_t family)
{
	const struct family *f = family_of(family);

	assert(p->n_peers <= RENDEZVOUS_PEERS_MAX);
	return has_peer(p, f) ? make(b, f, p) : 0;
}
