/* SPDX-License-Identifier: Apache-2.0 */
/* nat_layout.h: the names and shapes of the table "inet leasehold".  In nft's words (tests/netns/test_frame.py holds
 * the kernel to it; for IPv6 likewise: vips6, dispatch6 and so on; SERVICE stands for ip daddr . meta l4proto . th
 * dport):
 *
 *	counter drop-invalid, drop-source, drop-rate, drop-connections, drop-unmatched, drop-router
 *	set vips4, locals4, keeps4, routed4 { type ipv4_addr; }
 *	set former4 { type ipv4_addr; flags timeout; }
 *	set homes4 { type ipv4_addr . iface_index; }
 *	set hairpins4 { type ipv4_addr . ipv4_addr; }
 *	set guards4 { type ipv4_addr . inet_proto . inet_service; }
 *	set received4, sent4, backends4, opened4 { type ipv4_addr . inet_proto . inet_service; counter; }
 *	map dispatch4 { type ipv4_addr . inet_proto . inet_service : verdict; counter; }
 *	map firewalls4, returns4 { type ipv4_addr . inet_proto . inet_service : verdict; }
 *	map slots4, turns4 { typeof ip daddr . meta l4proto . th dport . numgen random mod 5003 : ip daddr . th dport; }
 *	map clients4 { type ipv4_addr . inet_proto . inet_service . ipv4_addr : ipv4_addr . inet_service;
 *		size 1048576; flags dynamic,timeout; }
 *
 *	chain zone-prerouting { type filter hook prerouting priority -300;
 *		ip saddr @vips4 ip daddr . meta l4proto . th dport @guards4 ct zone set 19528;
 *		ip daddr @vips4 ip saddr . meta l4proto . th sport @guards4 fib daddr type != local ct zone set 19528; }
 *	chain guard-prerouting { type filter hook prerouting priority -150;
 *		ct state established,related return;		(each of the others: counter name drop-invalid drop)
 *		ct state invalid ip daddr @vips4 fib daddr type local;
 *		ct state new ip daddr @vips4 ip saddr . meta l4proto . th sport @guards4;
 *		ct state new ip daddr . iif @homes4 fib daddr type != local; }
 *	chain filter-prerouting { type filter hook prerouting priority -140; SERVICE vmap @firewalls4; }
 *	chain mark-prerouting { type filter hook prerouting priority -130;		(forward_mark)
 *		ct state new ip daddr @vips4 meta mark set meta mark | 0x4000; }
 *	chain nat-prerouting, nat-output { type nat hook prerouting, output priority -110; jump services; }
 *	chain services { SERVICE vmap @dispatch4; }
 *	chain hash-61 { dnat ip to SERVICE . jhash ip saddr . th sport mod 61 map @slots4; }
 *	chain random-61 { dnat ip to SERVICE . numgen random mod 61 map @slots4; }
 *	chain source-61 { dnat ip to SERVICE . jhash ip saddr mod 61 map @slots4; }	(one of each for every size class)
 *	chain turn-3-192.0.2.1-tcp-80 { dnat ip to SERVICE . numgen inc mod 3 map @turns4; }
 *	chain source-61-10800s { dnat ip to SERVICE . ip saddr map @clients4; and the rule of source-61 }
 *	chain count-prerouting, count-output { type filter hook prerouting, output priority -90;	(counters)
 *		ct status ! dnat return;
 *		iiftype loopback return;				(prerouting)
 *		ct direction reply goto sent;
 *		goto received; }
 *	chain received { meta l4proto tcp						(udp and sctp, too)
 *		ct original ip daddr . meta l4proto . ct original proto-dst @received4 goto backends; }
 *	chain backends { SERVICE @backends4; }
 *	chain sent { meta l4proto tcp							(udp and sctp, too)
 *		ct original ip daddr . meta l4proto . ct original proto-dst @sent4 return; }
 *	chain router-input, router-forward { type filter hook input, forward priority -10; see nat_chain_router.c }
 *	chain filter-input { type filter hook input priority 0;		(unmatched; drop likewise, accept: nothing)
 *		ct state established,related return;
 *		ip daddr @vips4 ct status ! dnat ct state new,invalid,untracked counter name drop-unmatched
 *			reject with ...; }
 *	chain filter-forward { type filter hook forward priority 0;
 *		ct status dnat ct original ip daddr @vips4 goto user-forward; and filter-input's rules with @routed4 }
 *	chain user-forward { the user's rules }
 *	chain unmark-postrouting { type filter hook postrouting priority 80;	(forward_mark)
 *		meta mark & 0x4000 != 0 ct status dnat ct original ip daddr @vips4 meta mark set meta mark & 0xffffbfff; }
 *	chain nat-postrouting { type nat hook postrouting priority 90;
 *		ct status ! dnat return;
 *		ct direction original ct original ip daddr @vips4 SERVICE @opened4;	(counters)
 *		jump returning;
 *		ct original ip daddr @keeps4 ip saddr . ip daddr @hairpins4 masquerade;
 *		ct original ip daddr @keeps4 fib saddr type local masquerade;
 *		ct original ip daddr @keeps4 accept;
 *		ct original ip daddr @vips4 ip daddr @former4 tcp flags syn / syn,ack masquerade;
 *		ct original ip daddr @vips4 ip daddr @former4 meta l4proto != tcp masquerade;
 *		ct original ip daddr . iif @homes4 ct original ip daddr . oif @homes4
 *			snat ip to ct original ip daddr;
 *		ct original ip daddr . iif @homes4 ip daddr @locals4 snat ip to ct original ip daddr;
 *		ct original ip daddr @vips4 masquerade; }
 *	chain nat-input { type nat hook input priority 90; the first rules of nat-postrouting up to the jump }
 *	chain returning { meta l4proto tcp ct original ip daddr . meta l4proto . ct original proto-dst vmap @returns4; }
 *	chain return-61-10800s { meta l4proto tcp update @clients4 {	(udp and sctp, too)
 *		ct original ip daddr . meta l4proto . ct original proto-dst . ct original ip saddr timeout 10800s :
 *		ct reply ip saddr . ct reply proto-src }; }
 *	chain firewall-namespace/name { ct state new jump sources-namespace/name;
 *		limit rate over ... counter name drop-rate drop;
 *		ct state new add @connections4-namespace/name { ip saddr ct count over 10 }
 *			counter name drop-connections drop; }
 *	chain sources-namespace/name { ip saddr 198.51.100.0/24 return; counter name drop-source drop; }
 *
 * -110 because the first NAT chain that binds a connection wins and kube-proxy's stand at -100.  A NAT chain is an
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
 * Clients that return.  A client is remembered when its connection has found its backend, in the chain of first packets
 * behind DNAT: nft cannot write one map's value from another, and prints nothing at all of rules that do.  Each new
 * connection begins its time anew.  The memory is the holder's own; another holder starts with what the slots say.
 *
 * Firewall.  It holds for what comes to a VIP from elsewhere, as long as the destination is the VIP.  This node's own
 * packets are not asked: whoever sends them could ask the backends themselves.
 *
 * Counting.  Each packet of a connection comes by prerouting or, this node's own, by output, answers likewise: there
 * conntrack tells its VIP's port, whichever way it goes.  What this node sends to itself comes by both, and is counted
 * at output.
 *
 * Unmatched.  "accept" has no rules: a flow that a program of this node has answered is kept from backends that come
 * later for as long as it lasts.
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
#define NAT_LAYOUT "layout 4"
#define NAT_LAYOUT_PREFIX "layout "
/* The same on every node, so that a connection finds the same slot on each; never change it. */
#define NAT_HASH_SEED 0x4c48

