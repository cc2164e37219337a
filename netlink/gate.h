/* SPDX-License-Identifier: Apache-2.0 */
/* gate.h: what the gate's maps hold, shared by the BPF program (netlink/bpf/gate.bpf.c) and the agent.
 *
 * An entry a VIP says where it may be answered; a row a group, until when: so that a renewal writes one row, however many
 * VIPs the Lease governs.  Times are CLOCK_BOOTTIME in nanoseconds (bpf_ktime_get_boot_ns(), kernel 5.8), absolute: what was
 * allowed ends by itself, whatever becomes of the agent.  A VIP without an entry is not ours to judge and passes; an entry
 * without a group is shut. */
#pragma once

#include <linux/types.h>

#define GATE_VIPS_MAX 8192   /* entries, allocated when set */
#define GATE_GROUPS_MAX 1024 /* rows, there from the start: a renewal must not need memory */
#define GATE_GROUP_NONE 0xffffffffU /* no row: shut */
#define GATE_MAC_LEN 6
#define GATE_ALSO_MAX 4 /* further interfaces that carry a VIP */

/* IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2); network byte order. */
struct gate_key {
	__u8 addr[16];
};

/* By a number that the agent gives each group.  Changed in place, each field in one piece (the kernel copies aligned words). */
struct gate_group {
	__u64 arp_until; /* ARP and ND for its VIPs pass until then */
	__u64 ip_until;	 /* IP to them (ingress) and from them (egress) passes until then */
};

/* What of it the group's row may open; without, it is shut. */
enum gate_may {
	GATE_MAY_ARP = 1, /* ARP and ND, on 'ifindex' and 'also' alone */
	GATE_MAY_IP = 2,
};

struct gate_entry {
	__u32 group;
	__u32 may;	      /* of enum gate_may */
	__u64 redirect_until; /* until then unicast frames for it go out again to 'redirect_mac', instead */
	__u32 ifindex;	      /* the interface that carries the VIP; 0 = none: ARP and ND are shut everywhere */
	__u8 redirect_mac[GATE_MAC_LEN];
	__u8 own_mac[GATE_MAC_LEN]; /* source of redirected frames, or bridges would learn the client on our port */
	/* What the interface asks its neighbours with while IP is open and ARP is shut: the kernel would ask in the VIP's name
	 * and tell them our MAC.  IPv4: its own address in the first 4 bytes, zero = nobody's (an ARP probe).  IPv6: its
	 * link-local address; zero = it may not ask. */
	__u8 own_addr[16];
	__u32 also[GATE_ALSO_MAX]; /* other interfaces that carry the VIP; 0 = no more.  On these nothing is asked meanwhile */
};

/* What was dropped or sent on, since the program was loaded; per CPU. */
enum gate_count {
	GATE_COUNT_ARP,	     /* ARP or ND shut, ingress */
	GATE_COUNT_IP,	     /* IP shut, ingress */
	GATE_COUNT_EGRESS,   /* anything that claims or uses a shut VIP, egress */
	GATE_COUNT_REDIRECT, /* sent on to the successor */
	GATE_COUNT_N,
};
