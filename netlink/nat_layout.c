/* SPDX-License-Identifier: Apache-2.0 */
/* nat_layout.c: the table's shape as data.  nat_frame writes it, nat_rule writes its rules, nat_elem its
 * elements, nat_if compares it with the kernel's. */
#include "netlink/nat_layout.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"

/* nft's numbers for data types (its enum datatypes, kept stable because they stand in the kernel). */
#define TYPE_INTEGER 4u
#define TYPE_IPV4 7u
#define TYPE_IPV6 8u
#define TYPE_PROTO 12u
#define TYPE_PORT 13u
#define TYPE_IFINDEX 20u
#define CONCAT(a, b) ((a) << NAT_TYPE_BITS | (b))

/* Members of a concatenation are padded to 4 bytes. */
#define SET(n, k, f, t, l) { .name = (n), .kind = (k), .family = (f), .key_type = (t), .key_len = (l) }
#define MAP(n, k, f, t, l, dt, dl) \
	{ .name = (n), .kind = (k), .family = (f), .key_type = (t), .key_len = (l), .data_type = (dt), .data_len = (dl) }
#define SERVICE(addr) CONCAT(CONCAT(addr, TYPE_PROTO), TYPE_PORT)

#define PAIR(a) CONCAT(a, a)
#define TARGET(addr) CONCAT(addr, TYPE_PORT)

/* Two of a kind that hold addresses, or addresses with protocol and port. */
#define ADDRESSES(n, k) \
	SET(n "4", k, IP_V4, TYPE_IPV4, 4), SET(n "6", k, IP_V6, TYPE_IPV6, 16)
#define ENDPOINTS(n, k) \
	SET(n "4", k, IP_V4, SERVICE(TYPE_IPV4), 12), SET(n "6", k, IP_V6, SERVICE(TYPE_IPV6), 24)
#define VERDICTS(n, k) \
	MAP(n "4", k, IP_V4, SERVICE(TYPE_IPV4), 12, NFT_DATA_VERDICT, 0), \
	MAP(n "6", k, IP_V6, SERVICE(TYPE_IPV6), 24, NFT_DATA_VERDICT, 0)

const struct nat_set_shape nat_sets[NAT_SET_N] = {
	/* Two of each kind, in the order of the kinds. */
	ADDRESSES("vips", NAT_SET_KIND_VIPS),
	ADDRESSES("locals", NAT_SET_KIND_LOCALS),
	SET("homes4", NAT_SET_KIND_HOMES, IP_V4, CONCAT(TYPE_IPV4, TYPE_IFINDEX), 8),
	SET("homes6", NAT_SET_KIND_HOMES, IP_V6, CONCAT(TYPE_IPV6, TYPE_IFINDEX), 20),
	ENDPOINTS("guards", NAT_SET_KIND_GUARDS),
	ADDRESSES("keeps", NAT_SET_KIND_KEEPS),
	SET("hairpins4", NAT_SET_KIND_HAIRPINS, IP_V4, PAIR(TYPE_IPV4), 8),
	SET("hairpins6", NAT_SET_KIND_HAIRPINS, IP_V6, PAIR(TYPE_IPV6), 32),
	ADDRESSES("routed", NAT_SET_KIND_ROUTED),
	ENDPOINTS("received", NAT_SET_KIND_RECEIVED),
	ENDPOINTS("sent", NAT_SET_KIND_SENT),
	ENDPOINTS("backends", NAT_SET_KIND_BACKENDS),
	ENDPOINTS("opened", NAT_SET_KIND_OPENED),
	VERDICTS("dispatch", NAT_SET_KIND_DISPATCH),
	MAP("slots4", NAT_SET_KIND_SLOTS, IP_V4, CONCAT(SERVICE(TYPE_IPV4), TYPE_INTEGER), 16, TARGET(TYPE_IPV4), 8),
	MAP("slots6", NAT_SET_KIND_SLOTS, IP_V6, CONCAT(SERVICE(TYPE_IPV6), TYPE_INTEGER), 28, TARGET(TYPE_IPV6), 20),
	VERDICTS("firewalls", NAT_SET_KIND_FIREWALLS),
	ADDRESSES("former", NAT_SET_KIND_FORMER),
	MAP("clients4", NAT_SET_KIND_CLIENTS, IP_V4, CONCAT(SERVICE(TYPE_IPV4), TYPE_IPV4), 16, TARGET(TYPE_IPV4), 8),
	MAP("clients6", NAT_SET_KIND_CLIENTS, IP_V6, CONCAT(SERVICE(TYPE_IPV6), TYPE_IPV6), 40, TARGET(TYPE_IPV6), 20),
	VERDICTS("returns", NAT_SET_KIND_RETURNS),
	MAP("turns4", NAT_SET_KIND_TURNS, IP_V4, CONCAT(SERVICE(TYPE_IPV4), TYPE_INTEGER), 16, TARGET(TYPE_IPV4), 8),
	MAP("turns6", NAT_SET_KIND_TURNS, IP_V6, CONCAT(SERVICE(TYPE_IPV6), TYPE_INTEGER), 28, TARGET(TYPE_IPV6), 20),
};

