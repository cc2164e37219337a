/* SPDX-License-Identifier: Apache-2.0 */
/* mutant_move.c: planted bugs of planned moves, of policy hold and of the gate; see mutant.c. */
#include <string.h>

#include "tests/sim/sim.h"

#define LEASE_MS 1000 /* for which a mutant opens a gate that has no deadline of its own */

static void open_until(struct elect_gate *g, mono_t until)
{
	g->arp_until = g->ip_until = until;
}

void mutant_heartbeat(struct world *w, struct node *n, struct elect_gate *g)
{
	mono_t now = clock_at(&n->clock, w->now_ns);

	if (n->elect.state == ELECT_LEADING && mono_before(now, g->arp_until))
		open_until(g, mono_add_ms(now, n->elect.cfg.duration_ms));
}

void mutant_early_claim(struct world *w, struct node *n, struct elect_gate *g)
{
	const struct elect *e = &n->elect;

	(void)w;
	if (e->state == ELECT_LEADING && e->move.shut && e->write_pending &&
	    e->write_record.stage == LEASE_STAGE_CLAIM)
		open_until(g, e->deadline);
}

void mutant_early_reopen(struct world *w, struct node *n, struct elect_gate *g)
{
	const struct elect *e = &n->elect;

	(void)w;
	if (e->state == ELECT_LEADING && e->move.shut && e->move.stage == LEASE_STAGE_NONE)
		open_until(g, e->deadline);
}

void mutant_prepare_claims(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	if (ev->kind == ELECT_EV_SEEN && ev->record.stage == LEASE_STAGE_PREPARE &&
	    strcmp(ev->record.successor, n->elect.cfg.identity) == 0)
		ev->record.stage = LEASE_STAGE_CLAIM;
}

void mutant_old_answer(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	if (ev->kind == ELECT_EV_PREPARED)
		ev->handover = n->elect.move.number;
}

void mutant_no_look(struct world *w, struct node *n, struct elect_gate *g)
{
	(void)w;
	if (n->elect.over.looking)
		open_until(g, n->elect.deadline);
}

void mutant_no_yield(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	if (ev->kind == ELECT_EV_WIRE && ev->wire == ELECT_WIRE_CANDIDATE && n->elect.over.on)
		ev->wire = ELECT_WIRE_SILENT;
}

void mutant_keep_gate(struct world *w, struct node *n, struct elect_gate *g)
{
	if (n->elect.over.yielded)
		open_until(g, mono_add_ms(clock_at(&n->clock, w->now_ns), LEASE_MS));
}

/* The record says fence; the machine takes it for hold. */
void mutant_fence_before(struct world *w, struct node *n, struct elect_event *ev)
{
	struct elect *e = &n->elect;

	(void)w;
	e->cfg.policy = e->write_record.policy = LEASE_HOLD;
	if (strcmp(e->seen.holder, e->cfg.identity) == 0)
		e->seen.policy = LEASE_HOLD;
	if (ev->kind == ELECT_EV_SEEN && strcmp(ev->record.holder, e->cfg.identity) == 0)
		ev->record.policy = LEASE_HOLD;
}

void mutant_fence_after(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	(void)ev;
	for (unsigned int i = 0; i < acts->n; i++)
		acts->v[i].record.policy = n->cfg.policy;
}

void mutant_no_doubt(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	(void)n;
	if (ev->kind == ELECT_EV_DOUBT)
		ev->kind = ELECT_EV_TICK;
}
