/* SPDX-License-Identifier: Apache-2.0 */
/* wire_if.h: hears who claims our VIPs on the wire, and asks: ARP (ETH_P_ARP) and neighbour advertisements.
 * Main thread; never blocks.  Bounded: what is not about a VIP of ours is dropped by a filter or at once.
 *
 * "Claims" are: any ARP packet with SPA = VIP (RFC 826 merges it whatever the operation), and any NA whose target is the
 * VIP (solicited or not).  Frames that this host sent itself do not count: the kernel shows them to no socket of this kind,
 * and one that comes back through a second interface has the MAC of one of our links.
 * "Probes" ask whether the VIP is free: an ARP request with SPA 0 and TPA = VIP (RFC 5227 section 1.1), an NS from :: (RFC
 * 4862 section 5.4.2).  They are heard for VIPs that this node holds alone: other holders send them all the time.
 *
 * The kernel filters (wire_filter.h), so that frames about other addresses wake nobody.
 *
 * Heard on every Ethernet interface, where IP would be: on a bridge and not on its ports, on a VLAN's device and not
 * on its parent.  What an interface's ingress drops (the gate, XDP) is not heard.  Neither are frames for other hosts
 * (promiscuous mode), nor NAs behind IPv6 extension headers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

/* Frames that one dispatch reads at most, of each of the two kinds; what is left makes the descriptor ready again. */
#define WIRE_BUDGET 64

struct wire_if;

enum wire_form {
	WIRE_ANSWER,  /* ARP reply to somebody, solicited NA */
	WIRE_REQUEST, /* announced by an ARP request (SPA = TPA) */
	WIRE_REPLY,   /* announced by an ARP reply (SPA = TPA) */
	WIRE_ADVERT,  /* announced by an NA without S */
	WIRE_USE,     /* an ARP request for another address, sent in the VIP's name */
	WIRE_PROBE,   /* no claim: asked for the VIP */
};

struct wire_claim {
	struct ip vip;
	uint8_t mac[LINK_MAC_LEN]; /* the sender's: SHA, or the NA's target link-layer address, else the frame's source */
	int ifindex;
	bool reply; /* unicast to us: an answer to a probe or to a solicitation */
	enum wire_form form;
};

MUST_USE int wire_if_new(struct wire_if **ret, struct err_info *err); /* -EPERM: CAP_NET_RAW lacks */
void wire_if_free(struct wire_if *w);
int wire_if_fd(const struct wire_if *w);

/* The VIPs to hear about, sorted, copied; called when they change.  -ENOMEM, or the errno of a socket option: no claim of
 * a new one is told, and some of old ones may be missed, until it is called again. */
MUST_USE int wire_if_vips(struct wire_if *w, const struct ip *vips, size_t n);

/* Those of them that this node holds, whose probes are heard; sorted, copied.  Errors: as above. */
MUST_USE int wire_if_held(struct wire_if *w, const struct ip *vips, size_t n);

/* Our own links, in any order; their MACs are copied; called when they change.  -ENOMEM: the old ones stay. */
MUST_USE int wire_if_links(struct wire_if *w, const struct link *links, size_t n);

/* Reads what has come, within a budget, and calls 'claim' for each claim and probe; it must not change the VIPs or links.  The errno of
 * a socket; frames lost because the queue was full are no error. */
MUST_USE int wire_if_dispatch(struct wire_if *w, void (*claim)(void *ctx, const struct wire_claim *c), void *ctx,
			      struct err_info *err);

/* Asks who has 'vip' out of 'link': an ARP probe (RFC 5227: SPA 0) broadcast, or a neighbour solicitation from the
 * interface's link-local address 'own' to the VIP's solicited-node group.  With 'own' of family IP_NONE it comes from ::,
 * and answers then go to all nodes: reply is false in them.  For a v4 VIP 'own' is not looked at.  Answers come as claims,
 * also while this host has the address itself.  -EPFNOSUPPORT: not an Ethernet interface; -ENETDOWN, -ENXIO, -ENOBUFS,
 * -EAGAIN ... */
MUST_USE int wire_if_probe(struct wire_if *w, const struct link *link, const struct ip *own, const struct ip *vip,
			   struct err_info *err);
