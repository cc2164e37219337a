/* SPDX-License-Identifier: Apache-2.0 */
/* arp_guard_frame.c: the ARP guard's table to and from bytes, in the forms that nft 1.0.6 itself would write, so that it
 * can print them.  Pure: arp_guard_if talks to the kernel. */
#include "netlink/arp_guard_frame.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/expr.h>
#include <linux/if_arp.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter_arp.h>
#include <stdbool.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_udata.h"
#include "netlink/nft_frame.h"
#include "netlink/nft_rule.h"

/* The largest of our messages has under 512 bytes (test_arp_guard_frame.c). */
#define FRAME_ROOM 1024
#define FRAMES 16 /* messages that are no elements; there are fewer */
#define ELEMENT_ROOM 24 /* an element of the set with the longer key */

/* ARP for IPv4 over Ethernet (RFC 826), from the start of its header. */
#define AT_OPERATION 6
#define AT_SPA 14
#define AT_TPA 24

/* ---- shapes ---- */

static const struct nft_table table = { ARP_GUARD_TABLE, NFPROTO_ARP, FRAME_ROOM };

enum guard_set {
	SET_VIPS,
	SET_HOMES,
};

static const struct nft_set sets[] = {
	[SET_VIPS] = { "vips", NFT_TYPE_IPV4, 4 },
	[SET_HOMES] = { "homes", NFT_TYPE_IPV4 << NAT_TYPE_BITS | NFT_TYPE_IFINDEX, 8 },
};

static const struct {
	const char *name;
	struct nft_hook hook;
	uint32_t address; /* where the VIP stands in the packet */
	uint32_t interface;
} chains[ARP_GUARD_CHAIN_N] = {
	[ARP_GUARD_INPUT] = { "input", { "filter", NF_ARP_IN, 0 }, AT_TPA, NFT_META_IIF },
	[ARP_GUARD_OUTPUT] = { "output", { "filter", NF_ARP_OUT, 0 }, AT_SPA, NFT_META_OIF },
};

/* ---- building ---- */

static void put_load(struct nft_rule *rule, uint32_t offset, uint32_t len)
{
	nft_put_payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offset, len, NFT_REG_1);
}

static void put_lookup(struct nft_rule *rule, enum guard_set set, uint32_t flags)
{
	struct nftnl_expr *e = nft_put_lookup(rule, sets[set].name);

	if (e)
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, flags);
}

/* Only requests are answered; whatever else names a VIP as target is none of the guard's business. */
static void put_request_match(struct nft_rule *rule)
{
	const uint16_t request = htobe16(ARPOP_REQUEST);

	put_load(rule, AT_OPERATION, sizeof(request));
	nft_put_cmp(rule, NFT_CMP_EQ, NFT_REG_1, &request, sizeof(request));
}

/* Nothing answers what comes in; and what goes out asks in nobody's name: SPA 0, as an ARP probe (RFC 5227, 1.1), which
 * tells the neighbours nothing and is answered like any other request.  The interface may be a Pod's, which must be found. */
static void put_verdict(struct nft_rule *rule, enum arp_guard_chain i)
{
	const uint32_t nobody = 0;

	if (i == ARP_GUARD_INPUT) {
		nft_put_verdict(rule, NF_DROP, NULL);
		return;
	}
	nft_put_data(rule, NFT_REG_1, &nobody, sizeof(nobody));
	NFT_APPEND(rule, "payload", { NFTNL_EXPR_PAYLOAD_SREG, NFT_REG_1 },
		   { NFTNL_EXPR_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER }, { NFTNL_EXPR_PAYLOAD_OFFSET, chains[i].address },
		   { NFTNL_EXPR_PAYLOAD_LEN, sizeof(nobody) }, { NFTNL_EXPR_PAYLOAD_CSUM_TYPE, NFT_PAYLOAD_CSUM_NONE },
		   { NFTNL_EXPR_PAYLOAD_CSUM_OFFSET, 0 }, { NFTNL_EXPR_PAYLOAD_FLAGS, 0 });
}

