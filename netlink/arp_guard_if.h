/* SPDX-License-Identifier: Apache-2.0 */
/* arp_guard_if.h: table "arp leasehold": no interface but its own may answer ARP for a VIP, or ask in its name.
 * (The kernel answers on every interface for any local address unless arp_ignore says otherwise, Documentation/networking/
 * ip-sysctl.rst; IPv6 answers on the interface that has the address alone, net/ipv6/ndisc.c.)  In nft's words:
 *
 *	set vips { type ipv4_addr; }
 *	set homes { type ipv4_addr . iface_index; }
 *	chain input { type filter hook input priority 0;
 *		      arp operation request arp daddr ip @vips arp daddr ip . iif != @homes drop }
 *	chain output { type filter hook output priority 0;
 *		       arp saddr ip @vips arp saddr ip . oif != @homes arp saddr ip set 0.0.0.0 }
 *
 * Called on a worker thread; may wait for the namespace's nft commit mutex. */
#pragma once

#include <stddef.h>

#include "agent/base/err.h"
#include "netlink/arp_guard_frame.h"
#include "netlink/nlsock.h"

/* Makes table and sets be exactly so, in one transaction, whatever was there; at no moment does a packet pass that the old
 * and the new elements would both have stopped, but where the rules themselves were damaged.  's' is NETLINK_NETFILTER.
 * -EOPNOTSUPP: a kernel without the arp family (CONFIG_NF_TABLES_ARP); -EPERM. */
MUST_USE int arp_guard_if_put(struct nlsock *s, const struct arp_home *homes, size_t n, struct err_info *err);

/* Removes the table; absent is success. */
MUST_USE int arp_guard_if_remove(struct nlsock *s, struct err_info *err);
