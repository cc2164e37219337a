// SPDX-License-Identifier: Apache-2.0
/* gate.bpf.c: the fence in the kernel (netlink/gate.h has the maps' layout).  Two programs for tc with direct action, at
 * ingress and at egress of an Ethernet device that carries VIPs.  gate_if.c loads and attaches them.
 *
 *	                                  ingress                              egress
 *	ARP, who has the VIP              arp rule, redirected when unicast    -
 *	ARP that claims or uses the VIP   pass                                 arp rule, *
 *	NS for the VIP                    arp rule, redirected when unicast    pass
 *	NS from, NA of the VIP            pass                                 arp rule, *
 *	IP to the VIP                     ip rule, redirected when unicast     pass
 *	IP from the VIP                   pass                                 ip rule
 *
 * (*) Where IP is open and ARP shut, a question of the kernel's to a neighbour goes out in the interface's own name: a
 * successor that gets ready must find its clients, and no neighbour may learn the VIP from that.
 *
 * What others say of a VIP always passes, for the neighbour table and the agent must hear it.  Whatever comes in by
 * another way (ND behind extension headers, odd ARP) may be heard, but the answer claims the VIP and stays inside.
 *
 * "Pass" is TC_ACT_UNSPEC: the filters behind this one still judge.  Packets are read by bpf_skb_load_bytes() alone, for
 * direct access wants CAP_PERFMON on some kernels; and what cannot be read in full is no frame that the kernel answers. */
#include <linux/bpf.h>
#include <linux/icmpv6.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "netlink/gate.h"

#define INLINE static __always_inline

#define ARP_HARDWARE_ETHERNET 1
#define ARP_HARDWARE_IEEE802 6 /* arp_process() takes it on Ethernet, too */
#define ARP_REQUEST 1
#define ND_SOLICIT 135 /* RFC 4861, 4.3 and 4.4 */
#define ND_ADVERT 136
#define ND_HOP_LIMIT 255
#define VLAN_ID_MASK 0xfff

/* RFC 826 for IPv4 over Ethernet (linux/if_arp.h needs libc's headers). */
struct arp {
	__be16 hardware, protocol;
	__u8 hardware_len, protocol_len;
	__be16 op;
	__u8 sha[ETH_ALEN];
	__u8 spa[4];
	__u8 tha[ETH_ALEN];
	__u8 tpa[4];
};

/* RFC 4861, 4.3 and 4.4: both messages begin so. */
struct nd {
	__u8 type, code;
	__u8 checksum_and_flags[6];
	struct in6_addr target;
};

_Static_assert(sizeof(struct arp) == 28, "without holes");
_Static_assert(sizeof(struct nd) == 24, "without holes");

/* Not preallocated: the memory of a replaced entry would be used again at once, and a packet that had found it would be judged
 * by what another VIP may. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, GATE_VIPS_MAX);
	__type(key, struct gate_key);
	__type(value, struct gate_entry);
} gate_vips SEC(".maps");

/* An array: all memory that a renewal needs is there. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GATE_GROUPS_MAX);
	__type(key, __u32);
	__type(value, struct gate_group);
} gate_groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, GATE_COUNT_N);
	__type(key, __u32);
	__type(value, __u64);
} gate_counts SEC(".maps");

/* memcmp() may become a call, which a program has nobody to answer; and a loop that is left as one moves a pointer by a
 * variable, which the verifier refuses without CAP_PERFMON. */
INLINE int is_same_ip(const __u8 *a, const __u8 *b)
{
	return !((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2]) | (a[3] ^ b[3]));
}

INLINE int is_same_mac(const __u8 *a, const __u8 *b)
{
	return is_same_ip(a, b) && !((a[4] ^ b[4]) | (a[5] ^ b[5]));
}

/* ---- verdicts ---- */

INLINE void count(enum gate_count what)
{
	__u32 key = what;
	__u64 *n = bpf_map_lookup_elem(&gate_counts, &key);

	if (n)
		*n += 1; /* per CPU */
}

INLINE int verdict(int open, enum gate_count what)
{
	if (open)
		return TC_ACT_UNSPEC;
	count(what);
	return TC_ACT_SHOT;
}

INLINE int carries(const struct __sk_buff *skb, const struct gate_entry *e)
{
	__u32 here = skb->ifindex;

	return here == e->ifindex || here == e->also[0] || here == e->also[1] || here == e->also[2] || here == e->also[3];
}

_Static_assert(GATE_ALSO_MAX == 4, "carries() looks at so many");

INLINE int arp_open(const struct __sk_buff *skb, const struct gate_entry *e, __u64 now)
{
	const struct gate_group *g = bpf_map_lookup_elem(&gate_groups, &e->group);

	return g && (e->may & GATE_MAY_ARP) && now < g->arp_until && carries(skb, e);
}

