/* SPDX-License-Identifier: Apache-2.0 */
/* default_msg.h: default routes from rtnetlink route messages (linux/rtnetlink.h): which interface leads out.  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

struct default_msg {
	enum ip_family family;
	int index; /* of the first next hop that lives; 0 = none does, or the route goes nowhere (unreachable, ...) */
	uint32_t metric;
	bool from_ra;  /* from a router advertisement */
	bool has_dead; /* a next hop's interface is down: it comes back without a notification */
};

/* Reads RTM_NEWROUTE or RTM_DELROUTE from data[0..len).  -EBADMSG: not such a message, or cut; -ENOENT: another route
 * than a default route of the main table. */
MUST_USE int default_msg_parse(const void *data, size_t len, struct default_msg *ret);
