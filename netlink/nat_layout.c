/* SPDX-License-Identifier: Apache-2.0 */
/* nat_layout.c: the table's shape as data.  nat_frame writes it, nat_rule writes its rules, nat_elem its
 * elements, nat_if compares it with the kernel's. */
#include "netlink/nat_layout.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "agent/base/text.h"

/* nft's numbers for data types (its enum datatypes, kept stable because they stand in the kernel). */
#define TYPE_INTEGER 4u
#define TYPE_IPV4 7u
#define TYPE_IPV6 8u
#define TYPE_PROTO 12u
#define TYPE_PORT 13u
#define TYPE_IFINDEX 20u
#define CONCAT(a, b) ((a) << 6 | (b))

/* Members of a concatenation are padded to 4 bytes. */
#define SET(n, k, f, t, l) { .name = (n), .kind = (k), .family = (f), .key_type = (t), .key_len = (l) }
#define MAP(n, k, f, t, l, dt, dl) \
	{ .name = (n), .kind = (k), .family = (f), .key_type = (t), .key_len = (l), .data_type = (dt), .data_len = (dl) }
#define SERVICE(addr) CONCAT(CONCAT(addr, TYPE_PROTO), TYPE_PORT)

const struct nat_set_shape nat_sets[NAT_SET_N] = {
	[NAT_SET_VIPS4] = SET("vips4", NAT_SET_KIND_VIPS, IP_V4, TYPE_IPV4, 4),
	[NAT_SET_VIPS6] = SET("vips6", NAT_SET_KIND_VIPS, IP_V6, TYPE_IPV6, 16),
	[NAT_SET_LOCALS4] = SET("locals4", NAT_SET_KIND_LOCALS, IP_V4, TYPE_IPV4, 4),
	[NAT_SET_LOCALS6] = SET("locals6", NAT_SET_KIND_LOCALS, IP_V6, TYPE_IPV6, 16),
	[NAT_SET_HOMES4] = SET("homes4", NAT_SET_KIND_HOMES, IP_V4, CONCAT(TYPE_IPV4, TYPE_IFINDEX), 8),
	[NAT_SET_HOMES6] = SET("homes6", NAT_SET_KIND_HOMES, IP_V6, CONCAT(TYPE_IPV6, TYPE_IFINDEX), 20),
	[NAT_SET_GUARDS4] = SET("guards4", NAT_SET_KIND_GUARDS, IP_V4, SERVICE(TYPE_IPV4), 12),
	[NAT_SET_GUARDS6] = SET("guards6", NAT_SET_KIND_GUARDS, IP_V6, SERVICE(TYPE_IPV6), 24),
	[NAT_SET_DISPATCH4] = MAP("dispatch4", NAT_SET_KIND_DISPATCH, IP_V4, SERVICE(TYPE_IPV4), 12,
				  NFT_DATA_VERDICT, 0),
	[NAT_SET_DISPATCH6] = MAP("dispatch6", NAT_SET_KIND_DISPATCH, IP_V6, SERVICE(TYPE_IPV6), 24,
				  NFT_DATA_VERDICT, 0),
	[NAT_SET_SLOTS4] = MAP("slots4", NAT_SET_KIND_SLOTS, IP_V4, CONCAT(SERVICE(TYPE_IPV4), TYPE_INTEGER), 16,
			       CONCAT(TYPE_IPV4, TYPE_PORT), 8),
	[NAT_SET_SLOTS6] = MAP("slots6", NAT_SET_KIND_SLOTS, IP_V6, CONCAT(SERVICE(TYPE_IPV6), TYPE_INTEGER), 28,
			       CONCAT(TYPE_IPV6, TYPE_PORT), 20),
	[NAT_SET_FORMER4] = SET("former4", NAT_SET_KIND_FORMER, IP_V4, TYPE_IPV4, 4),
	[NAT_SET_FORMER6] = SET("former6", NAT_SET_KIND_FORMER, IP_V6, TYPE_IPV6, 16),
};

#define BALANCE(n, b, c) { .name = (n), .kind = NAT_CHAIN_BALANCE, .balance = (b), .n_slots = (c) }
#define HOOKED(n, k, h, p) { .name = (n), .kind = (k), .hook = (h), .priority = (p) }

