/* SPDX-License-Identifier: Apache-2.0 */
/* publish.h: the holder's writes to the API: allocations, Service status, Events.
 *
 * Level-triggered: publish_run() compares what each Service shows with what it should and writes the difference, so
 * nothing is written when nothing changes.  Bounded: 16 writes at a time, Events by a token bucket (25 a second, 50 at
 * once).  A write that failed is tried again after 0.5 s doubling to 30 s, or after Retry-After. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/pool.h"
#include "agent/kube/client.h"
#include "agent/metrics.h"
#include "agent/store.h"

struct publish {
	struct kube_client *client;
	struct store *store;
	struct metrics *metrics;
	const char *node;     /* for notes */
	const char *instance; /* reportingInstance */
	struct publish_call *calls; /* under way */
	unsigned int in_flight;
	double event_tokens;
	mono_t tokens_at;
	uint64_t unique; /* of event names */
};

void publish_init(struct publish *p, struct kube_client *client, struct store *store, struct metrics *metrics,
		  const char *node, const char *instance);

/* No reply may come after this: dispatch the client no more. */
void publish_fini(struct publish *p);

/* decisions[i] belongs to store->services[i].  live(ctx, ip): the VIP is up on this node.  Call only while this node
 * holds.  Returns when to call again at the latest (MONO_NEVER: on the next change). */
mono_t publish_run(struct publish *p, mono_t now, const struct pool_decision *decisions,
		   bool (*live)(void *ctx, const struct ip *ip), void *ctx);
