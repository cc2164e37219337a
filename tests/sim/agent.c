/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c: the shell round the election, as far as the election is concerned: it steps the machine, brings the gate in
 * line, carries the actions out; answers as a successor through its node record; announces; and hands over before it
 * stops. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

#define STOP_MOVE_MAX_MS 3000 /* a handover before the stop may take so long */
#define REFUSES_PERCENT 10

/* --- actions ---------------------------------------------------------------------------------------------------- */

static void send_request(struct world *w, struct node *n, const struct elect_action *a)
{
	struct elect_event late = { .kind = ELECT_EV_WRITE_FAILED, .write_id = a->write_id };
	struct request rq = { .kind = RQ_GET, .write_id = a->write_id, .record = a->record };

	judge_request(w, n);
	if (a->kind != ELECT_DO_GET) {
		rq.kind = a->kind == ELECT_DO_CREATE ? RQ_CREATE : RQ_UPDATE;
		memcpy(rq.version, a->version, sizeof(rq.version));
		/* The client gives up by itself, or leaves it to the machine. */
		if (world_chance(w, 50)) {
			mono_t until = mono_add_ms(clock_at(&n->clock, w->now_ns), a->timeout_ms);

			node_deliver(w, n, &late, clock_true_ns(&n->clock, until) - w->now_ns);
		}
	}
	api_send(w, n, &rq);
}

static void stopped(struct world *w, struct node *n)
{
	n->running = false;
	world_at(w, w->now_ns + world_between(w, 1, 500) * NS_PER_MS, SIM_START, n->id);
}

/* The answer is written when the address is there. */
static void prepare(struct world *w, struct node *n, uint32_t handover)
{
	bool calm = w->judge.move_from >= 0;
	int64_t t_ns = w->now_ns;

	n->reply = (struct answer){ handover, calm || !world_chance(w, REFUSES_PERCENT) };
	if (n->reply.ready)
		t_ns = gate_address(w, n, true);
	world_at(w, t_ns, SIM_ANSWER, n->id)->life = n->life;
}

/* Once more until the record says so: the shell compares what is wanted with what it sees. */
void agent_answer(struct world *w, struct node *n)
{
	struct request rq = { .kind = RQ_ANSWER, .answer = n->reply };
	const struct answer *there = &w->api.answers[n->id];

	if (n->reply.handover == 0 || (there->handover == n->reply.handover && there->ready == n->reply.ready))
		return;
	api_send(w, n, &rq);
	world_at(w, w->now_ns + n->cfg.renew_ms / 2 * NS_PER_MS, SIM_ANSWER, n->id)->life = n->life;
}

/* The shut gate lets no announcement out: these are for when it has opened. */
void agent_announce(struct world *w, struct node *n)
{
	static const int64_t after_ms[] = { 0, 100, 300, 1100 };

	for (unsigned int i = 0; i < sizeof(after_ms) / sizeof(after_ms[0]); i++)
		world_at(w, w->now_ns + after_ms[i] * NS_PER_MS, SIM_ANNOUNCE, n->id)->life = n->life;
}

static void stop_now(struct world *w, struct node *n)
{
	struct elect_event ev = { .kind = ELECT_EV_STOP };

	n->stop_after_move = false;
	node_deliver(w, n, &ev, 0);
}

static void act(struct world *w, struct node *n, const struct elect_action *a)
{
	switch (a->kind) {
	case ELECT_DO_CREATE:
	case ELECT_DO_UPDATE:
	case ELECT_DO_GET:
		send_request(w, n, a);
		break;
	case ELECT_DO_LEAD:
		gate_address(w, n, true);
		break;
	case ELECT_DO_HOLD: /* the gate has it */
		break;
	case ELECT_DO_FOLLOW:
	case ELECT_DO_HANDOVER_FAILED:
		if (a->kind == ELECT_DO_FOLLOW)
			gate_address(w, n, false);
		if (n->stop_after_move)
			stop_now(w, n);
		break;
	case ELECT_DO_STOPPED:
		stopped(w, n);
		break;
	case ELECT_DO_PREPARE:
		prepare(w, n, a->handover);
		break;
	case ELECT_DO_UNPREPARE:
		n->reply = (struct answer){ 0 };
		gate_address(w, n, false);
		break;
	case ELECT_DO_PROBE:
		lan_probe(w, n, a->probe_id);
		break;
	case ELECT_DO_ANNOUNCE:
		lan_announce(w, n->id);
		break;
	}
}

