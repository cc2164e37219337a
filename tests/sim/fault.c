/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c: what goes wrong, and when.  Each seed has its own set of kinds (a world in which everything fails at once
 * hides more than it shows); each cycle has a few of each kind, all over before its peace begins. */
#include <stddef.h>

#include "tests/sim/sim.h"

#define BIT(kind) (1u << (kind))

/* Each of the kinds, or not. */
static unsigned int some(struct world *w, unsigned int kinds)
{
	for (unsigned int k = 0; k < FAULTS; k++)
		if (!world_chance(w, 45))
			kinds &= ~BIT(k);
	return kinds;
}

/* Five profiles are narrow:
 *  - whole outages alone, where the Lease must not move;
 *  - holders in overtime, cut off from the API alone, on a LAN that may be ill too;
 *  - a bad network to the API: late and lost replies need many tries to do harm;
 *  - many quick restarts with other durations (a rolling change that goes wrong), for what a process leaves behind;
 *  - deletions by hand, which are safe only while every candidate knows the record (a process that starts afterwards
 *    cannot know that there was one), and no POST is still on its way from before (it carries no version, so it would
 *    take effect in the new void): not one deletion upon the other, and none in a slow network. */
static unsigned int pick_kinds(struct world *w)
{
	unsigned int kinds = 0;

	if (w->only_outages)
		return BIT(world_chance(w, 50) ? FAULT_OUTAGE : FAULT_READ_ONLY) |
		       (world_chance(w, 50) ? BIT(FAULT_STRANGER) : 0);
	if (w->seed % 8 == 1)
		return BIT(FAULT_DELETE) | BIT(FAULT_LAG) | some(w, BIT(FAULT_FLAKY) | BIT(FAULT_PAUSE));
	if (w->seed % 8 == 3)
		return BIT(FAULT_FLAKY) | BIT(FAULT_SLOW) |
		       some(w, BIT(FAULT_PARTITION) | BIT(FAULT_PAUSE) | BIT(FAULT_HANDOVER));
	if (w->restarts)
		return BIT(FAULT_CRASH) | BIT(FAULT_FLAKY) | BIT(FAULT_PARTITION);
	if (w->holds)
		return BIT(FAULT_PARTITION) | some(w, BIT(FAULT_SPLIT) | BIT(FAULT_ONE_WAY) | BIT(FAULT_LOSS) |
							      BIT(FAULT_STRANGER) | BIT(FAULT_PAUSE) | BIT(FAULT_CRASH) |
							      BIT(FAULT_READ_ONLY) | BIT(FAULT_HANDOVER));
	while (kinds == 0)
		kinds = some(w, (BIT(FAULTS) - 1) & ~BIT(FAULT_DELETE));
	return kinds;
}

static void plan_at(struct world *w, int64_t t_ns, const struct fault *f)
{
	world_at(w, t_ns, SIM_FAULT_ON, f->node)->fault = *f;
	world_at(w, t_ns + f->length_ns, SIM_FAULT_OFF, f->node)->fault = *f;
}

static void plan_one(struct world *w, int64_t cycle_ns, enum fault_kind kind)
{
	struct fault f = { .kind = kind, .node = (unsigned int)world_between(w, 0, w->n_nodes - 1) };
	int64_t from = w->only_outages && kind != FAULT_STRANGER ? FAULTS_END_NS / 2 : 0;
	int64_t on = world_between(w, from, FAULTS_END_NS - NS_PER_S / 2);
	int64_t longest = FAULTS_END_NS - on < 5 * NS_PER_S ? FAULTS_END_NS - on : 5 * NS_PER_S;

	/* Short ones as often as long ones. */
	if (world_chance(w, 50) && longest > NS_PER_S)
		longest = NS_PER_S;
	if (w->restarts && kind == FAULT_CRASH)
		longest = NS_PER_S / 2;
	f.length_ns = world_between(w, NS_PER_MS, longest);
	f.mode = (unsigned int)world_between(w, w->restarts && kind == FAULT_CRASH, DOWN_MODES - 1);
	/* One node may stay away for the whole peace: the others must do without. */
	if ((kind == FAULT_CRASH || kind == FAULT_PARTITION) && f.mode == 0 && f.node == w->seed % w->n_nodes)
		f.length_ns = CYCLE_NS - on;
	plan_at(w, cycle_ns + on, &f);
	/* A new process that dies again at once: what it wrote stands, what it would have done does not happen. */
	if (kind == FAULT_CRASH && f.mode == 1 && on + f.length_ns < FAULTS_END_NS - NS_PER_S / 2) {
		on += f.length_ns + world_between(w, 0, 40 * NS_PER_MS);
		f.length_ns = FAULTS_END_NS - on;
		plan_at(w, cycle_ns + on, &f);
	}
}

