/* SPDX-License-Identifier: Apache-2.0 */
/* lan.c: the network that the VIP lives in, as far as the election hears it: who answers a probe is decided by each
 * node's kernel at the moment the probe arrives (a paused process does not matter), and both ways must be open. */
#include <stddef.h>

#include "tests/sim/sim.h"

/* How long the shell waits for answers to a probe. */
#define PROBE_WAIT_MS 50

bool lan_whole(const struct world *w)
{
	if (w->lan.split || w->lan.loss)
		return false;
	for (unsigned int i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].deaf || w->nodes[i].mute || w->nodes[i].lan_cut)
			return false;
	return true;
}

/* The stranger sits on the first half. */
static bool path(const struct world *w, unsigned int from, unsigned int to)
{
	const struct node *a = from == STRANGER ? NULL : &w->nodes[from], *b = to == STRANGER ? NULL : &w->nodes[to];

	if ((a && (a->mute || a->lan_cut || a->kernel.asleep)) || (b && (b->deaf || b->lan_cut || b->kernel.asleep)))
		return false;
	return !w->lan.split || (a && a->other_side) == (b && b->other_side);
}

static void send(struct world *w, const struct frame *f, unsigned int to)
{
	struct sim_event *se;

	if (f->from == to || !path(w, f->from, to) || (w->lan.loss && world_chance(w, 30)))
		return;
	se = world_at(w, w->now_ns + world_between(w, 20000, LAN_DELAY_MAX_NS), SIM_FRAME, to);
	se->frame = *f;
}

static void broadcast(struct world *w, const struct frame *f)
{
	for (unsigned int i = 0; i < w->n_nodes; i++)
		send(w, f, i);
}

void lan_probe(struct world *w, struct node *n, uint32_t probe_id)
{
	struct frame f = { .kind = FRAME_PROBE, .from = n->id, .probe_id = probe_id };
	struct frame stranger = { .kind = FRAME_REPLY, .from = STRANGER, .probe_id = probe_id };
	mono_t until = mono_add_ms(clock_at(&n->clock, w->now_ns), PROBE_WAIT_MS);
	struct sim_event *end = world_at(w, clock_true_ns(&n->clock, until), SIM_PROBE_END, n->id);

	end->life = n->life;
	end->tag = probe_id;
	n->probe_id = probe_id;
	n->probe_stranger = false;
	broadcast(w, &f);
	if (w->lan.stranger && path(w, n->id, STRANGER))
		send(w, &stranger, n->id);
}

void lan_announce(struct world *w, unsigned int from)
{
	struct frame f = { .kind = FRAME_ANNOUNCE, .from = from };

	broadcast(w, &f);
}

void lan_arrive(struct world *w, const struct sim_event *se)
{
	struct node *n = &w->nodes[se->node];
	const struct frame *f = &se->frame;
	struct frame reply = { .kind = FRAME_REPLY, .from = n->id, .probe_id = f->probe_id };
	struct elect_event ev = { .kind = ELECT_EV_WIRE };

	if (n->kernel.asleep)
		return;
	if (f->kind == FRAME_PROBE) {
		if (gate_answers(n, w->now_ns))
			send(w, &reply, f->from);
		return;
	}
	if (!n->running || (f->kind == FRAME_REPLY && n->probe_id != f->probe_id))
		return;
	ev.wire = f->from == STRANGER ? ELECT_WIRE_STRANGER : ELECT_WIRE_CANDIDATE;
	ev.probe_id = f->kind == FRAME_REPLY ? f->probe_id : 0;
	node_deliver(w, n, &ev, 0);
}