/* --- one step --------------------------------------------------------------------------------------------------- */

static void act_all(struct world *w, struct node *n, const struct elect_actions *acts)
{
	for (unsigned int i = 0; i < acts->n; i++)
		act(w, n, &acts->v[i]);
}

static void finish(struct world *w, struct node *n, const struct elect_actions *acts)
{
	judge_step(w, n, acts);
	n->wake_number++;
	if (n->running && !mono_is_never(acts->wake_at)) {
		struct sim_event *se = world_at(w, clock_true_ns(&n->clock, acts->wake_at), SIM_WAKE, n->id);

		se->life = n->life;
		se->tag = n->wake_number;
	}
}

/* Gate, then actions; 'from': where it stood still, 'to': where it does. */
static void carry_out(struct world *w, struct node *n, const struct elect_actions *acts, enum freeze from,
		      enum freeze to)
{
	bool gate_last = w->opt.mutant && w->opt.mutant->gate_last;

	if (to == FREEZE_BEFORE_GATE)
		return;
	if (from != FREEZE_AFTER_GATE)
		gate_last ? act_all(w, n, acts) : gate_apply(w, n);
	if (to == FREEZE_AFTER_GATE)
		return;
	gate_last ? gate_apply(w, n) : act_all(w, n, acts);
	finish(w, n, acts);
}

void agent_exec(struct world *w, struct node *n)
{
	enum freeze at = n->frozen_at;

	n->frozen_at = FREEZE_NOT;
	carry_out(w, n, &n->frozen, at, FREEZE_NOT);
}

/* Where this step stands still; never one by which the gate is told that the clocks have jumped: once is enough. */
static enum freeze freezes(const struct world *w, struct node *n, const struct elect_event *ev)
{
	enum freeze at = n->freeze_next;
	bool opens = mono_before(ev->now, elect_gate(&n->elect).arp_until);

	if (ev->kind != ELECT_EV_DOUBT && n->freeze_picky && opens == gate_arp_open(n, w->now_ns))
		return FREEZE_NOT;
	n->freeze_next = FREEZE_NOT;
	n->freeze_picky = false;
	return ev->kind == ELECT_EV_DOUBT ? FREEZE_NOT : at;
}

void agent_step(struct world *w, struct node *n, struct elect_event *ev)
{
	const struct mutant *m = w->opt.mutant;
	struct elect_actions acts;

	w->steps++;
	ev->now = clock_at(&n->clock, w->now_ns);
	if (m)
		n->before = n->elect;
	if (m && m->before)
		m->before(w, n, ev);
	elect_step(&n->elect, ev, &acts);
	if (m && m->after)
		m->after(w, n, ev, &acts);
	trace_step(w, n, ev, &acts);
	if (ev->kind == ELECT_EV_DOUBT)
		n->kernel.life = n->life; /* what a former process left is by the same clock: it is ours to shut now */
	n->frozen_at = freezes(w, n, ev);
	if (n->frozen_at != FREEZE_NOT) {
		n->frozen = acts;
		n->paused_until_ns = w->now_ns + n->freeze_ns;
		world_at(w, n->paused_until_ns, SIM_EXEC, n->id)->life = n->life;
		world_trace(w, n, "stands still in the step");
	}
	carry_out(w, n, &acts, FREEZE_NOT, n->frozen_at);
}

/* --- told from outside --------------------------------------------------------------------------------------------- */

void agent_handover(struct world *w, struct node *n, const char *successor)
{
	struct elect_event ev = { .kind = ELECT_EV_HANDOVER, .handover = ++w->handovers };

	snprintf(ev.successor, sizeof(ev.successor), "%s", successor);
	node_deliver(w, n, &ev, 0);
}

void agent_stop(struct world *w, struct node *n, const struct node *successor)
{
	if (!successor || n->elect.state != ELECT_LEADING) {
		stop_now(w, n);
		return;
	}
	n->stop_after_move = true;
	agent_handover(w, n, successor->cfg.identity);
	world_at(w, w->now_ns + STOP_MOVE_MAX_MS * NS_PER_MS, SIM_STOP_NOW, n->id)->life = n->life;
}
