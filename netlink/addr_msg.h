/* SPDX-License-Identifier: Apache-2.0 */
/* addr_msg.h: rtnetlink address messages as bytes (linux/if_addr.h).  What a VIP looks like as an address, and
 * how ours are told from others', is decided here. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"


/* Our marks.  IFA_PROTO came with Linux 5.18; on older kernels the metric (IFA_RT_PRIORITY, since 4.18) tells,
 * which means nothing otherwise on an address without a prefix route. */
#define ADDR_PROTO_LEASEHOLD 76	    /* not one of the kernel's (1-3); 'L' */
#define ADDR_METRIC_LEASEHOLD 19528 /* 0x4c48, "LH" */

#define ADDR_MSG_MAX 128 /* bytes that a built message takes at most */
#define ADDR_FOREVER UINT32_MAX

struct addr_msg {
	bool gone; /* RTM_DELADDR */
	struct link_addr addr;
	uint32_t flags; /* IFA_F_* */
	uint32_t valid_s, preferred_s; /* ADDR_FOREVER = for ever */
};

/* Each builds into 'buf' (aligned for any object) and returns it as a message without sequence number. */

/* Adds 'ip' as a VIP, or with 'replace' refreshes it too.  Without 'replace' an address that is there is an
 * error.  A refresh without lifetimes would make it permanent, so they are always sent. */
struct nlmsghdr *addr_msg_put(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip,
			      uint32_t valid_s, bool replace);
/* Removes 'ip' with the prefix length of a VIP. */
struct nlmsghdr *addr_msg_del(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip);
/* Asks for one v6 address. */
struct nlmsghdr *addr_msg_get(unsigned char buf[static ADDR_MSG_MAX], int ifindex, const struct ip *ip);
/* Asks for all addresses of a family (AF_UNSPEC: all); ifindex 0 = of all interfaces.  The kernel filters by
 * interface only on sockets with NETLINK_GET_STRICT_CHK. */
struct nlmsghdr *addr_msg_dump(unsigned char buf[static ADDR_MSG_MAX], uint8_t family, int ifindex);

/* Reads RTM_NEWADDR or RTM_DELADDR from data[0..len).  -EBADMSG: not such a message, or cut; -EAFNOSUPPORT: of a
 * family that is neither IPv4 nor IPv6. */
MUST_USE int addr_msg_parse(const void *data, size_t len, struct addr_msg *ret);
