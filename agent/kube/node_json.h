/* SPDX-License-Identifier: Apache-2.0 */
/* node_json.h: what we need of our own Node.  Pure codec (jansson). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/label.h"

struct kube_node {
	char uid[64];
	bool unschedulable; /* spec.unschedulable: cordoned, being drained */
	bool deleting;	    /* metadata.deletionTimestamp is set */
	bool excluded;	    /* label node.kubernetes.io/exclude-from-external-load-balancers, whatever its value */
	char zone[64];	    /* label topology.kubernetes.io/zone; "" = absent, or too long to be one (63 characters) */
	int weight;	    /* annotation leasehold.io/weight, 0..100, of the endpoints here; -1 = absent or nonsense */
	int rank;	    /* label leasehold.io/rank, 0..9; -1 = absent or nonsense */
};

/* labels: those asked for, NULL = none; one that is too long to be a label's value is not there.  -EINVAL with the JSON path: not
 * a Node, or a member of the wrong type; -ENOMEM; both leave *ret and *labels alone. */
MUST_USE int node_decode(const char *json, size_t len, struct kube_node *ret, struct labels *labels, struct err_info *err);
