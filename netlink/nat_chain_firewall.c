/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain_firewall.c: rules of the Services' firewalls. */
#include "netlink/nat_chain.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

void nat_write_firewalls(struct nat_writer *w)
{
	for (const struct nat_family *f = nat_families; f < nat_families + NAT_FAMILY_N; f++) {
		nat_rule_begin(w);
		nat_match_family(w, f);
		nat_put_destination_key(w, f);
		nat_put_map(w, NAT_SET_KIND_FIREWALLS, f, NFT_REG_VERDICT);
		nat_rule_end(w);
	}
}

static void put_drop(struct nat_writer *w, enum nat_drop why)
{
	nat_put_counter(w, why);
	nat_put_verdict(w, NF_DROP);
	nat_rule_end(w);
}

/* Connections of one client at a time.  A client beyond the set's size is not limited: to refuse it would let others,
 * by many addresses, keep it out. */
static void write_connections(struct nat_writer *w, const struct nat_firewall *fw, const struct nat_family *f)
{
	char set[NAT_NAME_MAX];
	const struct nat_dynset count = {
		.set = nat_firewall_set(fw->name, f->ip, set), .op = NFT_DYNSET_OP_ADD,
		.connections = fw->client_connections,
	};

	nat_rule_begin(w);
	nat_match_family(w, f);
	nat_match_state(w, NF_CT_STATE_BIT(IP_CT_NEW));
	nat_put_source(w, f, NFT_REG_1);
	nat_put_dynset(w, &count);
	put_drop(w, NAT_DROP_CONNECTIONS);
}

/* Who may not connect at all comes first, so that it uses up nothing of the rate; and what is over the rate is not
 * counted as a connection. */
void nat_write_firewall(struct nat_writer *w, const struct nat_firewall *fw)
{
	char sources[NAT_NAME_MAX];

	if (fw->restricted) {
		nat_rule_begin(w);
		nat_match_state(w, NF_CT_STATE_BIT(IP_CT_NEW));
		nat_put_jump(w, nat_sources_chain(fw->name, sources));
		nat_rule_end(w);
	}
	for (unsigned int i = 0; i < fw->n_rates; i++) {
		nat_rule_begin(w);
		nat_put_limit(w, &fw->rates[i]);
		put_drop(w, NAT_DROP_RATE);
	}
	for (unsigned int i = 0; i < NAT_FAMILY_N && fw->client_connections; i++)
		write_connections(w, fw, &nat_families[i]);
}

void nat_write_sources(struct nat_writer *w, const struct nat_firewall *fw)
{
	for (unsigned int i = 0; i < fw->n_sources; i++) {
		nat_rule_begin(w);
		nat_match_source_net(w, &fw->sources[i]);
		nat_put_verdict(w, (uint32_t)NFT_RETURN);
		nat_rule_end(w);
	}
	nat_rule_begin(w);
	put_drop(w, NAT_DROP_SOURCE);
}

unsigned int nat_firewall_rules(const struct nat_firewall *fw)
{
	return (fw->restricted ? 1u + fw->n_sources + 1u : 0) + fw->n_rates + (fw->client_connections ? NAT_FAMILY_N : 0);
}
