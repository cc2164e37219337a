/* SPDX-License-Identifier: Apache-2.0 */
/* interfaces.h: which interfaces of which node carry VIPs: rules by the node's name and labels, in the configuration of all
 * nodes.  Pure.
 *
 * A rule as text: conditions, all of which must hold, then names in order of preference:
 *
 *     node/worker-1: eth1 eth2
 *     node/edge-* & label/topology.kubernetes.io/zone=east: bond0.100
 *     label/uplink: auto
 */
#pragma once

#include "agent/base/label.h"
#include "agent/core/place.h"

#define INTERFACES_RULES_MAX 256
#define INTERFACES_LABELS_MAX 8 /* conditions on labels, a rule */
#define INTERFACES_NAMES_MAX 16 /* interfaces, a rule */

/* Holds when the label is there and its value matches the pattern ('*' and '?'). */
struct interface_label {
	const char *key, *value; /* value NULL: whatever it is */
};

struct interface_rule {
	char *text;	  /* what the others point into; cut into pieces */
	const char *node; /* pattern of names, NULL = every node */
	struct interface_label labels[INTERFACES_LABELS_MAX];
	size_t n_labels;
	const char *names[INTERFACES_NAMES_MAX];
	size_t n_names; /* 0 = auto */
};

/* Whether it may stand in the configuration as an interface or, with '*' and '?', as a pattern of interfaces. */
bool interfaces_is_pattern(const char *name);

/* Cuts 'text', which must live as long as the rule, into a rule.  NULL, or what is wrong with it. */
const char *interfaces_parse(char *text, struct interface_rule *ret);

/* Adds the keys that the rule asks for; false when there is no room. */
MUST_USE bool interfaces_ask(const struct interface_rule *rule, struct labels *labels);

/* The first rule that holds for the node; NULL = none does.  labels: NULL = not known yet.  Where the answer depends on them
 * *ret_undecided is true (and NULL is returned). */
const struct interface_rule *interfaces_choose(const struct interface_rule *rules, size_t n, const char *node,
					       const struct labels *labels, bool *ret_undecided);
