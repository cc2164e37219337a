/* SPDX-License-Identifier: Apache-2.0 */
/* tables.h: looks now and then whether somebody else has removed our nftables tables ("nft flush ruleset", a firewall that
 * reloads), and has them put back.  One short question a look, on the worker. */
#pragma once

#include <stdbool.h>

#include "agent/base/err.h"
#include "agent/guard.h"
#include "agent/dataplane.h"
#include "agent/worker.h"

struct tables {
	struct worker_job job; /* first: the worker hands this back */
	struct worker *worker;
	struct dataplane *dataplane;
	struct guard *guard;
	struct nlsock *sock; /* the worker's while the job runs */
	bool busy;
	bool inet_there, arp_there; /* as the last look found them */
	int result;
	struct err_info err;
	mono_t look_at;
	uint64_t lost; /* times that one was missing */
};

void tables_init(struct tables *t, struct worker *worker, struct dataplane *dataplane, struct guard *guard);
/* After the worker's end. */
void tables_fini(struct tables *t);

/* Looks when it is time.  Returns when to call again. */
mono_t tables_step(struct tables *t, mono_t now);
