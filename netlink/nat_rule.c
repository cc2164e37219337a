/* SPDX-License-Identifier: Apache-2.0 */
/* nat_rule.c: the expressions of the table's rules, by nft_rule and libnftnl. */
#include "netlink/nat_rule.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <errno.h>
#include <libnftnl/expr.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <netinet/tcp.h>
#include <string.h>

#include "agent/base/text.h"

/* libnftnl builds without a bound; the largest of our rules, which names 16 interfaces, has under 2000 bytes
 * (test_nat_rule.c). */
#define RULE_ROOM 4096

const struct nat_family nat_families[NAT_FAMILY_N] = {
	{ IP_V4, NFPROTO_IPV4, 4, 12, 16, NFT_REG32_01, NFT_REG32_02, NFT_REG32_03, NFT_REG32_08, NFT_REG32_09, NFT_REG32_10,
	  NFT_REG32_11, NFT_CT_SRC_IP, NFT_CT_DST_IP, IPPROTO_ICMP, ICMP_PORT_UNREACH },
	{ IP_V6, NFPROTO_IPV6, 16, 8, 24, NFT_REG32_04, NFT_REG32_05, NFT_REG32_06, NFT_REG32_11, NFT_REG32_15, NFT_REG32_10,
	  NFT_REG32_14, NFT_CT_SRC_IP6, NFT_CT_DST_IP6, IPPROTO_ICMPV6, ICMPV6_PORT_UNREACH },
};

static const struct nft_table table = { NAT_TABLE, NFPROTO_INET, RULE_ROOM };

/* ---- the rule ---- */

void nat_rule_begin(struct nat_writer *w)
{
	if (!w->rule.error)
		w->rule = nft_rule_begin(&table, w->chain, w->comment);
}

void nat_rule_end(struct nat_writer *w)
{
	IGNORE(nft_rule_end(&w->rule, w->b)); /* the writer keeps the error */
}

#define APPEND(w, name, ...) NFT_APPEND(&(w)->rule, name, __VA_ARGS__)

/* ---- loading ---- */

void nat_put_source(struct nat_writer *w, const struct nat_family *f, uint32_t reg)
{
	nft_put_payload(&w->rule, NFT_PAYLOAD_NETWORK_HEADER, f->saddr, f->len, reg);
}

void nat_put_destination(struct nat_writer *w, const struct nat_family *f, uint32_t reg)
{
	nft_put_payload(&w->rule, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->len, reg);
}

void nat_put_port(struct nat_writer *w, uint32_t offset, uint32_t reg)
{
	nft_put_payload(&w->rule, NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2, reg);
}

void nat_put_transport(struct nat_writer *w, uint32_t offset, uint32_t len)
{
	nft_put_payload(&w->rule, NFT_PAYLOAD_TRANSPORT_HEADER, offset, len, NFT_REG_1);
}

void nat_put_meta(struct nat_writer *w, uint32_t key, uint32_t reg)
{
	nft_put_meta(&w->rule, key, reg);
}

void nat_put_ct(struct nat_writer *w, uint32_t key, uint8_t dir, uint32_t reg)
{
	struct nftnl_expr *e = APPEND(w, "ct", { NFTNL_EXPR_CT_KEY, key }, { NFTNL_EXPR_CT_DREG, reg });

	if (e)
		nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, dir);
}

void nat_put_vip(struct nat_writer *w, const struct nat_family *f)
{
	nat_put_ct(w, f->ct_destination, IP_CT_DIR_ORIGINAL, NFT_REG_1);
}

void nat_put_vip_key(struct nat_writer *w, const struct nat_family *f)
{
	nat_put_vip(w, f);
	nat_put_meta(w, NFT_META_L4PROTO, f->proto);
	nat_put_ct(w, NFT_CT_PROTO_DST, IP_CT_DIR_ORIGINAL, f->dport);
}

void nat_put_source_key(struct nat_writer *w, const struct nat_family *f)
{
	nat_put_source(w, f, NFT_REG_1);
	nat_put_meta(w, NFT_META_L4PROTO, f->proto);
	nat_put_port(w, NAT_SOURCE_PORT, f->dport);
}

void nat_put_destination_key(struct nat_writer *w, const struct nat_family *f)
{
	nat_put_destination(w, f, NFT_REG_1);
	nat_put_meta(w, NFT_META_L4PROTO, f->proto);
	nat_put_port(w, NAT_DESTINATION_PORT, f->dport);
}

void nat_put_hash(struct nat_writer *w, const struct nat_family *f, uint32_t reg, uint32_t len, uint32_t modulus)
{
	APPEND(w, "hash", { NFTNL_EXPR_HASH_SREG, reg }, { NFTNL_EXPR_HASH_DREG, f->slot }, { NFTNL_EXPR_HASH_LEN, len },
	       { NFTNL_EXPR_HASH_MODULUS, modulus }, { NFTNL_EXPR_HASH_SEED, NAT_HASH_SEED },
	       { NFTNL_EXPR_HASH_TYPE, NFT_HASH_JENKINS });
}

