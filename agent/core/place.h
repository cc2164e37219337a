/* SPDX-License-Identifier: Apache-2.0 */
/* place.h: which interfaces of this node carry a VIP, and why none does.  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/link.h"

#define PLACE_MAX 4 /* interfaces that carry one VIP */

/* What the configuration says of this node. */
struct place_rules {
	const char *const *names; /* in order of preference; '*' and '?' as in fnmatch(3); n_names 0 = auto */
	size_t n_names;
	const char *const *excluded; /* never these; patterns, too, which an interface named without one is safe from */
	size_t n_excluded;
	bool all; /* every interface that suits carries the VIP (PLACE_MAX at most; of one subnet one alone), not the first */
	bool any_subnet; /* a named interface whose subnets do not hold the VIP suits all the same */
	bool undecided;	 /* what the names depend on is not known yet: VIPs wait (core/interfaces.h) */
};

enum place_why {
	PLACE_OK,
	PLACE_UNDECIDED, /* the rules are */
	PLACE_NO_LINK,	 /* none of the names is here */
	PLACE_NO_ROUTE,	 /* auto: no subnet holds the VIP and there is no default route */
	PLACE_EXCLUDED,	 /* what would suit is excluded */
	PLACE_PORT,	 /* a port of a bridge or bond: its master is to be named */
	PLACE_NO_ARP,	 /* no Ethernet device: nothing can be announced there */
	PLACE_SUBNET,	 /* the interface has subnets of the family, and none holds the VIP */
	PLACE_WHY_N,
};

struct place {
	const struct link *links[PLACE_MAX]; /* the best first */
	size_t n;
	enum place_why why;	     /* n is 0: the reason that comes closest to success */
	const struct link *refused;  /* the interface that 'why' is about, NULL = none */
};

/* Where 'ip' belongs.
 * With names: the first that matches a link with a subnet that holds the address; else the first match that has no subnet of
 * the family at all (a segment for VIPs alone); else, with any_subnet, the first match, or without it the one that auto would
 * choose.  Auto: the link with such a subnet (the longest prefix), else the one of the family's default route, if no link at
 * all has the subnet.  Never loopback or a port; addresses of ours, link-local ones and host prefixes (/32, /128) say nothing
 * about subnets.  Whether it is up does not matter here: a VIP does not wander to another network for that. */
void place_vip(const struct link_state *s, const struct place_rules *rules, const struct ip *ip, struct place *ret);

/* Whether VIPs may go to this link at all, whichever they are: what its MAC is told to other nodes for. */
bool place_may_carry(const struct link_state *s, const struct place_rules *rules, const struct link *l);

/* "eth0 is a port of br0: name br0 instead" and the like, for status, logs and Events; in buf, which is returned. */
const char *place_why_text(const struct link_state *s, const struct place *p, const struct ip *ip, char *buf, size_t size);

/* Up, with carrier. */
bool place_usable(const struct link *l);
