/* SPDX-License-Identifier: Apache-2.0 */
/* nat_layout.h: the names and shapes of the table "inet leasehold".  In nft's words (tests/netns/test_kernel.py
 * holds the kernel to it):
 *
 *	set vips4 { type ipv4_addr; }
 *	set locals4 { type ipv4_addr; }
 *	set homes4 { type ipv4_addr . iface_index; }
 *	set guards4 { type ipv4_addr . inet_proto . inet_service; }
 *	set former4 { type ipv4_addr; flags timeout; }
 *	map dispatch4 { type ipv4_addr . inet_proto . inet_service : verdict; }
 *	map slots4 { typeof ip daddr . meta l4proto . th dport . numgen random mod 5003 : ip daddr . th dport; }
 *	(and the same for IPv6: vips6, dispatch6, slots6 and so on)
 *	chain nat-prerouting { type nat hook prerouting priority -110; jump services; }
 *	chain nat-output { type nat hook output priority -110; jump services; }
 *	chain services { ip daddr . meta l4proto . th dport vmap @dispatch4; (IPv6 likewise) }
 *	chain hash-61 { dnat ip to ip daddr . meta l4proto . th dport . jhash ip saddr . th sport mod 61 map @slots4; }
 *	chain random-61 { dnat ip to ip daddr . meta l4proto . th dport . numgen random mod 61 map @slots4; }
 *	(one of each for every size class)
 *	chain nat-postrouting { type nat hook postrouting priority 90;
 *		ct status dnat ct original ip daddr @vips4 ip daddr @former4 tcp flags syn / syn,ack masquerade;
 *		ct status dnat ct original ip daddr @vips4 ip daddr @former4 meta l4proto != tcp masquerade;
 *		ct status dnat ct original ip daddr . iif @homes4 ct original ip daddr . oif @homes4
 *			snat ip to ct original ip daddr;
 *		ct status dnat ct original ip daddr . iif @homes4 ip daddr @locals4 snat ip to ct original ip daddr;
 *		ct status dnat ct original ip daddr @vips4 masquerade; }
 *	chain zone-prerouting { type filter hook prerouting priority -300;
 *		ip saddr @vips4 ip daddr . meta l4proto . th dport @guards4 ct zone set 19528;
 *		ip daddr @vips4 ip saddr . meta l4proto . th sport @guards4 fib daddr type != local ct zone set 19528; }
 *	chain guard-prerouting { type filter hook prerouting priority -150;
 *		ip daddr @vips4 ct state invalid fib daddr type local drop;
 *		ip daddr @vips4 ct state new ip saddr . meta l4proto . th sport @guards4 drop;
 *		ip daddr @vips4 ct state new ip daddr . iif @homes4 fib daddr type != local drop; }
 *	chain filter-input { type filter hook input priority 0; ip daddr @vips4 ct status ! dnat meta l4proto tcp
 *				reject with tcp reset; (IPv6 and UDP likewise) }
 *
 * -110 because the first NAT chain that binds a connection wins and kube-proxy's stand at -100.  A chain is an
 * anchor: it is never deleted, because the last NAT chain's going cuts established flows.
 *
 * Source NAT.  A connection outlives its holder when the next one makes the same packets of it: the hash finds the same
 * backend, conntrack picks the connection up in the middle (nf_conntrack_tcp_loose, the default), and the source is the
 * VIP with the client's port.  The backend's answers go to whoever has the VIP; so that is right only where they come
 * by the LAN of the VIP (the packet left by its own interface) or from this very node.  A client of this node (a pod,
 * a process) does not come in by the VIP's interface: it is masqueraded, here and on candidates alike, and its
 * connection has nothing to do with who holds the VIP.
 *
 * Former holder.  The node of a holder that died has the VIP as its own address until the kernel lets it expire, and drops
 * what comes with its own address as the source (fib_validate_source(), for packets to its pods, too).  So for that time
 * new connections to the backends there are masqueraded: they work at once, and do not outlive a further move.  A TCP
 * connection picked up in the middle keeps the VIP as its source: with another it would be lost, and so it goes on by a
 * retransmission when the address is gone.
 *
 * Guard.  What a backend answers while nobody's conntrack knows the connection is dropped, not confirmed: else the
 * connection would be entered the wrong way round, the node's own TCP would refuse it, and both ends would give up.
 * Invalid packets to a VIP end there, too: not translated, they would be refused by this node.  So do those of clients
 * who have not heard that the VIP has left: an entry made of them would be stale when it comes back.
 *
 * Zone.  A node that is not the holder forwards the holder's packets to its own pods, VIP -> backend.  Entries of those
 * would take the very tuple that it needs itself when it becomes the holder, and connections would get another source
 * port.  So they are kept in a conntrack zone of their own; whose packet it is, the VIP's being local here tells. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/nat.h"

#define NAT_TABLE "leasehold"
/* Every rule of ours carries this comment; a chain whose rules carry another is written anew. */
#define NAT_LAYOUT "layout 3"
#define NAT_LAYOUT_PREFIX "layout "
/* The same on every node, so that a connection finds the same slot on each; never change it. */
#define NAT_HASH_SEED 0x4c48

