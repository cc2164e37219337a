/* SPDX-License-Identifier: Apache-2.0 */
/* nat_rule.c: the rules, expression by expression, in the forms that nft 1.0.6 itself would write, so that it
 * can print them.  Keys of concatenations are loaded into neighbouring registers: register 1 stands for the
 * first 16 bytes, NFT_REG32_xx for 4 bytes each. */
#include "netlink/nat_rule.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netinet/tcp.h>
#include <stdbool.h>

#include "netlink/nat_udata.h"

/* What differs between the families. */
struct family {
	uint8_t nfproto;
	uint32_t len, saddr, daddr;  /* bytes of an address, offsets in the header */
	uint32_t proto, dport, slot; /* registers behind the destination address in register 1 */
	uint32_t hash_saddr, hash_sport;
	uint32_t ct_destination;
	uint8_t port_unreachable; /* ICMP or ICMPv6 code */
	const char *vips, *locals, *homes, *guards, *former, *dispatch, *slots;
};

static const struct family families[] = {
	{ NFPROTO_IPV4, 4, 12, 16, NFT_REG32_01, NFT_REG32_02, NFT_REG32_03, NFT_REG_3, NFT_REG32_09, NFT_CT_DST_IP,
	  ICMP_PORT_UNREACH, "vips4", "locals4", "homes4", "guards4", "former4", "dispatch4", "slots4" },
	{ NFPROTO_IPV6, 16, 8, 24, NFT_REG_2, NFT_REG32_05, NFT_REG32_06, NFT_REG32_11, NFT_REG32_15, NFT_CT_DST_IP6,
	  ICMPV6_PORT_UNREACH, "vips6", "locals6", "homes6", "guards6", "former6", "dispatch6", "slots6" },
};

struct builder {
	struct nftnl_rule *rule;
	bool failed;
};

struct value {
	uint16_t attr;
	uint32_t v;
};

/* Appends an expression with these numbers; NULL when memory lacks. */
static struct nftnl_expr *append(struct builder *b, const char *name, const struct value *values, size_t n)
{
	struct nftnl_expr *e = nftnl_expr_alloc(name);

	if (!e) {
		b->failed = true;
		return NULL;
	}
	for (size_t i = 0; i < n; i++)
		nftnl_expr_set_u32(e, values[i].attr, values[i].v);
	nftnl_rule_add_expr(b->rule, e);
	return e;
}

#define APPEND(b, name, ...)                                                    \
	append((b), (name), (const struct value[]){ __VA_ARGS__ },              \
	       sizeof((const struct value[]){ __VA_ARGS__ }) / sizeof(struct value))

static void set_text(struct builder *b, struct nftnl_expr *e, uint16_t attr, const char *text)
{
	if (!e || nftnl_expr_set_str(e, attr, text) < 0)
		b->failed = true;
}

static void set_bytes(struct builder *b, struct nftnl_expr *e, uint16_t attr, const void *data, uint32_t len)
{
	if (!e || nftnl_expr_set(e, attr, data, len) < 0)
		b->failed = true;
}

static void put_payload(struct builder *b, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	APPEND(b, "payload", { NFTNL_EXPR_PAYLOAD_BASE, base }, { NFTNL_EXPR_PAYLOAD_OFFSET, offset },
	       { NFTNL_EXPR_PAYLOAD_LEN, len }, { NFTNL_EXPR_PAYLOAD_DREG, reg });
}

static void put_lookup(struct builder *b, const char *set, bool map, uint32_t dreg)
{
	struct nftnl_expr *e = APPEND(b, "lookup", { NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1 });

	set_text(b, e, NFTNL_EXPR_LOOKUP_SET, set);
	if (e && map)
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, dreg);
}

static void put_family_match(struct builder *b, const struct family *f)
{
	struct nftnl_expr *e;

	APPEND(b, "meta", { NFTNL_EXPR_META_KEY, NFT_META_NFPROTO }, { NFTNL_EXPR_META_DREG, NFT_REG_1 });
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, NFT_CMP_EQ });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &f->nfproto, sizeof(f->nfproto));
}

/* daddr . l4proto . dport into register 1 and those behind it. */
static void put_service_key(struct builder *b, const struct family *f)
{
	put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len, NFT_REG_1);
	APPEND(b, "meta", { NFTNL_EXPR_META_KEY, NFT_META_L4PROTO }, { NFTNL_EXPR_META_DREG, f->proto });
	put_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, f->dport);
}

