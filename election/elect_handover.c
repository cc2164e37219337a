/* SPDX-License-Identifier: Apache-2.0 */
/* elect_handover.c: planned moves; elect.h tells how one goes.
 *
 * What must never happen is that both machines answer ARP.  'shut' is the holder's part of that: it is set before the
 * first CLAIM can be sent and cleared by the success of a later write without it, or by a record that is not ours.
 * Between those two optimistic locking decides, so none of the times here matters for safety; they bound how long a
 * move may hang.  move.number is not 0 while the caller waits for the outcome of a move. */
#include "election/elect_handover.h"

#include <string.h>

#include "election/elect_follow.h"
#include "election/elect_write.h"

#define MOVE_MS_MIN 500	    /* a stage's time: the renew interval within these bounds */
#define MOVE_MS_MAX 5000
/* A Linux neighbour that takes no announcement uses what it knows for up to 45 s, then for 5 s more, and asks three times, by
 * unicast, which is redirected, too (net/core/neighbour.c: 1.5 x base_reachable_time, delay_first_probe_time, probes). */
#define REDIRECT_MS 60000
#define READY_MS_MIN 2000   /* a successor stays ready for the record's duration within these bounds: longer than */
#define READY_MS_MAX 6000   /* the holder waits for it (renew < duration / 2) */

static int64_t clamp_ms(int64_t ms, int64_t min, int64_t max)
{
	return ms < min ? min : ms > max ? max : ms;
}

static int64_t stage_ms(const struct elect *e, enum lease_stage stage)
{
	int64_t ms = clamp_ms(e->cfg.renew_ms, MOVE_MS_MIN, MOVE_MS_MAX);

	/* A CLAIM must be taken back before our own deadline. */
	return stage == LEASE_STAGE_CLAIM && ms > e->cfg.duration_ms / 2 ? e->cfg.duration_ms / 2 : ms;
}

/* --- the holder ---------------------------------------------------------------------------------------- */

/* A move that has given the successor no right yet.  Before each move there was a write without one. */
static bool claim_unsent(const struct elect *e)
{
	return e->move.stage != LEASE_STAGE_NONE && e->write_record.stage != LEASE_STAGE_CLAIM;
}

/* The machine opens again and the caller hears of it. */
static void give_back(struct elect *e, struct elect_actions *ret, uint32_t number, const char *why)
{
	struct elect_action *a;

	e->move.stage = LEASE_STAGE_NONE;
	e->move.shut = false;
	e->move.redirect_until = (mono_t){ 0 };
	e->move.number = 0;
	if (number == 0)
		return;
	a = elect_act(ret, ELECT_DO_HANDOVER_FAILED);
	a->handover = number;
	a->why = why;
}

void elect_handover_fail(struct elect *e, struct elect_actions *ret, const char *why)
{
	if (e->move.number != 0)
		give_back(e, ret, e->move.number, why);
}

static void abandon(struct elect *e, mono_t now, struct elect_actions *ret, const char *why)
{
	if (claim_unsent(e)) {
		elect_handover_fail(e, ret, why);
		return;
	}
	/* Takes it back; elect_handover_written() does the rest. */
	e->move.stage = LEASE_STAGE_NONE;
	if (!e->refused)
		e->next_write = now;
}

static void begin(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	const char *why = NULL;
	struct elect_action *a;

	if (e->state != ELECT_LEADING || e->move.number != 0)
		return;
	if (ev->handover == 0 || !*ev->successor || strcmp(ev->successor, e->cfg.identity) == 0)
		why = "there is no such successor";
	else if (e->move.shut)
		why = "an earlier move is not over";
	else if (e->over.on)
		why = "no write succeeds";
	else if (e->over.looking)
		why = "the old holder may still answer";
	if (why) {
		a = elect_act(ret, ELECT_DO_HANDOVER_FAILED);
		a->handover = ev->handover;
		a->why = why;
		return;
	}
	e->move.stage = LEASE_STAGE_PREPARE;
	e->move.number = ev->handover;
	memcpy(e->move.successor, ev->successor, sizeof(e->move.successor));
	e->move.until = mono_add_ms(ev->now, stage_ms(e, LEASE_STAGE_PREPARE));
	if (!e->refused)
		e->next_write = ev->now;
}

static void prepared(struct elect *e, mono_t now)
{
	if (e->move.stage != LEASE_STAGE_PREPARE)
		return;
	e->move.stage = LEASE_STAGE_CLAIM;
	e->move.shut = true;
	e->move.until = mono_add_ms(now, stage_ms(e, LEASE_STAGE_CLAIM));
	if (!e->refused)
		e->next_write = now;
}

void elect_handover_event(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	if (ev->kind == ELECT_EV_HANDOVER) {
		begin(e, ev, ret);
		return;
	}
	if (e->state != ELECT_LEADING || e->move.stage == LEASE_STAGE_NONE || ev->handover != e->move.number)
		return;
	if (ev->kind == ELECT_EV_PREPARED)
		prepared(e, ev->now);
	else
		abandon(e, ev->now, ret, "the successor refused");
}

void elect_handover_record(const struct elect *e, struct lease_record *r)
{
	if (e->state != ELECT_LEADING || e->move.stage == LEASE_STAGE_NONE)
		return;
	r->stage = e->move.stage;
	r->handover = e->move.number;
	memcpy(r->successor, e->move.successor, sizeof(r->successor));
}

static bool same_stage(const struct lease_record *r, enum lease_stage stage, uint32_t number)
{
	return r->stage == stage && (stage == LEASE_STAGE_NONE || r->handover == number);
}

