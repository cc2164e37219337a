/* SPDX-License-Identifier: Apache-2.0 */
/* wire_filter.h: the programs that keep wire_if's sockets asleep: classic BPF (linux/filter.h) that lets through claims of our
 * VIPs, and probes for those that this node holds.  Pure.
 *
 * Exact for up to 'room' runs of neighbouring addresses in each of the two sets (a pool's addresses follow each other, so a
 * set of a thousand VIPs may be one run); for IPv6, each prefix of 96 bits takes the room of WIRE_FILTER_PREFIX runs besides.
 * With more, runs that lie closest together are taken as one, and then addresses between them pass as well; wire_if drops
 * them.
 *
 * The kernel charges a program to its socket in the form that it is converted to, and while one replaces another both of
 * them, up to net.core.optmem_max: 20480 bytes before Linux 6.8 (__sk_filter_charge(), net/core/filter.c).  A run takes 88
 * bytes there, so with WIRE_FILTER_ROOM in both sets a program stays below half of that. */
#pragma once

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"

#define WIRE_FILTER_ROOM 49
#define WIRE_FILTER_PREFIX 6
#define WIRE_FILTER_FRAME 2048 /* bytes of a frame that pass: an NA has 86, hundreds with the options of RFC 3971 */

struct wire_filter {
	struct sock_filter code[BPF_MAXINSNS];
	unsigned short n;
};

/* Sorted addresses of one family. */
struct wire_set {
	const struct ip *v;
	size_t n;
};

/* ARP for IPv4 over Ethernet whose SPA is in 'vips', or which asks from SPA 0 for one of 'held' (RFC 5227's probe).
 * room: 1 to WIRE_FILTER_ROOM. */
void wire_filter_arp(const struct wire_set *vips, const struct wire_set *held, size_t room, struct wire_filter *ret);

/* ICMPv6 right behind the IPv6 header with hop limit 255: advertisements of 'vips', and solicitations from :: for 'held'
 * (duplicate address detection).  Runs for every IPv6 packet of the node, and ends after one comparison for most.  room: as
 * above; without room for its prefixes, a set is matched by its first 32 bits alone. */
void wire_filter_nd(const struct wire_set *vips, const struct wire_set *held, size_t room, struct wire_filter *ret);
