/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain_count.c: rules that count, and the mark that lets new connections through.  An element's counter counts
 * what finds it, so these rules do nothing but look up.  Packets of no connection that was sent elsewhere leave them at
 * the first look at the connection's status. */
#include "netlink/nat_chain.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>

#define END (nat_families + NAT_FAMILY_N)

/* ---- packets ---- */

void nat_write_count(struct nat_writer *w, uint32_t hook, const struct nat_options *options)
{
	if (!options->counters)
		return;
	nat_rule_begin(w);
	nat_match_dnat(w, NFT_CMP_EQ);
	nat_put_verdict(w, (uint32_t)NFT_RETURN);
	nat_rule_end(w);
	if (hook == NF_INET_PRE_ROUTING) { /* counted when it was sent: it keeps its connection on its way */
		nat_rule_begin(w);
		nat_match_loopback(w);
		nat_put_verdict(w, (uint32_t)NFT_RETURN);
		nat_rule_end(w);
	}
	nat_rule_begin(w);
	nat_match_direction(w, IP_CT_DIR_REPLY);
	nat_put_goto(w, "sent");
	nat_rule_end(w);
	nat_rule_begin(w);
	nat_put_goto(w, "received");
	nat_rule_end(w);
}

/* Begins a rule about packets of connections whose VIP's port stands in the set. */
static void begin_service(struct nat_writer *w, uint8_t proto, enum nat_set_kind kind, const struct nat_family *f)
{
	nat_rule_begin(w);
	nat_match_proto(w, NFT_CMP_EQ, proto);
	nat_put_vip_key(w, f);
	nat_match_set(w, kind, f);
}

/* In the order of how much there is of them. */
static const uint8_t protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };

void nat_write_received(struct nat_writer *w)
{
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		for (const struct nat_family *f = nat_families; f < END; f++) {
			begin_service(w, protos[i], NAT_SET_KIND_RECEIVED, f);
			nat_put_goto(w, "backends");
			nat_rule_end(w);
		}
	}
}

void nat_write_backends(struct nat_writer *w)
{
	for (const struct nat_family *f = nat_families; f < END; f++) {
		nat_rule_begin(w);
		nat_match_family(w, f);
		nat_put_destination_key(w, f);
		nat_match_set(w, NAT_SET_KIND_BACKENDS, f);
		nat_rule_end(w);
	}
}

void nat_write_sent(struct nat_writer *w)
{
	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		for (const struct nat_family *f = nat_families; f < END; f++) {
			begin_service(w, protos[i], NAT_SET_KIND_SENT, f);
			nat_put_verdict(w, (uint32_t)NFT_RETURN);
			nat_rule_end(w);
		}
	}
}

/* ---- connections ---- */

/* In a NAT chain, which sees the first packet of a connection alone, behind nat_write_first()'s first rule. */
void nat_write_opened(struct nat_writer *w, const struct nat_options *options)
{
	for (const struct nat_family *f = nat_families; f < END && options->counters; f++) {
		nat_rule_begin(w);
		nat_match_direction(w, IP_CT_DIR_ORIGINAL);
		nat_match_vip(w, NAT_SET_KIND_VIPS, f);
		nat_match_family(w, f);
		nat_put_destination_key(w, f);
		nat_match_set(w, NAT_SET_KIND_OPENED, f);
		nat_rule_end(w);
	}
}

/* ---- the mark ---- */

void nat_write_mark(struct nat_writer *w, const struct nat_options *options)
{
	for (const struct nat_family *f = nat_families; f < END && options->forward_mark; f++) {
		nat_rule_begin(w);
		nat_match_state(w, NF_CT_STATE_BIT(IP_CT_NEW));
		nat_match_family(w, f);
		nat_put_destination(w, f, NFT_REG_1);
		nat_match_set(w, NAT_SET_KIND_VIPS, f);
		nat_put_mark(w, ~options->forward_mark, options->forward_mark);
		nat_rule_end(w);
	}
}

/* Before kube-proxy's KUBE-POSTROUTING, which would masquerade what has the mark; and not in our NAT chain, which does
 * not see a SYN that is sent again: with the mark left on, a tunnel's outer packet would be masqueraded, too. */
void nat_write_unmark(struct nat_writer *w, const struct nat_options *options)
{
	for (const struct nat_family *f = nat_families; f < END && options->forward_mark; f++) {
		nat_rule_begin(w);
		nat_put_meta(w, NFT_META_MARK, NFT_REG_1);
		nat_match_bits(w, NFT_CMP_NEQ, options->forward_mark, 0);
		nat_match_dnat(w, NFT_CMP_NEQ);
		nat_match_vip(w, NAT_SET_KIND_VIPS, f);
		nat_put_mark(w, ~options->forward_mark, 0);
		nat_rule_end(w);
	}
}
