/* SPDX-License-Identifier: Apache-2.0 */
/* elect.c: the state machine that elect.h describes.
 *
 * A step: (1) the deadline, before the event is even looked at; (2) the event changes what is known and, by
 * the state, who we are; (3) a write without an outcome in time counts as failed; (4) whatever is due now is
 * sent, and wake_at is the next time that something is.  Events never send: they set 'next_write'.
 *
 * Its parts: elect_follow.c weighs another's right, elect_write.c has the requests, elect_handover.c planned moves,
 * elect_hold.c what policy hold allows without a Lease.
 *
 * Safety (policy hold apart) rests on two facts only: a write replaces exactly the version whose age was
 * measured, and 'deadline' counts from the send of a write that is known to have succeeded.  Everything else here
 * is about being quick, being quiet and not moving without need.  The lease's meaning for addresses and the kernel
 * is the shell's matter. */
#include "election/elect.h"

#include <assert.h>
#include <string.h>

#include "election/elect_follow.h"
#include "election/elect_handover.h"
#include "election/elect_hold.h"
#include "election/elect_write.h"

#define RELEASES_MAX 2u
#define RELEASED_MS 1000 /* leaseDurationSeconds 1, as client-go releases */

static void follow(struct elect *e, mono_t now)
{
	e->state = ELECT_FOLLOWING;
	e->write_pending = false;
	elect_follow_plan(e, now);
}

/* The state is LEADING until the caller has said what comes instead. */
static void stop_holding(struct elect *e, mono_t now, struct elect_actions *ret, const char *why)
{
	elect_act(ret, ELECT_DO_FOLLOW)->why = why;
	elect_hold_left(e, now, false);
	elect_handover_left(e);
}

/* Stops holding although the record is ours, and claims it again: without a right of our own, or unsure of it. */
static void lapse(struct elect *e, mono_t now, struct elect_actions *ret, const char *why)
{
	stop_holding(e, now, ret, why);
	elect_hold_left(e, now, true);
	e->state = e->write_pending ? ELECT_CLAIMING : ELECT_FOLLOWING;
	e->why = "the lease was still ours";
}

static void claim(struct elect *e, mono_t now, struct elect_actions *ret)
{
	static const char *const whys[] = {
		[HOLDER_ABSENT] = "there was no lease",	     [HOLDER_NOBODY] = "the lease was free",
		[HOLDER_SELF] = "the lease was still ours",  [HOLDER_FORMER] = "the lease was this node's",
		[HOLDER_CEDED] = "handed over to us",	     [HOLDER_OTHER] = ELECT_WHY_EXPIRED,
	};
	enum holder_kind kind = elect_holder_kind(e);
	struct lease_record r = elect_own_record(e);

	assert(kind != HOLDER_UNKNOWN);
	/* What a former process left in the kernel may live as long as its record: no shorter one before we lead. */
	if ((kind == HOLDER_SELF || kind == HOLDER_FORMER) && e->seen.duration_ms > r.duration_ms)
		r.duration_ms = e->seen.duration_ms;
	if (kind != HOLDER_SELF)
		e->inherited = kind == HOLDER_FORMER || (kind == HOLDER_ABSENT && !e->wrote);
	elect_hold_claims(e);
	e->why = whys[kind];
	e->state = ELECT_CLAIMING;
	elect_send_write(e, now, &r, ret);
}

static void renew(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct lease_record r = elect_own_record(e);
	mono_t until = mono_add_ms(now, r.duration_ms - elect_margin_ms(r.duration_ms));

	/* Others may see the shorter record as soon as this write is sent; the kernel must know before. */
	if (mono_before(until, e->deadline)) {
		e->deadline = until;
		elect_act(ret, ELECT_DO_HOLD)->deadline = until;
	}
	elect_handover_sends(e, now, &r);
	elect_send_write(e, now, &r, ret);
}

/* Begins to give the Lease up.  A write under way is waited for: its outcome tells the version to release. */
static void release_begin(struct elect *e, mono_t now, struct elect_actions *ret)
{
	e->state = ELECT_RELEASING;
	e->failures = 0;
	e->releases = 0;
	e->release_until = mono_add_ms(now, e->cfg.renew_ms);
	e->next_write = now;
	elect_hold_ends(e);
	elect_handover_unprepare(e, ret, "this node may not hold");
}

