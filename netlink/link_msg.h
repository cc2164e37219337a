/* SPDX-License-Identifier: Apache-2.0 */
/* link_msg.h: rtnetlink link messages from bytes (linux/if_link.h): what a link is, whose port it is, and what the
 * kernel wants announced.  (libnl 3.7 knows neither the kind of a link's master nor IFLA_EVENT.)  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/link.h"

struct link_msg {
	bool gone;	  /* RTM_DELLINK */
	bool announce;	  /* the kernel asks for announcements: IFLA_EVENT says bond failover, or notify peers */
	struct link link; /* without 'announcements' and 'born'; of one that is gone the index alone may be right */
};

/* Reads RTM_NEWLINK or RTM_DELLINK from data[0..len).  -EBADMSG: not such a message, cut, or without a name;
 * -EAFNOSUPPORT: about something else than the link itself, e.g. AF_BRIDGE: a port's place in its bridge (such an
 * RTM_DELLINK is not the link's end). */
MUST_USE int link_msg_parse(const void *data, size_t len, struct link_msg *ret);
