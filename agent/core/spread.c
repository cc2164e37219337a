/* SPDX-License-Identifier: Apache-2.0 */
/* spread.c: evenness and patience. */
#include "agent/core/spread.h"

#include <assert.h>

bool spread_pick(const struct spread_node *nodes, size_t n, size_t self, size_t *ret_to)
{
	const struct spread_node *own = &nodes[self];
	size_t best = n;

	assert(self < n);
	for (size_t i = 0; i < n; i++) {
		if (i == self || nodes[i].leaving || nodes[i].rank != own->rank)
			continue;
		if (best == n || nodes[i].held < nodes[best].held)
			best = i;
	}
	if (own->leaving || best == n || own->held < nodes[best].held + 2)
		return false;
	*ret_to = best;
	return true;
}

bool spread_due(struct spread *s, mono_t now, uint64_t world, mono_t *ret_wake)
{
	mono_t stable;

	if (world != s->world || s->since.ns == 0) {
		s->world = world;
		s->since = now;
		s->pause_ms = 0;
	}
	stable = mono_add_ms(s->since, SPREAD_STABLE_MS);
	*ret_wake = mono_before(stable, s->next) ? s->next : stable;
	return mono_reached(now, *ret_wake);
}

void spread_begun(struct spread *s, mono_t now, unsigned int held)
{
	bool in_vain = s->pause_ms > 0 && held >= s->held;

	s->pause_ms = in_vain ? s->pause_ms * 2 : SPREAD_EVERY_MS;
	if (s->pause_ms > SPREAD_EVERY_MAX_MS)
		s->pause_ms = SPREAD_EVERY_MAX_MS;
	s->held = held;
	s->next = mono_add_ms(now, s->pause_ms);
}
