/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl_key.h: the sysctls of an interface that matter for VIPs, as names for netlink/sysctl.h, which reads and sets them,
 * and core/sysctl_rules.h, which judges them. */
#pragma once

enum sysctl_key {
	SYSCTL_FORWARD_V4,     /* net.ipv4.conf.IF.forwarding */
	SYSCTL_FORWARD_V6,     /* net.ipv6.conf.IF.forwarding (IF = "all": what forwarding needs) */
	SYSCTL_RP_FILTER,      /* net.ipv4.conf.IF.rp_filter, and so on */
	SYSCTL_ARP_IGNORE,
	SYSCTL_ARP_ANNOUNCE,
	SYSCTL_ARP_FILTER,
	SYSCTL_DROP_GRATUITOUS_ARP,
	SYSCTL_PROXY_ARP,
	SYSCTL_PROXY_ARP_PVLAN,
	SYSCTL_DISABLE_IPV6,   /* net.ipv6.conf.IF.disable_ipv6, and so on */
	SYSCTL_ACCEPT_RA,
	SYSCTL_DROP_UNSOLICITED_NA,
	SYSCTL_PROXY_NDP,
	SYSCTL_KEY_N,
};
