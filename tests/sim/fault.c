/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c: what goes wrong, and when.  Each seed has its own set of kinds (a world in which everything fails at once
 * hides more than it shows); each cycle has a few of each kind, all over before its peace begins. */
#include "tests/sim/sim.h"

#define BIT(kind) (1u << (kind))

/* Three profiles are narrow: whole outages alone, where the Lease must not move; many quick restarts with other
 * durations (a rolling change that goes wrong), for what a process leaves behind; and deletions by hand, which are safe
 * only while every candidate knows the record (a process that starts afterwards cannot know that there was one), and
 * no POST is still on its way from before (it carries no version, so it would take effect in the new void): not one
 * deletion upon the other, and none in a slow network. */
static unsigned int pick_kinds(struct world *w)
{
	unsigned int kinds = 0;

	if (w->only_outages)
		return BIT(FAULT_OUTAGE);
	if (w->seed % 8 == 1)
		return BIT(FAULT_DELETE) | BIT(FAULT_LAG) |
		       (world_chance(w, 50) ? BIT(FAULT_FLAKY) : 0) | (world_chance(w, 50) ? BIT(FAULT_PAUSE) : 0);
	if (w->restarts)
		return BIT(FAULT_CRASH) | BIT(FAULT_FLAKY) | BIT(FAULT_PARTITION);
	while (kinds == 0)
		for (unsigned int k = 0; k < FAULTS; k++)
			if (k != FAULT_DELETE && world_chance(w, 45))
				kinds |= BIT(k);
	return kinds;
}

static void plan_at(struct world *w, int64_t t_ns, const struct fault *f)
{
	world_at(w, t_ns, SIM_FAULT_ON, f->node)->fault = *f;
	world_at(w, t_ns + f->length_ns, SIM_FAULT_OFF, f->node)->fault = *f;
}

static void plan_one(struct world *w, int64_t cycle_ns, enum fault_kind kind)
{
	struct fault f = { .kind = kind, .node = (unsigned int)prng_range(&w->prng, 0, NODES - 1) };
	int64_t from = w->only_outages ? FAULTS_END_NS / 2 : 0;
	int64_t on = prng_range(&w->prng, from, FAULTS_END_NS - NS_PER_S / 2);
	int64_t longest = FAULTS_END_NS - on < 5 * NS_PER_S ? FAULTS_END_NS - on : 5 * NS_PER_S;

	/* Short ones as often as long ones. */
	if (world_chance(w, 50) && longest > NS_PER_S)
		longest = NS_PER_S;
	if (w->restarts && kind == FAULT_CRASH)
		longest = NS_PER_S / 2;
	f.length_ns = prng_range(&w->prng, NS_PER_MS, longest);
	f.mode = (unsigned int)prng_range(&w->prng, w->restarts && kind == FAULT_CRASH, DOWN_MODES - 1);
	/* One node may stay away for the whole peace: the others must do without. */
	if ((kind == FAULT_CRASH || kind == FAULT_PARTITION) && f.mode == 0 && f.node == w->seed % NODES)
		f.length_ns = CYCLE_NS - on;
	plan_at(w, cycle_ns + on, &f);
	/* A new process that dies again at once: what it wrote stands, what it would have done does not happen. */
	if (kind == FAULT_CRASH && f.mode == 1 && on + f.length_ns < FAULTS_END_NS - NS_PER_S / 2) {
		on += f.length_ns + prng_range(&w->prng, 0, 40 * NS_PER_MS);
		f.length_ns = FAULTS_END_NS - on;
		plan_at(w, cycle_ns + on, &f);
	}
}

