/* SPDX-License-Identifier: Apache-2.0 */
/* diff.h: wanted state against observed state -> an ordered, deterministic, minimal plan.  Pure.
 * diff(x, x) is empty: applying twice sends nothing. */
#pragma once

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/nat.h"

struct nat_state {
	const struct ip *vips; /* sorted, distinct */
	size_t n_vips;
	const struct frontend *frontends; /* sorted by frontend_cmp(), distinct */
	size_t n_frontends;
	const struct nat_guard *guards; /* sorted by nat_guard_cmp(), distinct */
	size_t n_guards;
	const struct ip *locals; /* sorted, distinct */
	size_t n_locals;
	const struct nat_home *homes; /* sorted by nat_home_cmp(), distinct */
	size_t n_homes;
};

struct nat_plan {
	struct nat_op *ops; /* in the order to apply */
	size_t n_ops;
	/* ops that must go together in one transaction: group i is [ends[i-1], ends[i]), ends[-1] = 0.  One group a
	 * frontend; each of the sets is a group of its own (adds first, deletes last). */
	size_t *ends;
	size_t n_groups;
};

/* From 'observed' to 'wanted'.  A new VIP enters its set before its frontends, a gone one leaves it after, and so do
 * guards, homes and local backends; a frontend's slots are added before its dispatch and deleted after.
 * -ENOSPC: call again with more. */
MUST_USE int diff_nat(const struct nat_state *wanted, const struct nat_state *observed, struct arena *arena,
		      struct nat_plan *ret);

struct addr_diff {
	struct ip *add; /* sorted */
	size_t n_add;
	struct ip *del; /* sorted */
	size_t n_del;
};

/* Both inputs sorted and distinct. */
MUST_USE int diff_addrs(const struct ip *wanted, size_t n_wanted, const struct ip *observed, size_t n_observed,
			struct arena *arena, struct addr_diff *ret);
