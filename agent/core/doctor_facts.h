/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_facts.h: what `leasehold doctor` has found out of a node, as plain data: agent/doctor_*.c fill it, findings.h judges
 * it.  Each part stands alone: one that could not be looked at says why in 'skipped', and the others are none the worse. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/core/sysctl_rules.h"

#define FACT_TEXT_MAX 256
#define FACT_NAME_MAX 254    /* of a node or Lease */
#define FACT_POOLS_MAX 65    /* and the control plane's VIP */
#define FACT_LINKS_MAX 16    /* that carry VIPs; further ones are counted alone */
#define FACT_STRANGERS_MAX 8 /* addresses of others in our pools; likewise */
#define FACT_PROBES_MAX 32
#define FACT_MACS_MAX 4	     /* that answer for one address */
#define FACT_SERVERS_MAX 8
#define FACT_RIGHTS_MAX 32
#define FACT_SESSIONS_MAX 8
#define FACT_UNKNOWN (-1)    /* of an int */

/* Something that works or does not. */
struct fact {
	enum {
		FACT_UNTRIED, /* text: why not; "" = it is of no matter here */
		FACT_GOOD,
		FACT_BAD,     /* text: what went wrong */
	} state;
	char text[FACT_TEXT_MAX];
};

struct facts_config {
	const char *errors; /* a line each, NULL or "" = valid.  Then nothing below it counts */
	const char *source; /* where it comes from: "flags and defaults", "the running agent (process 17)" */
	const char *node, *ns, *state_dir;
	size_t n_pools;
	bool pool_v4, pool_v6; /* families of pools and control-plane VIP */
	bool control_vip;
	bool nft;	/* dataplane: nft */
	bool gate;	/* gate: on, and VIPs have addresses */
	bool routed;	/* announce: anything but arp */
	bool bgp;	/* announce: bgp */
	bool realtime;
	bool manage;	/* sysctl: manage */
	bool in_pod;	/* this runs in a container of Kubernetes */
};

struct facts_node {
	char skipped[FACT_TEXT_MAX];
	char release[64]; /* of the kernel */
	int major, minor;
	struct fact nat;   /* nf_tables takes a table with a NAT chain */
	struct fact arp;   /* and one of the arp family */
	struct fact gate;  /* the BPF program loads, attaches and decides */
	int conntrack, conntrack_max; /* entries; FACT_UNKNOWN: no conntrack in this kernel, or not loaded */
	int tcp_loose;		      /* net.netfilter.nf_conntrack_tcp_loose; FACT_UNKNOWN */
	int64_t suspended_ms;	      /* BOOTTIME ahead of MONOTONIC */
};

struct facts_rights {
	bool net_admin, net_raw, bpf, sys_nice, ipc_lock;
	struct fact sysctls;   /* /proc/sys can be written */
	struct fact state_dir; /* can be made or written */
};

/* Addresses that this node would carry, and where. */
struct facts_pool {
	char text[2 * IP_TEXT_MAX + 1]; /* as configured */
	char links[4 * LINK_NAME_MAX];	/* "eth0, eth1"; "" = nowhere */
	char why[FACT_TEXT_MAX];	/* nowhere, or only its first part: why */
	bool control_vip;
	bool off_subnet; /* its interface has no address in that network */
};

struct facts_link {
	struct sysctl_facts sysctls;
	char name[LINK_NAME_MAX];
	bool up, carrier;
	int mtu;	     /* FACT_UNKNOWN */
	struct fact first;   /* no program stands before the gate there; untried: the gate is off */
	char mac[18];
};

struct facts_stranger {
	struct ip ip;
	uint8_t len; /* of its prefix */
	char link[LINK_NAME_MAX];
	bool dynamic;	 /* it has a lifetime: DHCP or a router gave it */
	bool on_default; /* the default route of its family leaves there */
	bool on_lo;	 /* loopback: where VIPs are with announce: bgp */
	bool vip;	 /* the agent knows it as a VIP */
	bool only;	 /* no other address there, of its family and global, is the node's for sure */
};

struct facts_filter {
	enum { FILTER_UNSEEN, FILTER_OPEN, FILTER_MARKED, FILTER_DOUBTFUL, FILTER_CLOSED } pass;
	char place[FACT_TEXT_MAX], command[FACT_TEXT_MAX];
};

/* Whom this node is connected with; link: of a link-local address, which means something there alone, else "". */
struct facts_peer {
	struct ip ip;
	char link[LINK_NAME_MAX];
	bool node; /* it is one of this cluster's nodes */
};

