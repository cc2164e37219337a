/* SPDX-License-Identifier: Apache-2.0 */
/* interfaces.h: which interfaces of this node may carry VIPs at present: the configuration and the Node's labels. */
#pragma once

#include "agent/config.h"
#include "agent/core/place.h"
#include "agent/own_node.h"
#include "agent/vips.h"

struct interfaces {
	struct place_rules rules; /* borrows from the configuration; undecided until interfaces_update() */
	bool looked;
	unsigned int changes; /* of own_node, when they were looked at */
};

/* What the configuration says of this node.  labels: those that it asks for (c->node_labels) of the Node, NULL = not known.
 * Borrows from the configuration. */
struct place_rules interfaces_rules(const struct config *c, const struct labels *labels);

/* Brings the rules up to date.  True when they have changed: every VIP is to be placed anew. */
bool interfaces_update(struct interfaces *n, const struct config *c, const struct own_node *node);

/* Why no interface of this node carries the VIP, into 'buf', which is returned. */
const char *interfaces_refusal(const struct link_state *s, const struct vip *vip, char *buf, size_t size);
