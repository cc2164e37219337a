/* SPDX-License-Identifier: Apache-2.0 */
/* mutant.c: planted bugs, to show that the judge sees what it is there to see.  Each is a mistake that somebody has
 * made in an election like this one, put round elect_step(): 'before' changes the event (or the state), 'after' the
 * state and the actions, 'gate' what the kernel is told.  Those of planned moves, policy hold and the gate are in
 * mutant_move.c. */
#include <string.h>

#include "tests/sim/sim.h"

static bool is_other(const struct node *n)
{
	const struct elect *e = &n->elect;

	return e->state == ELECT_FOLLOWING && e->known && !e->absent && *e->seen.holder &&
	       strcmp(e->seen.holder, e->cfg.identity) != 0 && !lease_same_node(e->seen.holder, e->cfg.identity);
}

/* The claim is due at 'due' instead. */
static void claim_at(struct node *n, mono_t due, const struct elect_event *ev, struct elect_actions *acts)
{
	n->elect.next_write = due;
	n->elect.proven = true;
	if (n->elect.fit && n->elect.fresh && !n->elect.refused)
		acts->wake_at = mono_before(ev->now, due) ? due : mono_add_ms(ev->now, 1);
}

static struct elect_action *find(struct elect_actions *acts, enum elect_action_kind kind)
{
	for (unsigned int i = 0; i < acts->n; i++)
		if (acts->v[i].kind == kind)
			return &acts->v[i];
	return NULL;
}

static void drop(struct elect_actions *acts, const struct elect_action *a)
{
	unsigned int i = (unsigned int)(a - acts->v);

	memmove(&acts->v[i], &acts->v[i + 1], (acts->n - i - 1) * sizeof(acts->v[0]));
	acts->n--;
}

static void hold_until(struct node *n, struct elect_actions *acts, enum elect_action_kind kind, mono_t deadline)
{
	struct elect_action *a = &acts->v[acts->n++];

	memset(a, 0, sizeof(*a));
	a->kind = kind;
	a->why = "mutant";
	a->deadline = n->elect.deadline = deadline;
}

static void remote_clock(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	int64_t age_ns = w->now_ns + n->clock.wall_offset_ns - n->stamp_ns;

	if (ev->kind != ELECT_EV_SEEN || !is_other(n))
		return;
	n->elect.seen_at.ns = ev->now.ns - age_ns;
	claim_at(n, mono_add_ms(n->elect.seen_at, n->elect.seen.duration_ms), ev, acts);
}

static void no_deadline(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	(void)ev;
	for (unsigned int i = 0; i < acts->n; i++)
		if (acts->v[i].kind == ELECT_DO_LEAD || acts->v[i].kind == ELECT_DO_HOLD)
			acts->v[i].deadline = n->elect.deadline = MONO_NEVER;
}

static void no_version(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect_action *a = find(acts, ELECT_DO_UPDATE);

	(void)w;
	(void)n;
	(void)ev;
	if (a)
		memcpy(a->version, "*", 2);
}

static void from_reply(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	if (ev->kind == ELECT_EV_WRITE_OK && n->elect.write_pending && ev->write_id == n->elect.write_id)
		n->elect.write_sent = ev->now;
}

static void through_gap(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	if (ev->kind != ELECT_EV_VIEW || !ev->fresh || !is_other(n))
		return;
	n->elect.seen_at = n->before.seen_at;
	claim_at(n, mono_add_ms(n->elect.seen_at, n->elect.seen.duration_ms), ev, acts);
}

static void blind_adoption(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect *e = &n->elect;

	(void)w;
	if (ev->kind != ELECT_EV_SEEN || n->before.state != ELECT_FOLLOWING || e->state != ELECT_CLAIMING || e->wrote)
		return;
	e->state = ELECT_LEADING;
	hold_until(n, acts, ELECT_DO_LEAD,
		   mono_add_ms(ev->now, e->seen.duration_ms - elect_margin_ms(e->seen.duration_ms)));
}

static void short_adoption(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect_action *a = find(acts, ELECT_DO_UPDATE);

	(void)w;
	(void)ev;
	if (a && n->elect.state == ELECT_CLAIMING)
		a->record.duration_ms = n->elect.write_record.duration_ms = n->elect.cfg.duration_ms;
}

static void late_shortening(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect_action *a = find(acts, ELECT_DO_HOLD);

	(void)w;
	(void)ev;
	if (!a || n->before.state != ELECT_LEADING || !mono_before(a->deadline, n->before.deadline))
		return;
	n->elect.deadline = n->before.deadline;
	drop(acts, a);
}

static void early_release(struct world *w, struct node *n, struct elect_gate *g)
{
	const struct elect *e = &n->elect;

	(void)w;
	if (e->state == ELECT_RELEASING || (e->state == ELECT_FOLLOWING && !e->fit) || e->stopping)
		g->arp_until = g->ip_until = n->elect.deadline;
}

static void late_reply(struct world *w, struct node *n, struct elect_event *ev)
{
	(void)w;
	if (ev->kind == ELECT_EV_WRITE_OK && n->elect.write_pending && ev->write_id + 1 == n->elect.write_id)
		ev->write_id++;
}