uint32_t nat_set_flags(const struct nat_set_shape *set)
{
	const uint32_t map = nat_set_is_map(set) ? NFT_SET_MAP : 0;

	if (set->kind == NAT_SET_KIND_CLIENTS)
		return map | NFT_SET_TIMEOUT | NFT_SET_EVAL;
	return set->kind == NAT_SET_KIND_FORMER ? NFT_SET_TIMEOUT : map;
}

bool nat_set_counts(const struct nat_set_shape *set)
{
	return set->kind >= NAT_SET_KIND_RECEIVED && set->kind <= NAT_SET_KIND_DISPATCH;
}

const char *const nat_drop_counters[NAT_DROP_N] = {
	[NAT_DROP_INVALID] = "drop-invalid", [NAT_DROP_SOURCE] = "drop-source",
	[NAT_DROP_RATE] = "drop-rate",	     [NAT_DROP_CONNECTIONS] = "drop-connections",
	[NAT_DROP_UNMATCHED] = "drop-unmatched", [NAT_DROP_ROUTER] = "drop-router",
};

#define BALANCE(n, b, c) { .name = n "-" #c, .kind = NAT_CHAIN_BALANCE, .balance = (b), .n_slots = (c) }
#define CLASSES(n, b) BALANCE(n, b, 13), BALANCE(n, b, 61), BALANCE(n, b, 251), BALANCE(n, b, 1021), BALANCE(n, b, 5003)
#define HOOKED(n, k, h, p) { .name = (n), .kind = (k), .hook = (h), .priority = (p) }

const struct nat_chain_shape nat_chains[NAT_CHAIN_N] = {
	{ .name = NAT_USER_CHAIN, .kind = NAT_CHAIN_USER },
	CLASSES("hash", BALANCE_HASH),
	CLASSES("random", BALANCE_RANDOM),
	CLASSES("source", BALANCE_SOURCE),
	{ .name = "services", .kind = NAT_CHAIN_SERVICES },
	{ .name = "returning", .kind = NAT_CHAIN_RETURNING },
	{ .name = "backends", .kind = NAT_CHAIN_BACKENDS },
	{ .name = "received", .kind = NAT_CHAIN_RECEIVED },
	{ .name = "sent", .kind = NAT_CHAIN_SENT },
	HOOKED("zone-prerouting", NAT_CHAIN_ZONE, NF_INET_PRE_ROUTING, NAT_PRIORITY_ZONE),
	HOOKED("guard-prerouting", NAT_CHAIN_GUARD, NF_INET_PRE_ROUTING, NAT_PRIORITY_GUARD),
	HOOKED("filter-prerouting", NAT_CHAIN_FIREWALL, NF_INET_PRE_ROUTING, NAT_PRIORITY_FIREWALL),
	HOOKED("mark-prerouting", NAT_CHAIN_MARK, NF_INET_PRE_ROUTING, NAT_PRIORITY_MARK),
	HOOKED("nat-prerouting", NAT_CHAIN_DNAT, NF_INET_PRE_ROUTING, NAT_PRIORITY_DNAT),
	HOOKED("nat-output", NAT_CHAIN_DNAT, NF_INET_LOCAL_OUT, NAT_PRIORITY_DNAT),
	HOOKED("count-prerouting", NAT_CHAIN_COUNT, NF_INET_PRE_ROUTING, NAT_PRIORITY_COUNT),
	HOOKED("count-output", NAT_CHAIN_COUNT, NF_INET_LOCAL_OUT, NAT_PRIORITY_COUNT),
	HOOKED("unmark-postrouting", NAT_CHAIN_UNMARK, NF_INET_POST_ROUTING, NAT_PRIORITY_UNMARK),
	HOOKED("nat-postrouting", NAT_CHAIN_SOURCE, NF_INET_POST_ROUTING, NAT_PRIORITY_SNAT),
	HOOKED("nat-input", NAT_CHAIN_OPENED, NF_INET_LOCAL_IN, NAT_PRIORITY_SNAT),
	HOOKED("router-input", NAT_CHAIN_ROUTER_INPUT, NF_INET_LOCAL_IN, NAT_PRIORITY_ROUTER),
	HOOKED("router-forward", NAT_CHAIN_ROUTER_FORWARD, NF_INET_FORWARD, NAT_PRIORITY_ROUTER),
	HOOKED("filter-input", NAT_CHAIN_INPUT, NF_INET_LOCAL_IN, NAT_PRIORITY_FILTER),
	HOOKED("filter-forward", NAT_CHAIN_FORWARD, NF_INET_FORWARD, NAT_PRIORITY_FILTER),
};

