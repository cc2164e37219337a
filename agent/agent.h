/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h: the running agent: all parts in one struct, driven by one loop (see docs/architecture.md). */
#pragma once

#include <stdbool.h>

#include "agent/base/arena.h"
#include "agent/config.h"
#include "agent/control.h"
#include "agent/core/pool.h"
#include "agent/http.h"
#include "agent/kernel.h"
#include "agent/leader.h"
#include "agent/loop.h"
#include "agent/metrics.h"
#include "agent/publish.h"
#include "agent/store.h"
#include "agent/vips.h"
#include "agent/worker.h"

/* Exit codes of the program; documented in --help. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,  /* something outside did not work; the message says what */
	EXIT_USAGE = 2,	  /* command line or configuration */
	EXIT_RUNNING = 3, /* another agent has the state directory */
	EXIT_NO_AGENT = 4, /* no agent runs there */
};

/* How far an orderly stop has come. */
enum stop_state {
	STOP_NO,
	STOP_WITHDRAWING, /* addresses are being removed */
	STOP_RELEASING,	  /* the Lease is being released */
	STOP_ASKING,	  /* whether our DaemonSet still exists */
	STOP_DONE,
};

struct agent {
	const struct config *cfg;
	struct elect_config elect_cfg; /* identity and times */
	struct loop loop;
	struct worker *nat_worker, *addr_worker;
	struct kube_client *client;
	struct kernel kernel;
	struct store store;
	struct leader leader;
	struct publish publish;
	struct vips vips;
	struct control control;
	struct http *http;
	struct metrics metrics;
	struct loop_source signals, nat_source, addr_source, client_source, link_source;

	/* the plan made from the store; valid while !store.dirty */
	struct arena plan_arena;
	struct pool_decision *decisions;
	size_t n_decisions;
	bool planned;	     /* at least once since the store was complete */
	mono_t plan_at;	     /* not again before this: planning takes a fifth of the time at most */
	mono_t planned_at;

	bool adopting;	     /* leftovers of an earlier run are left alone until it is known who holds */
	mono_t adopt_until;
	mono_t started;
	bool place_again;    /* links or VIPs have changed */
	size_t n_live;
	mono_t next_wake;
	enum stop_state stop;
	mono_t stop_by;
	bool uninstalled; /* our DaemonSet is gone: leave nothing behind */
	bool forwarding_told_v4, forwarding_told_v6;
	char took_over_from[LEASE_HOLDER_MAX]; /* the holder before us, "" = none */
};

/* Runs until a signal ends it.  Returns an exit code; errors have been logged. */
int agent_run(const struct config *cfg);

/* The state as JSON or as a table for people; see docs/configuration.md. */
void status_render(struct agent *a, bool json, struct buf *out);

/* Services served and VIPs wanted, for status and metrics. */
unsigned int agent_services(const struct agent *a);
bool agent_ready(struct agent *a, struct buf *why);

/* Why this node cannot have the VIP, NULL = it can, or did not try. */
const char *agent_refused(const struct agent *a, const struct ip *ip);
