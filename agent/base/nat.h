/* SPDX-License-Identifier: Apache-2.0 */
/* nat.h: what the data plane holds, as plain data: agent/core computes it, netlink/ writes it to the kernel
 * and reads it back.  Neither includes the other.
 *
 * A frontend is one VIP . protocol . port.  Its slots are the values of the flat map
 * daddr . l4proto . dport . slot -> addr . port; a packet picks its slot by a hash, at random or in turn.
 *
 * A nat_service is all that one Service wants of the data plane.  It never changes once it is made: a change of the
 * Service makes another, and what has to be done in the kernel is the difference of the two. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/object.h"

/* Size classes: a frontend that picks by hash or at random has exactly one of these numbers of slots.  Primes, so
 * that nothing regular in the clients' ports meets something regular in the table; about five slots a backend or more keep the
 * largest share within 1.25 of the mean. */
#define NAT_CLASSES { 13, 61, 251, 1021, 5003 }
#define NAT_CLASS_N 5
#define NAT_SLOTS_MAX 5003

struct frontend {
	struct ip vip;
	uint8_t proto; /* IPPROTO_* */
	uint8_t balance; /* enum balance */
	uint16_t port; /* host byte order */
	uint16_t n_backends;
	uint16_t n_slots;  /* a member of NAT_CLASSES; BALANCE_ROUND_ROBIN: 1..NAT_SLOTS_MAX, each turn takes the next */
	uint32_t sticky_s; /* BALANCE_SOURCE: a client's next connections go to the same backend for so many seconds after the
			    * last began, whatever the slots say meanwhile; 0 = what the slots say */
	const struct ip_port *backends; /* sorted by ip_port_cmp(), distinct, of the VIP's family */
	const uint16_t *slots;		/* n_slots indices into backends; NULL = read from the kernel, contents unknown */
	uint64_t digest; /* of all of the above but the key; kept in the kernel, so that a reading need not compare slots */
};

/* ---- elements of the plain sets ---- */

enum nat_member_kind {
	NAT_VIP,	/* ip */
	NAT_LOCAL,	/* ip: the address of a backend on this node */
	NAT_HOME,	/* ip . ifindex: an interface of this node that carries the VIP when this node holds it */
	NAT_GUARD,	/* ip . proto . port: a backend as the source of packets.  What comes from one to a VIP without a
			 * connection that conntrack knows is dropped.  Protocol and port belong to it, because backends are
			 * clients of VIPs too.  With counters it stands for NAT_BACKEND and NAT_OPENED, too. */
	NAT_KEEP,	/* ip: a VIP whose clients keep their addresses (externalTrafficPolicy Local) */
	NAT_HAIRPIN,	/* ip: a backend of such a VIP, which as its own client has to be masqueraded */
	NAT_ROUTED,	/* ip: a VIP that no interface carries (announce: none): what no backend takes is refused where it would
			 * be forwarded */
	NAT_RECEIVED,	/* ip . proto . port: a frontend whose clients' packets and bytes are counted; it stands for NAT_SENT,
			 * too */
	/* Never wanted, since others stand for them: found in the kernel, and counted. */
	NAT_SENT,	/* ip . proto . port: a frontend whose answers are counted */
	NAT_BACKEND,	/* ip . proto . port: a backend whose packets and bytes from clients are counted */
	NAT_OPENED,	/* ip . proto . port: a backend whose connections are counted */
};
#define NAT_MEMBER_KIND_N 11

struct nat_member {
	struct ip ip;
	uint8_t kind;  /* enum nat_member_kind */
	uint8_t proto; /* IPPROTO_*, or 0 where the kind has none */
	union {	       /* one or the other: there are hundreds of thousands of members */
		uint16_t port;	  /* all but NAT_HOME: host byte order, or 0 where the kind has none */
		uint32_t ifindex; /* NAT_HOME */
	};
};

/* ---- the firewall of a Service ---- */

#define NAT_FIREWALL_NAME_MAX 128 /* "namespace/name", NUL included: 63 characters each at most (RFC 1123 labels) */

/* What a Service's packets must pass before they are balanced; at least one of the limits is set. */
struct nat_firewall {
	char name[NAT_FIREWALL_NAME_MAX]; /* the Service's "namespace/name" */
	const struct ip_net *sources;	  /* sorted by ip_net_cmp(), distinct */
	uint16_t n_sources;
	bool restricted;	     /* connections come from 'sources' alone */
	uint8_t n_rates;
	struct rate rates[RATES_MAX]; /* packets over the rate are dropped: all of the Service's clients and ports together */
	uint32_t client_connections; /* at a time for each client address; 0 = no limit */
	uint64_t digest;	     /* of all of the above but the name */
};

/* ---- what one Service wants ---- */