/* announce: bgp: VIPs are addresses of lo, and a routing daemon of the node's exports them. */
struct facts_routes {
	bool lo_up;
	int lo_v6_off;	       /* net.ipv6.conf.lo.disable_ipv6; FACT_UNKNOWN */
	size_t n_vips;	       /* of ours, on lo */
	size_t n_lasting;      /* of these, without a lifetime; the first: */
	struct ip lasting;
	struct fact asked;     /* for sockets; bad: there may be more than what is below */
	bool listens;	       /* somebody does on BGP's port */
	struct facts_peer peers[FACT_SESSIONS_MAX]; /* of connections from or to it; sorted by ip, link */
	size_t n_peers, n_more_peers;
};

struct facts_net {
	char skipped[FACT_TEXT_MAX];
	struct facts_pool pools[FACT_POOLS_MAX];
	size_t n_pools;
	struct facts_link links[FACT_LINKS_MAX]; /* bgp: by which routers send packets here, as far as can be told */
	size_t n_links, n_more_links;
	struct facts_routes routes;
	struct facts_stranger strangers[FACT_STRANGERS_MAX];
	size_t n_strangers, n_more_strangers;
	struct facts_filter v4, v6; /* FORWARD */
	char filter_error[FACT_TEXT_MAX];
	char proxy_mode[32]; /* what kube-proxy says; "" = none answers */
	bool ipvs;	     /* its interface is here */
	int strict_arp_ignore, strict_arp_announce; /* of "all", which its strictARP sets; FACT_UNKNOWN */
};

/* Who answers on the wire for an address. */
struct facts_probe {
	struct ip ip;
	char link[LINK_NAME_MAX]; /* asked there; "" = not asked: skipped says why */
	char skipped[FACT_TEXT_MAX];
	bool ours;    /* this node answers for it itself, by its agent */
	bool wanted;  /* somebody should answer: it is a VIP that was given out */
	bool here;    /* the address is on an interface of this node, and not by its agent */
	struct {
		char mac[18];
		char node[FACT_NAME_MAX]; /* "" = no node of ours */
	} macs[FACT_MACS_MAX];
	size_t n_macs;
};

struct facts_wire {
	char skipped[FACT_TEXT_MAX];
	struct facts_probe probes[FACT_PROBES_MAX];
	size_t n_probes, n_more;
	bool nodes_known; /* the nodes' MACs could be asked for */
};

struct facts_server {
	char url[FACT_TEXT_MAX];
	struct fact ready;   /* TCP, TLS and /readyz */
	int version_major, version_minor; /* FACT_UNKNOWN */
	char version[32];
	bool dated;
	int64_t ahead_s; /* its wall clock before ours */
};

struct facts_right {
	const char *verb, *group, *resource, *subresource, *ns, *name; /* borrowed; "" = none */
	const char *what_for; /* "hold its Leases" */
	enum { RIGHT_UNKNOWN, RIGHT_YES, RIGHT_NO } answer;
};

struct facts_api {
	char skipped[FACT_TEXT_MAX];
	char credentials[FACT_TEXT_MAX]; /* what they are; "" = see credentials_error */
	char credentials_error[FACT_TEXT_MAX];
	bool in_cluster;    /* of a Pod */
	bool token_expires;
	int64_t token_left_s;
	struct facts_server servers[FACT_SERVERS_MAX];
	size_t n_servers;
	struct facts_right rights[FACT_RIGHTS_MAX];
	size_t n_rights;
	char rights_error[FACT_TEXT_MAX]; /* not all were answered: why */
	char lease[FACT_NAME_MAX];
	struct fact lease_seen;
	bool lease_absent, lease_moved, lease_hold; /* moved: written again while we looked */
	char holder[FACT_NAME_MAX]; /* node; "" = nobody */
	int64_t lease_ms;	 /* its duration, within which its holder has to renew it; 0 = it names none */
	int64_t lease_watched_ms;
};

struct facts_agent {
	char skipped[FACT_TEXT_MAX];
	bool running;	   /* it has the state directory */
	int pid;	   /* 0 = not known */
	struct fact asked; /* its status */
	bool timed_out;	   /* that got no answer in time */
	bool ready;
	char why_not[FACT_TEXT_MAX * 2]; /* lines */
	char version[32], our_version[32];
	char role[16];
	size_t n_vips;
};

struct doctor_facts {
	struct facts_config config;
	struct facts_node node;
	struct facts_rights rights;
	struct facts_net net;
	struct facts_wire wire;
	struct facts_api api;
	struct facts_agent agent;
};