static void release_end(struct elect *e, mono_t now, struct elect_actions *ret)
{
	elect_handover_left(e);
	follow(e, now);
	if (!e->stopping)
		return;
	elect_handover_unprepare(e, ret, "stopping");
	e->state = ELECT_STOPPED;
	elect_act(ret, ELECT_DO_STOPPED);
}

/* --- events -------------------------------------------------------------------------------------------- */

/* Whether 'version' is behind what we know; see the last rule in elect.h. */
static bool seen_is_old(const struct elect *e, const char *version)
{
	bool in_doubt = e->state == ELECT_FOLLOWING && (!e->fresh || e->refused);

	return e->known && !in_doubt && lease_version_older(version, e->seen_version);
}

static void know(struct elect *e, mono_t now, const struct lease_record *r, const char *version)
{
	e->seen = *r;
	memcpy(e->seen_version, version, sizeof(e->seen_version));
	e->seen_at = now;
	e->known = true;
	e->absent = false;
	e->refused = false;
	e->failures = 0;
}

static void on_seen(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	bool refused = e->refused, handed;

	if (!*ev->version || seen_is_old(e, ev->version))
		return;
	if (e->known && !e->absent && strcmp(ev->version, e->seen_version) == 0) {
		e->refused = false; /* asked, and nothing newer: try again when due */
		if (e->state == ELECT_FOLLOWING)
			elect_follow_unchanged(e, ev->now);
		return;
	}
	know(e, ev->now, &ev->record, ev->version);
	handed = elect_handover_known(e, ev->now);
	if (elect_holder_kind(e) != HOLDER_SELF && e->state != ELECT_LEADING)
		elect_hold_ends(e);
	switch (e->state) {
	case ELECT_FOLLOWING:
		elect_follow_plan(e, ev->now);
		break;
	case ELECT_CLAIMING:
		if (elect_holder_kind(e) != HOLDER_SELF)
			follow(e, ev->now); /* the version we claim over is gone */
		break;
	case ELECT_LEADING:
		if (elect_holder_kind(e) != HOLDER_SELF) {
			stop_holding(e, ev->now, ret, handed ? "handed over" :
				     *e->seen.holder ? "another holder" : "the lease was taken from us");
			follow(e, ev->now);
		} else if (refused) {
			e->next_write = ev->now;
		}
		break;
	case ELECT_RELEASING:
		if (elect_holder_kind(e) != HOLDER_SELF)
			release_end(e, ev->now, ret);
		else if (refused)
			e->next_write = ev->now;
		break;
	case ELECT_STOPPED:
		break;
	}
	elect_handover_asked(e, ev->now, ret);
}

/* Deleted while we lead.  Until our deadline nobody else can have held, so there is nobody to wait for; but for a successor
 * that we had let claim. */
static void lost_object(struct elect *e, mono_t now, struct elect_actions *ret)
{
	bool claimed = e->move.shut;

	stop_holding(e, now, ret, "the lease was deleted");
	e->known = claimed;
	follow(e, now);
}

static void on_absent(struct elect *e, mono_t now, struct elect_actions *ret)
{
	bool before = e->absent, refused = e->refused;

	e->absent = true;
	e->refused = false;
	if (!before)
		e->failures = 0;
	if (!before || refused)
		e->seen_at = now; /* whoever held may have renewed until the deletion, unseen by us */
	switch (e->state) {
	case ELECT_FOLLOWING:
		if (!before || refused)
			elect_follow_plan(e, now);
		break;
	case ELECT_LEADING:
		if (refused || e->over.on) {
			lost_object(e, now, ret);
		} else if (!before) {
			e->next_write = now; /* a lagging view, or the truth: the next renewal tells */
		}
		break;
	case ELECT_RELEASING:
		if (!e->write_pending || *e->write_version)
			release_end(e, now, ret);
		break;
	case ELECT_CLAIMING: /* the reply tells */
	case ELECT_STOPPED:
		break;
	}
	if (e->state != ELECT_LEADING)
		elect_hold_ends(e);
	elect_handover_asked(e, now, ret);
}