void elect_handover_sends(struct elect *e, mono_t now, const struct lease_record *r)
{
	if (r->stage != LEASE_STAGE_NONE && !same_stage(&e->write_record, r->stage, r->handover))
		e->move.until = mono_add_ms(now, stage_ms(e, r->stage));
}

/* Our CLAIM stands: the successor is about to have the addresses, and we have them no more. */
static void ceded(struct elect *e, mono_t now)
{
	if (e->move.shut && same_stage(&e->seen, LEASE_STAGE_CLAIM, e->move.number) && e->move.number != 0 &&
	    e->move.redirect_until.ns == 0)
		e->move.redirect_until = mono_add_ms(now, REDIRECT_MS);
}

void elect_handover_written(struct elect *e, mono_t now, struct elect_actions *ret)
{
	ceded(e, now);
	if (e->move.shut && e->move.stage == LEASE_STAGE_NONE && e->write_record.stage == LEASE_STAGE_NONE)
		give_back(e, ret, e->move.number, "the successor did not claim");
}

bool elect_handover_urgent(const struct elect *e)
{
	return e->state == ELECT_LEADING && !same_stage(&e->write_record, e->move.stage, e->move.number);
}

bool elect_handover_waits(const struct elect *e)
{
	return e->move.stage == LEASE_STAGE_CLAIM && !e->refused && elect_holder_kind(e) == HOLDER_SELF &&
	       same_stage(&e->seen, LEASE_STAGE_CLAIM, e->move.number);
}

bool elect_handover_known(struct elect *e, mono_t now)
{
	bool named, handed;

	if (elect_holder_kind(e) == HOLDER_SELF) {
		ceded(e, now);
		return false;
	}
	named = *e->seen.holder && strcmp(e->seen.holder, e->move.successor) == 0;
	handed = named && (e->move.shut || e->move.number != 0);
	if (handed)
		e->move.redirect_until = mono_add_ms(now, REDIRECT_MS);
	else if (!named && (e->move.shut || e->move.number != 0)) /* a move that is over: the successor sends it on */
		e->move.redirect_until = (mono_t){ 0 };
	e->move.shut = false;
	e->move.stage = LEASE_STAGE_NONE;
	e->move.number = 0;
	return handed;
}

void elect_handover_left(struct elect *e)
{
	if (claim_unsent(e)) {
		e->move.shut = false;
		e->move.redirect_until = (mono_t){ 0 };
	}
	e->move.stage = LEASE_STAGE_NONE;
	e->move.number = 0;
}

void elect_handover_release(struct elect *e, mono_t now)
{
	mono_t until = mono_add_ms(now, e->cfg.renew_ms / 2);

	if (e->move.stage == LEASE_STAGE_CLAIM && !claim_unsent(e))
		e->move.until = mono_min(e->move.until, until); /* the successor's turn; then there is time to release */
	else
		elect_handover_left(e);
}

/* --- the successor ------------------------------------------------------------------------------------- */

void elect_handover_unprepare(struct elect *e, struct elect_actions *ret, const char *why)
{
	if (e->move.preparing == 0)
		return;
	e->move.preparing = 0;
	e->move.ip_until = (mono_t){ 0 };
	elect_act(ret, ELECT_DO_UNPREPARE)->why = why;
}

void elect_handover_asked(struct elect *e, mono_t now, struct elect_actions *ret)
{
	enum holder_kind kind = elect_holder_kind(e);
	bool named = (kind == HOLDER_OTHER || kind == HOLDER_CEDED) && e->seen.stage != LEASE_STAGE_NONE &&
		     e->seen.handover != 0 && strcmp(e->seen.successor, e->cfg.identity) == 0;
	bool idle = e->state == ELECT_FOLLOWING || e->state == ELECT_CLAIMING;

	if (kind == HOLDER_SELF && idle)
		return; /* our claim, ahead of its reply */
	if (!named || !idle || !e->fit) {
		elect_handover_unprepare(e, ret, "the move was given up");
		e->move.noted = named ? e->move.noted : 0;
		return;
	}
	if (e->seen.stage == LEASE_STAGE_PREPARE && e->move.noted != e->seen.handover) {
		e->move.preparing = e->move.noted = e->seen.handover;
		e->move.redirect_until = (mono_t){ 0 };
		elect_act(ret, ELECT_DO_PREPARE)->handover = e->seen.handover;
	}
	if (e->move.preparing != 0)
		e->move.ip_until = mono_add_ms(now, clamp_ms(e->seen.duration_ms, READY_MS_MIN, READY_MS_MAX));
}

void elect_handover_lead(struct elect *e)
{
	e->move.preparing = e->move.noted = 0;
	e->move.ip_until = (mono_t){ 0 };
	if (!e->move.shut)
		e->move.redirect_until = (mono_t){ 0 };
}

/* --- both ---------------------------------------------------------------------------------------------- */

void elect_handover_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->move.preparing != 0 && mono_reached(now, e->move.ip_until))
		elect_handover_unprepare(e, ret, "no news of the move in time");
	if (e->move.stage == LEASE_STAGE_NONE || !mono_reached(now, e->move.until))
		return;
	if (e->state == ELECT_LEADING) {
		abandon(e, now, ret, "the successor was not ready in time");
	} else {
		e->move.stage = LEASE_STAGE_NONE;
		if (!e->refused)
			e->next_write = now;
	}
}

mono_t elect_handover_wake(const struct elect *e)
{
	mono_t next = e->move.preparing != 0 ? e->move.ip_until : MONO_NEVER;

	return e->move.stage != LEASE_STAGE_NONE ? mono_min(next, e->move.until) : next;
}
