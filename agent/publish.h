/* SPDX-License-Identifier: Apache-2.0 */
/* publish.h: the holder's writes to the API: allocations, Service status, Events.
 *
 * Level-triggered: publish_run() compares what each Service shows with what it should and writes the difference, so
 * nothing is written when nothing changes.  Bounded: 16 writes at a time, Events by a token bucket (25 a second, 50 at
 * once).  A write that failed is tried again after 0.5 s doubling to 30 s, or after Retry-After; so is one that succeeded
 * and was undone (by another controller, or a server that drops a field). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/mono.h"
#include "agent/core/groups.h"
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
	bool proxy;	 /* as the view of the last run had it */
	bool again;	 /* something has changed: the owner's to set */
	mono_t next_at;	 /* else not looked at again before this */
};

void publish_init(struct publish *p, struct kube_client *client, struct store *store, struct metrics *metrics,
		  const char *node, const char *instance);

/* No reply may come after this: dispatch the client no more. */
void publish_fini(struct publish *p);

/* The Service as planning must take it: an allocation whose write is under way counts as allocated, or the next plan would
 * give the address to another.  The object itself, or a copy in the arena; NULL: it is full. */
const struct service *publish_expect(const struct store_service *e, struct arena *arena);

/* What is to be published. */
struct publish_view {
	const struct pool_decision *decisions; /* [i] belongs to store->services[i] */
	const struct groups_choice *choices;   /* likewise: the groups of the decisions' addresses */
	bool allocator;			       /* this node holds group 0: it allocates */
	bool proxy;			       /* ipMode Proxy: kube-proxy is to leave the VIPs alone */
	/* This node holds that group (core/groups.h; ip: for GROUPS_OWN): it publishes its VIPs. */
	bool (*holds)(void *ctx, unsigned int group, const struct ip *ip);
	bool (*live)(void *ctx, const struct ip *ip); /* the VIP is up on this node */
	bool (*settled)(void *ctx, const char *ns, const char *name); /* and the data plane has what the Service wants */
	bool (*shut)(void *ctx, const struct ip *ip); /* it is to move to another group, and this node is silent */
	const char *(*refused)(void *ctx, const struct ip *ip); /* why this node cannot have it, or NULL */
	void *ctx;
};

/* Looks when 'again' is set, when something waits for its time, and once a second.  Call only while this node holds some group.  Allocations are the allocator's to write; status, and the end of an
 * allocation, the holder's of the group recorded for the first address.  Returns when to call again at the
 * latest (MONO_NEVER: on the next change). */
mono_t publish_run(struct publish *p, mono_t now, const struct publish_view *view);

/* A warning Event AddressConflict on the Service; any node may send it.  False: not now, there are too many Events. */
MUST_USE bool publish_conflict(struct publish *p, mono_t now, const struct service *s, const char *note);
