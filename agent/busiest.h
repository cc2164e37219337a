/* SPDX-License-Identifier: Apache-2.0 */
/* busiest.h: which VIPs have most traffic, as this node counts and as others tell in their records, so that a node that takes
 * over announces those first.
 *
 * The holder alone sees traffic, and who takes over has none yet: so each node says in its record (candidates.h) which of its VIPs
 * were busiest, 32 at most, once a minute at most and only when what it said would mislead (core/busy.h). */
#pragma once

#include "agent/base/mono.h"
#include "agent/core/busy.h"
#include "agent/traffic.h"

struct agent;

/* What was told last. */
struct busiest {
	struct ip told[BUSY_MAX];
	size_t n_told;
	mono_t again_at; /* not before */
};

/* One more reading of the counters, after 'was'; of both as many rows as they have. */
void busiest_count(struct busy *b, const struct traffic_view *was, const struct traffic_view *now);

/* Gives each VIP its rank: by this node's own counting, or by what others say of theirs. */
void busiest_rank(struct agent *a);

/* For kernel_config.rank. */
uint32_t busiest_rank_of(void *ctx, const struct ip *vip);

/* Tells others of this node's live VIPs, if it is time and there is news. */
void busiest_tell(struct agent *a, mono_t now);
