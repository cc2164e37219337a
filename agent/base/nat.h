/* SPDX-License-Identifier: Apache-2.0 */
/* nat.h: what the data plane holds, as plain data: agent/core computes it, netlink/ writes it to the kernel
 * and reads it back.  Neither includes the other.
 *
 * A frontend is one VIP . protocol . port.  Its slots are the values of the flat map
 * daddr . l4proto . dport . slot -> addr . port; a packet picks slot = random or hash modulo n_slots. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/object.h"

/* Size classes: a frontend has exactly one of these numbers of slots.  Primes, because a Maglev
 * permutation needs a stride coprime to the table size; about five slots a backend or more keep the largest
 * share within 1.25 of the mean. */
#define NAT_CLASSES { 13, 61, 251, 1021, 5003 }
#define NAT_CLASS_N 5
#define NAT_SLOTS_MAX 5003

struct frontend {
	struct ip vip;
	uint8_t proto; /* IPPROTO_* */
	uint16_t port; /* host byte order */
	enum balance balance;
	const struct ip_port *slots; /* n_slots backends, same family as vip */
	uint16_t n_slots;	     /* a member of NAT_CLASSES */
};

/* A backend as the source of packets.  What comes from one to a VIP without a connection that conntrack knows is
 * dropped: the answer to a connection whose holder has changed would otherwise be refused, and the connection be
 * dead.  Protocol and port belong to it, because backends are clients of VIPs too. */
struct nat_guard {
	struct ip ip;
	uint8_t proto; /* IPPROTO_* */
	uint16_t port; /* host byte order */
};

/* An interface of this node that carries the VIP when this node holds it. */
struct nat_home {
	struct ip vip;
	uint32_t ifindex;
};

enum nat_op_kind {
	NAT_OP_VIP_ADD,	     /* 'vip' into the set of VIPs (source NAT, leftovers) */
	NAT_OP_VIP_DEL,
	NAT_OP_LOCAL_ADD,    /* 'vip' is the address of a backend on this node */
	NAT_OP_LOCAL_DEL,
	NAT_OP_HOME_ADD,     /* vip . ifindex */
	NAT_OP_HOME_DEL,
	NAT_OP_GUARD_ADD,    /* vip . proto . port: 'vip' is the address of the backend */
	NAT_OP_GUARD_DEL,
	NAT_OP_FRONTEND_ADD, /* dispatch vip . proto . port -> chain of (balance, n_slots) */
	NAT_OP_FRONTEND_DEL,
	NAT_OP_SLOT_ADD, /* map vip . proto . port . slot -> backend */
	NAT_OP_SLOT_DEL,
};

/* One element to add or delete.  A changed value is a DEL followed by an ADD in the same transaction.
 * DEL carries the old value too, so that an op can be undone and logged. */
struct nat_op {
	enum nat_op_kind kind;
	struct ip vip;
	uint8_t proto;
	uint16_t port;
	enum balance balance; /* FRONTEND_*, else 0 */
	uint16_t n_slots;     /* FRONTEND_*, else 0 */
	uint16_t slot;	      /* SLOT_*, else 0 */
	uint32_t ifindex;     /* HOME_*, else 0 */
	struct ip_port backend; /* SLOT_*, else zero */
};

static inline bool nat_op_is_del(enum nat_op_kind kind)
{
	return kind % 2 == NAT_OP_VIP_DEL % 2; /* in pairs */
}

/* Order of frontends everywhere: vip, proto, port. */
static inline int frontend_cmp(const struct frontend *a, const struct frontend *b)
{
	int c = ip_cmp(&a->vip, &b->vip);

	if (c)
		return c;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	return (a->port > b->port) - (a->port < b->port);
}

/* Order of guards: address, proto, port. */
static inline int nat_guard_cmp(const struct nat_guard *a, const struct nat_guard *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	if (c)
		return c;
	if (a->proto != b->proto)
		return a->proto < b->proto ? -1 : 1;
	return (a->port > b->port) - (a->port < b->port);
}

/* Order of homes: vip, interface. */
static inline int nat_home_cmp(const struct nat_home *a, const struct nat_home *b)
{
	int c = ip_cmp(&a->vip, &b->vip);

	return c ? c : (a->ifindex > b->ifindex) - (a->ifindex < b->ifindex);
}
