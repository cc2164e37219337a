/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_msg.h: rtnetlink neighbour messages as bytes (linux/neighbour.h): which MAC an address of another host has, as the
 * kernel learnt it. */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

#define NEIGH_MSG_MAX 64 /* bytes that a built message takes at most */

struct neigh_msg {
	int ifindex;
	struct ip ip;
	uint8_t mac[LINK_MAC_LEN];
};

/* Asks for all neighbours of an interface; builds into 'buf' (aligned for any object) and returns it as a message without
 * sequence number.  Kernels before 4.20 tell of all interfaces whatever is asked for. */
struct nlmsghdr *neigh_msg_dump(unsigned char buf[static NEIGH_MSG_MAX], int ifindex);

/* Reads RTM_NEWNEIGH from data[0..len).  -EBADMSG: not such a message, or cut; -EAFNOSUPPORT: of a family that is neither
 * IPv4 nor IPv6 (a bridge's); -ENODATA: it has no MAC of six bytes, or none that counts (unresolved, failed, a proxy's). */
MUST_USE int neigh_msg_parse(const void *data, size_t len, struct neigh_msg *ret);
