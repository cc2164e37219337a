/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_if.h: keeps TCP connections to routed VIPs while a node is drained.
 *
 * When a node withdraws its routes, routers spread its connections over the others, and those of the others anew, too, if
 * they hash without resilience.  The node that gets such a packet knows nothing of the connection; it would find the same
 * backend, but with another source address, and the backend would refuse it.  So meanwhile strays (TCP, no SYN, unknown to
 * conntrack) are handed to the node that is leaving, as they are; that one takes what is its own, and hands what it
 * does not know either to all others, of which one does.  What a node that stays got from any node of ours, and does not
 * know, ends there: so each packet comes to a node once from a router and once from a node, even while nodes do not agree on
 * who is leaving.  Two that are leaving take nothing from each other.  In nft's words, on a node that stays (for IPv6
 * likewise):
 *
 *	table ip leasehold-drain {
 *		set vips { type ipv4_addr; flags timeout; }
 *		set nodes { type ether_addr; }		(the MACs of all others)
 *		chain strays {
 *			ether saddr @nodes counter drop;
 *			ip ttl <= 1 counter drop;
 *			limit rate over 20000/second burst 20000 packets counter drop;
 *			dup to LEAVING-NODE device IF counter;
 *			drop; }
 *		chain prerouting { type filter hook prerouting priority -160;
 *			ip daddr @vips meta l4proto tcp tcp flags ! syn ct state invalid,new goto strays; } }
 *
 * and on the leaving one with those alone in 'nodes' that are leaving, too, and with a dup to each other node.  All elements
 * of vips expire together: a table that is left behind does nothing.  In family ip and ip6, for inet has no dup.
 *
 * Called on a worker thread; may wait for the namespace's nft commit mutex. */
#pragma once

#include "agent/base/err.h"
#include "netlink/nlsock.h"
#include "netlink/rendezvous_frame.h"

/* Makes the tables be exactly so, each in one transaction, whatever was there; without peers there are none, and a family
 * that the kernel has not is passed over.  's' is NETLINK_NETFILTER.  -EOPNOTSUPP: a kernel without dup
 * (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6); -EPERM; -ENOMEM. */
MUST_USE int rendezvous_if_put(struct nlsock *s, const struct rendezvous *r, struct err_info *err);
