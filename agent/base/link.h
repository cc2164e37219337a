/* SPDX-License-Identifier: Apache-2.0 */
/* link.h: the node's interfaces and addresses as plain data: netlink/ observes them, the shell decides. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"

#define LINK_NAME_MAX 16 /* IFNAMSIZ */
#define LINK_MAC_LEN 6

/* What a link is, as far as it matters for VIPs (IFLA_INFO_KIND; linux/if_link.h). */
enum link_kind {
	LINK_PLAIN, /* a network card, veth, ... */
	LINK_VLAN,
	LINK_BOND, /* or team */
	LINK_BRIDGE,
	LINK_MACVLAN,
	LINK_VRF,
	LINK_OTHER, /* tunnels and other kinds without neighbours to announce to */
};

struct link {
	int index;
	char name[LINK_NAME_MAX];
	enum link_kind kind;
	int master; /* IFLA_MASTER: the bridge, bond or VRF it is a port of; 0 = none */
	int lower;  /* IFLA_LINK of a VLAN or macvlan: the link of this namespace it stands on; 0 = none */
	bool port;  /* of a bridge, bond or team, but not of a VRF: frames that arrive are the master's, so no VIP may be here */
	bool pair;  /* veth, tun or tap: its other end is on this machine, too */
	/* Another value: VIPs here need announcing, because the kernel asked for it (bond failover, virtual machine moved;
	 * IFLA_EVENT) or a port of this bridge got its carrier back.  The number itself means nothing. */
	uint32_t announcements;
	uint8_t mac[LINK_MAC_LEN]; /* zero when the link has no Ethernet address */
	bool ethernet;		   /* ARPHRD_ETHER */
	bool up;		   /* IFF_UP */
	bool carrier;		   /* IFF_LOWER_UP */
	bool loopback;
	bool noarp;		   /* IFF_NOARP */
	uint32_t born; /* differs when the kernel made the interface anew under the same index: what stood on it is gone */
};

struct link_addr {
	int index;
	struct ip ip;
	uint8_t prefix_len;
	bool ours; /* carries the mark of a VIP of ours (IFA_PROTO) */
	bool dynamic; /* it has a lifetime (no IFA_F_PERMANENT): of DHCP or router advertisements, and ours */
};

/* A snapshot; owned by the watcher that gave it, valid until its next dispatch. */
struct link_state {
	const struct link *links; /* sorted by index */
	size_t n_links;
	const struct link_addr *addrs; /* sorted by index, ip */
	size_t n_addrs;
	int default_v4, default_v6; /* interface of the default route with the lowest metric; 0 = none */
	bool default_v6_from_ra;    /* some v6 default route came from a router advertisement */
	int default_v6_ra;	    /* the interface of all of those; 0 = there are none, or of several */
};

/* NULL = none, and for index 0. */
const struct link *link_find(const struct link_state *s, int index);
