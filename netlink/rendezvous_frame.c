/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_frame.c: the tables to bytes, in the forms that nft 1.0.6 itself would write, so that it can print them.  Pure:
 * rendezvous_if talks to the kernel. */
#include "netlink/rendezvous_frame.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <assert.h>
#include <libnftnl/expr.h>
#include <libnftnl/set.h>
#include <linux/if_arp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <stdbool.h>

#include "netlink/nft_frame.h"
#include "netlink/nft_rule.h"

/* The largest of our messages has under 600 bytes (test_rendezvous_frame.c). */
#define FRAME_ROOM 1024
#define FRAMES 12 /* messages that are neither elements nor rules for peers; there are fewer */
#define ELEMENT_ROOM 40 /* an IPv6 address that expires */

#define STRAYS "strays"
#define HOOKED "prerouting"

#define TCP_FLAGS_AT 13
#define TCP_SYN 0x02
#define SOURCE_MAC_AT 6

struct family {
	struct nft_table table;
	struct nft_set vips;
	uint8_t ip;
	uint32_t daddr, ttl; /* where the destination stands, and the TTL or hop limit */
};

static const struct family families[] = {
	{ { RENDEZVOUS_TABLE, NFPROTO_IPV4, FRAME_ROOM }, { "vips", NFT_TYPE_IPV4, 4 }, IP_V4, 16, 8 },
	{ { RENDEZVOUS_TABLE, NFPROTO_IPV6, FRAME_ROOM }, { "vips", NFT_TYPE_IPV6, 16 }, IP_V6, 24, 7 },
};

static const struct nft_set macs = { "nodes", NFT_TYPE_ETHER, LINK_MAC_LEN };

/* After conntrack, -200, before whatever drops or translates. */
static const struct nft_hook hook = { "filter", NF_INET_PRE_ROUTING, -160 };

/* ---- sets ---- */

static int put_set(struct batch *b, const struct family *f, const struct nft_set *set, uint32_t timeout_ms)
{
	AUTO(nft_frame_free_setp) struct nftnl_set *s = nft_frame_new_set(b, &f->table, set, NULL);

	if (s)
		nftnl_set_set_u32(s, NFTNL_SET_FLAGS, timeout_ms ? NFT_SET_TIMEOUT : 0);
	return nft_frame_add_set(b, &f->table, s);
}

static int put_vips(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	struct nft_elements e = { .b = b, .table = &f->table, .set = &f->vips, .timeout_ms = p->timeout_ms,
				  .room = ELEMENT_ROOM };
	int r = put_set(b, f, &f->vips, p->timeout_ms);

	for (size_t i = 0; i < p->n_vips && r == 0; i++)
		if (p->vips[i].family == f->ip)
			r = nft_frame_put_element(&e, p->vips[i].b);
	nft_frame_end_elements(&e);
	return r;
}

static int put_macs(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	struct nft_elements e = { .b = b, .table = &f->table, .set = &macs, .room = ELEMENT_ROOM };
	int r = put_set(b, f, &macs, 0);

	for (size_t i = 0; i < p->n_macs && r == 0; i++)
		r = nft_frame_put_element(&e, p->macs[i]);
	nft_frame_end_elements(&e);
	return r;
}

/* ---- rules ---- */

static void put_load(struct nft_rule *rule, uint32_t base, uint32_t offset, uint32_t len)
{
	nft_put_payload(rule, base, offset, len, NFT_REG_1);
}

/* The bits of the register, compared with none. */
static void put_bits(struct nft_rule *rule, const void *mask, uint32_t len, uint32_t op)
{
	static const uint8_t zero[4];

	assert(len <= sizeof(zero));
	nft_put_bitwise(rule, mask, zero, len);
	nft_put_cmp(rule, op, NFT_REG_1, zero, len);
}

static void put_meta(struct nft_rule *rule, uint32_t key, const void *data, uint32_t len)
{
	nft_put_meta(rule, key, NFT_REG_1);
	nft_put_cmp(rule, NFT_CMP_EQ, NFT_REG_1, data, len);
}

static void put_counter(struct nft_rule *rule)
{
	IGNORE(nft_rule_append(rule, "counter", NULL, 0)); /* from 0 on; the rule keeps the error */
}

/* TCP in the middle of a connection to a VIP that conntrack here knows nothing of. */
static int put_stray(struct batch *b, const struct family *f)
{
	static const uint8_t tcp = IPPROTO_TCP, syn = TCP_SYN;
	static const uint32_t unknown = NF_CT_STATE_INVALID_BIT | NF_CT_STATE_BIT(IP_CT_NEW);
	struct nft_rule rule = nft_rule_begin(&f->table, HOOKED, NULL);

	put_load(&rule, NFT_PAYLOAD_NETWORK_HEADER, f->daddr, f->vips.key_len);
	nft_put_lookup(&rule, f->vips.name);
	put_meta(&rule, NFT_META_L4PROTO, &tcp, sizeof(tcp));
	put_load(&rule, NFT_PAYLOAD_TRANSPORT_HEADER, TCP_FLAGS_AT, 1);
	put_bits(&rule, &syn, sizeof(syn), NFT_CMP_EQ);
	nft_put_ct(&rule, NFT_CT_STATE, NFT_REG_1);
	put_bits(&rule, &unknown, sizeof(unknown), NFT_CMP_NEQ);
	nft_put_verdict(&rule, NFT_GOTO, STRAYS);
	return nft_rule_end(&rule, b);
}

