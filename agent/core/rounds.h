/* SPDX-License-Identifier: Apache-2.0 */
/* rounds.h: which announcements leave an interface first when more are due than may.  Pure.
 *
 *	1. the first round of a burst: nobody has been told yet (a VIP just won, another MAC)
 *	2. the other rounds of bursts, by their number: the second of all VIPs comes before the third of any
 *	3. refreshing: what is due longest
 * Among equals the VIP with more traffic goes first, then the lower address.  So a node that takes over a thousand VIPs has
 * told of each once before it repeats any, and of those that most clients wait for at once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/schedule.h"

#define ROUNDS_MAX 64		/* sent in one go at most */
#define ROUND_RANK_NONE UINT32_MAX /* nothing is known of its traffic */

struct round {
	uint32_t vip; /* index of the VIP in a table in order of addresses */
	uint32_t at;  /* which of its interfaces */
	uint32_t rank; /* by traffic: 0 = the busiest */
	struct schedule schedule;
};

/* The first ROUNDS_MAX of those offered, in order. */
struct rounds {
	struct round v[ROUNDS_MAX];
	size_t n;
};

/* <0: a goes first. */
int round_cmp(const struct round *a, const struct round *b);

/* Takes the round in at its place; the last one makes room when there is none. */
void rounds_offer(struct rounds *r, const struct round *round);
