/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain_router.c: rules of router mode: what comes in by a public interface is dropped unless it is allowed here,
 * belongs to a connection that is known or goes to a VIP's backend.  What is allowed returns: other tables may still
 * refuse it. */
#include "netlink/nat_chain.h"

#include <linux/icmp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>

#define PORT_SSH 22   /* RFC 4253 section 4.1 */
#define PORT_BGP 179  /* RFC 4271 section 4.2.1 */
#define PROTO_VRRP 112 /* RFC 9568 section 5.1.1.4 */

struct types {
	uint8_t from, to;
};

/* RFC 4890 section 4.3.1, what must not be dropped on its way through, but for echo: errors. */
static const struct types transit[] = { { 1, 4 } };
/* Section 4.4.1, what must not be dropped at this node: errors, multicast listeners and neighbour discovery (130-136),
 * inverse discovery and MLDv2 (141-143), SEND (148-149), multicast routers (151-153). */
static const struct types local[] = { { 1, 4 }, { 130, 136 }, { 141, 143 }, { 148, 149 }, { 151, 153 } };

static void end_return(struct nat_writer *w)
{
	nat_put_verdict(w, (uint32_t)NFT_RETURN);
	nat_rule_end(w);
}

/* Other interfaces, known connections, VIPs and administrators are none of the rest's business. */
static void write_common(struct nat_writer *w, const struct nat_router *r)
{
	nat_rule_begin(w);
	for (unsigned int i = 0; i < r->n_interfaces; i++)
		nat_match_interface(w, NFT_CMP_NEQ, r->interfaces[i]);
	end_return(w);

	nat_rule_begin(w);
	nat_match_state(w, NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED));
	end_return(w);

	nat_rule_begin(w);
	nat_match_dnat(w, NFT_CMP_NEQ);
	end_return(w);

	for (unsigned int i = 0; i < r->n_admins; i++) {
		nat_rule_begin(w);
		nat_match_source_net(w, &r->admins[i]);
		end_return(w);
	}
}

static void write_icmp_types(struct nat_writer *w, const struct types *v, size_t n)
{
	static const uint8_t fragmentation[] = { ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED };

	nat_rule_begin(w);
	nat_match_proto(w, NFT_CMP_EQ, IPPROTO_ICMP);
	nat_put_transport(w, 0, 2);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, fragmentation, sizeof(fragmentation));
	end_return(w);
	for (size_t i = 0; i < n; i++) {
		nat_rule_begin(w);
		nat_match_proto(w, NFT_CMP_EQ, IPPROTO_ICMPV6);
		nat_put_transport(w, 0, 1);
		nat_put_cmp(w, NFT_CMP_GTE, NFT_REG_1, &v[i].from, sizeof(v[i].from));
		nat_put_cmp(w, NFT_CMP_LTE, NFT_REG_1, &v[i].to, sizeof(v[i].to));
		end_return(w);
	}
}

static void write_drop(struct nat_writer *w)
{
	nat_rule_begin(w);
	nat_put_counter(w, NAT_DROP_ROUTER);
	nat_put_verdict(w, NF_DROP);
	nat_rule_end(w);
}

static void write_port(struct nat_writer *w, uint16_t port)
{
	const uint8_t be[] = { (uint8_t)(port >> 8), (uint8_t)port };

	nat_rule_begin(w);
	nat_match_proto(w, NFT_CMP_EQ, IPPROTO_TCP);
	nat_put_port(w, NAT_DESTINATION_PORT, NFT_REG_1);
	nat_put_cmp(w, NFT_CMP_EQ, NFT_REG_1, be, sizeof(be));
	end_return(w);
}

static void write_proto(struct nat_writer *w, uint8_t proto)
{
	nat_rule_begin(w);
	nat_match_proto(w, NFT_CMP_EQ, proto);
	end_return(w);
}

void nat_write_router_input(struct nat_writer *w, const struct nat_router *r)
{
	if (r->n_interfaces == 0)
		return;
	write_common(w, r);
	write_icmp_types(w, local, ARRAY_LEN(local));
	if ((r->allow & NAT_ROUTER_SSH) && r->n_admins == 0)
		write_port(w, PORT_SSH);
	if (r->allow & NAT_ROUTER_BGP)
		write_port(w, PORT_BGP);
	if (r->allow & NAT_ROUTER_ICMP) {
		write_proto(w, IPPROTO_ICMP);
		write_proto(w, IPPROTO_ICMPV6);
	}
	if (r->allow & NAT_ROUTER_VRRP)
		write_proto(w, PROTO_VRRP);
	write_drop(w);
}

void nat_write_router_forward(struct nat_writer *w, const struct nat_router *r)
{
	if (r->n_interfaces == 0)
		return;
	write_common(w, r);
	write_icmp_types(w, transit, ARRAY_LEN(transit));
	write_drop(w);
}