/* The conntrack zone of connections through a VIP of another holder: any but 0, on this node alone. */
#define NAT_ZONE 0x4c48

#define NAT_PRIORITY_ZONE (-300)     /* before conntrack, -200 */
#define NAT_PRIORITY_GUARD (-150)    /* after it, before DNAT */
#define NAT_PRIORITY_FIREWALL (-140) /* the destination is still the VIP */
#define NAT_PRIORITY_MARK (-130)
#define NAT_PRIORITY_DNAT (-110)
#define NAT_PRIORITY_COUNT (-90) /* DNAT is done, by the one hook of all NAT chains, -100 */
#define NAT_PRIORITY_ROUTER (-10)
#define NAT_PRIORITY_FILTER 0
#define NAT_PRIORITY_UNMARK 80
#define NAT_PRIORITY_SNAT 90

/* Clients that return to their backend, of all Services together and each family. */
#define NAT_CLIENTS_MAX 1048576
/* Clients of one firewall that have connections. */
#define NAT_CONNECTIONS_MAX 65535

/* Two sets of each kind, for IPv4 and IPv6.  The plain ones stand in the order of enum nat_member_kind. */
enum nat_set_kind {
	NAT_SET_KIND_VIPS,
	NAT_SET_KIND_LOCALS,	/* addresses of backends on this node */
	NAT_SET_KIND_HOMES,	/* VIP . interface */
	NAT_SET_KIND_GUARDS,	/* backend . protocol . port */
	NAT_SET_KIND_KEEPS,	/* VIPs whose clients keep their addresses */
	NAT_SET_KIND_HAIRPINS,	/* source . destination, both the backend */
	NAT_SET_KIND_ROUTED,	/* VIPs that no interface carries */
	NAT_SET_KIND_RECEIVED,	/* counted: VIP . protocol . port */
	NAT_SET_KIND_SENT,	/* counted: VIP . protocol . port */
	NAT_SET_KIND_BACKENDS,	/* counted: backend . protocol . port */
	NAT_SET_KIND_OPENED,	/* counted: backend . protocol . port */
	NAT_SET_KIND_DISPATCH,	/* map; each element counts connections */
	NAT_SET_KIND_SLOTS,	/* map */
	NAT_SET_KIND_FIREWALLS, /* map: VIP . protocol . port : goto the Service's firewall */
	NAT_SET_KIND_FORMER,	/* addresses of backends on a dead holder's node; they expire, no reading has them */
	NAT_SET_KIND_CLIENTS,	/* map: VIP . protocol . port . client : backend . port; filled by rules, expires */
	NAT_SET_KIND_RETURNS,	/* map: VIP . protocol . port : goto the chain that fills clients (nat_return_name()) */
	NAT_SET_KIND_TURNS,	/* map: slots of frontends with a counter of their own */
};
#define NAT_SET_KIND_N 18
#define NAT_SET_N (2 * NAT_SET_KIND_N)

