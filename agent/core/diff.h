/* SPDX-License-Identifier: Apache-2.0 */
/* diff.h: wanted state against observed state -> an ordered, deterministic, minimal plan.  Pure.
 * diff(x, x) is empty: applying twice sends nothing.
 *
 * No two Services of one side have a frontend in common (pool_plan() sees to it).  One that goes from a Service to
 * another in one call is one change.  In the plan the members of a kind stand together, changes are sorted by
 * frontend_cmp() behind those without a 'now', firewalls by name. */
#pragma once

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/nat.h"
#include "agent/core/tally.h"

/* One Service: what the kernel has of it, and what it is to have.  Either may be NULL. */
struct diff_pair {
	const struct nat_service *old, *now;
};

/* From all 'old' to all 'now'; costs what these have, whatever else there is.  'tally' counts the members of all Services
 * as the kernel has them, and afterwards as it is to have them; it must have room (tally_room()) for all members of all
 * 'now'.  The plan points into the pairs' Services.  -ENOSPC: call again with a larger arena; the tally is as before. */
MUST_USE int diff_services(const struct diff_pair *pairs, size_t n, struct tally *tally, struct arena *arena,
			   struct nat_plan *ret);

/* From what the kernel was found to hold to services[0..n), whose members 'tally' counts (just these).  A frontend whose
 * digest and firewall are as wanted is left alone, so is a firewall.  A partial member is added again, or deleted.  -ENOSPC:
 * likewise. */
MUST_USE int diff_read(const struct nat_service *const *services, size_t n, const struct tally *tally,
		       const struct nat_read *read, struct arena *arena, struct nat_plan *ret);

struct addr_diff {
	struct ip *add; /* sorted */
	size_t n_add;
	struct ip *del; /* sorted */
	size_t n_del;
};

/* Both inputs sorted and distinct. */
MUST_USE int diff_addrs(const struct ip *wanted, size_t n_wanted, const struct ip *observed, size_t n_observed,
			struct arena *arena, struct addr_diff *ret);