INLINE int ip_open(const struct gate_entry *e, __u64 now)
{
	const struct gate_group *g = bpf_map_lookup_elem(&gate_groups, &e->group);

	return g && (e->may & GATE_MAY_IP) && now < g->ip_until;
}

INLINE int redirect(struct __sk_buff *skb, const struct gate_entry *e)
{
	struct ethhdr eth = {};

	if (bpf_skb_load_bytes(skb, 0, &eth, sizeof(eth)) < 0)
		return verdict(0, GATE_COUNT_IP);
	/* From the successor: while it redirects to us a frame would go to and fro at the speed of the wire. */
	if (is_same_mac(eth.h_source, e->redirect_mac))
		return verdict(0, GATE_COUNT_IP);
	__builtin_memcpy(eth.h_dest, e->redirect_mac, ETH_ALEN);
	__builtin_memcpy(eth.h_source, e->own_mac, ETH_ALEN);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0) < 0)
		return verdict(0, GATE_COUNT_IP);
	count(GATE_COUNT_REDIRECT);
	return (int)bpf_redirect(skb->ifindex, 0);
}

/* Frames for another host that a promiscuous device sees, and what goes to many, are never sent on. */
INLINE int is_redirected(const struct __sk_buff *skb, const struct gate_entry *e, __u64 now)
{
	return now < e->redirect_until && skb->pkt_type == PACKET_HOST;
}

/* Who has the VIP? */
INLINE int judge_question(struct __sk_buff *skb, const struct gate_entry *e)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (is_redirected(skb, e, now))
		return redirect(skb, e);
	return verdict(arp_open(skb, e, now), GATE_COUNT_ARP);
}

INLINE int judge_packet(struct __sk_buff *skb, const struct gate_entry *e)
{
	__u64 now = bpf_ktime_get_boot_ns();

	if (is_redirected(skb, e, now))
		return redirect(skb, e);
	return verdict(ip_open(e, now), GATE_COUNT_IP);
}

/* ---- frames ---- */

INLINE struct gate_entry *find(const __u8 addr[static 16])
{
	struct gate_key key = {};

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	return bpf_map_lookup_elem(&gate_vips, &key);
}

INLINE struct gate_entry *find_v4(const __u8 addr[static 4])
{
	struct gate_key key = {};

	key.addr[10] = 0xff;
	key.addr[11] = 0xff;
	__builtin_memcpy(key.addr + 12, addr, 4);
	return bpf_map_lookup_elem(&gate_vips, &key);
}

/* The device carries untagged frames; those of VLAN n are the business of the device of VLAN n.  VLAN 0 is a priority on an
 * untagged frame (IEEE 802.1Q), which the kernel takes in as such (__netif_receive_skb_core()). */
INLINE int is_tagged(const struct __sk_buff *skb)
{
	return skb->vlan_present && (skb->vlan_tci & VLAN_ID_MASK) != 0;
}

/* What arp_rcv() and arp_process() take. */
INLINE int read_arp(const struct __sk_buff *skb, struct arp *ret)
{
	if (bpf_skb_load_bytes(skb, ETH_HLEN, ret, sizeof(*ret)) < 0)
		return 0;
	if (ret->hardware != bpf_htons(ARP_HARDWARE_ETHERNET) && ret->hardware != bpf_htons(ARP_HARDWARE_IEEE802))
		return 0;
	return ret->protocol == bpf_htons(ETH_P_IP) && ret->hardware_len == ETH_ALEN && ret->protocol_len == 4;
}

/* A neighbour solicitation or advertisement, as ndisc_rcv() takes it; one behind extension headers counts as plain IP. */
INLINE int read_nd(const struct __sk_buff *skb, const struct ipv6hdr *ip, struct nd *ret)
{
	if (ip->nexthdr != IPPROTO_ICMPV6 || ip->hop_limit != ND_HOP_LIMIT)
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN + sizeof(*ip), ret, sizeof(*ret)) < 0)
		return 0;
	return ret->code == 0 && (ret->type == ND_SOLICIT || ret->type == ND_ADVERT);
}

INLINE int ingress_arp(struct __sk_buff *skb)
{
	const struct gate_entry *e;
	struct arp arp = {};

	if (!read_arp(skb, &arp) || arp.op != bpf_htons(ARP_REQUEST))
		return TC_ACT_UNSPEC;
	if (is_same_ip(arp.spa, arp.tpa)) /* gratuitous: a claim, not a question */
		return TC_ACT_UNSPEC;
	e = find_v4(arp.tpa);
	return e ? judge_question(skb, e) : TC_ACT_UNSPEC;
}

INLINE int ingress_v4(struct __sk_buff *skb)
{
	const struct gate_entry *e;
	struct iphdr ip = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_UNSPEC;
	e = find_v4((const __u8 *)&ip.daddr);
	return e ? judge_packet(skb, e) : TC_ACT_UNSPEC;
}

