/* SPDX-License-Identifier: Apache-2.0 */
/* former.h: the node of a holder that died has the VIPs as its own addresses until the kernel lets them expire, and drops
 * what another node sends with such a source to pods there.  For that time the data plane here masquerades new connections
 * to the backends of that node (netlink/nat_layout.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/mono.h"
#include "agent/worker.h"
#include "election/lease.h"

struct agent;

#define FORMER_NODES_MAX 8 /* the oldest makes room */

struct former_node {
	char name[LEASE_HOLDER_MAX];
	mono_t until; /* its addresses have expired */
};

struct former_job {
	struct worker_job job; /* first: the worker hands this back */
	struct former *f;
	struct ip *backends; /* malloc; sorted, distinct */
	size_t n_backends;
	uint32_t timeout_ms;
	int result;
	struct err_info err;
};

struct former {
	struct former_node nodes[FORMER_NODES_MAX]; /* oldest first */
	size_t n_nodes;
	bool wanted; /* a node has come since the last job was made */
	bool busy;   /* the job belongs to the worker */
	struct former_job job;
};

/* The Lease of 'holder' (identity) has run out, and this node holds it now. */
void former_note(struct agent *a, const char *holder, mono_t now);

/* Hands what is due to the data plane's worker, one job at a time; returns at once. */
void former_step(struct agent *a, mono_t now);

/* After the worker has ended. */
void former_fini(struct former *f);
