/* SPDX-License-Identifier: Apache-2.0 */
/* lease_view.h: one watch for all Leases of ours in the namespace (label app.kubernetes.io/managed-by=leasehold), shared
 * out by name: to the leaders of groups, and the records of nodes to the candidates' table.
 *
 * What a complete view does not show is absent.  A Lease of our name that somebody made by hand without the label is not
 * in the view either: the POST over it is refused, a GET by name shows it, and the claim adds the label. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/kube/client.h"
#include "agent/kube/watch.h"
#include "agent/leader.h"

/* Leases of nodes ("leasehold-node-..."), as they come; json[0..len) is borrowed. */
struct lease_view_ops {
	void (*begin)(void *ctx);
	void (*put)(void *ctx, const char *json, size_t len);
	void (*gone)(void *ctx, const char *json, size_t len);
	void (*synced)(void *ctx);
};

struct lease_view {
	struct kube_watch *watch;
	struct leader *leaders; /* their list is ours; they are not */
	const struct lease_view_ops *ops; /* may be NULL */
	void *ctx;
	struct lease_keep keep; /* of the Lease being read */
	bool live, synced;
};

struct lease_view_config {
	const char *ns;
	int64_t duration_ms; /* of our Leases */
	uint64_t seed;
	const struct lease_view_ops *ops; /* NULL: records of nodes are passed over */
	void *ctx;
};

/* Starts at once. */
MUST_USE int lease_view_init(struct lease_view *v, struct kube_client *client, const struct lease_view_config *cfg,
			     struct err_info *err);
void lease_view_fini(struct lease_view *v);

/* From now on the leader gets what concerns its Lease; what stands there already, by a GET of its own.  The leader must
 * outlive the view or be removed. */
void lease_view_add(struct lease_view *v, struct leader *l);
void lease_view_remove(struct lease_view *v, struct leader *l);
