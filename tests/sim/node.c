/* SPDX-License-Identifier: Apache-2.0 */
/* node.c: a machine and its process: started, killed, paused, put to sleep; and what reaches the process.  The watch
 * here is the client's end of it.  What the process does with an event is in agent.c. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

static const struct {
	int64_t duration_ms, renew_ms;
} configs[] = {
	{ 3000, 750 },
	{ 400, 100 },
	{ 1000, 250 },
};

static void pick_config(struct world *w, struct node *n)
{
	unsigned int i = w->mixed ? (unsigned int)world_between(w, 0, 2) : (unsigned int)(w->seed / 2 % 2);

	n->cfg.duration_ms = configs[i].duration_ms;
	n->cfg.renew_ms = configs[i].renew_ms;
	n->cfg.delay_ms = n->delay_ms;
	if (w->policies == POLICIES_MIXED)
		n->cfg.policy = world_chance(w, 50) ? LEASE_HOLD : LEASE_FENCE;
	else
		n->cfg.policy = w->policies == POLICIES_HOLD ? LEASE_HOLD : LEASE_FENCE;
}

void node_setup(struct world *w, struct node *n)
{
	clock_setup(w, &n->clock);
	n->delay_ms = world_chance(w, 50) ? 0 : world_between(w, 0, 300);
	n->other_side = world_chance(w, 50);
	gate_setup(n);
	pick_config(w, n);
}

void node_deliver(struct world *w, struct node *n, const struct elect_event *ev, int64_t delay_ns)
{
	struct sim_event *se = world_at(w, w->now_ns + delay_ns, SIM_DELIVER, n->id);

	se->life = n->life;
	se->ev = *ev;
}

/* --- the process ----------------------------------------------------------------------------------------------- */

