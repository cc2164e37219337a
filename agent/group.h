/* SPDX-License-Identifier: Apache-2.0 */
/* group.h: the set of VIPs that one Lease governs, on this node: its election, and what this node knows of its past. */
#pragma once

#include <stdbool.h>

#include "agent/core/groups.h"
#include "agent/core/placement.h"
#include "agent/handover.h"
#include "agent/leader.h"

struct agent;

struct group {
	struct agent *agent;
	unsigned int index;  /* in agent->groups; may change when another group goes */
	unsigned int number; /* what records name: 0..GROUPS_MAX-1, or GROUPS_OWN: the own Lease of 'ip' */
	struct ip ip;
	bool wanted; /* some record names it, or will */
	bool able;   /* this node may hold it: it has an endpoint, where that is asked for */
	struct placement place; /* by the interfaces of its VIPs: whether this node may hold it, and whether another is to have it */
	bool ending; /* not wanted any more: released, then freed */
	struct leader leader;
	struct elect_gate gate; /* what its VIPs may answer; borrows from the leader */
	uint32_t gate_group;	/* gates_group_new() */
	struct handover move;
	bool adopting; /* leftovers of an earlier run are left alone until it is known who holds */
	char took_over_from[LEASE_HOLDER_MAX]; /* the holder before us, "" = none */
};

/* Joins the election of a group; the agent's client, view and identity must be there.  ip: with GROUPS_OWN, else unused.
 * The group stays where it is until group_free(). */
MUST_USE int group_new(struct agent *a, unsigned int number, const struct ip *ip, struct group **ret, struct err_info *err);
/* NULL-safe.  No reply may come after this. */
void group_free(struct group *g);

/* Leaves the election for good; free it when group_ended(). */
void group_end(struct group *g, mono_t now);
bool group_ended(const struct group *g);

/* This node holds the group and is not stopping. */
bool group_holds(const struct group *g, mono_t now);

/* Ends the adoption when it is known that another node holds, or when nothing is left of what the earlier run allowed. */
void group_adopt(struct group *g, mono_t now);
