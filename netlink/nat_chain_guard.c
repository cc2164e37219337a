/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain_guard.c: rules that keep connections apart or out: zone, guard, and what no backend took. */
#include "netlink/nat_chain.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

#define END (nat_families + NAT_FAMILY_N)

/* ---- zone ---- */

/* Both directions of what another holder sends through this node.  Answers are its own affair while the VIP is not
 * this node's: once it is, they are looked for among its own connections, and if unknown meet the guard. */
static void write_zone(struct nat_writer *w, const struct nat_family *f, bool answer)
{
	nat_rule_begin(w);
	nat_match_family(w, f);
	if (answer)
		nat_put_destination(w, f, NFT_REG_1);
	else
		nat_put_source(w, f, NFT_REG_1);
	nat_match_set(w, NAT_SET_KIND_VIPS, f);
	if (answer)
		nat_put_source_key(w, f);
	else
		nat_put_destination_key(w, f);
	nat_match_set(w, NAT_SET_KIND_GUARDS, f);
	if (answer)
		nat_match_local(w, NFT_CMP_NEQ, NFTA_FIB_F_DADDR);
	nat_put_zone(w, NAT_ZONE);
	nat_rule_end(w);
}

void nat_write_zone(struct nat_writer *w)
{
	for (const struct nat_family *f = nat_families; f < END; f++)
		write_zone(w, f, false);
	for (const struct nat_family *f = nat_families; f < END; f++)
		write_zone(w, f, true);
}

/* Packets of connections that are known leave the chain, before any look into a set. */
static void write_known(struct nat_writer *w)
{
	nat_rule_begin(w);
	nat_match_state(w, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	nat_put_verdict(w, (uint32_t)NFT_RETURN);
	nat_rule_end(w);
}

/* ---- guard ---- */

enum guard {
	GUARD_INVALID,
	GUARD_BACKEND,
	GUARD_LATE, /* of a client who has not heard yet that the VIP has left */
};

static void write_guard(struct nat_writer *w, const struct nat_family *f, enum guard guard)
{
	nat_rule_begin(w);
	nat_match_state(w, guard == GUARD_INVALID ? NF_CT_STATE_INVALID_BIT : NF_CT_STATE_BIT(IP_CT_NEW));
	nat_match_family(w, f);
	nat_put_destination(w, f, NFT_REG_1);
	switch (guard) {
	case GUARD_INVALID:
		nat_match_set(w, NAT_SET_KIND_VIPS, f);
		nat_match_local(w, NFT_CMP_EQ, NFTA_FIB_F_DADDR);
		break;
	case GUARD_BACKEND:
		nat_match_set(w, NAT_SET_KIND_VIPS, f);
		nat_put_source_key(w, f);
		nat_match_set(w, NAT_SET_KIND_GUARDS, f);
		break;
	case GUARD_LATE:
		nat_put_meta(w, NFT_META_IIF, f->proto);
		nat_match_set(w, NAT_SET_KIND_HOMES, f);
		nat_match_local(w, NFT_CMP_NEQ, NFTA_FIB_F_DADDR);
		break;
	}
	nat_put_counter(w, NAT_DROP_INVALID);
	nat_put_verdict(w, NF_DROP);
	nat_rule_end(w);
}

void nat_write_guard(struct nat_writer *w)
{
	static const enum guard guards[] = { GUARD_INVALID, GUARD_BACKEND, GUARD_LATE };

	write_known(w);
	for (size_t i = 0; i < ARRAY_LEN(guards); i++)
		for (const struct nat_family *f = nat_families; f < END; f++)
			write_guard(w, f, guards[i]);
}

/* ---- what no backend took ---- */

/* Begins a rule about packets to a VIP of the set that were not sent on, and belong to no connection: the reset that
 * refuses a process of this node goes to the VIP, too, for that is the address it asked from. */
static void begin_unmatched(struct nat_writer *w, const struct nat_family *f, enum nat_set_kind kind)
{
	nat_rule_begin(w);
	nat_match_family(w, f);
	nat_put_destination(w, f, NFT_REG_1);
	nat_match_set(w, kind, f);
	nat_match_dnat(w, NFT_CMP_EQ);
	nat_match_state(w, NF_CT_STATE_BIT(IP_CT_NEW) | NF_CT_STATE_INVALID_BIT | NF_CT_STATE_UNTRACKED_BIT);
}

/* A VIP's packet that no backend took is refused before conntrack confirms its connection: a UDP flow that was once
 * answered by this node itself would be kept from the backends for as long as it lasts.  Pings are let through, and
 * with them the errors of connections. */
static void write_unmatched(struct nat_writer *w, enum nat_set_kind kind, const struct nat_options *options)
{
	if (options->unmatched == NAT_UNMATCHED_ACCEPT)
		return;
	write_known(w);
	for (const struct nat_family *f = nat_families; f < END; f++) {
		if (options->unmatched == NAT_UNMATCHED_REJECT) {
			begin_unmatched(w, f, kind);
			nat_match_proto(w, NFT_CMP_EQ, IPPROTO_TCP);
			nat_put_counter(w, NAT_DROP_UNMATCHED);
			nat_put_reject(w, f, true);
			nat_rule_end(w);
		}
		begin_unmatched(w, f, kind);
		nat_match_proto(w, NFT_CMP_NEQ, f->icmp);
		nat_put_counter(w, NAT_DROP_UNMATCHED);
		if (options->unmatched == NAT_UNMATCHED_REJECT)
			nat_put_reject(w, f, false);
		else
			nat_put_verdict(w, NF_DROP);
		nat_rule_end(w);
	}
}

void nat_write_input(struct nat_writer *w, const struct nat_options *options)
{
	write_unmatched(w, NAT_SET_KIND_VIPS, options);
}

/* What was sent on needs none of the rules that refuse: for it the chain ends with the user's. */
void nat_write_forward(struct nat_writer *w, const struct nat_options *options)
{
	for (const struct nat_family *f = nat_families; f < END; f++) {
		nat_rule_begin(w);
		nat_match_dnat(w, NFT_CMP_NEQ);
		nat_match_vip(w, NAT_SET_KIND_VIPS, f);
		nat_put_goto(w, NAT_USER_CHAIN);
		nat_rule_end(w);
	}
	write_unmatched(w, NAT_SET_KIND_ROUTED, options);
}
