/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain_nat.c: rules that translate: dispatch, balance, source NAT. */
#include "netlink/nat_chain.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>

#define END (nat_families + NAT_FAMILY_N)

void nat_write_services(struct nat_writer *w)
{
	for (const struct nat_family *f = nat_families; f < END; f++) {
		nat_rule_begin(w);
		nat_match_family(w, f);
		nat_put_destination_key(w, f);
		nat_put_map(w, NAT_SET_KIND_DISPATCH, f, NFT_REG_VERDICT);
		nat_rule_end(w);
	}
}

/* ---- balance ---- */

/* The number of the slot behind the key in register 1. */
static void put_slot(struct nat_writer *w, const struct nat_family *f, const struct frontend *front)
{
	switch ((enum balance)front->balance) {
	case BALANCE_HASH:
		/* The kernel pads what it loads to whole registers with zeros, so the 4 bytes of the port are determined. */
		nat_put_source(w, f, f->hash);
		nat_put_port(w, NAT_SOURCE_PORT, f->hash_port);
		nat_put_hash(w, f, f->hash, f->len + 4, front->n_slots);
		break;
	case BALANCE_RANDOM:
		nat_put_numgen(w, f, NFT_NG_RANDOM, front->n_slots);
		break;
	case BALANCE_SOURCE:
		nat_put_source(w, f, f->hash);
		nat_put_hash(w, f, f->hash, f->len, front->n_slots);
		break;
	case BALANCE_ROUND_ROBIN:
		nat_put_numgen(w, f, NFT_NG_INCREMENTAL, front->n_slots);
		break;
	}
}

static void write_slots(struct nat_writer *w, const struct nat_family *f, const struct frontend *front)
{
	nat_rule_begin(w);
	nat_match_family(w, f);
	nat_put_destination_key(w, f);
	put_slot(w, f, front);
	nat_put_map(w, nat_slots_kind(front), f, NFT_REG_1);
	/* The value is addr . port, so the port's register is the one that held the protocol. */
	nat_put_dnat(w, f, NFT_REG_1, f->proto);
	nat_rule_end(w);
}

/* A client that is known. */
static void write_client(struct nat_writer *w, const struct nat_family *f)
{
	nat_rule_begin(w);
	nat_match_family(w, f);
	nat_put_destination_key(w, f);
	nat_put_source(w, f, f->slot);
	nat_put_map(w, NAT_SET_KIND_CLIENTS, f, NFT_REG_1);
	nat_put_dnat(w, f, NFT_REG_1, f->proto);
	nat_rule_end(w);
}

void nat_write_balance(struct nat_writer *w, const struct frontend *front)
{
	if (front->sticky_s > 0) {
		const struct nat_family *f = &nat_families[front->vip.family == IP_V6];

		write_client(w, f);
		write_slots(w, f, front);
		return;
	}
	for (const struct nat_family *f = nat_families; f < END; f++)
		write_slots(w, f, front);
}

/* ---- returning clients ---- */

/* Where a connection went is known only behind DNAT, and nft has no way to write a map's value from another map. */
static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };

void nat_write_returning(struct nat_writer *w)
{
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		for (const struct nat_family *f = nat_families; f < END; f++) {
			nat_rule_begin(w);
			nat_match_proto(w, NFT_CMP_EQ, protos[i]);
			nat_put_vip_key(w, f);
			nat_put_map(w, NAT_SET_KIND_RETURNS, f, NFT_REG_VERDICT);
			nat_rule_end(w);
		}
	}
}

/* Remembers a client's backend, or for longer one that is known already.  Without room for another it is not remembered. */
void nat_write_return(struct nat_writer *w, const struct frontend *front)
{
	const struct nat_family *f = &nat_families[front->vip.family == IP_V6];
	const struct nat_dynset remember = {
		.set = nat_set_of(NAT_SET_KIND_CLIENTS, f->ip)->name, .op = NFT_DYNSET_OP_UPDATE, .value = f->value,
		.timeout_ms = front->sticky_s * (uint64_t)1000,
	};

	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		nat_rule_begin(w);
		nat_match_proto(w, NFT_CMP_EQ, protos[i]);
		nat_put_vip_key(w, f);
		nat_put_ct(w, f->ct_source, IP_CT_DIR_ORIGINAL, f->slot);
		nat_put_ct(w, f->ct_source, IP_CT_DIR_REPLY, f->value);
		nat_put_ct(w, NFT_CT_PROTO_SRC, IP_CT_DIR_REPLY, f->value_port);
		nat_put_dynset(w, &remember);
		nat_rule_end(w);
	}
}