#define NAT_TYPE_BITS 6 /* of nft's type numbers in a concatenation */

struct nat_set_shape {
	const char *name;
	enum nat_set_kind kind;
	enum ip_family family;
	uint32_t key_type, key_len;   /* nft's type numbers, NAT_TYPE_BITS each; bytes */
	uint32_t data_type, data_len; /* of maps */
};

extern const struct nat_set_shape nat_sets[NAT_SET_N];

static inline bool nat_set_is_map(const struct nat_set_shape *set)
{
	return set->data_type != 0;
}

static inline bool nat_set_has_slots(const struct nat_set_shape *set)
{
	return set->kind == NAT_SET_KIND_SLOTS || set->kind == NAT_SET_KIND_TURNS;
}

/* Which of the two maps has a frontend's slots.  Each map that a new chain looks into is walked by the kernel from end
 * to end (nf_tables_bind_set()): chains that come and go keep away from the large one where they are many. */
static inline enum nat_set_kind nat_slots_kind(const struct frontend *f)
{
	return f->balance == BALANCE_ROUND_ROBIN ? NAT_SET_KIND_TURNS : NAT_SET_KIND_SLOTS;
}

/* NFT_SET_*. */
uint32_t nat_set_flags(const struct nat_set_shape *set);
/* Whether each element has a counter. */
bool nat_set_counts(const struct nat_set_shape *set);

/* Why packets to VIPs were dropped or refused: each has a named counter. */
enum nat_drop {
	NAT_DROP_INVALID,     /* conntrack could not place them, or their holder has changed (guard) */
	NAT_DROP_SOURCE,      /* not from loadBalancerSourceRanges */
	NAT_DROP_RATE,	      /* over leasehold.io/rate-limit */
	NAT_DROP_CONNECTIONS, /* over leasehold.io/connection-limit */
	NAT_DROP_UNMATCHED,   /* a port that no Service has, or no backend */
	NAT_DROP_ROUTER,      /* router mode */
};
#define NAT_DROP_N 6

/* Names of the counters: "drop-invalid", "drop-source", "drop-rate", "drop-connections", "drop-unmatched", "drop-router". */
extern const char *const nat_drop_counters[NAT_DROP_N];