/* The kernel pads what it loads to whole registers with zeros, so the 4 bytes of the port are determined. */
static void put_hash(struct builder *b, const struct family *f, uint16_t n_slots)
{
	put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->saddr, f->len, f->hash_saddr);
	put_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 2, f->hash_sport);
	APPEND(b, "hash", { NFTNL_EXPR_HASH_SREG, f->hash_saddr }, { NFTNL_EXPR_HASH_DREG, f->slot },
	       { NFTNL_EXPR_HASH_LEN, f->len + 4 }, { NFTNL_EXPR_HASH_MODULUS, n_slots },
	       { NFTNL_EXPR_HASH_SEED, NAT_HASH_SEED }, { NFTNL_EXPR_HASH_TYPE, NFT_HASH_JENKINS });
}

static void put_balance(struct builder *b, const struct nat_chain_shape *c, const struct family *f)
{
	put_family_match(b, f);
	put_service_key(b, f);
	if (c->balance == BALANCE_HASH)
		put_hash(b, f, c->n_slots);
	else
		APPEND(b, "numgen", { NFTNL_EXPR_NG_DREG, f->slot }, { NFTNL_EXPR_NG_MODULUS, c->n_slots },
		       { NFTNL_EXPR_NG_TYPE, NFT_NG_RANDOM }, { NFTNL_EXPR_NG_OFFSET, 0 });
	put_lookup(b, f->slots, true, NFT_REG_1);
	/* The value is addr . port, so the port's register is the one that held the protocol. */
	APPEND(b, "nat", { NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT }, { NFTNL_EXPR_NAT_FAMILY, f->nfproto },
	       { NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1 }, { NFTNL_EXPR_NAT_REG_PROTO_MIN, f->proto },
	       { NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED });
}

static void put_dispatch(struct builder *b, const struct family *f)
{
	put_family_match(b, f);
	put_service_key(b, f);
	put_lookup(b, f->dispatch, true, NFT_REG_VERDICT);
}

/* Matches connections whose destination we (op NEQ) or nobody (op EQ) rewrote. */
static void put_dnat_match(struct builder *b, uint32_t op)
{
	static const uint32_t dnat = IPS_DST_NAT, zero;
	struct nftnl_expr *e;

	APPEND(b, "ct", { NFTNL_EXPR_CT_KEY, NFT_CT_STATUS }, { NFTNL_EXPR_CT_DREG, NFT_REG_1 });
	e = APPEND(b, "bitwise", { NFTNL_EXPR_BITWISE_SREG, NFT_REG_1 }, { NFTNL_EXPR_BITWISE_DREG, NFT_REG_1 },
		   { NFTNL_EXPR_BITWISE_LEN, sizeof(dnat) });
	set_bytes(b, e, NFTNL_EXPR_BITWISE_MASK, &dnat, sizeof(dnat));
	set_bytes(b, e, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof(zero));
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, op });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &zero, sizeof(zero));
}

/* The connection's VIP into register 1. */
static void put_original_daddr(struct builder *b, const struct family *f)
{
	struct nftnl_expr *e = APPEND(b, "ct", { NFTNL_EXPR_CT_KEY, f->ct_destination },
				      { NFTNL_EXPR_CT_DREG, NFT_REG_1 });

	if (e)
		nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
}

static void put_address_match(struct builder *b, const struct family *f, uint32_t offset, const char *set)
{
	put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, offset, f->len, NFT_REG_1);
	put_lookup(b, set, false, 0);
}

static void put_proto_match(struct builder *b, uint32_t op, uint8_t proto)
{
	struct nftnl_expr *e;

	APPEND(b, "meta", { NFTNL_EXPR_META_KEY, NFT_META_L4PROTO }, { NFTNL_EXPR_META_DREG, NFT_REG_1 });
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, op });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &proto, sizeof(proto));
}

/* TCP's first packet of a connection: SYN without ACK (RFC 9293 section 3.1: the flags are the 14th byte). */
static void put_syn_match(struct builder *b)
{
	static const uint8_t mask = TH_SYN | TH_ACK, syn = TH_SYN, zero;
	struct nftnl_expr *e;

	put_proto_match(b, NFT_CMP_EQ, IPPROTO_TCP);
	put_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, NFT_REG_1);
	e = APPEND(b, "bitwise", { NFTNL_EXPR_BITWISE_SREG, NFT_REG_1 }, { NFTNL_EXPR_BITWISE_DREG, NFT_REG_1 },
		   { NFTNL_EXPR_BITWISE_LEN, sizeof(mask) });
	set_bytes(b, e, NFTNL_EXPR_BITWISE_MASK, &mask, sizeof(mask));
	set_bytes(b, e, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof(zero));
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, NFT_CMP_EQ });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &syn, sizeof(syn));
}

/* Brings replies back to this node: also from a backend that is the client itself, and to a client on this node,
 * whose source address is the VIP.  Only for connections that were sent elsewhere by DNAT. */
static void put_masquerade(struct builder *b, const struct family *f)
{
	put_dnat_match(b, NFT_CMP_NEQ);
	put_original_daddr(b, f);
	put_lookup(b, f->vips, false, 0);
	APPEND(b, "masq", { NFTNL_EXPR_MASQ_FLAGS, 0 });
}