static int put_returned(struct batch *b, const struct family *f)
{
	static const uint16_t ethernet = ARPHRD_ETHER;
	struct nft_rule rule = nft_rule_begin(&f->table, STRAYS, NULL);

	put_meta(&rule, NFT_META_IIFTYPE, &ethernet, sizeof(ethernet));
	put_load(&rule, NFT_PAYLOAD_LL_HEADER, SOURCE_MAC_AT, LINK_MAC_LEN);
	nft_put_lookup(&rule, macs.name);
	put_counter(&rule);
	nft_put_verdict(&rule, NF_DROP, NULL);
	return nft_rule_end(&rule, b);
}

/* dup takes one off, and asks nobody whether one is left (nf_dup_ipv4(), nf_dup_ipv6()). */
static int put_worn_out(struct batch *b, const struct family *f)
{
	static const uint8_t last = 1;
	struct nft_rule rule = nft_rule_begin(&f->table, STRAYS, NULL);

	put_load(&rule, NFT_PAYLOAD_NETWORK_HEADER, f->ttl, sizeof(last));
	nft_put_cmp(&rule, NFT_CMP_LTE, NFT_REG_1, &last, sizeof(last));
	put_counter(&rule);
	nft_put_verdict(&rule, NF_DROP, NULL);
	return nft_rule_end(&rule, b);
}

/* Far above what connections under way need: while two nodes know of each other's leaving not yet, packets go round between
 * them, but not ever more of them. */
static int put_limit(struct batch *b, const struct family *f)
{
	static const struct rate limit = { RATE_PACKETS, 1, 20000, 20000 };
	struct nft_rule rule = nft_rule_begin(&f->table, STRAYS, NULL);

	nft_put_limit(&rule, &limit);
	put_counter(&rule);
	nft_put_verdict(&rule, NF_DROP, NULL);
	return nft_rule_end(&rule, b);
}

static int put_dup(struct batch *b, const struct family *f, const struct rendezvous_peer *peer)
{
	const uint32_t dev = (uint32_t)peer->ifindex;
	struct nft_rule rule = nft_rule_begin(&f->table, STRAYS, NULL);

	nft_put_data(&rule, NFT_REG_1, peer->ip.b, f->vips.key_len);
	nft_put_data(&rule, NFT_REG_2, &dev, sizeof(dev));
	NFT_APPEND(&rule, "dup", { NFTNL_EXPR_DUP_SREG_ADDR, NFT_REG_1 }, { NFTNL_EXPR_DUP_SREG_DEV, NFT_REG_2 });
	put_counter(&rule);
	return nft_rule_end(&rule, b);
}

static int put_drop(struct batch *b, const struct family *f)
{
	struct nft_rule rule = nft_rule_begin(&f->table, STRAYS, NULL);

	nft_put_verdict(&rule, NF_DROP, NULL);
	return nft_rule_end(&rule, b);
}

/* ---- the table ---- */

static bool has_peer(const struct rendezvous *r, const struct family *f)
{
	for (size_t i = 0; i < r->n_peers; i++)
		if (r->peers[i].ip.family == f->ip)
			return true;
	return false;
}

static int put_strays(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	int r = nft_frame_add_chain(b, &f->table, STRAYS, NULL);

	if (r == 0)
		r = put_returned(b, f);
	if (r == 0)
		r = put_worn_out(b, f);
	if (r == 0)
		r = put_limit(b, f);
	for (size_t i = 0; i < p->n_peers && r == 0; i++)
		if (p->peers[i].ip.family == f->ip)
			r = put_dup(b, f, &p->peers[i]);
	return r == 0 ? put_drop(b, f) : r;
}

static int make(struct batch *b, const struct family *f, const struct rendezvous *p)
{
	int r = nft_frame_add_table(b, &f->table);

	if (r == 0)
		r = put_vips(b, f, p);
	if (r == 0)
		r = put_macs(b, f, p);
	if (r == 0)
		r = put_strays(b, f, p);
	if (r == 0)
		r = nft_frame_add_chain(b, &f->table, HOOKED, &hook);
	return r == 0 ? put_stray(b, f) : r;
}

static const struct family *family_of(uint8_t ip)
{
	return &families[ip == IP_V6];
}

size_t rendezvous_frame_room(const struct rendezvous *r)
{
	return BATCH_OVERHEAD + (FRAMES + RENDEZVOUS_PEERS_MAX) * FRAME_ROOM +
	       nft_frame_elements_room(r->n_vips, ELEMENT_ROOM) + nft_frame_elements_room(r->n_macs, ELEMENT_ROOM);
}

int rendezvous_frame_remove(struct batch *b, uint8_t family)
{
	return nft_frame_remove_table(b, &family_of(family)->table);
}

int rendezvous_frame_make(struct batch *b, const struct rendezvous *p, uint8_t family)
{
	const struct family *f = family_of(family);

	assert(p->n_peers <= RENDEZVOUS_PEERS_MAX);
	return has_peer(p, f) ? make(b, f, p) : 0;
}
