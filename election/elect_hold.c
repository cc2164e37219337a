/* SPDX-License-Identifier: Apache-2.0 */
/* elect_hold.c: policy hold; elect.h tells the rules.
 *
 * The right to hold in overtime is weaker than a Lease: nobody else is known, and nobody else answers.  So whatever may
 * have hidden somebody from us ends it: a word of another holder, an answer on the wire, a refused write that no GET
 * explains before the rolling deadline, and time in which this process stood still.  Then only silence, proven by
 * probes without a gap for two durations, brings it back, and only while no write succeeds.
 * After CLAIM was sent there is no overtime at all: the successor may hold. */
#include "election/elect_hold.h"

#include "election/elect_follow.h"
#include "election/elect_handover.h"
#include "election/elect_write.h"

#define ENTER_MS 50	 /* so much before the deadline, that the gate never lapses; and no later than that after it: */
			 /* the margin is no smaller, so nobody can have claimed yet */
#define ROLL_MS_MIN 500	 /* the rolling deadline: two renew intervals within these bounds */
#define ROLL_MS_MAX 5000
#define PROBE_MS 200	 /* an answer later than that says nothing about silence */
#define LOOK_AGAIN_MS 50 /* after an answer: the old holder needs that long to hear us and to yield */

static int64_t roll_ms(const struct elect *e)
{
	int64_t ms = e->cfg.renew_ms * 2;

	ms = ms < ROLL_MS_MIN ? ROLL_MS_MIN : ms > ROLL_MS_MAX ? ROLL_MS_MAX : ms;
	/* Who stands still in the moment it is announced to must be silent before the other opens, after one duration. */
	return ms < e->cfg.duration_ms / 2 ? ms : e->cfg.duration_ms / 2;
}

static int64_t probe_ms(const struct elect *e)
{
	return e->cfg.renew_ms < ROLL_MS_MAX / 2 ? e->cfg.renew_ms : ROLL_MS_MAX / 2;
}

/* Whether the record that is known gives us that weaker right. */
static bool may_hold(const struct elect *e)
{
	return e->cfg.policy == LEASE_HOLD && elect_holder_kind(e) == HOLDER_SELF && e->seen.policy == LEASE_HOLD &&
	       !e->move.shut && !e->stopping;
}

/* Whether writes fail, as opposed to being refused. */
static bool no_write_succeeds(const struct elect *e)
{
	return e->failures > 0 && !e->refused;
}

static bool yielded(const struct elect *e)
{
	return e->over.yielded && e->fit && (e->state == ELECT_FOLLOWING || e->state == ELECT_CLAIMING);
}

static bool probing(const struct elect *e)
{
	return e->over.on || e->over.looking || yielded(e);
}

static bool may_begin(const struct elect *e)
{
	return !e->over.on && !e->over.looking && may_hold(e) && no_write_succeeds(e);
}

bool elect_hold_begins(const struct elect *e, mono_t now)
{
	return may_begin(e) && mono_reached(now, mono_add_ms(e->deadline, -ENTER_MS)) &&
	       mono_before(now, mono_add_ms(e->deadline, ENTER_MS));
}

void elect_hold_begin(struct elect *e, mono_t now)
{
	e->over.on = true;
	e->over.yielded = false;
	e->over.gate_until = mono_add_ms(now, roll_ms(e));
	e->over.next_probe = now;
	e->over.probe_pending = false;
}

bool elect_hold_lapsed(const struct elect *e, mono_t now)
{
	return e->over.on && (mono_reached(now, e->over.gate_until) || !may_hold(e));
}

void elect_hold_ends(struct elect *e)
{
	e->over.on = e->over.looking = e->over.yielded = e->over.probe_pending = false;
}

void elect_hold_left(struct elect *e, mono_t now, bool resume)
{
	elect_hold_ends(e);
	if (!resume || !may_hold(e))
		return;
	e->over.yielded = true;
	e->over.silent_since = MONO_NEVER;
	e->over.next_probe = mono_add_ms(now, probe_ms(e));
}

void elect_hold_claims(struct elect *e)
{
	enum holder_kind kind = elect_holder_kind(e);

	if (kind == HOLDER_SELF)
		return; /* a claim whose reply was lost: what it was sent over still counts */
	elect_hold_ends(e);
	if (kind == HOLDER_ABSENT && !e->known)
		return; /* nor does a deletion while we looked tell of the wire */
	e->over.look_ms = 0;
	if ((kind == HOLDER_OTHER || (kind == HOLDER_ABSENT && *e->seen.holder)) &&
	    e->seen.policy == LEASE_HOLD)
		e->over.look_ms = e->seen.duration_ms;
}

mono_t elect_hold_retry(struct elect *e, mono_t now)
{
	int64_t ms = e->over.look_ms / 3;

	if (ms == 0 || elect_holder_kind(e) == HOLDER_SELF)
		return now;
	return mono_add_ms(now, ms + elect_jitter_ms(e, ms / 4));
}

