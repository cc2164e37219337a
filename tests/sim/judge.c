/* SPDX-License-Identifier: Apache-2.0 */
/* judge.c: what must be true.
 *
 * Gates open only by a step's actions, so whatever opens is judged in that moment; what closes, or goes on too long,
 * closes by time: the interval up to each event is judged before the event, exactly.
 *
 *  - One ARP gate at most is open, in true time.  The one exception is policy hold: a node past the right that its last
 *    write gave it, whose record says hold.  Beside it another may be open for no longer than it takes to hear of
 *    each other where the LAN is whole, and where it is not, for as long as it is not and then settle_ns().
 *    A machine that has just woken up is excused until its loop has turned once.
 *  - The gate is what the machine believes (elect_holds()).
 *  - Requests of a node within any second are bounded: no storm.
 *  - With a majority of the nodes well, the VIP is not dark for longer than a bound.
 *  - In peace somebody holds, keeps holding, and requests are those of one holder.
 *  - A planned move in peace: it takes place, nobody answers ARP for less than a few round trips, and no frame of
 *    a client's is lost, whichever of the two machines the client sends it to.
 *  - An outage of the API alone does not move the Lease; with policy hold the VIP is answered for throughout (the one
 *    exception: see judge_outage()). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/sim.h"

#define CHECKS 4
/* With a majority well: a dead watch is seen and opened again (up to 4.8 s after a long cut), then the longest duration. */
#define DARK_MAX_NS (8 * NS_PER_S)
/* A renewal under way and its reply; CLAIM to the server, on to the successor, its claim and the reply. */
#define MOVE_DARK_MAX_NS (20 * NS_PER_MS)
#define MOVE_REQUESTS 8			      /* PREPARE, CLAIM and the claim, with room for one lost race each */
#define ROLL_MS_MIN 500 /* elect_hold.c */
#define HEARD_MAX_NS (2 * LAN_DELAY_MAX_NS + LOOP_MAX_NS)

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
	struct judge *j = &w->judge;

	j->holder_before_outage = j->move_from = j->move_to = j->client = -1;
	j->overlap_ns = -1;
	j->dark_ns = 0;
	for (int64_t cycle_ns = 0; cycle_ns + CYCLE_NS <= w->opt.length_ns; cycle_ns += CYCLE_NS) {
		for (int i = 0; i < CHECKS; i++)
			world_at(w, cycle_ns + CALM_NS + (CYCLE_NS - CALM_NS - NS_PER_MS) * i / (CHECKS - 1),
				 SIM_CHECK, 0);
		if (!w->only_outages && world_chance(w, 50))
			world_at(w, cycle_ns + CALM_NS + 100 * NS_PER_MS, SIM_MOVE, 0);
	}
}

static bool calm(const struct world *w)
{
	return w->now_ns % CYCLE_NS >= CALM_NS;
}

/* The only node whose gate is open; -1 = none, -2 = several. */
static int holder(const struct world *w)
{
	int found = -1;

	for (unsigned int i = 0; i < w->n_nodes; i++)
		if (gate_arp_open(&w->nodes[i], w->now_ns))
			found = found == -1 ? (int)i : -2;
	return found;
}

/* --- several open --------------------------------------------------------------------------------------------- */

static bool overtime(const struct world *w, const struct node *n)
{
	const struct right *r = &w->api.rights[n->id];

	return r->policy == LEASE_HOLD && n->kernel.arp_close_ns > r->until_ns;
}

/* How many are open at 't_ns'; *ret_end_ns: until when two are; *ret_regular: how many of them by a Lease. */
static unsigned int count_open(const struct world *w, int64_t t_ns, int64_t *ret_end_ns, unsigned int *ret_regular)
{
	int64_t first = 0, second = 0;
	unsigned int open = 0;

	*ret_regular = 0;
	for (unsigned int i = 0; i < w->n_nodes; i++) {
		const struct node *n = &w->nodes[i];
		int64_t close_ns = n->kernel.arp_close_ns;

		if (!gate_arp_open(n, t_ns) || t_ns < n->kernel.excused_until_ns)
			continue;
		/* A probe finds who answers. */
		if (overtime(w, n) && !gate_answers(n, t_ns))
			continue;
		open++;
		*ret_regular += !overtime(w, n);
		second = close_ns > first ? first : close_ns > second ? close_ns : second;
		first = close_ns > first ? close_ns : first;
	}
	*ret_end_ns = second;
	return open;
}

