/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl_rules.h: which sysctls of an interface that carries VIPs stand in their way, and what they should be.  Pure; read
 * and set by netlink/sysctl.h.  What each means: Documentation/networking/ip-sysctl.rst of the kernel; what decides:
 *
 *   forwarding (IPv4)	of the interface that a packet came in on (ip_route_input_slow()): 0 drops all for backends
 *   forwarding (IPv6)	of "all" alone (ip6_forward()); while it is 1 the kernel drops default routes that router
 *			advertisements gave, unless accept_ra of the route's own interface is 2 (rt6_purge_dflt_routers())
 *   rp_filter		the larger of "all" and the interface (IN_DEV_RPFILTER): 1 drops packets of clients whose way back
 *			leaves by another interface, so it matters only where the default route does
 *   arp_ignore		the larger of the two: 8 answers nobody; 2 answers only those in a subnet of the interface that holds
 *			the VIP, too (a /32 itself is none)
 *   arp_filter		either: no answer where the way to the asker leaves by another interface
 *   arp_announce	the larger: 0 may ask in the name of a VIP; the gate stops that past the deadline, nothing else does
 *   drop_gratuitous_arp, drop_unsolicited_na	this node does not hear that a VIP has moved away from it
 *   proxy_arp, proxy_arp_pvlan, proxy_ndp	it answers for VIPs of others; the gate, where it is shut, stops that
 *   disable_ipv6	the kernel takes no IPv6 address
 *
 * Where VIPs are routed (announce: bgp), no interface has any, and those by which packets for them come in are asked about
 * forwarding and rp_filter alone; those by which they may come in, or not, about forwarding.
 *
 * Not judged, because they change nothing for a VIP that is a /32 or /128: promote_secondaries, accept_local (a VIP is never
 * the source of a packet from outside to its own holder), arp_accept, ndisc_notify, arp_notify (the agent announces itself).
 *
 * Set by the agent, with --sysctl manage: forwarding, for without it there is no service, and rp_filter = 2 on that one
 * interface where the default route leaves by another, which only lets in what the node has a route back to; not where VIPs are
 * routed, for there the way back may be fine.  IPv6 forwarding never where that would lose a default route.  All others are
 * reported alone: somebody set them on purpose, and others may depend on them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/link.h"
#include "agent/base/sysctl_key.h"

#define SYSCTL_UNKNOWN (-1) /* cannot be read, or this kernel has it not */

/* An interface that carries, or would carry, VIPs; routed: one by which packets for them come in. */
struct sysctl_facts {
	char name[LINK_NAME_MAX];
	bool routed;
	bool several;	     /* routed: it is one of several such */
	bool guessed;	     /* routed: packets for IPv4 VIPs may come in by it; no session tells so */
	bool watched;	     /* routed: the agent looks at it, too (core/uplinks.h) */
	bool v4, v6;	     /* VIPs of these families belong here */
	bool nft;	     /* this program balances, so packets are forwarded */
	bool gate;	     /* the gate is on */
	bool subnet_v4;	     /* the IPv4 VIPs are in subnets of the interface */
	bool default_v4_elsewhere; /* the default route leaves by another interface */
	bool default_v6_from_ra;
	char ra_link[LINK_NAME_MAX]; /* the interface of that route, which need not be this one; "" = not known, or several */
	int ra_accept;		     /* its accept_ra; SYSCTL_UNKNOWN */
	int own[SYSCTL_KEY_N]; /* SYSCTL_UNKNOWN, or the value */
	int all[SYSCTL_KEY_N];
};

struct sysctl_advice {
	enum sysctl_key key;
	const char *interface; /* "all", or facts->name; borrowed */
	int value, wanted;
	bool error;	       /* VIPs do not work so; else they work worse, or may harm others */
	bool manageable;       /* --sysctl manage sets it */
	bool accept_ra_first;  /* accept_ra of facts->ra_link is to be 2 before, or the default route is lost; where that is not
				* known there is no command to give */
	const char *why;       /* static */
};

#define SYSCTL_ADVICE_MAX (2 * SYSCTL_KEY_N)

/* What should be otherwise, in a fixed order.  Returns how many. */
size_t sysctl_judge(const struct sysctl_facts *f, struct sysctl_advice ret[static SYSCTL_ADVICE_MAX]);

/* Sets several and guessed of one of n interfaces that routers are connected by, n_v4 of them for IPv4, this one, too (v4) or not.
 * Where none is, IPv4's packets come in by those of IPv6. */
void sysctl_way_in(struct sysctl_facts *f, bool v4, size_t n_v4, size_t n);

/* Whether a key is looked at for these families at all; IPv6 ones are not read for IPv4 VIPs. */
bool sysctl_concerns(enum sysctl_key key, bool v4, bool v6);
