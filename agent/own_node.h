/* SPDX-License-Identifier: Apache-2.0 */
/* own_node.h: a watch of this node's own Node object: is it being drained or deleted, and what rank has it?  Without one
 * (a machine that is no node of the cluster, a right that is missing) nothing is known, and nothing follows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/kube/client.h"
#include "agent/kube/node_json.h"
#include "agent/kube/watch.h"

struct own_node {
	struct kube_watch *watch;
	struct kube_node node; /* as last seen; uid "" = not there */
	bool found;	       /* in the complete view under way */
	bool gone;	       /* it was there, and is deleted */
};

MUST_USE int own_node_init(struct own_node *n, struct kube_client *client, const char *name, uint64_t seed,
			   struct err_info *err);
void own_node_fini(struct own_node *n);

/* Why VIPs should leave this node, NULL = they need not. */
const char *own_node_leaving(const struct own_node *n);