/* Masquerades a new connection to a backend on the node of a holder that died; TCP, or all else. */
static void put_former(struct builder *b, const struct family *f, bool tcp)
{
	put_dnat_match(b, NFT_CMP_NEQ);
	put_original_daddr(b, f);
	put_lookup(b, f->vips, false, 0);
	put_family_match(b, f);
	put_address_match(b, f, f->daddr, f->former);
	if (tcp)
		put_syn_match(b);
	else
		put_proto_match(b, NFT_CMP_NEQ, IPPROTO_TCP);
	APPEND(b, "masq", { NFTNL_EXPR_MASQ_FLAGS, 0 });
}

/* VIP . interface is a home; 'key': NFT_META_IIF (in postrouting since Linux 5.7; 0 for what this node sends itself)
 * or NFT_META_OIF. */
static void put_home_match(struct builder *b, const struct family *f, uint32_t key)
{
	put_original_daddr(b, f);
	APPEND(b, "meta", { NFTNL_EXPR_META_KEY, key }, { NFTNL_EXPR_META_DREG, f->proto });
	put_lookup(b, f->homes, false, 0);
}

/* Source NAT to the VIP: what came in by the VIP's interface and leaves by it, or goes to a backend of this node. */
static void put_snat(struct builder *b, const struct family *f, bool local)
{
	put_dnat_match(b, NFT_CMP_NEQ);
	put_home_match(b, f, NFT_META_IIF);
	if (local) {
		put_family_match(b, f);
		put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len, NFT_REG_1);
		put_lookup(b, f->locals, false, 0);
	} else {
		put_home_match(b, f, NFT_META_OIF);
	}
	put_original_daddr(b, f);
	APPEND(b, "nat", { NFTNL_EXPR_NAT_TYPE, NFT_NAT_SNAT }, { NFTNL_EXPR_NAT_FAMILY, f->nfproto },
	       { NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1 });
}

/* From a backend's address, protocol and port, or to them. */
static void put_guard_match(struct builder *b, const struct family *f, bool from)
{
	put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, from ? f->saddr : f->daddr, f->len, NFT_REG_1);
	APPEND(b, "meta", { NFTNL_EXPR_META_KEY, NFT_META_L4PROTO }, { NFTNL_EXPR_META_DREG, f->proto });
	put_payload(b, NFT_PAYLOAD_TRANSPORT_HEADER, from ? 0 : 2, 2, f->dport);
	put_lookup(b, f->guards, false, 0);
}

static void put_verdict(struct builder *b, uint32_t verdict)
{
	APPEND(b, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT }, { NFTNL_EXPR_IMM_VERDICT, verdict });
}

/* Matches packets whose destination is (op EQ) or is not (op NEQ) an address of this node. */
static void put_local_match(struct builder *b, uint32_t op)
{
	static const uint32_t local = RTN_LOCAL;
	struct nftnl_expr *e;

	APPEND(b, "fib", { NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE },
	       { NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR }, { NFTNL_EXPR_FIB_DREG, NFT_REG_1 });
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, op });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &local, sizeof(local));
}

/* Both directions of what another holder sends through this node.  Answers are its own affair while the VIP is not
 * this node's: once it is, they are looked for among its own connections, and if unknown meet the guard. */
static void put_zone(struct builder *b, const struct family *f, bool answer)
{
	static const uint16_t zone = NAT_ZONE;
	struct nftnl_expr *e;

	put_family_match(b, f);
	put_address_match(b, f, answer ? f->daddr : f->saddr, f->vips);
	put_guard_match(b, f, answer);
	if (answer)
		put_local_match(b, NFT_CMP_NEQ);
	e = APPEND(b, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_1 });
	set_bytes(b, e, NFTNL_EXPR_IMM_DATA, &zone, sizeof(zone));
	APPEND(b, "ct", { NFTNL_EXPR_CT_KEY, NFT_CT_ZONE }, { NFTNL_EXPR_CT_SREG, NFT_REG_1 });
}

enum guard {
	GUARD_INVALID,
	GUARD_BACKEND,
	GUARD_LATE, /* of a client who has not heard yet that the VIP has left */
};