static void trust_view(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect *e = &n->elect;

	(void)w;
	if (ev->kind == ELECT_EV_SEEN && e->state == ELECT_LEADING && n->before.state == ELECT_LEADING &&
	    strcmp(e->seen.holder, e->cfg.identity) == 0)
		hold_until(n, acts, ELECT_DO_HOLD,
			   mono_add_ms(ev->now, e->seen.duration_ms - elect_margin_ms(e->seen.duration_ms)));
}

static void hasty_create(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	if (ev->kind == ELECT_EV_ABSENT && n->elect.state == ELECT_FOLLOWING)
		claim_at(n, ev->now, ev, acts);
}

static void own_duration(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	if (ev->kind == ELECT_EV_SEEN && is_other(n))
		claim_at(n, mono_add_ms(n->elect.seen_at, n->elect.cfg.duration_ms), ev, acts);
}

static void no_margin(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	struct elect *e = &n->elect;

	(void)w;
	(void)ev;
	for (unsigned int i = 0; i < acts->n; i++)
		if (acts->v[i].kind == ELECT_DO_LEAD || acts->v[i].kind == ELECT_DO_HOLD)
			acts->v[i].deadline = e->deadline = mono_add_ms(
				acts->v[i].deadline, elect_margin_ms(e->write_record.duration_ms));
}

static void hammer(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	if (ev->kind != ELECT_EV_WRITE_FAILED || !n->before.write_pending || n->elect.write_pending)
		return;
	n->elect.next_write = mono_add_ms(ev->now, 1);
	acts->wake_at = mono_min(acts->wake_at, n->elect.next_write);
}

static void deaf(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts)
{
	(void)w;
	(void)ev;
	if (is_other(n) && !n->elect.refused)
		n->elect.next_write = n->elect.next_probe = acts->wake_at = MONO_NEVER;
}

const struct mutant mutants[] = {
	{ "clocks-5-percent", "clock rates differ by 5 % either way", 34, .skew_ppm = 50000 },
	{ "remote-clock", "expiry from the time that the holder wrote", 2, .after = remote_clock },
	{ "no-deadline", "no step-down at the deadline", 2, .after = no_deadline },
	{ "no-version", "PUT without resourceVersion", 7, .after = no_version },
	{ "from-reply", "deadline counted from the reply", 19, .before = from_reply },
	{ "no-margin", "deadline without its margin", 34, .after = no_margin },
	{ "through-gap", "expiry runs on through a gap in the view", 56, .after = through_gap },
	{ "blind-adoption", "leads by its node's old record before a write", 1, .after = blind_adoption },
	{ "short-adoption", "adopts with a shorter duration at once", 442, .after = short_adoption },
	{ "late-shortening", "shortens the record before its own deadline; the reply is lost", 370,
	  .after = late_shortening },
	{ "early-release", "releases before it withdraws", 7, .gate = early_release },
	{ "late-reply", "takes an old reply for that of the last write", 13, .before = late_reply },
	{ "trust-view", "what is seen moves the deadline", 278, .after = trust_view },
	{ "hasty-create", "creates at once when a held Lease is deleted", 1, .after = hasty_create },
	{ "own-duration", "expiry by the own duration, not the record's", 2, .after = own_duration },
	{ "hammer", "tries again at once after a failure", 5, .after = hammer },
	{ "deaf", "never claims what another held", 45, .after = deaf },
	{ "gate-heartbeat", "the gate is refreshed by a timer, not up to the deadline", 3, .gate = mutant_heartbeat },
	{ "gate-last", "the gate is brought in line after the actions", 3, .gate_last = true },
	{ "early-claim", "CLAIM is written before the gate is shut", 3, .gate = mutant_early_claim },
	{ "early-reopen", "opens again before CLAIM is taken back", 12, .gate = mutant_early_reopen },
	{ "prepare-claims", "takes PREPARE for a right to claim", 1, .before = mutant_prepare_claims },
	{ "old-answer", "takes an answer to an earlier move", 3, .before = mutant_old_answer },
	{ "no-look", "hold: the winner opens without looking", 500, .gate = mutant_no_look },
	{ "no-yield", "hold: the holder never yields", 20, .before = mutant_no_yield },
	{ "keep-gate", "hold: the holder yields, and keeps its gate open", 20, .gate = mutant_keep_gate },
	{ "fence-overtime", "fence: goes on past the deadline as in hold", 22, .before = mutant_fence_before,
	  .after = mutant_fence_after },
	{ "no-doubt", "goes on as if its clocks had not jumped", 230, .before = mutant_no_doubt },
	{ "groups-own", "a VIP's Lease by the node's own setting", 31, .groups = GROUPS_OWN_SETTING },
	{ "groups-open", "a VIP's record is changed before its gate is shut", 15, .groups = GROUPS_OPEN_MOVE },
	{ "groups-unread", "the winner of a Lease opens by the records it knew", 399, .groups = GROUPS_UNREAD },
};

const unsigned int n_mutants = sizeof(mutants) / sizeof(mutants[0]);

const struct mutant *mutant_find(const char *name)
{
	for (unsigned int i = 0; i < n_mutants; i++)
		if (strcmp(mutants[i].name, name) == 0)
			return &mutants[i];
	return NULL;
}