INLINE int ingress_v6(struct __sk_buff *skb)
{
	const struct gate_entry *e;
	struct ipv6hdr ip = {};
	struct nd nd = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_UNSPEC;
	if (read_nd(skb, &ip, &nd)) {
		if (nd.type == ND_ADVERT) /* an answer or a claim: nothing answers it */
			return TC_ACT_UNSPEC;
		e = find(nd.target.s6_addr);
		if (e)
			return judge_question(skb, e);
	}
	e = find(ip.daddr.s6_addr);
	return e ? judge_packet(skb, e) : TC_ACT_UNSPEC;
}

/* Whether a question in the VIP's name may go out in the interface's own. */
INLINE int may_rename(const struct __sk_buff *skb, const struct gate_entry *e, __u64 now)
{
	return !arp_open(skb, e, now) && ip_open(e, now) && skb->ifindex == e->ifindex;
}

INLINE int rename_arp(struct __sk_buff *skb, const struct gate_entry *e)
{
	int r = bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct arp, spa), e->own_addr, 4, 0);

	return verdict(r == 0, GATE_COUNT_EGRESS);
}

INLINE int rename_ns(struct __sk_buff *skb, const struct gate_entry *e, const struct ipv6hdr *ip)
{
	const __u32 at_sum = ETH_HLEN + sizeof(*ip) + 2;
	struct in6_addr from = ip->saddr, to = {};
	__s64 sum;

	__builtin_memcpy(to.s6_addr, e->own_addr, sizeof(to.s6_addr));
	if (!(to.s6_addr32[0] | to.s6_addr32[1] | to.s6_addr32[2] | to.s6_addr32[3]))
		return verdict(0, GATE_COUNT_EGRESS);
	sum = bpf_csum_diff(from.s6_addr32, sizeof(from), to.s6_addr32, sizeof(to), 0);
	if (bpf_l4_csum_replace(skb, at_sum, 0, (__u64)sum, BPF_F_PSEUDO_HDR) < 0 ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct ipv6hdr, saddr), &to, sizeof(to), 0) < 0)
		return verdict(0, GATE_COUNT_EGRESS);
	return TC_ACT_UNSPEC;
}

INLINE int egress_arp(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_boot_ns();
	const struct gate_entry *e;
	struct arp arp = {};

	if (!read_arp(skb, &arp))
		return TC_ACT_UNSPEC;
	e = find_v4(arp.spa);
	if (!e)
		return TC_ACT_UNSPEC;
	if (arp.op == bpf_htons(ARP_REQUEST) && !is_same_ip(arp.spa, arp.tpa) && may_rename(skb, e, now))
		return rename_arp(skb, e);
	return verdict(arp_open(skb, e, now), GATE_COUNT_EGRESS);
}

INLINE int egress_v4(struct __sk_buff *skb)
{
	const struct gate_entry *e;
	struct iphdr ip = {};

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_UNSPEC;
	e = find_v4((const __u8 *)&ip.saddr);
	return e ? verdict(ip_open(e, bpf_ktime_get_boot_ns()), GATE_COUNT_EGRESS) : TC_ACT_UNSPEC;
}

INLINE int egress_v6(struct __sk_buff *skb)
{
	__u64 now = bpf_ktime_get_boot_ns();
	const struct gate_entry *e;
	struct ipv6hdr ip = {};
	struct nd nd = {};
	int is_nd;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &ip, sizeof(ip)) < 0)
		return TC_ACT_UNSPEC;
	is_nd = read_nd(skb, &ip, &nd);
	if (is_nd && nd.type == ND_ADVERT) {
		e = find(nd.target.s6_addr);
		if (e)
			return verdict(arp_open(skb, e, now), GATE_COUNT_EGRESS);
	}
	e = find(ip.saddr.s6_addr);
	if (!e)
		return TC_ACT_UNSPEC;
	if (is_nd && nd.type == ND_SOLICIT) /* it carries our MAC for the VIP, as an ARP request does */
		return may_rename(skb, e, now) ? rename_ns(skb, e, &ip) : verdict(arp_open(skb, e, now), GATE_COUNT_EGRESS);
	return verdict(ip_open(e, now), GATE_COUNT_EGRESS);
}

SEC("tc")
int gate_ingress(struct __sk_buff *skb)
{
	if (is_tagged(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return ingress_arp(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return ingress_v4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return ingress_v6(skb);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int gate_egress(struct __sk_buff *skb)
{
	if (is_tagged(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return egress_arp(skb);
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return egress_v4(skb);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return egress_v6(skb);
	return TC_ACT_UNSPEC;
}

/* No helper used here is reserved for GPL programs. */
char _license[] SEC("license") = "Apache-2.0";