void fault_plan(struct world *w)
{
	unsigned int kinds = pick_kinds(w);

	for (int64_t cycle_ns = 0; cycle_ns + CYCLE_NS <= w->opt.length_ns; cycle_ns += CYCLE_NS)
		for (unsigned int k = 0; k < FAULTS; k++) {
			int64_t n = w->only_outages ? 1 : prng_range(&w->prng, 1, 4);

			if (w->restarts && k == FAULT_CRASH)
				n += 6;
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

static void stop(struct world *w, struct node *n)
{
	struct elect_event ev = { .kind = ELECT_EV_STOP };

	if (n->running)
		node_deliver(w, n, &ev, 0);
}

static void pause_process(struct world *w, struct node *n, const struct fault *f)
{
	if (!n->running || w->now_ns < n->paused_until_ns)
		return;
	if (f->mode == 0)
		n->freeze_ns = f->length_ns;
	else
		n->paused_until_ns = w->now_ns + f->length_ns;
}

static void outage(struct world *w, const struct fault *f)
{
	judge_outage(w);
	w->server.down++;
	w->server.epoch++;
	w->server.down_mode = (enum down_mode)f->mode;
	for (unsigned int i = 0; i < NODES; i++) {
		if (f->mode == DOWN_HANGS)
			node_watch_break_in(w, &w->nodes[i], 20, 3000);
		else
			node_watch_break(w, &w->nodes[i]); /* the server is gone, its connections are closed */
	}
}

static bool all_know(const struct world *w)
{
	for (unsigned int i = 0; i < NODES; i++)
		if (!w->nodes[i].running || !w->nodes[i].elect.known || w->nodes[i].elect.absent)
			return false;
	return true;
}

static const char *const names[] = { "flaky",  "slow",	"partition", "pause",	  "crash", "stop",
				     "unfit", "outage", "read-only", "lag", "delete" };

void fault_on(struct world *w, const struct fault *f)
{
	struct node *n = &w->nodes[f->node];

	world_trace(w, n, "fault %s begins (mode %u, %.3f s)", names[f->kind], f->mode,
		    (double)f->length_ns / (double)NS_PER_S);
	switch (f->kind) {
	case FAULT_FLAKY:
		w->server.flaky++;
		break;
	case FAULT_SLOW:
		w->server.slow++;
		break;
	case FAULT_PARTITION:
		n->cut++;
		n->cut_epoch++;
		node_watch_break_in(w, n, 100, 4000);
		break;
	case FAULT_PAUSE:
		pause_process(w, n, f);
		break;
	case FAULT_CRASH:
		n->down++;
		if (n->running)
			node_kill(w, n);
		break;
	case FAULT_STOP:
		stop(w, n);
		break;
	case FAULT_UNFIT:
		fit(w, n, false);
		break;
	case FAULT_OUTAGE:
		outage(w, f);
		break;
	case FAULT_READ_ONLY:
		w->server.read_only++;
		break;
	case FAULT_LAG:
		n->lag_ns += f->length_ns;
		break;
	case FAULT_DELETE:
		if (w->now_ns - w->server.deleted_ns > FAULTS_END_NS / 2 && all_know(w))
			server_delete(w);
		break;
	case FAULTS:
		break;
	}
}

void fault_off(struct world *w, const struct fault *f)
{
	struct node *n = &w->nodes[f->node];

	world_trace(w, n, "fault %s ends", names[f->kind]);
	switch (f->kind) {
	case FAULT_FLAKY:
		w->server.flaky--;
		break;
	case FAULT_SLOW:
		w->server.slow--;
		break;
	case FAULT_PARTITION:
		n->cut_epoch++;
		if (--n->cut == 0)
			server_resend_watch(w, n);
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
		w->server.epoch++;
		if (--w->server.down == 0)
			for (unsigned int i = 0; i < NODES; i++)
				server_push(w, &w->nodes[i]);
		break;
	case FAULT_READ_ONLY:
		w->server.read_only--;
		break;
	case FAULT_LAG:
		n->lag_ns -= f->length_ns;
		break;
	case FAULT_PAUSE: /* ends by itself */
	case FAULT_STOP:
	case FAULT_DELETE:
	case FAULTS:
		break;
	}
}
