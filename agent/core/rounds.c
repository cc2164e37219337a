/* SPDX-License-Identifier: Apache-2.0 */
/* rounds.c: the order, and a list of the first few. */
#include "agent/core/rounds.h"

#include <string.h>

static int by_number(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int round_cmp(const struct round *a, const struct round *b)
{
	bool steady = schedule_steady(&a->schedule);
	int c = by_number(steady, schedule_steady(&b->schedule));

	if (c == 0 && steady)
		c = (a->schedule.next.ns > b->schedule.next.ns) - (a->schedule.next.ns < b->schedule.next.ns);
	else if (c == 0)
		c = by_number(a->schedule.round, b->schedule.round);
	if (c == 0)
		c = by_number(a->rank, b->rank);
	if (c == 0)
		c = by_number(a->vip, b->vip);
	return c ? c : by_number(a->at, b->at);
}

void rounds_offer(struct rounds *r, const struct round *round)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (round_cmp(&r->v[mid], round) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == ROUNDS_MAX)
		return;
	if (r->n < ROUNDS_MAX)
		r->n++;
	memmove(&r->v[lo + 1], &r->v[lo], (r->n - lo - 1) * sizeof(r->v[0]));
	r->v[lo] = *round;
}
