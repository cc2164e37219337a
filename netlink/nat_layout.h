/* SPDX-License-Identifier: Apache-2.0 */
/* nat_layout.h: the names and shapes of the table "inet leasehold".  In nft's words (tests/netns/test_kernel.py
 * holds the kernel to it):
 *
 *	set vips4 { type ipv4_addr; }
 *	map dispatch4 { type ipv4_addr . inet_proto . inet_service : verdict; }
 *	map slots4 { typeof ip daddr . meta l4proto . th dport . numgen random mod 5003 : ip daddr . th dport; }
 *	(and the same for IPv6: vips6, dispatch6, slots6)
 *	chain nat-prerouting { type nat hook prerouting priority -110; jump services; }
 *	chain nat-output { type nat hook output priority -110; jump services; }
 *	chain services { ip daddr . meta l4proto . th dport vmap @dispatch4; (IPv6 likewise) }
 *	chain hash-61 { dnat ip to ip daddr . meta l4proto . th dport . jhash ip saddr . th sport mod 61 map @slots4; }
 *	chain random-61 { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 61 map @slots4; }
 *	(one of each for every size class)
 *	chain nat-postrouting { type nat hook postrouting priority 90; ct status dnat ct original ip daddr @vips4
 *				masquerade; }
 *	chain filter-input { type filter hook input priority 0; ip daddr @vips4 ct status ! dnat meta l4proto tcp
 *				reject with tcp reset; (IPv6 and UDP likewise) }
 *
 * -110 because the first NAT chain that binds a connection wins and kube-proxy's stand at -100.  A chain is an
 * anchor: it is never deleted, because the last NAT chain's going cuts established flows. */
#pragma once

#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/nat.h"

#define NAT_TABLE "leasehold"
/* Every rule of ours carries this comment; a chain whose rules carry another is written anew. */
#define NAT_LAYOUT "layout 1"
#define NAT_LAYOUT_PREFIX "layout "
/* The same on every node, so that a connection finds the same slot on each; never change it. */
#define NAT_HASH_SEED 0x4c48

#define NAT_PRIORITY_DNAT (-110)
#define NAT_PRIORITY_SNAT 90
#define NAT_PRIORITY_FILTER 0

enum nat_set {
	NAT_SET_VIPS4,
	NAT_SET_VIPS6,
	NAT_SET_DISPATCH4,
	NAT_SET_DISPATCH6,
	NAT_SET_SLOTS4,
	NAT_SET_SLOTS6,
};
#define NAT_SET_N 6

enum nat_set_kind {
	NAT_SET_KIND_VIPS,
	NAT_SET_KIND_DISPATCH,
	NAT_SET_KIND_SLOTS,
};

struct nat_set_shape {
	const char *name;
	enum nat_set_kind kind;
	enum ip_family family;
	uint32_t key_type, key_len;   /* nft's type numbers, 6 bits each in a concatenation; bytes */
	uint32_t data_type, data_len; /* of maps */
};

extern const struct nat_set_shape nat_sets[NAT_SET_N];

enum nat_chain_kind {
	NAT_CHAIN_BASE,	    /* hooked, jumps to the services or source-NATs */
	NAT_CHAIN_SERVICES, /* dispatches */
	NAT_CHAIN_BALANCE,  /* picks a slot */
	NAT_CHAIN_REJECT,   /* hooked: refuses what reached this node itself because no backend took it */
};

struct nat_chain_shape {
	const char *name;
	enum nat_chain_kind kind;
	uint32_t hook; /* NAT_CHAIN_BASE, NAT_CHAIN_REJECT: NF_INET_* */
	int32_t priority;
	enum balance balance; /* NAT_CHAIN_BALANCE */
	uint16_t n_slots;
};

/* Each chain jumps only to those before it. */
#define NAT_CHAIN_N (NAT_CLASS_N * 2 + 5)
extern const struct nat_chain_shape nat_chains[NAT_CHAIN_N];

/* The chain that picks among n_slots slots, or NULL when that is no size class. */
const struct nat_chain_shape *nat_chain_of(enum balance balance, uint16_t n_slots);
/* The chain or set of that name, or NULL. */
const struct nat_chain_shape *nat_chain_named(const char *name);
const struct nat_set_shape *nat_set_named(const char *name);

/* The set of a kind and family. */
const struct nat_set_shape *nat_set_of(enum nat_set_kind kind, enum ip_family family);

/* Rules that a chain has. */
unsigned int nat_chain_rules(const struct nat_chain_shape *c);
