/* SPDX-License-Identifier: Apache-2.0 */
/* store.h: the Services and EndpointSlices in view, kept current by two watches.
 *
 * A complete view (begin .. synced) marks and sweeps, so that objects deleted during a gap go.  Objects are kept
 * sorted, as the pure core wants them.  An object that cannot be decoded keeps its last good version and is
 * reported. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/base/object.h"
#include "agent/core/place.h"
#include "agent/core/groups.h"
#include "agent/kube/client.h"
#include "agent/kube/watch.h"

/* What the publisher remembers of a Service; see publish.c. */
struct publish_state {
	bool busy;	    /* a write of ours is under way */
	mono_t retry_at;    /* not before this */
	unsigned int failures;
	uint64_t reported;  /* hash of the last problem with its addresses that an Event told of; 0 = none */
	uint64_t misread;   /* likewise of its annotations */
	bool move_pending;  /* tell of the move once live */
	unsigned int wrote;  /* kind of the last write that succeeded, 0 = none */
	mono_t wrote_at;
	struct ip pending[OBJECT_ADDRESSES_MAX]; /* an allocation under way, or of unknown outcome */
	size_t n_pending;
	char pending_lease[GROUPS_RECORD_MAX]; /* of the pending ones */
};

/* With which addresses, on which interfaces, it was last built for the data plane; the planner's. */
struct store_built {
	struct ip ips[OBJECT_ADDRESSES_MAX];
	uint32_t homes[OBJECT_ADDRESSES_MAX][PLACE_MAX];
	size_t n_ips;
};

struct store_service {
	struct service *object;
	struct publish_state publish;
	bool marked; /* not seen yet in the complete view under way */
	bool touched; /* the object or its slices changed since the owner cleared it */
	bool recorded; /* what the API holds of our decisions changed, not what is asked for; until the owner clears it */
	struct store_built built;
};

struct store_slice {
	struct slice *object;
	bool marked;
};

struct store {
	struct store_service **services; /* sorted by namespace, name */
	size_t n_services, cap_services;
	struct store_slice *slices; /* sorted by namespace, service, name */
	size_t n_slices, cap_slices;
	bool services_synced, slices_synced; /* a complete view was had once */
	bool dirty;   /* Services changed since the owner cleared it */
	bool touched; /* the slices of some did */
	bool recorded; /* of some only what we record in them did */
	struct kube_watch *services_watch, *slices_watch;
	uint64_t bad_objects; /* could not be decoded, since start */
};

/* Starts both watches. */
MUST_USE int store_init(struct store *s, struct kube_client *client, uint64_t seed, struct err_info *err);
void store_fini(struct store *s);

static inline bool store_synced(const struct store *s)
{
	return s->services_synced && s->slices_synced;
}

/* Takes a Service as the reply to a write shows it, so that it is seen at once.  Only while the view still shows the
 * version that was written over: then the reply is certainly newer, and the Service not gone meanwhile. */
void store_put_service(struct store *s, const char *json, size_t len);

/* The slices of a Service, *ret_n of them; borrowed until the next change. */
const struct store_slice *store_slices(const struct store *s, const char *ns, const char *service, size_t *ret_n);

/* The index of the first Service that is not before (ns, name). */
size_t store_lower(const struct store *s, const char *ns, const char *name);

/* NULL when not in view. */
struct store_service *store_find(const struct store *s, const char *ns, const char *name);
