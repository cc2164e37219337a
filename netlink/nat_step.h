/* SPDX-License-Identifier: Apache-2.0 */
/* nat_step.h: a plan as a row of steps, and each step as the elements and chains it changes, one after the other: a plan
 * says "this frontend now has these backends", a step says which slots that are.  What belongs to a step is done as a
 * whole or not at all.  Pure; nothing is stored. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/nat.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_layout.h"

enum nat_op_kind {
	NAT_OP_ELEMENT,	 /* elem, verb */
	NAT_OP_BALANCE,	 /* the chain that 'frontend' has of its own is needed */
	NAT_OP_FIREWALL, /* 'firewall' is written */
};

struct nat_op {
	enum nat_op_kind kind;
	enum nat_elem_verb verb;
	struct nat_elem elem;
	const struct frontend *frontend;
	const struct nat_firewall *firewall;
};

/* Members added or deleted.  First come all of them, then what else guards and received ones stand for, so that elements of
 * one set stay together. */
struct nat_step_members {
	const struct nat_member *v, *guards, *received; /* these two: within v; none where nothing is counted */
	size_t n, n_guards, n_received;
};

/* Steps: members added, firewalls, changes, members deleted.  The firewalls that are gone are no steps: their chains are
 * removed when nothing uses them any more. */
struct nat_steps {
	const struct nat_plan *plan;
	struct nat_step_members add, del;
	size_t n;
};

/* Borrows the plan. */
struct nat_steps nat_steps_of(const struct nat_plan *plan, bool counters);
/* The change that step i is, or NULL. */
const struct nat_change *nat_step_change(const struct nat_steps *steps, size_t i);

/* Under way through a step.  An element points into this: its chain. */
struct nat_step {
	const struct nat_member *member;
	enum nat_member_kind kind; /* which of the elements that the member stands for */
	const struct nat_firewall *firewall;
	const struct nat_change *change;
	enum nat_elem_verb verb; /* of the member */
	unsigned int phase;
	uint32_t slot;
	char chain[NAT_NAME_MAX], old_chain[NAT_NAME_MAX]; /* of the change's dispatch element */
	char firewall_chain[NAT_NAME_MAX], return_chain[NAT_NAME_MAX];
};

void nat_step_begin(struct nat_step *s, const struct nat_steps *steps, size_t i);
/* The next op; false: that was all. */
bool nat_step_next(struct nat_step *s, struct nat_op *ret);
