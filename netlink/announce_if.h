/* SPDX-License-Identifier: Apache-2.0 */
/* announce_if.h: gratuitous ARP and unsolicited neighbour advertisements over raw packet sockets.
 * One socket for all interfaces; sending never blocks (main thread). */
#pragma once

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

struct announce_if;

MUST_USE int announce_if_new(struct announce_if **ret, struct err_info *err); /* -EPERM: CAP_NET_RAW lacks */
void announce_if_free(struct announce_if *a);

/* Sends one round for 'vip' out of 'link': v4: both ARP forms (request; reply with THA = SHA); v6: one NA to
 * ff02::1 with S=0 O=1 and R as given.  *ret_frames = frames sent.  -ENOBUFS, -ENETDOWN, -ENODEV ... */
MUST_USE int announce_if_send(struct announce_if *a, const struct link *link, const struct ip *vip,
			      bool router, unsigned int *ret_frames, struct err_info *err);