void nat_put_numgen(struct nat_writer *w, const struct nat_family *f, uint32_t type, uint32_t modulus)
{
	APPEND(w, "numgen", { NFTNL_EXPR_NG_DREG, f->slot }, { NFTNL_EXPR_NG_MODULUS, modulus },
	       { NFTNL_EXPR_NG_TYPE, type }, { NFTNL_EXPR_NG_OFFSET, 0 });
}

/* ---- matching ---- */

void nat_put_cmp(struct nat_writer *w, uint32_t op, uint32_t reg, const void *data, uint32_t len)
{
	nft_put_cmp(&w->rule, op, reg, data, len);
}

void nat_match_family(struct nat_writer *w, const struct nat_family *f)
{
	nat_put_meta(w, NFT_META_NFPROTO, NFT_REG_1);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, &f->nfproto, sizeof(f->nfproto));
}

static struct nftnl_expr *put_lookup(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f)
{
	return nft_put_lookup(&w->rule, nat_set_of(kind, f->ip)->name);
}

void nat_match_set(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f)
{
	put_lookup(w, kind, f);
}

void nat_put_map(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f, uint32_t reg)
{
	struct nftnl_expr *e = put_lookup(w, kind, f);

	if (e)
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_DREG, reg);
}

void nat_match_vip(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f)
{
	nat_put_vip(w, f);
	nat_match_set(w, kind, f);
}

void nat_match_proto(struct nat_writer *w, uint32_t op, uint8_t proto)
{
	nat_put_meta(w, NFT_META_L4PROTO, NFT_REG_1);
	nat_put_cmp(w, op, NFT_REG_1, &proto, sizeof(proto));
}

void nat_match_bits(struct nat_writer *w, uint32_t op, uint32_t mask, uint32_t value)
{
	static const uint32_t zero;

	nft_put_bitwise(&w->rule, &mask, &zero, sizeof(mask));
	nat_put_cmp(w, op, NFT_REG_1, &value, sizeof(value));
}

/* TCP's first packet of a connection: SYN without ACK (RFC 9293 section 3.1: the flags are the 14th byte). */
void nat_match_syn(struct nat_writer *w)
{
	static const uint8_t mask = TH_SYN | TH_ACK, syn = TH_SYN, zero;

	nat_match_proto(w, NFT_CMP_EQ, IPPROTO_TCP);
	nat_put_transport(w, 13, 1);
	nft_put_bitwise(&w->rule, &mask, &zero, sizeof(mask));
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, &syn, sizeof(syn));
}

void nat_match_dnat(struct nat_writer *w, uint32_t op)
{
	nft_put_ct(&w->rule, NFT_CT_STATUS, NFT_REG_1);
	nat_match_bits(w, op, IPS_DST_NAT, 0);
}

void nat_match_state(struct nat_writer *w, uint32_t bits)
{
	nft_put_ct(&w->rule, NFT_CT_STATE, NFT_REG_1);
	nat_match_bits(w, NFT_CMP_NEQ, bits, 0);
}

void nat_match_direction(struct nat_writer *w, uint8_t dir)
{
	nft_put_ct(&w->rule, NFT_CT_DIRECTION, NFT_REG_1);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, &dir, sizeof(dir));
}

void nat_match_loopback(struct nat_writer *w)
{
	static const uint16_t loopback = ARPHRD_LOOPBACK;

	nat_put_meta(w, NFT_META_IIFTYPE, NFT_REG_1);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, &loopback, sizeof(loopback));
}

void nat_match_local(struct nat_writer *w, uint32_t op, uint32_t flags)
{
	static const uint32_t local = RTN_LOCAL;

	APPEND(w, "fib", { NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE }, { NFTNL_EXPR_FIB_FLAGS, flags },
	       { NFTNL_EXPR_FIB_DREG, NFT_REG_1 });
	nat_put_cmp(w, op, NFT_REG_1, &local, sizeof(local));
}

void nat_match_interface(struct nat_writer *w, uint32_t op, const char *name)
{
	char padded[IFNAMSIZ] = { 0 };

	IGNORE(text_copy(padded, sizeof(padded), name)); /* a name that is too long is none of an interface */
	nat_put_meta(w, NFT_META_IIFNAME, NFT_REG_1);
	nat_put_cmp(w, op, NFT_REG_1, padded, sizeof(padded));
}

void nat_match_source_net(struct nat_writer *w, const struct ip_net *net)
{
	const struct nat_family *f = &nat_families[net->ip.family == IP_V6];
	uint8_t mask[16] = { 0 }, zero[16] = { 0 };
	unsigned int whole = net->len / 8;

	nat_match_family(w, f);
	/* As nft has it: whole bytes are loaded alone, no more than the prefix has of them. */
	if (net->len % 8 == 0 && whole > 0) {
		nft_put_payload(&w->rule, NFT_PAYLOAD_NETWORK_HEADER, f->saddr, whole, NFT_REG_1);
		nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, net->ip.b, whole);
		return;
	}
	memset(mask, 0xff, whole);
	if (net->len % 8)
		mask[whole] = (uint8_t)(0xff << (8 - net->len % 8));
	nat_put_source(w, f, NFT_REG_1);
	nft_put_bitwise(&w->rule, mask, zero, f->len);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, net->ip.b, f->len);
}