static int64_t latest(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* What the LAN hid before it was whole, and what a former process knew, counts for so long: a holder in overtime
 * probes every renew interval, and one that is dead or stands still falls silent after two, by the slowest clock. */
static int64_t settle_ns(const struct world *w)
{
	int64_t renew_ms = 0, ms;

	for (unsigned int i = 0; i < w->n_nodes; i++)
		renew_ms = latest(renew_ms, w->nodes[i].kernel.renew_ms);
	ms = renew_ms + latest(renew_ms * 2, ROLL_MS_MIN);
	return ms * NS_PER_MS * 11 / 10 + HEARD_MAX_NS;
}

/* Whether somebody holds by a Lease and cannot announce it: then the other one's next probe tells. */
static bool winner_is_mute(const struct world *w)
{
	for (unsigned int i = 0; i < w->n_nodes; i++) {
		const struct node *n = &w->nodes[i];

		if (gate_arp_open(n, w->judge.looked_ns) && !overtime(w, n) &&
		    (!n->running || w->judge.looked_ns < n->paused_until_ns))
			return true;
	}
	return false;
}

static void judge_overlap(struct world *w)
{
	struct judge *j = &w->judge;
	unsigned int regular, open;
	int64_t end_ns, from_ns;

	open = count_open(w, j->looked_ns, &end_ns, &regular);
	if (open < 2) {
		j->overlap_ns = -1;
		return;
	}
	if (regular >= 2)
		judge_fail(w, "two nodes answer");
	if (j->overlap_ns < 0)
		j->overlap_ns = j->looked_ns;
	from_ns = j->overlap_ns + (winner_is_mute(w) ? settle_ns(w) : 0);
	if (end_ns > w->now_ns)
		end_ns = w->now_ns;
	else
		j->overlap_ns = -1;
	if (j->lan_whole_ns == INT64_MAX)
		return;
	from_ns = latest(from_ns, latest(j->lan_whole_ns, j->started_ns) + settle_ns(w));
	for (unsigned int i = 0; i < w->n_nodes && end_ns - from_ns > HEARD_MAX_NS; i++)
		if (gate_arp_open(&w->nodes[i], j->looked_ns))
			world_trace(w, &w->nodes[i], "is open for another %.0f ms%s",
				    (double)(w->nodes[i].kernel.arp_close_ns - w->now_ns) / (double)NS_PER_MS,
				    overtime(w, &w->nodes[i]) ? ", in overtime" : "");
	if (end_ns - from_ns > HEARD_MAX_NS)
		judge_fail(w, "two nodes answer for %.0f ms on a LAN that is whole",
			   (double)(end_ns - from_ns) / (double)NS_PER_MS);
}

/* --- nobody answers ------------------------------------------------------------------------------------------- */

static bool well(const struct world *w, const struct node *n)
{
	return n->running && !n->kernel.asleep && w->now_ns >= n->paused_until_ns && n->elect.fit && !n->cut &&
	       n->lag_ns == 0;
}

static bool majority_well(const struct world *w)
{
	unsigned int n = 0;

	if (w->api.down || w->api.read_only || w->api.flaky || w->api.slow || !lan_whole(w))
		return false;
	for (unsigned int i = 0; i < w->n_nodes; i++)
		n += well(w, &w->nodes[i]);
	return n > w->n_nodes / 2;
}

static void judge_dark(struct world *w)
{
	struct judge *j = &w->judge;
	int64_t end_ns = -1;

	for (unsigned int i = 0; i < w->n_nodes; i++)
		if (gate_answers(&w->nodes[i], j->looked_ns))
			end_ns = latest(end_ns, w->nodes[i].kernel.arp_close_ns);
	if (end_ns >= w->now_ns)
		j->dark_ns = -1;
	else if (end_ns >= 0)
		j->dark_ns = end_ns;
	else if (j->dark_ns < 0)
		j->dark_ns = j->looked_ns;
	if (j->dark_ns < 0)
		return;
	if (w->now_ns - latest(j->dark_ns, j->quiet_ns) > DARK_MAX_NS)
		judge_fail(w, "nobody answers, %.1f s after the last fault",
			   (double)(w->now_ns - j->quiet_ns) / (double)NS_PER_S);
	if (j->move_from >= 0 && w->now_ns - j->dark_ns > MOVE_DARK_MAX_NS)
		judge_fail(w, "nobody answers for %.0f ms in a planned move",
			   (double)(w->now_ns - j->dark_ns) / (double)NS_PER_MS);
	if (w->only_outages && w->policies == POLICIES_HOLD && w->now_ns % CYCLE_NS > FAULTS_END_NS / 2 &&
	    (!j->reads_work || w->api.read_only))
		judge_fail(w, "nobody answers, in an outage of the API alone");
}

/* Clients of two kinds: one has learnt the new MAC, the other not yet. */
static void judge_clients(struct world *w)
{
	const struct judge *j = &w->judge;

	if (j->move_from < 0)
		return;
	if (j->client >= 0 && !gate_takes(w, &w->nodes[j->client], w->now_ns))
		judge_fail(w, "n%d does not take its clients' frames in a planned move", j->client);
	if (!gate_takes(w, &w->nodes[j->move_from], w->now_ns))
		judge_fail(w, "n%d does not pass on its former clients' frames", j->move_from);
}

void judge_until_now(struct world *w)
{
	struct judge *j = &w->judge;

	if (w->now_ns == j->looked_ns)
		return;
	if (!lan_whole(w))
		j->lan_whole_ns = INT64_MAX;
	else if (j->lan_whole_ns == INT64_MAX)
		j->lan_whole_ns = j->looked_ns;
	judge_overlap(w);
	judge_dark(w);
	if (!majority_well(w))
		j->quiet_ns = w->now_ns;
	j->looked_ns = w->now_ns;
}

/* --- appointments --------------------------------------------------------------------------------------------- */

void judge_check(struct world *w)
{
	struct judge *j = &w->judge;
	int64_t into_ns = w->now_ns % CYCLE_NS - CALM_NS, renew_min_ms = INT64_MAX, bound;
	bool last = into_ns >= CYCLE_NS - CALM_NS - NS_PER_MS;
	int now = holder(w);

	if (into_ns == 0)
		j->leads = j->requests = 0;
	if (now == -2 || (now == -1 && j->dark_ns >= 0 && w->now_ns - j->dark_ns > MOVE_DARK_MAX_NS))
		judge_fail(w, "%s %.1f s after the last fault", now == -1 ? "nobody holds" : "several hold",
			   (double)(w->now_ns % CYCLE_NS - FAULTS_END_NS) / (double)NS_PER_S);
	if (j->leads > (j->move_from >= 0))
		judge_fail(w, "the holder changed in peace");
	if (last && j->move_from >= 0 && now != j->move_to)
		judge_fail(w, "n%d did not move to n%d", j->move_from, j->move_to);
	for (unsigned int i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].cfg.renew_ms < renew_min_ms)
			renew_min_ms = w->nodes[i].cfg.renew_ms;
	bound = into_ns / NS_PER_MS * 11 / 10 / renew_min_ms + 3 + (j->move_from >= 0 ? MOVE_REQUESTS : 0);
	if (j->requests > bound)
		judge_fail(w, "%u requests in peace where %" PRId64 " are enough", j->requests, bound);
	if (w->only_outages && !j->reads_work && j->holder_before_outage >= 0 && now >= 0 && now != j->holder_before_outage)
		judge_fail(w, "an API outage moved the Lease from n%d to n%d", j->holder_before_outage, now);
	if (last)
		j->move_from = j->move_to = -1;
}