void fault_plan(struct world *w)
{
	unsigned int kinds = pick_kinds(w);

	for (int64_t cycle_ns = 0; cycle_ns + CYCLE_NS <= w->opt.length_ns; cycle_ns += CYCLE_NS)
		for (unsigned int k = 0; k < FAULTS; k++) {
			int64_t n = w->only_outages ? 1 : world_between(w, 1, 4);

			if (w->restarts && k == FAULT_CRASH)
				n += 6;
			if (w->holds && k == FAULT_PARTITION)
				n += 4;
			for (; (kinds & BIT(k)) && n > 0; n--)
				plan_one(w, cycle_ns, (enum fault_kind)k);
		}
}

static void fit(struct world *w, struct node *n, bool on)
{
	struct elect_event ev = { .kind = ELECT_EV_FIT, .fit = on };

	if (n->running)
		node_deliver(w, n, &ev, 0);
}

/* Somebody else than 'n' who could hold; NULL = nobody. */
static const struct node *pick_successor(struct world *w, const struct node *n)
{
	unsigned int first = (unsigned int)world_between(w, 0, w->n_nodes - 1);

	for (unsigned int i = 0; i < w->n_nodes; i++) {
		const struct node *s = &w->nodes[(first + i) % w->n_nodes];

		if (s != n && s->running && s->elect.fit)
			return s;
	}
	return NULL;
}

static void stop(struct world *w, struct node *n, bool hand_over)
{
	if (n->running)
		agent_stop(w, n, hand_over ? pick_successor(w, n) : NULL);
}

static void freeze(struct world *w, struct node *n, const struct fault *f, bool picky)
{
	n->freeze_next = world_chance(w, 50) ? FREEZE_BEFORE_GATE : FREEZE_AFTER_GATE;
	n->freeze_ns = f->length_ns;
	n->freeze_picky = picky;
}

/* Whoever leads is told; at times to a process that is no more.  Mode 1: and stands still when it shuts its gate. */
static void handover(struct world *w, const struct fault *f)
{
	for (unsigned int i = 0; i < w->n_nodes; i++) {
		struct node *n = &w->nodes[i];
		const struct node *s = pick_successor(w, n);

		if (!n->running || n->elect.state != ELECT_LEADING || !s)
			continue;
		agent_handover(w, n, world_chance(w, 10) ? "n0_b0_0" : s->cfg.identity);
		if (f->mode == 1)
			freeze(w, n, f, true);
		return;
	}
}

static void pause_process(struct world *w, struct node *n, const struct fault *f)
{
	if (!n->running || w->now_ns < n->paused_until_ns)
		return;
	if (f->mode == 0)
		freeze(w, n, f, world_chance(w, 50));
	else
		n->paused_until_ns = w->now_ns + f->length_ns;
}

static void sleep_on(struct world *w, struct node *n, const struct fault *f)
{
	if (n->running && !n->kernel.asleep && w->now_ns >= n->paused_until_ns)
		node_sleep(w, n, f->length_ns);
}

/* CLOCK_BOOTTIME goes on during a suspend, but what it gains is read from a hardware clock: up to a second wrong.
 * A virtual machine that was stopped loses all of the time (mode 0). */
static void sleep_off(struct world *w, struct node *n, const struct fault *f)
{
	int64_t most = NS_PER_S, least = f->length_ns < most ? -f->length_ns : -most;

	if (n->kernel.asleep && n->asleep_until_ns == w->now_ns)
		node_wake(w, n, f->mode == 0 ? -f->length_ns : world_between(w, least, most));
}

static void outage(struct world *w, const struct fault *f)
{
	judge_outage(w, false);
	w->api.down++;
	w->api.epoch++;
	w->api.down_mode = (enum down_mode)f->mode;
	for (unsigned int i = 0; i < w->n_nodes; i++) {
		if (f->mode == DOWN_HANGS)
			node_watch_break_in(w, &w->nodes[i], 20, 3000);
		else
			node_watch_break(w, &w->nodes[i]); /* the server is gone, its connections are closed */
	}
}

static bool all_know(const struct world *w)
{
	for (unsigned int i = 0; i < w->n_nodes; i++)
		if (!w->nodes[i].running || !w->nodes[i].elect.known || w->nodes[i].elect.absent)
			return false;
	return true;
}

static const char *const names[] = { "flaky",  "slow",	"partition", "pause",	 "crash",    "stop",
				     "unfit",  "outage",	"read-only", "lag",	 "delete",   "handover",
				     "sleep",  "split",	"one-way",   "loss",	 "stranger" };