static void put_guard(struct builder *b, const struct family *f, enum guard guard)
{
	const bool invalid = guard == GUARD_INVALID;
	static const uint32_t zero;
	const uint32_t state = invalid ? NF_CT_STATE_INVALID_BIT : NF_CT_STATE_BIT(IP_CT_NEW);
	struct nftnl_expr *e;

	put_family_match(b, f);
	put_address_match(b, f, f->daddr, f->vips);
	APPEND(b, "ct", { NFTNL_EXPR_CT_KEY, NFT_CT_STATE }, { NFTNL_EXPR_CT_DREG, NFT_REG_1 });
	e = APPEND(b, "bitwise", { NFTNL_EXPR_BITWISE_SREG, NFT_REG_1 }, { NFTNL_EXPR_BITWISE_DREG, NFT_REG_1 },
		   { NFTNL_EXPR_BITWISE_LEN, sizeof(state) });
	set_bytes(b, e, NFTNL_EXPR_BITWISE_MASK, &state, sizeof(state));
	set_bytes(b, e, NFTNL_EXPR_BITWISE_XOR, &zero, sizeof(zero));
	e = APPEND(b, "cmp", { NFTNL_EXPR_CMP_SREG, NFT_REG_1 }, { NFTNL_EXPR_CMP_OP, NFT_CMP_NEQ });
	set_bytes(b, e, NFTNL_EXPR_CMP_DATA, &zero, sizeof(zero));
	switch (guard) {
	case GUARD_INVALID:
		put_local_match(b, NFT_CMP_EQ);
		break;
	case GUARD_BACKEND:
		put_guard_match(b, f, true);
		break;
	case GUARD_LATE:
		put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len, NFT_REG_1);
		APPEND(b, "meta", { NFTNL_EXPR_META_KEY, NFT_META_IIF }, { NFTNL_EXPR_META_DREG, f->proto });
		put_lookup(b, f->homes, false, 0);
		put_local_match(b, NFT_CMP_NEQ);
		break;
	}
	put_verdict(b, NF_DROP);
}

/* A VIP's packet that no backend took is refused before conntrack confirms its connection: a UDP flow that was once
 * answered by this node itself would be kept from the backends for as long as it lasts.  Pings are let through. */
static void put_reject(struct builder *b, const struct family *f, uint8_t proto)
{
	struct nftnl_expr *e;

	put_family_match(b, f);
	put_payload(b, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len, NFT_REG_1);
	put_lookup(b, f->vips, false, 0);
	put_dnat_match(b, NFT_CMP_EQ);
	put_proto_match(b, NFT_CMP_EQ, proto);
	/* The family's own type, not ICMPX: nft would read its listing of that back as another rule. */
	e = APPEND(b, "reject", { NFTNL_EXPR_REJECT_TYPE,
				  proto == IPPROTO_TCP ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMP_UNREACH });
	if (e)
		nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, proto == IPPROTO_TCP ? 0 : f->port_unreachable);
}

static void put_jump(struct builder *b, const char *chain)
{
	struct nftnl_expr *e = APPEND(b, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT },
				      { NFTNL_EXPR_IMM_VERDICT, (uint32_t)NFT_JUMP });

	set_text(b, e, NFTNL_EXPR_IMM_CHAIN, chain);
}

static void put_rule(struct builder *b, const struct nat_chain_shape *c, unsigned int i)
{
	const struct family *f = &families[i % 2];

	switch (c->kind) {
	case NAT_CHAIN_BASE:
		put_jump(b, "services");
		break;
	case NAT_CHAIN_SOURCE:
		if (i < 4)
			put_former(b, f, i < 2);
		else if (i < 8)
			put_snat(b, f, i >= 6);
		else
			put_masquerade(b, f);
		break;
	case NAT_CHAIN_ZONE:
		put_zone(b, f, i >= 2);
		break;
	case NAT_CHAIN_GUARD:
		put_guard(b, f, i < 2 ? GUARD_INVALID : i < 4 ? GUARD_BACKEND : GUARD_LATE);
		break;
	case NAT_CHAIN_SERVICES:
		put_dispatch(b, f);
		break;
	case NAT_CHAIN_BALANCE:
		put_balance(b, c, f);
		break;
	case NAT_CHAIN_REJECT:
		put_reject(b, f, i < 2 ? IPPROTO_TCP : IPPROTO_UDP);
		break;
	}
}

struct nftnl_rule *nat_rule_new(const struct nat_chain_shape *c, unsigned int i)
{
	struct nat_udata comment = nat_udata_comment(NAT_LAYOUT);
	struct builder b = { .rule = nftnl_rule_alloc() };

	if (!b.rule)
		return NULL;
	nftnl_rule_set_u32(b.rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
	if (nftnl_rule_set_str(b.rule, NFTNL_RULE_TABLE, NAT_TABLE) < 0 ||
	    nftnl_rule_set_str(b.rule, NFTNL_RULE_CHAIN, c->name) < 0 ||
	    nftnl_rule_set_data(b.rule, NFTNL_RULE_USERDATA, comment.data, (uint32_t)comment.len) < 0)
		b.failed = true;
	put_rule(&b, c, i);
	if (!b.failed)
		return b.rule;
	nftnl_rule_free(b.rule);
	return NULL;
}
