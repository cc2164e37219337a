/* SPDX-License-Identifier: Apache-2.0 */
/* pacer.c: the bucket's arithmetic.  What goes first is rounds.c's, who sends is the shell. */
#include "agent/core/pacer.h"

#include <assert.h>

#define NS_PER_S INT64_C(1000000000)
#define DEPTH_PARTS 20 /* of a second */
#define DEPTH_MIN 4

struct pace pace_of(unsigned int rate)
{
	int64_t depth = rate / DEPTH_PARTS;
	struct pace pace;

	assert(rate >= PACE_RATE_MIN);
	assert(rate <= PACE_RATE_MAX);
	pace.gap_ns = NS_PER_S / rate;
	pace.depth_ns = pace.gap_ns * (depth < DEPTH_MIN ? DEPTH_MIN : depth);
	return pace;
}

bool pacer_take(struct pacer *p, const struct pace *pace, mono_t now)
{
	int64_t from = p->full_at.ns > now.ns ? p->full_at.ns : now.ns;

	if (from + pace->gap_ns - now.ns > pace->depth_ns)
		return false;
	p->full_at.ns = from + pace->gap_ns;
	return true;
}

mono_t pacer_when(const struct pacer *p, const struct pace *pace, unsigned int n)
{
	int64_t need = pace->gap_ns * n;

	return (mono_t){ p->full_at.ns + (need < pace->depth_ns ? need : pace->depth_ns) - pace->depth_ns };
}