static void on_view(struct elect *e, mono_t now, bool fresh)
{
	bool back = fresh && !e->fresh;

	e->fresh = fresh;
	if (!back)
		return;
	e->seen_at = now;
	if (e->state == ELECT_FOLLOWING)
		elect_follow_plan(e, now);
}

static void on_write_ok(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	mono_t now = ev->now, deadline = elect_write_deadline(e);

	e->wrote = true;
	if (!e->known || e->absent || !lease_version_older(ev->version, e->seen_version))
		know(e, now, &e->write_record, ev->version);
	e->failures = 0;
	e->refused = !*e->seen_version;
	e->next_write = e->refused ? now : mono_add_ms(e->write_sent, e->cfg.renew_ms);
	if (e->state == ELECT_RELEASING) {
		e->next_write = now;
		if (!*e->write_record.holder)
			release_end(e, now, ret);
	} else if (mono_reached(now, deadline)) {
		/* So slow that the record is past its use: try again, from a new send time. */
		if (e->state == ELECT_LEADING)
			stop_holding(e, now, ret, "the renewal took too long");
		follow(e, now);
		e->failures = 1;
		e->next_write = mono_add_ms(now, elect_backoff_ms(e));
	} else {
		bool leading = e->state == ELECT_LEADING;
		struct elect_action *a = elect_act(ret, leading ? ELECT_DO_HOLD : ELECT_DO_LEAD);

		a->why = leading ? NULL : e->why;
		a->deadline = e->deadline = deadline;
		e->state = ELECT_LEADING;
		e->inherited = false;
		elect_hold_written(e, now, !leading);
		if (!leading)
			elect_handover_lead(e);
		elect_handover_written(e, now, ret);
		if (elect_handover_urgent(e))
			e->next_write = now;
	}
}

static void on_write_conflict(struct elect *e, mono_t now, struct elect_actions *ret)
{
	bool create = !*e->write_version;

	/* Refused is what we know, unless the view has told us better since the write was sent. */
	e->refused = create ? e->absent : !e->absent && strcmp(e->write_version, e->seen_version) == 0;
	e->next_write = now;
	switch (e->state) {
	case ELECT_CLAIMING:
		follow(e, now);
		break;
	case ELECT_LEADING:
		if (e->absent)
			lost_object(e, now, ret);
		break;
	case ELECT_RELEASING:
		if (!e->refused && elect_holder_kind(e) != HOLDER_SELF)
			release_end(e, now, ret);
		break;
	case ELECT_FOLLOWING: /* no write is under way */
	case ELECT_STOPPED:
		break;
	}
	if (e->refused) {
		e->failures++;
		e->next_write = now; /* the GET goes out in this very step */
	}
}

static void on_write_failed(struct elect *e, mono_t now)
{
	mono_t retry = now;

	e->failures++;
	if (e->state == ELECT_CLAIMING) {
		e->state = ELECT_FOLLOWING;
		retry = elect_hold_retry(e, now);
	}
	e->next_write = mono_add_ms(now, elect_backoff_ms(e));
	if (mono_before(e->next_write, retry))
		e->next_write = retry;
	if (elect_handover_urgent(e))
		e->next_write = now;
	if (e->state == ELECT_RELEASING && elect_holder_kind(e) != HOLDER_SELF) {
		/* A claim of unknown outcome: what we must release, if anything, only a GET can tell. */
		e->refused = true;
		e->next_write = now;
	}
}

static void on_write(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	/* The outcome of a write that was given up: its send time is gone, so it can move no deadline, and what
	 * it wrote the view will show. */
	if (!e->write_pending || ev->write_id != e->write_id)
		return;
	e->write_pending = false;
	if (ev->kind == ELECT_EV_WRITE_OK)
		on_write_ok(e, ev, ret);
	else if (ev->kind == ELECT_EV_WRITE_CONFLICT)
		on_write_conflict(e, ev->now, ret);
	else
		on_write_failed(e, ev->now);
}

static void give_up(struct elect *e, mono_t now, struct elect_actions *ret, const char *why)
{
	if (e->state == ELECT_LEADING)
		elect_act(ret, ELECT_DO_FOLLOW)->why = why;
	elect_handover_release(e, now);
	release_begin(e, now, ret);
}