/* The interface's register stands behind that of the address: register 1 has 16 bytes, NFT_REG32_xx 4 each. */
static int put_rule(struct batch *b, enum arp_guard_chain i)
{
	struct nft_rule rule = nft_rule_begin(&table, chains[i].name, ARP_GUARD_LAYOUT);

	if (i == ARP_GUARD_INPUT)
		put_request_match(&rule);
	put_load(&rule, chains[i].address, 4);
	put_lookup(&rule, SET_VIPS, 0);
	put_load(&rule, chains[i].address, 4);
	nft_put_meta(&rule, chains[i].interface, NFT_REG32_01);
	put_lookup(&rule, SET_HOMES, NFT_LOOKUP_F_INV);
	put_verdict(&rule, i);
	return nft_rule_end(&rule, b);
}

static int put_set(struct batch *b, enum guard_set i)
{
	AUTO(nft_frame_free_setp) struct nftnl_set *s = nft_frame_new_set(b, &table, &sets[i], NULL);

	return nft_frame_add_set(b, &table, s);
}

size_t arp_guard_frame_room(size_t n)
{
	return BATCH_OVERHEAD + (size_t)FRAMES * FRAME_ROOM + ARRAY_LEN(sets) * nft_frame_elements_room(n, ELEMENT_ROOM);
}

int arp_guard_frame_remove(struct batch *b)
{
	return nft_frame_remove_table(b, &table);
}

int arp_guard_frame_make(struct batch *b)
{
	int r = nft_frame_add_table(b, &table);

	for (enum guard_set i = 0; i < ARRAY_LEN(sets) && r == 0; i++)
		r = put_set(b, i);
	for (enum arp_guard_chain i = 0; i < ARP_GUARD_CHAIN_N && r == 0; i++) {
		r = nft_frame_add_chain(b, &table, chains[i].name, &chains[i].hook);
		if (r == 0)
			r = put_rule(b, i);
	}
	return r;
}

/* ---- elements ---- */

static int fill(struct batch *b, const struct nft_set *set, const struct arp_home *homes, size_t n)
{
	struct nft_elements e = { .b = b, .table = &table, .set = set, .room = ELEMENT_ROOM };
	int r = nft_frame_empty_set(b, &table, set->name);

	for (size_t i = 0; i < n && r == 0; i++) {
		uint8_t key[8]; /* the other set's is the first half */

		memcpy(key, homes[i].ip.b, 4);
		memcpy(key + 4, &homes[i].ifindex, 4); /* the host's byte order, as the kernel compares it */
		r = nft_frame_put_element(&e, key);
	}
	nft_frame_end_elements(&e);
	return r;
}

int arp_guard_frame_fill(struct batch *b, const struct arp_home *homes, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n; i++)
		assert(homes[i].ip.family == IP_V4);
	for (size_t i = 0; i < ARRAY_LEN(sets) && r == 0; i++)
		r = fill(b, &sets[i], homes, n);
	return r;
}

/* ---- reading ---- */

struct nlmsghdr *arp_guard_frame_read(unsigned char buf[static ARP_GUARD_READ_MAX])
{
	struct nlmsghdr *nlh = nft_frame_request(buf, ARP_GUARD_READ_MAX, &table, NFT_MSG_GETRULE, NLM_F_DUMP);

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, ARP_GUARD_TABLE);
	return nlh;
}

int arp_guard_frame_parse(const void *data, size_t len, enum arp_guard_chain *ret)
{
	const struct nlattr *tb[NFTA_RULE_USERDATA + 1];
	int r = nft_frame_open(attr_message(data, len), &table, NFT_MSG_NEWRULE, tb, NFTA_RULE_USERDATA);
	const char *chain, *comment = NULL;

	if (r < 0)
		return r;
	chain = attr_text(tb[NFTA_RULE_CHAIN]);
	if (!chain)
		return -EBADMSG;
	if (tb[NFTA_RULE_USERDATA])
		comment = nat_udata_find_comment(attr_data(tb[NFTA_RULE_USERDATA]), attr_len(tb[NFTA_RULE_USERDATA]));
	if (!comment || !text_eq(comment, ARP_GUARD_LAYOUT))
		return -ENOENT;
	for (enum arp_guard_chain i = 0; i < ARP_GUARD_CHAIN_N; i++) {
		if (text_eq(chain, chains[i].name)) {
			*ret = i;
			return 0;
		}
	}
	return -ENOENT;
}