/* ---- names of chains that come and go ---- */

static const char *balance_word(enum balance balance)
{
	switch (balance) {
	case BALANCE_HASH:
		break;
	case BALANCE_RANDOM:
		return "random";
	case BALANCE_SOURCE:
		return "source";
	case BALANCE_ROUND_ROBIN:
		return "turn";
	}
	return "hash";
}

bool nat_balance_is_own(const struct frontend *f)
{
	return f->balance == BALANCE_ROUND_ROBIN || (f->balance == BALANCE_SOURCE && f->sticky_s > 0);
}

static const char *proto_word(uint8_t proto, char buf[static 4])
{
	if (proto == IPPROTO_TCP)
		return "tcp";
	if (proto == IPPROTO_UDP)
		return "udp";
	if (proto == IPPROTO_SCTP)
		return "sctp";
	snprintf(buf, 4, "%u", proto);
	return buf;
}

#define SUFFIX_V6 "-ip6"

static const char *sticky_suffix(const struct frontend *f)
{
	return f->vip.family == IP_V6 ? SUFFIX_V6 : "";
}

enum ip_family nat_sticky_family(const char *name)
{
	const size_t len = strlen(name), suffix = strlen(SUFFIX_V6);

	return len > suffix && text_eq(name + len - suffix, SUFFIX_V6) ? IP_V6 : IP_V4;
}

char *nat_balance_name(const struct frontend *f, char buf[static NAT_NAME_MAX])
{
	const char *word = balance_word((enum balance)f->balance);
	char vip[IP_TEXT_MAX], proto[4];

	if (f->balance == BALANCE_ROUND_ROBIN) {
		ip_format(&f->vip, vip);
		for (char *at = vip; *at; at++)
			if (*at == ':')
				*at = '.';
		snprintf(buf, NAT_NAME_MAX, "%s-%u-%s-%s-%u", word, f->n_slots, vip, proto_word(f->proto, proto), f->port);
	} else if (nat_balance_is_own(f)) {
		snprintf(buf, NAT_NAME_MAX, "%s-%u-%us%s", word, f->n_slots, f->sticky_s, sticky_suffix(f));
	} else {
		snprintf(buf, NAT_NAME_MAX, "%s-%u", word, f->n_slots);
	}
	return buf;
}

/* Reads a number without leading zeros at *at, moves *at behind it.  False: none, or more than max. */
static bool take_number(const char **at, uint32_t max, uint32_t *ret)
{
	uint64_t v = 0;
	const char *p = *at;

	if (*p < '1' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > max)
			return false;
	}
	*at = p;
	*ret = (uint32_t)v;
	return true;
}

static bool is_class(uint32_t n_slots)
{
	static const uint16_t classes[] = NAT_CLASSES;

	for (size_t i = 0; i < ARRAY_LEN(classes); i++)
		if (classes[i] == n_slots)
			return true;
	return false;
}

