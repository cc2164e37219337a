/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c: what must be true.
 *
 *  - After every step: at most one node's gate is open, in true time.  Gates open only by a step's actions, so an
 *    overlap of any length is seen when it begins.
 *  - After every step: the gate is what the machine believes (elect_holds()).
 *  - Requests of a node within any second are bounded: no storm.
 *  - In peace, where at most one node is still away: within eight seconds somebody holds, keeps holding, and
 *    requests are those of one holder.
 *  - An outage of the API alone does not move the Lease. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/sim.h"

#define CHECKS 4

void judge_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->judge.failed)
		return;
	va_start(ap, fmt);
	vsnprintf(w->judge.verdict, sizeof(w->judge.verdict), fmt, ap);
	va_end(ap);
	w->judge.failed = true;
	w->judge.at_ns = w->now_ns;
	world_trace(w, NULL, "JUDGE: %s", w->judge.verdict);
}

void judge_plan(struct world *w)
{
	w->judge.holder_before_outage = -1;
	for (int64_t cycle_ns = 0; cycle_ns + CYCLE_NS <= w->opt.length_ns; cycle_ns += CYCLE_NS)
		for (int i = 0; i < CHECKS; i++)
			world_at(w, cycle_ns + CALM_NS + (CYCLE_NS - CALM_NS - NS_PER_MS) * i / (CHECKS - 1),
				 SIM_CHECK, 0);
}

static bool calm(const struct world *w)
{
	return w->now_ns % CYCLE_NS >= CALM_NS;
}

/* The only node whose gate is open; -1 = none, -2 = several. */
static int holder(const struct world *w)
{
	int found = -1;

	for (unsigned int i = 0; i < NODES; i++)
		if (node_gate_open(&w->nodes[i], w->now_ns))
			found = found == -1 ? (int)i : -2;
	return found;
}

void judge_check(struct world *w)
{
	struct judge *j = &w->judge;
	int64_t into_ns = w->now_ns % CYCLE_NS - CALM_NS, renew_min_ms = INT64_MAX, bound;
	int now = holder(w);

	if (into_ns == 0)
		j->leads = j->requests = 0;
	if (now < 0)
		judge_fail(w, "nobody holds %.1f s after the last fault",
			   (double)(w->now_ns % CYCLE_NS - FAULTS_END_NS) / (double)NS_PER_S);
	if (j->leads > 0)
		judge_fail(w, "the holder changed in peace");
	for (unsigned int i = 0; i < NODES; i++)
		if (w->nodes[i].cfg.renew_ms < renew_min_ms)
			renew_min_ms = w->nodes[i].cfg.renew_ms;
	bound = into_ns / NS_PER_MS * 11 / 10 / renew_min_ms + 3;
	if (j->requests > bound)
		judge_fail(w, "%u requests in peace where %" PRId64 " are enough", j->requests, bound);
	if (w->only_outages && j->holder_before_outage >= 0 && now >= 0 && now != j->holder_before_outage)
		judge_fail(w, "an API outage moved the Lease from n%d to n%d", j->holder_before_outage, now);
}

void judge_outage(struct world *w)
{
	w->judge.holder_before_outage = holder(w);
}

void judge_request(struct world *w, struct node *n)
{
	unsigned int limit = (unsigned int)(10 * MS_PER_S / n->cfg.renew_ms + 12);
	int64_t then = n->n_sends >= limit ? n->sends[(n->n_sends - limit) % RATE_WINDOW_MAX] : -NS_PER_S;

	if (w->now_ns - then < NS_PER_S)
		judge_fail(w, "n%u sent more than %u requests within a second", n->id, limit);
	n->sends[n->n_sends++ % RATE_WINDOW_MAX] = w->now_ns;
	w->judge.requests += calm(w) && !n->cut;
}

void judge_step(struct world *w, const struct node *n, const struct elect_actions *acts)
{
	mono_t now = node_clock(n, w->now_ns);

	for (unsigned int i = 0; i < acts->n; i++)
		w->judge.leads += calm(w) && acts->v[i].kind == ELECT_DO_LEAD;
	if (holder(w) == -2)
		judge_fail(w, "two nodes hold; n%u has just opened its gate", n->id);
	/* Mutants are to be caught by what they do. */
	if (!w->opt.mutant && n->running && n->gate_life == n->life &&
	    mono_before(now, n->gate) != elect_holds(&n->elect, now))
		judge_fail(w, "n%u's gate is not what its election believes", n->id);
}
