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

enum dataplane {
	DATAPLANE_NFT,
	DATAPLANE_ANNOUNCE,
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
	struct config_list pools;      /* as written */
	struct ip_range ranges[CONFIG_LIST_MAX]; /* of pools */
	int64_t lease_ms, renew_ms;
	int64_t groups;
	int64_t rank;
	int64_t on_api_loss; /* enum api_loss */
	int64_t gate;	     /* enum gate_mode */
	int64_t source_nat;  /* enum source_nat */
	bool realtime;
	char *class_name;
	bool default_class;
	int64_t dataplane; /* enum dataplane */
	char *http_address; /* "" = off */
	int64_t log_level;  /* enum log_level */
	int64_t log_format; /* enum log_format */
	char *state_dir;
	char *daemonset; /* "" = none */
	int64_t sysctl; /* enum sysctl_mode */
};

/* Fills 'c' from argv[0..argc) (without program and command names).  0, or -EINVAL with all errors in 'errors',
 * a line each.  What 'c' holds is freed by config_fini() in both cases. */
MUST_USE int config_parse(int argc, char *const *argv, struct config *c, struct buf *errors);
void config_fini(struct config *c);

/* The options as --help shows them: name, argument, default and unit, meaning. */
void config_print_help(FILE *out);

/* Splits "ADDR:PORT" ("[::1]:80" for v6; ":80" = all addresses, ret->ip.family IP_NONE).  -EINVAL. */
MUST_USE int config_parse_listen(const char *text, struct ip_port *ret);
