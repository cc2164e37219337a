/* SPDX-License-Identifier: Apache-2.0 */
/* announce_if.h: gratuitous ARP and unsolicited neighbour advertisements over raw packet sockets.
 * Two sockets for all interfaces; sending never blocks (main thread). */
#pragma once

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

struct announce_if;

MUST_USE int announce_if_new(struct announce_if **ret, struct err_info *err); /* -EPERM: CAP_NET_RAW lacks */
void announce_if_free(struct announce_if *a);

enum announce_flag {
	ANNOUNCE_ROUTER = 1, /* this node forwards IPv6: R in NAs */
	/* Straight to the driver (PACKET_QDISC_BYPASS, packet(7)): past the qdiscs of the interface and what stands at its
	 * egress, the gate (clsact) and nft's netdev hook.  So a VIP is announced while its gate is shut.  An interface
	 * that is stacked on another (VLAN, bond, bridge) hands the frame down the usual way. */
	ANNOUNCE_PAST_GATE = 2,
};

/* Sends one round for 'vip' out of 'link': v4: both ARP forms (request; reply with THA = SHA); v6: one NA to
 * ff02::1 with S=0 O=1 and R as 'flags' (of enum announce_flag) say.  *ret_frames = frames sent.  -ENOBUFS:
 * a queue is full, or the egress dropped it, as a shut gate does; -ENETDOWN, -ENODEV ... */
MUST_USE int announce_if_send(struct announce_if *a, const struct link *link, const struct ip *vip,
			      unsigned int flags, unsigned int *ret_frames, struct err_info *err);