void elect_hold_written(struct elect *e, mono_t now, bool lead)
{
	e->over.on = e->over.yielded = false;
	if (lead && e->over.look_ms > 0) {
		e->over.looking = true;
		e->over.look_until = mono_add_ms(now, e->over.look_ms);
		e->over.next_probe = now;
		e->over.probe_pending = e->over.answered = e->over.patient = false;
	}
}

static void look_ends(struct elect *e, struct elect_actions *ret)
{
	e->over.looking = e->over.probe_pending = false;
	e->over.look_ms = 0;
	elect_act(ret, ELECT_DO_HOLD)->deadline = e->deadline;
}

void elect_hold_look(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (!e->over.looking || !mono_reached(now, e->over.look_until) || !mono_before(now, e->deadline))
		return;
	if (e->over.unknown && e->over.answered) {
		e->over.look_until = mono_add_ms(now, e->over.look_ms);
		e->over.answered = false; /* until the next probe says so again */
		e->over.patient = true;
	} else {
		look_ends(e, ret);
	}
}

void elect_hold_introduced(struct elect *e, bool introduced)
{
	/* Our own record is none of the former holder's: what is known of it stays, as long as what we claimed over counts. */
	if (elect_holder_kind(e) != HOLDER_SELF)
		e->over.unknown = !introduced;
}

static void resume(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct elect_action *a = elect_act(ret, ELECT_DO_LEAD);

	elect_handover_lead(e);
	elect_hold_begin(e, now);
	e->over.look_ms = 0;
	e->over.next_probe = mono_add_ms(now, probe_ms(e));
	e->state = ELECT_LEADING;
	a->why = "nobody answers and the API is away";
	a->deadline = e->over.gate_until;
}

static void silent(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->over.looking) {
		look_ends(e, ret);
	} else if (yielded(e)) {
		e->over.silent_since = mono_min(e->over.silent_since, now);
		if (may_hold(e) && no_write_succeeds(e) &&
		    mono_reached(now, mono_add_ms(e->over.silent_since, e->cfg.duration_ms * 2)))
			resume(e, now, ret);
	}
}

bool elect_hold_wire(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	bool heard = ev->probe_id == 0, asked;

	if (!probing(e) || (!heard && ev->probe_id != e->over.probe_id))
		return false;
	asked = !heard && e->over.probe_pending;
	if (ev->wire == ELECT_WIRE_CANDIDATE) {
		e->over.silent_since = MONO_NEVER;
		if (asked)
			e->over.probe_pending = false;
		if (asked && e->over.looking) {
			e->over.answered = true;
			e->over.next_probe = mono_add_ms(ev->now, e->over.patient ? probe_ms(e) : LOOK_AGAIN_MS);
			if (!e->over.patient)
				elect_act(ret, ELECT_DO_ANNOUNCE);
		}
		return e->over.on;
	}
	if (asked && mono_before(ev->now, e->over.probe_timeout)) {
		e->over.probe_pending = false;
		silent(e, ev->now, ret);
	}
	return false;
}

void elect_hold_doubt(struct elect *e)
{
	e->over.silent_since = MONO_NEVER;
	e->over.probe_pending = false;
}

static void probe_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->over.probe_pending && mono_reached(now, e->over.probe_timeout)) {
		elect_hold_doubt(e);
		if (e->over.looking)
			e->over.next_probe = now;
	}
	if (e->over.probe_pending || !mono_reached(now, e->over.next_probe))
		return;
	if (mono_diff_ms(now, e->over.next_probe) > probe_ms(e))
		e->over.silent_since = MONO_NEVER; /* a gap */
	e->over.probe_id = e->over.probe_id == UINT32_MAX ? 1 : e->over.probe_id + 1;
	e->over.probe_pending = true;
	e->over.probe_timeout = mono_add_ms(now, PROBE_MS);
	e->over.next_probe = mono_add_ms(now, probe_ms(e));
	elect_act(ret, ELECT_DO_PROBE)->probe_id = e->over.probe_id;
}

void elect_hold_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->over.on && !e->refused)
		e->over.gate_until = mono_add_ms(now, roll_ms(e));
	if (probing(e))
		probe_due(e, now, ret);
}

mono_t elect_hold_wake(const struct elect *e, mono_t now)
{
	int64_t half_ms = e->cfg.renew_ms / 2, quarter_ms = roll_ms(e) / 4;
	mono_t next = MONO_NEVER;

	if (probing(e))
		next = e->over.probe_pending ? e->over.probe_timeout : e->over.next_probe;
	if (e->over.looking)
		next = mono_min(next, e->over.look_until);
	if (e->over.on)
		return mono_min(next, e->refused ? e->over.gate_until :
						   mono_add_ms(now, half_ms < quarter_ms ? half_ms : quarter_ms));
	if (e->state == ELECT_LEADING)
		next = mono_min(next, may_begin(e) ? mono_add_ms(e->deadline, -ENTER_MS) : e->deadline);
	return next;
}
