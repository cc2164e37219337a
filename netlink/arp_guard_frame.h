/* SPDX-License-Identifier: Apache-2.0 */
/* arp_guard_frame.h: messages that make, fill, read and remove the table "arp leasehold"; arp_guard_if.h shows it in nft's
 * words and talks to the kernel. */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "netlink/batch.h"

#define ARP_GUARD_TABLE "leasehold"
/* Every rule of ours carries this comment; a table whose rules are others is made anew. */
#define ARP_GUARD_LAYOUT "layout 1"

struct arp_home {
	struct ip ip; /* v4 */
	int ifindex;
};

enum arp_guard_chain {
	ARP_GUARD_INPUT,
	ARP_GUARD_OUTPUT,
};
#define ARP_GUARD_CHAIN_N 2

/* Bytes that a batch of all of the messages below may have for 'n' homes. */
size_t arp_guard_frame_room(size_t n);

/* Each appends messages.  -ENOSPC: the batch is full; -ENOMEM.  The batch is of no use then. */
MUST_USE int arp_guard_frame_remove(struct batch *b); /* absent is no error to the kernel */
MUST_USE int arp_guard_frame_make(struct batch *b);   /* table, empty sets, chains and rules; none of them may be there */
/* The sets' elements: exactly those of 'homes'; twice the same is once. */
MUST_USE int arp_guard_frame_fill(struct batch *b, const struct arp_home *homes, size_t n);

#define ARP_GUARD_READ_MAX 64 /* bytes that the request takes at most */
/* The request for a dump of the table's rules, without sequence number, in 'buf' (aligned for any object). */
struct nlmsghdr *arp_guard_frame_read(unsigned char buf[static ARP_GUARD_READ_MAX]);

/* An answer to it.  -EBADMSG: not such a message, or cut.  -ENOENT: another table's, or a rule that is not of this layout
 * or in no chain of ours. */
MUST_USE int arp_guard_frame_parse(const void *data, size_t len, enum arp_guard_chain *ret);