const struct nat_chain_shape nat_chains[NAT_CHAIN_N] = {
	BALANCE("hash-13", BALANCE_HASH, 13),
	BALANCE("hash-61", BALANCE_HASH, 61),
	BALANCE("hash-251", BALANCE_HASH, 251),
	BALANCE("hash-1021", BALANCE_HASH, 1021),
	BALANCE("hash-5003", BALANCE_HASH, 5003),
	BALANCE("random-13", BALANCE_RANDOM, 13),
	BALANCE("random-61", BALANCE_RANDOM, 61),
	BALANCE("random-251", BALANCE_RANDOM, 251),
	BALANCE("random-1021", BALANCE_RANDOM, 1021),
	BALANCE("random-5003", BALANCE_RANDOM, 5003),
	{ .name = "services", .kind = NAT_CHAIN_SERVICES },
	HOOKED("nat-prerouting", NAT_CHAIN_BASE, NF_INET_PRE_ROUTING, NAT_PRIORITY_DNAT),
	HOOKED("nat-output", NAT_CHAIN_BASE, NF_INET_LOCAL_OUT, NAT_PRIORITY_DNAT),
	HOOKED("nat-postrouting", NAT_CHAIN_SOURCE, NF_INET_POST_ROUTING, NAT_PRIORITY_SNAT),
	HOOKED("zone-prerouting", NAT_CHAIN_ZONE, NF_INET_PRE_ROUTING, NAT_PRIORITY_ZONE),
	HOOKED("guard-prerouting", NAT_CHAIN_GUARD, NF_INET_PRE_ROUTING, NAT_PRIORITY_GUARD),
	HOOKED("filter-input", NAT_CHAIN_REJECT, NF_INET_LOCAL_IN, NAT_PRIORITY_FILTER),
};

const struct nat_chain_shape *nat_chain_of(enum balance balance, uint16_t n_slots)
{
	for (size_t i = 0; i < NAT_CHAIN_N; i++)
		if (nat_chains[i].kind == NAT_CHAIN_BALANCE && nat_chains[i].balance == balance &&
		    nat_chains[i].n_slots == n_slots)
			return &nat_chains[i];
	return NULL;
}

const struct nat_chain_shape *nat_chain_named(const char *name)
{
	for (size_t i = 0; i < NAT_CHAIN_N; i++)
		if (text_eq(nat_chains[i].name, name))
			return &nat_chains[i];
	return NULL;
}

const struct nat_set_shape *nat_set_named(const char *name)
{
	for (size_t i = 0; i < NAT_SET_N; i++)
		if (text_eq(nat_sets[i].name, name))
			return &nat_sets[i];
	return NULL;
}

const struct nat_set_shape *nat_set_of(enum nat_set_kind kind, enum ip_family family)
{
	/* Two of each kind, in the order of the kinds. */
	_Static_assert(NAT_SET_FORMER4 == 2 * NAT_SET_KIND_FORMER, "sets stand in the order of their kinds");
	return &nat_sets[2 * kind + (family == IP_V6)];
}

const char *nat_chain_type(const struct nat_chain_shape *c)
{
	switch (c->kind) {
	case NAT_CHAIN_BASE:
	case NAT_CHAIN_SOURCE:
		return "nat";
	case NAT_CHAIN_ZONE:
	case NAT_CHAIN_GUARD:
	case NAT_CHAIN_REJECT:
		return "filter";
	case NAT_CHAIN_SERVICES:
	case NAT_CHAIN_BALANCE:
		break;
	}
	return NULL;
}

unsigned int nat_chain_rules(const struct nat_chain_shape *c)
{
	switch (c->kind) {
	case NAT_CHAIN_BASE:
		return 1; /* for both families */
	case NAT_CHAIN_SOURCE:
		return 10; /* in pairs, here and below: one a family */
	case NAT_CHAIN_GUARD:
		return 6;
	case NAT_CHAIN_ZONE:
	case NAT_CHAIN_REJECT:
		return 4;
	case NAT_CHAIN_SERVICES:
	case NAT_CHAIN_BALANCE:
		break;
	}
	return 2;
}