void node_start(struct world *w, struct node *n)
{
	struct elect_event fit = { .kind = ELECT_EV_FIT, .fit = true };

	assert(!n->running);
	if (n->down || n->kernel.asleep)
		return;
	n->life++;
	n->running = true;
	n->paused_until_ns = n->freeze_ns = 0;
	n->freeze_next = n->frozen_at = FREEZE_NOT;
	n->freeze_picky = n->doubt = n->stop_after_move = false;
	n->address_wanted = false;
	n->probe_id = 0;
	n->n_sends = 0;
	if (n->life > 1 && (w->mixed || w->policies == POLICIES_MIXED))
		pick_config(w, n);
	n->cfg.seed = prng_next(&w->prng);
	memset(n->cfg.identity, 0, sizeof(n->cfg.identity));
	snprintf(n->cfg.identity, sizeof(n->cfg.identity), "n%u_b%u_%u", n->id, n->id, n->life);
	elect_init(&n->elect, &n->cfg);
	judge_start(w);
	world_trace(w, n, "starts as %s, %" PRId64 "/%" PRId64 " ms, delay %" PRId64 " ms, %s", n->cfg.identity,
		    n->cfg.duration_ms, n->cfg.renew_ms, n->cfg.delay_ms,
		    n->cfg.policy == LEASE_HOLD ? "hold" : "fence");
	n->watch = (struct watch){ .connection = n->watch.connection + 1 };
	node_deliver(w, n, &fit, world_between(w, 0, 30) * NS_PER_MS);
	world_at(w, w->now_ns + world_between(w, 0, 10) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

void node_kill(struct world *w, struct node *n)
{
	world_trace(w, n, "is killed");
	n->running = false;
	n->watch.connected = false;
}

void node_sleep(struct world *w, struct node *n, int64_t length_ns)
{
	n->kernel.asleep = true;
	n->asleep_until_ns = w->now_ns + length_ns;
	n->paused_until_ns = w->now_ns + length_ns + world_between(w, 0, LOOP_MAX_NS);
}

/* The kernel answers again at once; the process sees by comparing its clocks, in the first turn of its loop, that they
 * have jumped.  A machine whose clocks all stood still together, the wall clock too, would not see it: that case is
 * not here, and no agent can bound it. */
void node_wake(struct world *w, struct node *n, int64_t jump_ns)
{
	n->kernel.asleep = false;
	n->clock.offset_ns += jump_ns;
	n->kernel.excused_until_ns = w->now_ns + LOOP_MAX_NS;
	gate_clock_changed(n);
	judge_gate(w, n);
	if (n->running) {
		n->doubt = true;
		world_at(w, n->paused_until_ns, SIM_RESUME, n->id)->life = n->life;
	} else {
		node_start(w, n);
	}
}

/* --- the watch, client's end ------------------------------------------------------------------------------------ */

static void watch_try(struct world *w, struct node *n)
{
	if (n->watch.connected)
		return;
	if (!n->cut && !w->api.down && !(w->api.flaky && world_chance(w, 30))) {
		api_open_watch(w, n);
		return;
	}
	world_at(w, w->now_ns + world_between(w, 50, 800) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

void node_watch_break(struct world *w, struct node *n)
{
	struct elect_event ev = { .kind = ELECT_EV_VIEW };

	if (!n->watch.connected)
		return;
	n->watch.connected = false;
	n->watch.connection++;
	node_deliver(w, n, &ev, 0);
	world_at(w, w->now_ns + world_between(w, 5, 800) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

/* The node will notice within so long that its watch is dead, unless it is alive again by then. */
void node_watch_break_in(struct world *w, struct node *n, int64_t lo_ms, int64_t hi_ms)
{
	struct sim_event *se =
		world_at(w, w->now_ns + world_between(w, lo_ms, hi_ms) * NS_PER_MS, SIM_WATCH_BREAK, n->id);

	se->life = n->life;
	se->tag = n->watch.connection;
	se->stamp_ns = (int64_t)(n->cut_epoch + w->api.epoch);
}

/* --- what reaches the process --------------------------------------------------------------------------------- */

static void deliver(struct world *w, struct node *n, struct sim_event *se)
{
	bool record = se->ev.kind == ELECT_EV_SEEN || se->ev.kind == ELECT_EV_ABSENT;
	bool reply = record || se->ev.kind == ELECT_EV_WRITE_OK || se->ev.kind == ELECT_EV_WRITE_CONFLICT;

	/* What a cut swallows of a watch is sent again when it heals (TCP), or lost with the connection. */
	if (se->tag ? se->tag != n->watch.connection || !n->watch.connected || n->cut : reply && n->cut)
		return;
	if (se->tag && record)
		n->watch.delivered = (uint64_t)se->ev.now.ns; /* see push_event() */
	if (se->ev.kind == ELECT_EV_WIRE && se->ev.probe_id) {
		if (se->ev.probe_id != n->probe_id)
			return;
		n->probe_stranger |= se->ev.wire == ELECT_WIRE_STRANGER;
		if (se->ev.wire == ELECT_WIRE_STRANGER)
			return; /* a candidate may answer yet, and counts for more */
		n->probe_id = 0;
	}
	n->stamp_ns = se->stamp_ns;
	agent_step(w, n, &se->ev);
}

static void probe_end(struct world *w, struct node *n, uint32_t probe_id)
{
	struct elect_event ev = { .kind = ELECT_EV_WIRE, .wire = ELECT_WIRE_SILENT, .probe_id = probe_id };

	if (n->probe_id != probe_id)
		return;
	if (n->probe_stranger)
		ev.wire = ELECT_WIRE_STRANGER;
	n->probe_id = 0;
	agent_step(w, n, &ev);
}

static void process_dispatch(struct world *w, struct node *n, struct sim_event *se)
{
	struct elect_event tick = { .kind = ELECT_EV_TICK };

	if (se->kind == SIM_DELIVER)
		deliver(w, n, se);
	else if (se->kind == SIM_WAKE && se->tag == n->wake_number)
		agent_step(w, n, &tick);
	else if (se->kind == SIM_EXEC)
		agent_exec(w, n);
	else if (se->kind == SIM_PROBE_END)
		probe_end(w, n, se->tag);
	else if (se->kind == SIM_ANNOUNCE && gate_arp_open(n, w->now_ns) && n->kernel.life == n->life)
		lan_announce(w, n->id);
	else if (se->kind == SIM_ADDRESS)
		n->kernel.address = n->address_wanted;
	else if (se->kind == SIM_ANSWER)
		agent_answer(w, n);
	else if (se->kind == SIM_STOP_NOW && n->stop_after_move)
		agent_stop(w, n, NULL);
	else if (se->kind == SIM_WATCH_TRY)
		watch_try(w, n);
	else if (se->kind == SIM_WATCH_BREAK && se->tag == n->watch.connection &&
		 se->stamp_ns == (int64_t)(n->cut_epoch + w->api.epoch) && (n->cut || w->api.down))
		node_watch_break(w, n);
}

void node_dispatch(struct world *w, struct sim_event *se)
{
	struct node *n = &w->nodes[se->node];
	struct elect_event doubt = { .kind = ELECT_EV_DOUBT };

	if (se->kind == SIM_START) {
		if (!n->running)
			node_start(w, n);
		return;
	}
	if (!n->running || se->life != n->life)
		return;
	if (w->now_ns < n->paused_until_ns) {
		*world_at(w, n->paused_until_ns, se->kind, se->node) = *se;
		return;
	}
	if (n->doubt) {
		n->doubt = false;
		agent_step(w, n, &doubt);
	}
	process_dispatch(w, n, se);
}