static void api_fault(struct world *w, const struct fault *f, bool on)
{
	unsigned int one = on ? 1 : -1u;

	if (f->kind == FAULT_FLAKY)
		w->api.flaky += one;
	else if (f->kind == FAULT_SLOW)
		w->api.slow += one;
	if (f->kind != FAULT_READ_ONLY)
		return;
	w->api.read_only += one;
	if (f->mode == 0)
		w->api.no_quorum += one;
	if (on)
		judge_outage(w, f->mode != 0);
}

static void lan_fault(struct world *w, struct node *n, const struct fault *f, bool on)
{
	unsigned int one = on ? 1 : -1u;

	if (f->kind == FAULT_SPLIT)
		w->lan.split += one;
	else if (f->kind == FAULT_LOSS)
		w->lan.loss += one;
	else if (f->kind == FAULT_STRANGER)
		w->lan.stranger += one;
	else if (f->mode == 0)
		n->deaf += one;
	else
		n->mute += one;
	if (on && f->kind == FAULT_STRANGER)
		lan_announce(w, STRANGER);
}

static void partition(struct world *w, struct node *n, const struct fault *f, bool on)
{
	n->cut_epoch++;
	if (f->mode == 2)
		n->lan_cut += on ? 1 : -1u;
	n->cut += on ? 1 : -1u;
	if (on)
		node_watch_break_in(w, n, 100, 4000);
	else if (!n->cut)
		api_resend_watch(w, n);
}

void fault_on(struct world *w, const struct fault *f)
{
	struct node *n = &w->nodes[f->node];

	world_trace(w, n, "fault %s begins (mode %u, %.3f s)", names[f->kind], f->mode,
		    (double)f->length_ns / (double)NS_PER_S);
	switch (f->kind) {
	case FAULT_FLAKY:
	case FAULT_SLOW:
	case FAULT_READ_ONLY:
		api_fault(w, f, true);
		break;
	case FAULT_SPLIT:
	case FAULT_LOSS:
	case FAULT_ONE_WAY:
	case FAULT_STRANGER:
		lan_fault(w, n, f, true);
		break;
	case FAULT_PARTITION:
		partition(w, n, f, true);
		break;
	case FAULT_PAUSE:
		pause_process(w, n, f);
		break;
	case FAULT_CRASH:
		n->down++;
		/* Who sleeps, or has not yet seen that it slept, is spared: nobody would be left to doubt the clock. */
		if (n->running && !n->kernel.asleep && !n->doubt)
			node_kill(w, n);
		break;
	case FAULT_STOP:
		stop(w, n, f->mode == 1);
		break;
	case FAULT_UNFIT:
		fit(w, n, false);
		break;
	case FAULT_OUTAGE:
		outage(w, f);
		break;
	case FAULT_LAG:
		n->lag_ns += f->length_ns;
		break;
	case FAULT_DELETE:
		if (w->now_ns - w->api.deleted_ns > FAULTS_END_NS / 2 && all_know(w))
			api_delete(w);
		break;
	case FAULT_HANDOVER:
		handover(w, f);
		break;
	case FAULT_SLEEP:
		sleep_on(w, n, f);
		break;
	case FAULTS:
		break;
	}
	judge_fault(w);
}

void fault_off(struct world *w, const struct fault *f)
{
	struct node *n = &w->nodes[f->node];

	world_trace(w, n, "fault %s ends", names[f->kind]);
	switch (f->kind) {
	case FAULT_FLAKY:
	case FAULT_SLOW:
	case FAULT_READ_ONLY:
		api_fault(w, f, false);
		break;
	case FAULT_SPLIT:
	case FAULT_LOSS:
	case FAULT_ONE_WAY:
	case FAULT_STRANGER:
		lan_fault(w, n, f, false);
		break;
	case FAULT_PARTITION:
		partition(w, n, f, false);
		break;
	case FAULT_CRASH:
		n->down--;
		if (!n->running)
			node_start(w, n);
		break;
	case FAULT_UNFIT:
		fit(w, n, true);
		break;
	case FAULT_OUTAGE:
		w->api.epoch++;
		if (--w->api.down == 0)
			for (unsigned int i = 0; i < w->n_nodes; i++)
				api_push(w, &w->nodes[i]);
		break;
	case FAULT_LAG:
		n->lag_ns -= f->length_ns;
		break;
	case FAULT_SLEEP:
		sleep_off(w, n, f);
		break;
	case FAULT_PAUSE: /* ends by itself, if it has begun */
	case FAULT_HANDOVER:
		for (unsigned int i = 0; i < w->n_nodes; i++)
			w->nodes[i].freeze_next = FREEZE_NOT;
		break;
	case FAULT_STOP:
	case FAULT_DELETE:
	case FAULTS:
		break;
	}
	judge_fault(w);
}
