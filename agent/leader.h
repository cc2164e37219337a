/* SPDX-License-Identifier: Apache-2.0 */
/* leader.h: drives one Lease's state machine (election/) with the API: watch, reads and writes in, actions out.
 * It decides nothing; what the machine says is carried out, what came of it goes back as events. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/mono.h"
#include "agent/kube/client.h"
#include "agent/kube/lease_json.h"
#include "agent/kube/watch.h"
#include "election/elect.h"

struct leader_ops {
	/* We hold from now; why: what gave it to us. */
	void (*lead)(void *ctx, const char *why);
	/* We hold no longer: withdraw at once. */
	void (*follow)(void *ctx, const char *why);
	/* The record shows another holder than before ("" = nobody). */
	void (*holder)(void *ctx, const char *from, const char *to);
	/* Released and ended, after leader_stop(). */
	void (*stopped)(void *ctx);
	/* A write succeeded: milliseconds from send to reply. */
	void (*renewed)(void *ctx, int64_t ms);
};

struct leader {
	struct elect elect;
	struct kube_client *client;
	struct kube_watch *watch;
	const struct leader_ops *ops;
	void *ctx;
	char *ns, *name;
	struct leader_call *calls; /* under way */
	struct buf keep;	/* the Lease as last read, so that a PUT keeps what others wrote */
	struct kube_lease seen; /* the record last seen; holder "" = nobody */
	bool seen_any;		/* 'seen' is valid */
	bool view_found;	/* the complete view under way showed the Lease */
	bool view_live, synced;
	mono_t renewed_at;	/* send time of the last successful write; 0 = never */
	mono_t wake_at;
	int64_t acquire_us;	/* wall clock of our acquisition, for the record */
};

MUST_USE int leader_init(struct leader *l, struct kube_client *client, const struct elect_config *cfg, const char *ns,
			 const char *name, const struct leader_ops *ops, void *ctx, struct err_info *err);
/* No reply may come after this: dispatch the client no more. */
void leader_fini(struct leader *l);

/* Call no later than l->wake_at, and after anything that took long. */
void leader_tick(struct leader *l, mono_t now);
void leader_fit(struct leader *l, mono_t now, bool fit);
void leader_stop(struct leader *l, mono_t now);

static inline bool leader_holds(const struct leader *l, mono_t now)
{
	return elect_holds(&l->elect, now);
}

/* True once the view has shown who holds the Lease, or that nobody does. */
static inline bool leader_knows(const struct leader *l)
{
	return l->synced;
}
