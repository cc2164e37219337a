/* SPDX-License-Identifier: Apache-2.0 */
/* config.h: the agent's configuration: flags and a YAML file with the same names; flags win.
 *
 * config_parse() reads no environment and touches nothing but the file named by --config.  All errors are
 * collected, one line each: "FILE:LINE: key: what is wrong" or "--flag: what is wrong". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/base/ip.h"
#include "agent/base/log.h"
#include "agent/base/nat.h"
#include "agent/config_rules.h"

#define CONFIG_LIST_MAX 64

enum api_loss {
	API_LOSS_HOLD,
	API_LOSS_FENCE,
};

enum gate_mode {
	GATE_ON,
	GATE_OFF,
};

enum source_nat {
	SOURCE_NAT_AUTO,
	SOURCE_NAT_MASQUERADE,
};

enum dataplane_mode {
	DATAPLANE_NFT,
	DATAPLANE_ANNOUNCE,
};

enum announce_mode {
	ANNOUNCE_ARP,
	ANNOUNCE_NONE,
	ANNOUNCE_BGP,
};

enum forward_mark {
	FORWARD_MARK_AUTO,
	FORWARD_MARK_ON,
	FORWARD_MARK_OFF,
};

enum ip_mode {
	IP_MODE_VIP,
	IP_MODE_PROXY,
};

enum health_ports_mode {
	HEALTH_PORTS_OFF,
	HEALTH_PORTS_ON,
};

enum counters_mode {
	COUNTERS_ON,
	COUNTERS_OFF,
};

enum interface_mode {
	INTERFACE_FIRST,
	INTERFACE_ALL,
};

enum interface_subnet {
	INTERFACE_SUBNET_STRICT,
	INTERFACE_SUBNET_ANY,
};

enum sysctl_mode {
	SYSCTL_REPORT,
	SYSCTL_MANAGE,
};

struct config_list {
	char *v[CONFIG_LIST_MAX];
	size_t n;
};

struct config {
	char *file;
	char *kubeconfig; /* "" = in-cluster */
	char *node_name;
	char *ns;
	struct config_list api_servers;
	struct config_list interfaces; /* empty = by subnet or default route */
	struct config_rules interface_for; /* of some nodes */
	struct labels node_labels;	   /* that those rules ask for */
	struct config_list excluded;
	int64_t interface_mode;	  /* enum interface_mode */
	int64_t interface_subnet; /* enum interface_subnet */
	struct config_list pools;      /* as written */
	struct ip_range ranges[CONFIG_LIST_MAX]; /* of pools */
	int64_t lease_ms, renew_ms;
	bool lease_set; /* lease-duration was given: the control-plane VIP has a default of its own */
	int64_t groups;
	int64_t rank;
	int64_t on_api_loss; /* enum api_loss */
	int64_t gate;	     /* enum gate_mode */
	int64_t source_nat;  /* enum source_nat */
	bool realtime;
	char *class_name;
	bool default_class;
	int64_t dataplane; /* enum dataplane_mode */
	int64_t announce;  /* enum announce_mode */
	int64_t drain_ms;  /* with announce bgp */
	int64_t announce_rate; /* VIPs a second, on one interface */
	int64_t conflict_probe_rate; /* frames a second; 0 = off */
	int64_t ip_mode;   /* enum ip_mode */
	int64_t unmatched; /* enum nat_unmatched */
	int64_t counters;  /* enum counters_mode */
	int64_t forward_mark; /* enum forward_mark */
	int64_t health_check_node_ports; /* enum health_ports_mode */
	char *vip;	   /* control-plane VIP, "" = none */
	struct ip control_vip; /* of vip */
	int64_t vip_port;
	struct config_list router_interfaces, router_allow, router_admins;
	struct nat_router router; /* of these three */
	char *http_address; /* "" = off */
	int64_t log_level;  /* enum log_level */
	int64_t log_format; /* enum log_format */
	char *state_dir;
	char *daemonset; /* "" = none */
	int64_t sysctl; /* enum sysctl_mode */
};

/* The control-plane VIP's Lease outlives a change of etcd's leader (1.3 to 2.1 s, seldom 7 s), unless somebody said otherwise. */
#define CONFIG_VIP_LEASE_MS 10000
#define CONFIG_VIP_RENEW_MS 2500

static inline int64_t config_vip_lease_ms(const struct config *c)
{
	return c->lease_set ? c->lease_ms : CONFIG_VIP_LEASE_MS;
}

static inline int64_t config_vip_renew_ms(const struct config *c)
{
	return c->lease_set ? c->renew_ms : CONFIG_VIP_RENEW_MS;
}

/* The longest duration of a Lease that this agent may hold. */
static inline int64_t config_longest_lease_ms(const struct config *c)
{
	int64_t vip = c->control_vip.family != IP_NONE ? config_vip_lease_ms(c) : 0;

	return vip > c->lease_ms ? vip : c->lease_ms;
}

/* Fills 'c' from argv[0..argc) (without program and command names).  0, or -EINVAL with all errors in 'errors',
 * a line each.  What 'c' holds is freed by config_fini() in both cases. */
MUST_USE int config_parse(int argc, char *const *argv, struct config *c, struct buf *errors);
void config_fini(struct config *c);

/* The options as --help shows them: name, argument, default and unit, meaning. */
void config_print_help(FILE *out);

/* Splits "ADDR:PORT" ("[::1]:80" for v6; ":80" = all addresses, ret->ip.family IP_NONE).  -EINVAL. */
MUST_USE int config_parse_listen(const char *text, struct ip_port *ret);
