/* SPDX-License-Identifier: Apache-2.0 */
/* nat_rule.h: builds rules expression by expression, in the forms that nft 1.0.6 itself would write, so that it can
 * print them and read its own print.  What rules a chain has, nat_chain.h says.
 *
 * Keys of concatenations are loaded into neighbouring registers: NFT_REG_1 stands for the first 16 bytes, NFT_REG32_xx
 * for 4 bytes each.  A member of a key is padded to whole registers with zeros by the kernel. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "agent/base/nat.h"
#include "netlink/batch.h"
#include "netlink/nat_layout.h"
#include "netlink/nft_rule.h"

/* What differs between the families. */
struct nat_family {
	enum ip_family ip;
	uint8_t nfproto;
	uint32_t len, saddr, daddr;  /* bytes of an address, offsets in the header */
	uint32_t proto, dport, slot; /* registers behind an address in register 1; 'slot' is a client's, too */
	uint32_t hash, hash_port;    /* registers for a source address, and behind it */
	uint32_t value, value_port;  /* registers for a backend, behind the longest key */
	uint32_t ct_source, ct_destination; /* NFT_CT_* */
	uint8_t icmp;		     /* protocol number */
	uint8_t port_unreachable;    /* its code */
};

#define NAT_FAMILY_N 2
extern const struct nat_family nat_families[NAT_FAMILY_N];

/* Rules of one chain on their way into a batch.  After the first error nothing is written. */
struct nat_writer {
	struct batch *b;
	const char *chain, *comment;
	struct nft_rule rule; /* being built; its error: -ENOSPC, -ENOMEM */
};

/* Between these two the expressions of a rule are put. */
void nat_rule_begin(struct nat_writer *w);
void nat_rule_end(struct nat_writer *w);

/* ---- loading ---- */

void nat_put_source(struct nat_writer *w, const struct nat_family *f, uint32_t reg);
void nat_put_destination(struct nat_writer *w, const struct nat_family *f, uint32_t reg);
/* The port at 'offset' of the transport header: TCP, UDP and SCTP have the source's at 0, the destination's at 2. */
#define NAT_SOURCE_PORT 0
#define NAT_DESTINATION_PORT 2
void nat_put_port(struct nat_writer *w, uint32_t offset, uint32_t reg);
/* Bytes of the transport header into register 1. */
void nat_put_transport(struct nat_writer *w, uint32_t offset, uint32_t len);
void nat_put_meta(struct nat_writer *w, uint32_t key, uint32_t reg);
/* What conntrack has of the connection; dir: IP_CT_DIR_*. */
void nat_put_ct(struct nat_writer *w, uint32_t key, uint8_t dir, uint32_t reg);
/* The connection's first destination, its VIP, into register 1; and VIP . protocol . port.  (nft needs a match of the
 * protocol before it, or it cannot tell what the port is.) */
void nat_put_vip(struct nat_writer *w, const struct nat_family *f);
void nat_put_vip_key(struct nat_writer *w, const struct nat_family *f);
/* Address . protocol . port into register 1 and those behind it. */
void nat_put_source_key(struct nat_writer *w, const struct nat_family *f);
void nat_put_destination_key(struct nat_writer *w, const struct nat_family *f);
/* jhash of 'len' bytes from 'reg' on. */
void nat_put_hash(struct nat_writer *w, const struct nat_family *f, uint32_t reg, uint32_t len, uint32_t modulus);
/* type: NFT_NG_*. */
void nat_put_numgen(struct nat_writer *w, const struct nat_family *f, uint32_t type, uint32_t modulus);

/* ---- matching ---- */

/* Compares 'len' bytes of a register; op: NFT_CMP_*. */
void nat_put_cmp(struct nat_writer *w, uint32_t op, uint32_t reg, const void *data, uint32_t len);
void nat_match_family(struct nat_writer *w, const struct nat_family *f);
/* What register 1 and those behind it hold stands in the set. */
void nat_match_set(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f);
/* A value of the map into 'reg', or its verdict (NFT_REG_VERDICT). */
void nat_put_map(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f, uint32_t reg);
/* The connection's VIP stands in the set. */
void nat_match_vip(struct nat_writer *w, enum nat_set_kind kind, const struct nat_family *f);
void nat_match_proto(struct nat_writer *w, uint32_t op, uint8_t proto);
/* (register 1 & mask) op value. */
void nat_match_bits(struct nat_writer *w, uint32_t op, uint32_t mask, uint32_t value);
void nat_match_syn(struct nat_writer *w);
/* Connections whose destination was (NFT_CMP_NEQ) or was not (NFT_CMP_EQ) rewritten. */
void nat_match_dnat(struct nat_writer *w, uint32_t op);
/* bits: NF_CT_STATE_BIT() and so on. */
void nat_match_state(struct nat_writer *w, uint32_t bits);
/* dir: IP_CT_DIR_*. */
void nat_match_direction(struct nat_writer *w, uint8_t dir);
/* The packet came by the loopback interface. */
void nat_match_loopback(struct nat_writer *w);
/* The packet's address in question is (NFT_CMP_EQ) or is not (NFT_CMP_NEQ) one of this node; flags: NFTA_FIB_F_*ADDR. */
void nat_match_local(struct nat_writer *w, uint32_t op, uint32_t flags);
/* op: NFT_CMP_*. */
void nat_match_interface(struct nat_writer *w, uint32_t op, const char *name);
/* The source lies in the prefix; matches the family, too. */
void nat_match_source_net(struct nat_writer *w, const struct ip_net *net);

/* ---- doing ---- */

/* NF_DROP, NF_ACCEPT, NFT_RETURN. */
void nat_put_verdict(struct nat_writer *w, uint32_t verdict);
void nat_put_jump(struct nat_writer *w, const char *chain);
/* A jump whose way back leads past the rest of this chain. */
void nat_put_goto(struct nat_writer *w, const char *chain);
void nat_put_counter(struct nat_writer *w, enum nat_drop why);
/* TCP reset, or ICMP port unreachable. */
void nat_put_reject(struct nat_writer *w, const struct nat_family *f, bool reset);
void nat_put_dnat(struct nat_writer *w, const struct nat_family *f, uint32_t reg_address, uint32_t reg_port);
/* To the address in register 1. */
void nat_put_snat(struct nat_writer *w, const struct nat_family *f);
void nat_put_masquerade(struct nat_writer *w);
void nat_put_limit(struct nat_writer *w, const struct rate *rate);
/* op: NFT_DYNSET_OP_*; timeout_ms 0 = none; value: register of the data of a map, or 0; connections: matches when the
 * element's source has more than so many, 0 = none. */
struct nat_dynset {
	const char *set;
	uint32_t op, value, connections;
	uint64_t timeout_ms;
};
void nat_put_dynset(struct nat_writer *w, const struct nat_dynset *d);
/* The mark becomes (mark & and) ^ xor. */
void nat_put_mark(struct nat_writer *w, uint32_t and, uint32_t xor);
void nat_put_zone(struct nat_writer *w, uint16_t zone);
