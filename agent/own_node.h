/* SPDX-License-Identifier: Apache-2.0 */
/* own_node.h: a watch of this node's own Node object: is it being drained or deleted, what rank has it, and which of the
 * labels that the configuration asks for?  A machine that is no node of the cluster has no Node, and none of them; where a
 * right is missing nothing is known, and nothing follows. */
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
	struct labels labels;  /* as last seen, also when it is deleted: VIPs leave from where they are */
	bool known;	       /* it has been seen, or is known not to be there */
	unsigned int changes;  /* of labels and known, since the beginning */
};

MUST_USE int own_node_init(struct own_node *n, struct kube_client *client, const char *name, uint64_t seed,
			   struct err_info *err);
/* Before the first event: the labels of interest.  Their keys stay the asker's. */
void own_node_ask(struct own_node *n, const struct labels *labels);
void own_node_fini(struct own_node *n);

/* Why VIPs should leave this node, NULL = they need not. */
const char *own_node_leaving(const struct own_node *n);