enum nat_chain_kind {
	NAT_CHAIN_USER,		  /* "user-forward": its rules are the user's */
	NAT_CHAIN_BALANCE,	  /* picks a slot */
	NAT_CHAIN_SERVICES,	  /* dispatches */
	NAT_CHAIN_RETURNING,	  /* dispatches connections that are to be remembered */
	NAT_CHAIN_BACKENDS,	  /* counts what backends get */
	NAT_CHAIN_RECEIVED,	  /* counts what clients send */
	NAT_CHAIN_SENT,		  /* counts answers */
	NAT_CHAIN_ZONE,		  /* hooked: another holder's connections apart */
	NAT_CHAIN_GUARD,	  /* hooked: drops what would be entered the wrong way round */
	NAT_CHAIN_FIREWALL,	  /* hooked: the Services' firewalls */
	NAT_CHAIN_MARK,		  /* hooked: before DNAT: marks new connections */
	NAT_CHAIN_DNAT,		  /* hooked: jumps to the services */
	NAT_CHAIN_COUNT,	  /* hooked: after DNAT: goes to what counts */
	NAT_CHAIN_UNMARK,	  /* hooked: takes the mark off again */
	NAT_CHAIN_SOURCE,	  /* hooked: source NAT; counts connections */
	NAT_CHAIN_OPENED,	  /* hooked: counts connections to backends on this very node */
	NAT_CHAIN_ROUTER_INPUT,	  /* hooked: router mode */
	NAT_CHAIN_ROUTER_FORWARD, /* hooked */
	NAT_CHAIN_INPUT,	  /* hooked: refuses what reached this node itself because no backend took it */
	NAT_CHAIN_FORWARD,	  /* hooked: the user's chain; refuses what no backend took of VIPs without an address */
};

struct nat_chain_shape {
	const char *name;
	enum nat_chain_kind kind;
	uint32_t hook; /* hooked ones: NF_INET_* */
	int32_t priority;
	enum balance balance; /* NAT_CHAIN_BALANCE */
	uint16_t n_slots;
};

/* The frame.  Each chain jumps only to those before it.  Hooked filter chains that have no rules with the options of
 * the day are left out, so that packets need not pass them. */
#define NAT_CHAIN_N (NAT_CLASS_N * 3 + 21)
extern const struct nat_chain_shape nat_chains[NAT_CHAIN_N];

/* The user's chain. */
#define NAT_USER_CHAIN "user-forward"

/* ---- chains that come and go ---- */

#define NAT_NAME_MAX 256 /* NFT_NAME_MAXLEN, NUL included */

/* The chain that a frontend's dispatch goes to: "hash-61", "random-61", "source-61", "source-61-10800s" or
 * "source-61-10800s-ip6" (returning clients), or "turn-3-192.0.2.1-tcp-80", "turn-3-2001.db8..1-udp-53" (a counter of
 * its own: three slots by turns; nft's names have no colon).  Returns buf. */
char *nat_balance_name(const struct frontend *f, char buf[static NAT_NAME_MAX]);
/* The reverse: balance, n_slots and sticky_s into *ret, the rest of it untouched.  False: none of ours. */
bool nat_balance_parse(const char *name, struct frontend *ret);
/* Whether the chain is made and removed with those who use it, and not part of the frame. */
bool nat_balance_is_own(const struct frontend *f);
/* Beside "source-61-10800s", and made and removed with it: "return-61-10800s", which remembers where a client's
 * connection went. A frontend with sticky_s has an element in the maps returns4, returns6 that goes there.  (nft 1.0.6
 * prints but does not read rules that write a map's value of more than 16 bytes, an IPv6 address and a port; so these
 * chains are each of one family, and no listing has such rules without a Service that needs them.) */
char *nat_return_name(const struct frontend *f, char buf[static NAT_NAME_MAX]);
/* Like nat_balance_parse(). */
bool nat_return_parse(const char *name, struct frontend *ret);
/* The family of a chain that has sticky_s. */
enum ip_family nat_sticky_family(const char *name);

/* "firewall-namespace/name".  Its sets, when it limits connections: "connections4-namespace/name", "connections6-...". */
#define NAT_FIREWALL_PREFIX "firewall-"
char *nat_firewall_chain(const char *firewall, char buf[static NAT_NAME_MAX]);
/* "sources-namespace/name": where the Service's connections may come from; made and removed with the firewall.  The
 * comment of all rules of both chains tells the firewall's digest and how many these are. */
#define NAT_SOURCES_PREFIX "sources-"
char *nat_sources_chain(const char *firewall, char buf[static NAT_NAME_MAX]);
char *nat_firewall_set(const char *firewall, enum ip_family family, char buf[static NAT_NAME_MAX]);

/* ---- looking up ---- */

/* The chain or set of that name, or NULL. */
const struct nat_chain_shape *nat_chain_named(const char *name);
const struct nat_set_shape *nat_set_named(const char *name);

/* The set of a kind and family. */
const struct nat_set_shape *nat_set_of(enum nat_set_kind kind, enum ip_family family);

/* nft's type of a hooked chain, "nat" or "filter"; NULL = not hooked. */
const char *nat_chain_type(const struct nat_chain_shape *c);