struct nat_service {
	const struct frontend *frontends; /* sorted by frontend_cmp(), distinct; one with no backend is left out */
	size_t n_frontends;
	const struct nat_member *members; /* sorted by nat_member_cmp(), distinct; other Services may have some of them, too */
	size_t n_members;
	const struct nat_firewall *firewall; /* of all frontends; NULL = none */
};

/* ---- a plan ---- */

/* One frontend from 'old' to 'now': either may be NULL.  The kernel has 'old' as a nat_service had it (slots set), or as
 * it was read back (slots NULL: then every slot is replaced). */
struct nat_change {
	const struct frontend *old, *now;
	const char *old_firewall, *now_firewall; /* names of firewalls, NULL = none */
};

/* What is to be done, in this order: members added; firewalls written; changes, first those without a 'now'; firewalls
 * that nobody has any more removed; members deleted.  Members of a kind stand together.  Points into the nat_services and
 * the arena it was made in. */
struct nat_plan {
	const struct nat_member *add;
	size_t n_add;
	const struct nat_firewall *const *firewalls; /* made, or written anew */
	size_t n_firewalls;
	const struct nat_change *changes;
	size_t n_changes;
	const char *const *gone; /* names of firewalls */
	size_t n_gone;
	const struct nat_member *del;
	size_t n_del;
};

static inline bool nat_plan_empty(const struct nat_plan *p)
{
	return p->n_add + p->n_firewalls + p->n_changes + p->n_gone + p->n_del == 0;
}

/* ---- what the kernel was found to hold ---- */

struct nat_read_frontend {
	struct frontend f;    /* backends and slots NULL, n_backends 0.  n_slots 0: its chain is none of ours, or it has a
			       * firewall and no place in the dispatch map; digest 0: it carries none, or is not whole */
	const char *firewall; /* name, NULL = none, "" = goes where none of ours is */
};

struct nat_read_firewall {
	const char *name;
	uint64_t digest;
};

struct nat_read {
	struct nat_member *members; /* sorted by nat_member_cmp(), distinct; of kinds that are never wanted only where nothing
				     * is counted */
	size_t n_members;
	struct nat_member *partial; /* likewise, and none of the former: of what they stand for some is there and some is not */
	size_t n_partial;
	struct nat_read_frontend *frontends; /* sorted by frontend_cmp(), distinct */
	size_t n_frontends;
	struct nat_read_firewall *firewalls; /* sorted by name */
	size_t n_firewalls;
	char *names; /* storage of all names */
};

/* ---- how the table is to work, for all Services ---- */

enum nat_unmatched { /* what becomes of packets to a VIP that no frontend takes, and of those to one without a backend */
	NAT_UNMATCHED_REJECT, /* TCP reset, ICMP port unreachable */
	NAT_UNMATCHED_DROP,
	NAT_UNMATCHED_ACCEPT, /* this node's own programs may answer */
};

#define NAT_ROUTER_SSH 1u  /* TCP 22, from admins alone where there are any */
#define NAT_ROUTER_BGP 2u  /* TCP 179 */
#define NAT_ROUTER_ICMP 4u /* ICMP; ICMPv6 that a router needs is let through always (RFC 4890 section 4.4) */
#define NAT_ROUTER_VRRP 8u /* protocol 112 */
#define NAT_ROUTER_INTERFACES_MAX 16
#define NAT_ROUTER_ADMINS_MAX 64

/* A node at the edge: what comes in by a public interface is dropped unless it belongs to a connection that is known, goes
 * to a VIP's backend or is allowed here.  n_interfaces 0 = off. */
struct nat_router {
	char interfaces[NAT_ROUTER_INTERFACES_MAX][16]; /* names */
	uint8_t n_interfaces;
	uint8_t allow; /* NAT_ROUTER_* */
	struct ip_net admins[NAT_ROUTER_ADMINS_MAX]; /* may do everything */
	uint8_t n_admins;
};

struct nat_options {
	uint8_t unmatched; /* enum nat_unmatched */
	bool counters;	   /* NAT_RECEIVED and so on are looked up */
	uint32_t forward_mark; /* bits set in the packet mark of new connections to a VIP, from before DNAT until source NAT, so that
				* kube-proxy's KUBE-FORWARD lets them pass a FORWARD policy of DROP; 0 = none */
	struct nat_router router;
};

/* ---- orders ---- */

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

/* Port or interface. */
static inline uint32_t nat_member_number(const struct nat_member *m)
{
	return m->kind == NAT_HOME ? m->ifindex : m->port;
}

/* Order of members: kind, address, proto, port or interface. */
static inline int nat_member_cmp(const struct nat_member *a, const struct nat_member *b)
{
	int c = (a->kind > b->kind) - (a->kind < b->kind);

	if (c == 0)
		c = ip_cmp(&a->ip, &b->ip);
	if (c == 0)
		c = (a->proto > b->proto) - (a->proto < b->proto);
	return c ? c : (nat_member_number(a) > nat_member_number(b)) - (nat_member_number(a) < nat_member_number(b));
}