void nat_write_first(struct nat_writer *w, const struct nat_options *options)
{
	nat_rule_begin(w);
	nat_match_dnat(w, NFT_CMP_EQ);
	nat_put_verdict(w, (uint32_t)NFT_RETURN);
	nat_rule_end(w);
	nat_write_opened(w, options);
	nat_rule_begin(w);
	nat_put_jump(w, "returning");
	nat_rule_end(w);
}

/* ---- source NAT ---- */

/* Begins a rule about connections whose VIP stands in the set; they were sent elsewhere by DNAT (nat_write_first()). */
static void begin_vip(struct nat_writer *w, const struct nat_family *f, enum nat_set_kind kind)
{
	nat_rule_begin(w);
	nat_match_vip(w, kind, f);
}

/* Clients of these keep their addresses, but for a backend that is its own client, and for this node itself: what it sends
 * would have the VIP as its source where it holds it. */
static void write_keep(struct nat_writer *w, const struct nat_family *f)
{
	begin_vip(w, f, NAT_SET_KIND_KEEPS);
	nat_match_family(w, f);
	nat_put_source(w, f, NFT_REG_1);
	nat_put_destination(w, f, f->proto);
	nat_match_set(w, NAT_SET_KIND_HAIRPINS, f);
	nat_put_masquerade(w);
	nat_rule_end(w);

	begin_vip(w, f, NAT_SET_KIND_KEEPS);
	nat_match_local(w, NFT_CMP_EQ, NFTA_FIB_F_SADDR);
	nat_put_masquerade(w);
	nat_rule_end(w);

	begin_vip(w, f, NAT_SET_KIND_KEEPS);
	nat_put_verdict(w, NF_ACCEPT);
	nat_rule_end(w);
}

/* Masquerades a new connection to a backend on the node of a holder that died; TCP, or all else. */
static void write_former(struct nat_writer *w, const struct nat_family *f, bool tcp)
{
	begin_vip(w, f, NAT_SET_KIND_VIPS);
	nat_match_family(w, f);
	nat_put_destination(w, f, NFT_REG_1);
	nat_match_set(w, NAT_SET_KIND_FORMER, f);
	if (tcp)
		nat_match_syn(w);
	else
		nat_match_proto(w, NFT_CMP_NEQ, IPPROTO_TCP);
	nat_put_masquerade(w);
	nat_rule_end(w);
}

/* VIP . interface is a home; 'key': NFT_META_IIF (in postrouting since Linux 5.7; 0 for what this node sends itself)
 * or NFT_META_OIF. */
static void match_home(struct nat_writer *w, const struct nat_family *f, uint32_t key)
{
	nat_put_vip(w, f);
	nat_put_meta(w, key, f->proto);
	nat_match_set(w, NAT_SET_KIND_HOMES, f);
}

/* Source NAT to the VIP: what came in by the VIP's interface and leaves by it, or goes to a backend of this node. */
static void write_snat(struct nat_writer *w, const struct nat_family *f, bool local)
{
	nat_rule_begin(w);
	match_home(w, f, NFT_META_IIF);
	if (local) {
		nat_match_family(w, f);
		nat_put_destination(w, f, NFT_REG_1);
		nat_match_set(w, NAT_SET_KIND_LOCALS, f);
	} else {
		match_home(w, f, NFT_META_OIF);
	}
	nat_put_vip(w, f);
	nat_put_snat(w, f);
	nat_rule_end(w);
}

void nat_write_source(struct nat_writer *w, const struct nat_options *options)
{
	const struct nat_family *f, *end = END;

	nat_write_first(w, options);
	for (f = nat_families; f < end; f++)
		write_keep(w, f);
	for (f = nat_families; f < end; f++)
		write_former(w, f, true);
	for (f = nat_families; f < end; f++)
		write_former(w, f, false);
	for (f = nat_families; f < end; f++)
		write_snat(w, f, false);
	for (f = nat_families; f < end; f++)
		write_snat(w, f, true);
	/* Brings replies back to this node: also from a backend that is the client itself, and to a client on this
	 * node, whose source address is the VIP. */
	for (f = nat_families; f < end; f++) {
		begin_vip(w, f, NAT_SET_KIND_VIPS);
		nat_put_masquerade(w);
		nat_rule_end(w);
	}
}