bool nat_balance_parse(const char *name, struct frontend *ret)
{
	static const enum balance kinds[] = { BALANCE_HASH, BALANCE_RANDOM, BALANCE_SOURCE, BALANCE_ROUND_ROBIN };
	enum balance balance = BALANCE_HASH;
	uint32_t n_slots, sticky = 0;
	const char *at = NULL;

	for (size_t i = 0; i < ARRAY_LEN(kinds) && !at; i++) {
		size_t len = strlen(balance_word(kinds[i]));

		if (text_starts(name, balance_word(kinds[i])) && name[len] == '-') {
			at = name + len + 1;
			balance = kinds[i];
		}
	}
	if (!at || !take_number(&at, NAT_SLOTS_MAX, &n_slots))
		return false;
	if (balance == BALANCE_ROUND_ROBIN) {
		if (*at != '-')
			return false;
	} else if (!is_class(n_slots)) {
		return false;
	} else if (*at == '-') {
		at++;
		if (balance != BALANCE_SOURCE || !take_number(&at, UINT32_MAX, &sticky) ||
		    (!text_eq(at, "s") && !text_eq(at, "s" SUFFIX_V6)))
			return false;
	} else if (*at) {
		return false;
	}
	ret->balance = (uint8_t)balance;
	ret->n_slots = (uint16_t)n_slots;
	ret->sticky_s = sticky;
	return true;
}

#define RETURN "return"

char *nat_return_name(const struct frontend *f, char buf[static NAT_NAME_MAX])
{
	snprintf(buf, NAT_NAME_MAX, RETURN "-%u-%us%s", f->n_slots, f->sticky_s, sticky_suffix(f));
	return buf;
}

/* "return-61-10800s" as "source-61-10800s". */
bool nat_return_parse(const char *name, struct frontend *ret)
{
	struct frontend f = *ret;
	char source[NAT_NAME_MAX];

	if (!text_starts(name, RETURN "-"))
		return false;
	snprintf(source, sizeof(source), "%s%s", balance_word(BALANCE_SOURCE), name + strlen(RETURN));
	if (!nat_balance_parse(source, &f) || f.sticky_s == 0)
		return false;
	*ret = f;
	return true;
}

char *nat_firewall_chain(const char *firewall, char buf[static NAT_NAME_MAX])
{
	snprintf(buf, NAT_NAME_MAX, NAT_FIREWALL_PREFIX "%s", firewall);
	return buf;
}

char *nat_sources_chain(const char *firewall, char buf[static NAT_NAME_MAX])
{
	snprintf(buf, NAT_NAME_MAX, NAT_SOURCES_PREFIX "%s", firewall);
	return buf;
}

char *nat_firewall_set(const char *firewall, enum ip_family family, char buf[static NAT_NAME_MAX])
{
	snprintf(buf, NAT_NAME_MAX, "connections%d-%s", (int)family, firewall);
	return buf;
}

/* ---- looking up ---- */

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
	return &nat_sets[2 * kind + (family == IP_V6)];
}

const char *nat_chain_type(const struct nat_chain_shape *c)
{
	switch (c->kind) {
	case NAT_CHAIN_USER:
	case NAT_CHAIN_BALANCE:
	case NAT_CHAIN_SERVICES:
	case NAT_CHAIN_RETURNING:
	case NAT_CHAIN_BACKENDS:
	case NAT_CHAIN_RECEIVED:
	case NAT_CHAIN_SENT:
		break;
	case NAT_CHAIN_DNAT:
	case NAT_CHAIN_SOURCE:
	case NAT_CHAIN_OPENED:
		return "nat";
	case NAT_CHAIN_ZONE:
	case NAT_CHAIN_GUARD:
	case NAT_CHAIN_FIREWALL:
	case NAT_CHAIN_MARK:
	case NAT_CHAIN_COUNT:
	case NAT_CHAIN_UNMARK:
	case NAT_CHAIN_ROUTER_INPUT:
	case NAT_CHAIN_ROUTER_FORWARD:
	case NAT_CHAIN_INPUT:
	case NAT_CHAIN_FORWARD:
		return "filter";
	}
	return NULL;
}