/* The conntrack zone of connections through a VIP of another holder: any but 0, on this node alone. */
#define NAT_ZONE 0x4c48

#define NAT_PRIORITY_ZONE (-300)  /* before conntrack, -200 */
#define NAT_PRIORITY_GUARD (-150) /* after it, before DNAT */
#define NAT_PRIORITY_DNAT (-110)
#define NAT_PRIORITY_SNAT 90
#define NAT_PRIORITY_FILTER 0

enum nat_set {
	NAT_SET_VIPS4,
	NAT_SET_VIPS6,
	NAT_SET_LOCALS4,
	NAT_SET_LOCALS6,
	NAT_SET_HOMES4,
	NAT_SET_HOMES6,
	NAT_SET_GUARDS4,
	NAT_SET_GUARDS6,
	NAT_SET_DISPATCH4,
	NAT_SET_DISPATCH6,
	NAT_SET_SLOTS4,
	NAT_SET_SLOTS6,
	NAT_SET_FORMER4,
	NAT_SET_FORMER6,
};
#define NAT_SET_N 14

enum nat_set_kind {
	NAT_SET_KIND_VIPS,
	NAT_SET_KIND_LOCALS, /* addresses of backends on this node */
	NAT_SET_KIND_HOMES,  /* VIP . interface */
	NAT_SET_KIND_GUARDS, /* backend . protocol . port */
	NAT_SET_KIND_DISPATCH,
	NAT_SET_KIND_SLOTS,
	NAT_SET_KIND_FORMER, /* addresses of backends on a dead holder's node; they expire, no dump has them */
};

struct nat_set_shape {
	const char *name;
	enum nat_set_kind kind;
	enum ip_family family;
	uint32_t key_type, key_len;   /* nft's type numbers, 6 bits each in a concatenation; bytes */
	uint32_t data_type, data_len; /* of maps */
};

extern const struct nat_set_shape nat_sets[NAT_SET_N];

static inline bool nat_set_is_map(const struct nat_set_shape *set)
{
	return set->data_type != 0;
}

enum nat_chain_kind {
	NAT_CHAIN_BASE,	    /* hooked, jumps to the services */
	NAT_CHAIN_SOURCE,   /* hooked: source NAT */
	NAT_CHAIN_ZONE,	    /* hooked: another holder's connections apart */
	NAT_CHAIN_GUARD,    /* hooked: drops what would be entered the wrong way round */
	NAT_CHAIN_SERVICES, /* dispatches */
	NAT_CHAIN_BALANCE,  /* picks a slot */
	NAT_CHAIN_REJECT,   /* hooked: refuses what reached this node itself because no backend took it */
};

struct nat_chain_shape {
	const char *name;
	enum nat_chain_kind kind;
	uint32_t hook; /* hooked ones: NF_INET_* */
	int32_t priority;
	enum balance balance; /* NAT_CHAIN_BALANCE */
	uint16_t n_slots;
};

/* Each chain jumps only to those before it. */
#define NAT_CHAIN_N (NAT_CLASS_N * 2 + 7)
extern const struct nat_chain_shape nat_chains[NAT_CHAIN_N];

/* The chain that picks among n_slots slots, or NULL when that is no size class. */
const struct nat_chain_shape *nat_chain_of(enum balance balance, uint16_t n_slots);
/* The chain or set of that name, or NULL. */
const struct nat_chain_shape *nat_chain_named(const char *name);
const struct nat_set_shape *nat_set_named(const char *name);

/* The set of a kind and family. */
const struct nat_set_shape *nat_set_of(enum nat_set_kind kind, enum ip_family family);

/* nft's type of a hooked chain, "nat" or "filter"; NULL = not hooked. */
const char *nat_chain_type(const struct nat_chain_shape *c);

/* Rules that a chain has: at most NAT_CHAIN_RULES_MAX. */
#define NAT_CHAIN_RULES_MAX 10
unsigned int nat_chain_rules(const struct nat_chain_shape *c);
