/* SPDX-License-Identifier: Apache-2.0 */
/* spreading.c: candidates and Leases as the pure core wants them.  Numbered groups alone: who may hold the own Lease of a VIP
 * is not this node's to know. */
#include "agent/spreading.h"

#include "agent/base/text.h"
#include "agent/handover.h"

static unsigned int held_by(const struct agent *a, const char *identity)
{
	unsigned int n = 0;

	for (size_t i = 0; i < a->n_groups; i++)
		n += a->groups[i]->number < GROUPS_MAX && text_eq(a->groups[i]->leader.seen.holder, identity);
	return n;
}

/* The group to give away: the highest number, so that the allocator's comes last. */
static struct group *spare_group(const struct agent *a, mono_t now)
{
	for (unsigned int number = GROUPS_MAX; number-- > 0;) {
		struct group *g = a->numbered[number];

		if (g && group_holds(g, now) && !handover_moving(&g->move))
			return g;
	}
	return NULL;
}

/* The candidate that is to have one more, NULL = all is even. */
static const struct candidate *pick(struct agent *a, unsigned int *ret_held)
{
	struct spread_node *nodes;
	const struct candidate *c;
	size_t n = 0, self = SIZE_MAX, to = 0;
	bool moves;

	while (candidates_at(a->candidates, n))
		n++;
	nodes = calloc(n + 1, sizeof(*nodes));
	if (!nodes)
		return NULL; /* no hurry */
	for (size_t i = 0; i < n; i++) {
		c = candidates_at(a->candidates, i);
		nodes[i] = (struct spread_node){ c->rank, c->leaving, held_by(a, c->identity) };
		if (text_eq(c->identity, a->elect_cfg.identity))
			self = i;
	}
	moves = self != SIZE_MAX && spread_pick(nodes, n, self, &to);
	*ret_held = self != SIZE_MAX ? nodes[self].held : 0;
	free(nodes);
	return moves ? candidates_at(a->candidates, to) : NULL;
}

mono_t spreading_step(struct agent *a, mono_t now)
{
	const struct candidate *to;
	unsigned int held;
	struct group *g = a->stop == STOP_NO && !a->draining && a->n_groups > 1 ? spare_group(a, now) : NULL;
	mono_t wake;

	if (!spread_due(&a->spread, now, candidates_changes(a->candidates), &wake))
		return g ? wake : MONO_NEVER;
	to = g ? pick(a, &held) : NULL;
	if (!to)
		return MONO_NEVER; /* until a Lease or a record changes */
	log_event(LOG_INFO, "spreading", "handing a group to a node that holds fewer", log_str("lease", g->leader.name),
		  log_str("to", to->node));
	spread_begun(&a->spread, now, held);
	IGNORE(handover_begin(g, now, to->node, 0)); /* it logs; tried again */
	return a->spread.next;
}