static void on_fit(struct elect *e, mono_t now, bool fit, struct elect_actions *ret)
{
	bool before = e->fit;

	e->fit = fit;
	if (!fit)
		elect_handover_unprepare(e, ret, "this node may not hold");
	if (fit && !before && e->state == ELECT_FOLLOWING)
		elect_follow_plan(e, now);
	if (fit || (e->state != ELECT_LEADING && e->state != ELECT_CLAIMING))
		return;
	give_up(e, now, ret, "this node may not hold");
}

static void on_stop(struct elect *e, mono_t now, struct elect_actions *ret)
{
	e->stopping = true;
	switch (e->state) {
	case ELECT_LEADING:
	case ELECT_CLAIMING:
		give_up(e, now, ret, "stopping");
		break;
	case ELECT_FOLLOWING:
		if (elect_holder_kind(e) == HOLDER_SELF)
			release_begin(e, now, ret);
		else
			release_end(e, now, ret);
		break;
	case ELECT_RELEASING:
	case ELECT_STOPPED:
		break;
	}
}

/* What we believe about the passing of time may be wrong, the write under way included. */
static void on_doubt(struct elect *e, mono_t now, struct elect_actions *ret)
{
	static const char why[] = "the clock jumped or this process stood still";

	e->seen_at = now;
	elect_hold_doubt(e);
	elect_handover_unprepare(e, ret, why);
	if (e->state == ELECT_LEADING)
		lapse(e, now, ret, why);
	if (e->state == ELECT_FOLLOWING || e->state == ELECT_CLAIMING)
		follow(e, now);
}

static void on_wire(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	if (elect_hold_wire(e, ev, ret))
		lapse(e, ev->now, ret, "another node answers");
}

static void on_event(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	switch (ev->kind) {
	case ELECT_EV_TICK:
		break;
	case ELECT_EV_SEEN:
		on_seen(e, ev, ret);
		break;
	case ELECT_EV_ABSENT:
		on_absent(e, ev->now, ret);
		break;
	case ELECT_EV_VIEW:
		on_view(e, ev->now, ev->fresh);
		break;
	case ELECT_EV_WRITE_OK:
	case ELECT_EV_WRITE_CONFLICT:
	case ELECT_EV_WRITE_FAILED:
		on_write(e, ev, ret);
		break;
	case ELECT_EV_FIT:
		on_fit(e, ev->now, ev->fit, ret);
		break;
	case ELECT_EV_STOP:
		on_stop(e, ev->now, ret);
		break;
	case ELECT_EV_HANDOVER:
	case ELECT_EV_PREPARED:
	case ELECT_EV_REFUSED:
		elect_handover_event(e, ev, ret);
		break;
	case ELECT_EV_WIRE:
		on_wire(e, ev, ret);
		break;
	case ELECT_EV_INTRODUCED:
		elect_hold_introduced(e, ev->introduced);
		break;
	case ELECT_EV_DOUBT:
		on_doubt(e, ev->now, ret);
		break;
	}
}

/* --- what is due --------------------------------------------------------------------------------------- */

/* LEADING, RELEASING. */
static mono_t write_due(const struct elect *e)
{
	return elect_handover_waits(e) ? e->move.until : e->next_write;
}

static void release_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct lease_record r = { .duration_ms = RELEASED_MS, .transitions = e->seen.transitions };

	/* What we inherited and never led by may still be held up by our node's kernel: it must run out. */
	if (e->inherited || mono_reached(now, e->release_until) ||
	    (!e->write_pending && !e->refused &&
	     (elect_holder_kind(e) != HOLDER_SELF || e->releases == RELEASES_MAX))) {
		release_end(e, now, ret);
	} else if (!e->write_pending && mono_reached(now, write_due(e))) {
		if (e->refused) {
			elect_send_get(e, now, ret);
		} else {
			e->releases++;
			elect_send_write(e, now, &r, ret);
		}
	}
}