void judge_move(struct world *w)
{
	struct judge *j = &w->judge;
	int from = holder(w);
	unsigned int first = (unsigned int)world_between(w, 0, w->n_nodes - 1);

	for (unsigned int i = 0; i < w->n_nodes && from >= 0 && w->nodes[from].running; i++) {
		struct node *s = &w->nodes[(first + i) % w->n_nodes];

		if ((int)s->id == from || !well(w, s) || !s->watch.connected || !well(w, &w->nodes[from]))
			continue;
		j->move_from = from;
		j->move_to = (int)s->id;
		agent_handover(w, &w->nodes[from], s->cfg.identity);
		api_push_answers(w, &w->nodes[from]); /* those to earlier moves count for nothing */
		return;
	}
}

/* Where reads work and writes do not, everybody rightly sees an expired Lease: whose write comes first at the end is
 * a matter of pace (the holder's, mostly), and not promised. */
void judge_outage(struct world *w, bool reads_work)
{
	w->judge.holder_before_outage = holder(w);
	w->judge.reads_work = reads_work;
}

void judge_start(struct world *w)
{
	w->judge.started_ns = w->now_ns;
}

void judge_fault(struct world *w)
{
	w->judge.quiet_ns = w->now_ns;
}

/* --- steps ---------------------------------------------------------------------------------------------------- */

void judge_request(struct world *w, struct node *n)
{
	unsigned int limit = (unsigned int)(10 * MS_PER_S / n->cfg.renew_ms + 12);
	int64_t then = n->n_sends >= limit ? n->sends[(n->n_sends - limit) % RATE_WINDOW_MAX] : -NS_PER_S;

	if (w->now_ns - then < NS_PER_S)
		judge_fail(w, "n%u sent more than %u requests within a second", n->id, limit);
	n->sends[n->n_sends++ % RATE_WINDOW_MAX] = w->now_ns;
	w->judge.requests += calm(w) && !n->cut;
}

void judge_gate(struct world *w, const struct node *n)
{
	unsigned int regular, open;
	int64_t end_ns;

	open = count_open(w, w->now_ns, &end_ns, &regular);
	if (open >= 2 && regular >= 2)
		judge_fail(w, "two nodes answer; n%u has just opened its gate", n->id);
	if (gate_arp_open(n, w->now_ns))
		w->judge.client = (int)n->id;
}

void judge_step(struct world *w, const struct node *n, const struct elect_actions *acts)
{
	mono_t now = clock_at(&n->clock, w->now_ns);
	bool holds = elect_holds(&n->elect, now);

	for (unsigned int i = 0; i < acts->n; i++)
		w->judge.leads += calm(w) && acts->v[i].kind == ELECT_DO_LEAD;
	judge_clients(w);
	/* Mutants are to be caught by what they do. */
	if (w->opt.mutant || !n->running || n->kernel.life != n->life)
		return;
	if ((gate_arp_open(n, w->now_ns) && !holds) || (holds && !gate_ip_open(n, w->now_ns)))
		judge_fail(w, "n%u's gate is not what its election believes", n->id);
}
