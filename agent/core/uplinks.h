/* SPDX-License-Identifier: Apache-2.0 */
/* uplinks.h: by which interfaces a node has neighbours.  Of routed VIPs (announce: bgp) no interface carries any, and still
 * other nodes are to know this one by its MACs and addresses: they hand a leaving node its connections there, and what it hands
 * on itself they know by where it comes from (agent/rendezvous.h).  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/link.h"

/* Neighbours may reach this node by the address: it stands in a subnet of an interface that has a MAC (tun and WireGuard have
 * none), is of more than this link (no fe80::/10), and no VIP of ours.  The bridge of a node's Pods looks no different and counts,
 * too: its subnet differs by node, so no other node finds the address on a link of its own. */
bool uplinks_reachable(const struct link_state *s, const struct link_addr *of);

/* An interface with such an address, or one that a default route leaves by and whose other end is not on this machine; with
 * carrier or without.  No port of a bridge or bond: its master is.  Interfaces of single Pods have no subnet, come and go, and
 * are none. */
bool uplinks_is(const struct link_state *s, const struct link *l);