/* Sends what is due. */
static void send_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->state == ELECT_RELEASING)
		release_due(e, now, ret);
	if (e->state == ELECT_FOLLOWING && mono_reached(now, elect_follow_due(e)))
		elect_follow_asks(e) ? elect_send_get(e, now, ret) : claim(e, now, ret);
	else if (e->state == ELECT_LEADING && !e->write_pending && mono_reached(now, write_due(e)))
		e->refused ? elect_send_get(e, now, ret) : renew(e, now, ret);
}

static mono_t next_wake(const struct elect *e, mono_t now)
{
	mono_t next = e->write_pending ? e->write_timeout : write_due(e);

	if (e->state == ELECT_STOPPED)
		return MONO_NEVER;
	if (e->state == ELECT_FOLLOWING)
		next = elect_follow_due(e);
	else if (e->state == ELECT_RELEASING)
		next = mono_min(next, e->release_until);
	return mono_min(next, mono_min(elect_handover_wake(e), elect_hold_wake(e, now)));
}

/* Goes on past the deadline, if policy hold says so; or stops holding at it. */
static void check_deadline(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->state != ELECT_LEADING)
		return;
	elect_hold_look(e, now, ret);
	if (elect_hold_begins(e, now)) {
		elect_handover_fail(e, ret, "no write succeeds");
		elect_hold_begin(e, now);
	}
	if (elect_hold_lapsed(e, now))
		lapse(e, now, ret, "the hold was not affirmed in time");
	else if (!e->over.on && mono_reached(now, e->deadline))
		lapse(e, now, ret, "the lease could not be renewed in time");
}

void elect_step(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	mono_t now = ev->now;

	ret->n = 0;
	check_deadline(e, now, ret);
	if (e->state != ELECT_STOPPED)
		on_event(e, ev, ret);
	if (e->write_pending && mono_reached(now, e->write_timeout)) {
		e->write_pending = false;
		on_write_failed(e, now);
	}
	elect_handover_due(e, now, ret);
	check_deadline(e, now, ret); /* again: what has happened may allow overtime, or end it */
	elect_hold_due(e, now, ret);
	send_due(e, now, ret);
	ret->wake_at = next_wake(e, now);
	assert(mono_before(now, ret->wake_at));
}

void elect_init(struct elect *e, const struct elect_config *cfg)
{
	assert(*cfg->identity);
	assert(cfg->duration_ms >= LEASE_MS_MIN && cfg->duration_ms <= LEASE_MS_MAX);
	assert(cfg->delay_ms >= 0);
	assert(cfg->renew_ms >= ELECT_RENEW_MS_MIN && cfg->renew_ms < cfg->duration_ms / 2);
	memset(e, 0, sizeof(*e));
	e->cfg = *cfg;
	e->prng.state = cfg->seed;
	e->state = ELECT_FOLLOWING;
	e->next_write = MONO_NEVER;
}

int64_t elect_margin_ms(int64_t duration_ms)
{
	return duration_ms > 2500 ? (duration_ms + 49) / 50 : 50;
}

bool elect_holds(const struct elect *e, mono_t now)
{
	return e->state == ELECT_LEADING &&
	       (mono_before(now, e->deadline) || (e->over.on && mono_before(now, e->over.gate_until)));
}

struct elect_gate elect_gate(const struct elect *e)
{
	struct elect_gate g = { .redirect_until = e->move.redirect_until, .redirect_to = "" };

	if (g.redirect_until.ns > 0)
		g.redirect_to = e->move.successor;
	if (e->state == ELECT_LEADING) {
		g.ip_until = e->over.on ? e->over.gate_until : e->deadline;
		if (!e->move.shut && !e->over.looking)
			g.arp_until = g.ip_until;
		g.local = !e->move.shut || g.redirect_until.ns == 0;
	} else if (e->move.preparing != 0) {
		g.ip_until = e->move.ip_until;
		g.local = e->state == ELECT_CLAIMING;
	}
	return g;
}

const char *elect_state_name(enum elect_state s)
{
	static const char *const names[] = {
		[ELECT_FOLLOWING] = "following", [ELECT_CLAIMING] = "claiming", [ELECT_LEADING] = "leading",
		[ELECT_RELEASING] = "releasing", [ELECT_STOPPED] = "stopped",
	};

	return s <= ELECT_STOPPED ? names[s] : "invalid";
}