/* ---- doing ---- */

void nat_put_verdict(struct nat_writer *w, uint32_t verdict)
{
	nft_put_verdict(&w->rule, (int)verdict, NULL);
}

void nat_put_jump(struct nat_writer *w, const char *chain)
{
	nft_put_verdict(&w->rule, NFT_JUMP, chain);
}

void nat_put_goto(struct nat_writer *w, const char *chain)
{
	nft_put_verdict(&w->rule, NFT_GOTO, chain);
}

void nat_put_counter(struct nat_writer *w, enum nat_drop why)
{
	struct nftnl_expr *e = APPEND(w, "objref", { NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER });

	nft_rule_set_text(&w->rule, e, NFTNL_EXPR_OBJREF_IMM_NAME, nat_drop_counters[why]);
}

void nat_put_reject(struct nat_writer *w, const struct nat_family *f, bool reset)
{
	/* The family's own type, not ICMPX: nft would read its listing of that back as another rule. */
	struct nftnl_expr *e = APPEND(w, "reject",
				      { NFTNL_EXPR_REJECT_TYPE, reset ? NFT_REJECT_TCP_RST : NFT_REJECT_ICMP_UNREACH });

	if (e)
		nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, reset ? 0 : f->port_unreachable);
}

void nat_put_dnat(struct nat_writer *w, const struct nat_family *f, uint32_t reg_address, uint32_t reg_port)
{
	APPEND(w, "nat", { NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT }, { NFTNL_EXPR_NAT_FAMILY, f->nfproto },
	       { NFTNL_EXPR_NAT_REG_ADDR_MIN, reg_address }, { NFTNL_EXPR_NAT_REG_PROTO_MIN, reg_port },
	       { NFTNL_EXPR_NAT_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED });
}

void nat_put_snat(struct nat_writer *w, const struct nat_family *f)
{
	APPEND(w, "nat", { NFTNL_EXPR_NAT_TYPE, NFT_NAT_SNAT }, { NFTNL_EXPR_NAT_FAMILY, f->nfproto },
	       { NFTNL_EXPR_NAT_REG_ADDR_MIN, NFT_REG_1 });
}

void nat_put_masquerade(struct nat_writer *w)
{
	APPEND(w, "masq", { NFTNL_EXPR_MASQ_FLAGS, 0 });
}

void nat_put_limit(struct nat_writer *w, const struct rate *rate)
{
	nft_put_limit(&w->rule, rate);
}

void nat_put_dynset(struct nat_writer *w, const struct nat_dynset *d)
{
	struct nftnl_expr *limit, *e = APPEND(w, "dynset", { NFTNL_EXPR_DYNSET_OP, d->op },
					      { NFTNL_EXPR_DYNSET_SREG_KEY, NFT_REG_1 });

	nft_rule_set_text(&w->rule, e, NFTNL_EXPR_DYNSET_SET_NAME, d->set);
	if (e && d->value)
		nftnl_expr_set_u32(e, NFTNL_EXPR_DYNSET_SREG_DATA, d->value);
	if (e && d->timeout_ms)
		nftnl_expr_set_u64(e, NFTNL_EXPR_DYNSET_TIMEOUT, d->timeout_ms);
	if (!e || !d->connections)
		return;
	limit = nftnl_expr_alloc("connlimit");
	if (!limit) {
		w->rule.error = -ENOMEM;
		return;
	}
	nftnl_expr_set_u32(limit, NFTNL_EXPR_CONNLIMIT_COUNT, d->connections);
	nftnl_expr_set_u32(limit, NFTNL_EXPR_CONNLIMIT_FLAGS, NFT_CONNLIMIT_F_INV);
	nft_rule_set_bytes(&w->rule, e, NFTNL_EXPR_DYNSET_EXPR, limit, 0); /* the expression is the set's from now on */
}

void nat_put_mark(struct nat_writer *w, uint32_t and, uint32_t xor)
{
	nat_put_meta(w, NFT_META_MARK, NFT_REG_1);
	nft_put_bitwise(&w->rule, &and, &xor, sizeof(and));
	APPEND(w, "meta", { NFTNL_EXPR_META_KEY, NFT_META_MARK }, { NFTNL_EXPR_META_SREG, NFT_REG_1 });
}

void nat_put_zone(struct nat_writer *w, uint16_t zone)
{
	nft_put_data(&w->rule, NFT_REG_1, &zone, sizeof(zone));
	APPEND(w, "ct", { NFTNL_EXPR_CT_KEY, NFT_CT_ZONE }, { NFTNL_EXPR_CT_SREG, NFT_REG_1 });
}
