/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous.h: while a node withdraws routed VIPs, the others hand it the connections that are its own, and it hands them
 * theirs (netlink/rendezvous_if.h).  The node is the first by name of those whose records say that they are leaving; for
 * as long as its drain-time from when that was seen first, or another number of its drain (core/drain.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/worker.h"
#include "netlink/rendezvous_if.h"

struct agent;
struct candidate;

#define RENDEZVOUS_LEAVING_MAX 16 /* nodes; more are not waited for */

struct rendezvous_leaving {
	char node[254];
	char identity[320]; /* of the agent that says so; its numbers are its own: */
	uint32_t drain;
	mono_t until;
	bool marked;
};

struct rendezvous_job {
	struct worker_job job; /* first: the worker hands this back */
	struct rendezvous_keeper *keeper;
	struct rendezvous plan;
	struct ip *vips; /* malloc; of the plan, like this: */
	uint8_t (*macs)[LINK_MAC_LEN];
	int result;
	struct err_info err;
};

struct rendezvous_keeper {
	struct rendezvous_leaving leaving[RENDEZVOUS_LEAVING_MAX];
	size_t n_leaving;
	char node[254];	     /* whose rendezvous stands, "" = none */
	mono_t until;	     /* until then */
	uint64_t candidates; /* candidates_reach_changes() of what stands */
	uint64_t vips;	     /* routed.changes, likewise */
	bool busy;
	bool put;     /* what an earlier run left is gone */
	bool without; /* this kernel cannot */
	mono_t retry_at;
	unsigned int failures; /* in a row */
	struct rendezvous_job job;
};

/* Returns when to call again. */
mono_t rendezvous_step(struct agent *a, mono_t now);

/* After the worker's end. */
void rendezvous_fini(struct rendezvous_keeper *k);
