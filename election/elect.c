/* SPDX-License-Identifier: Apache-2.0 */
/* elect.c: the state machine that elect.h describes.
 *
 * A step: (1) the deadline, before the event is even looked at; (2) the event changes what is known and, by
 * the state, who we are; (3) a write without an outcome in time counts as failed; (4) whatever is due now is
 * sent, and wake_at is the next time that something is.  Events never send: they set 'next_write'.
 *
 * Safety rests on two facts only: a write replaces exactly the version whose age was measured, and 'deadline'
 * counts from the send of a write that is known to have succeeded.  Everything else here is about being
 * quick, being quiet and not moving without need.  The lease's meaning for addresses and the kernel is the
 * shell's matter. */
#include "election/elect.h"

#include <assert.h>
#include <string.h>

#include "election/elect_follow.h"

#define RELEASES_MAX 2u
#define RELEASED_MS 1000 /* leaseDurationSeconds 1, as client-go releases */

static struct elect_action *act(struct elect_actions *ret, enum elect_action_kind kind)
{
	struct elect_action *a;

	assert(ret->n < ELECT_ACTIONS_MAX);
	a = &ret->v[ret->n++];
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	return a;
}

/* The pause after a failure: doubles from renew/16, upper half jittered.  A leader has little time and stays
 * quick; nobody else needs to try more often than a leader would renew. */
static int64_t backoff_ms(struct elect *e)
{
	int64_t cap_ms = e->state == ELECT_FOLLOWING ? e->cfg.renew_ms : e->cfg.renew_ms / 4;
	int64_t ms = e->cfg.renew_ms / 16;

	for (unsigned int i = 1; i < e->failures && ms < cap_ms; i++)
		ms *= 2;
	if (ms > cap_ms)
		ms = cap_ms;
	return ms / 2 + 1 + elect_jitter_ms(e, ms / 2);
}

static void follow(struct elect *e, mono_t now)
{
	e->state = ELECT_FOLLOWING;
	e->write_pending = false;
	elect_follow_plan(e, now);
}

static void stop_holding(struct elect_actions *ret, const char *why)
{
	act(ret, ELECT_DO_FOLLOW)->why = why;
}

static void send_write(struct elect *e, mono_t now, const struct lease_record *r, struct elect_actions *ret)
{
	bool create = e->state == ELECT_CLAIMING && e->absent;
	struct elect_action *a = act(ret, create ? ELECT_DO_CREATE : ELECT_DO_UPDATE);

	assert(!e->write_pending);
	assert(create || *e->seen_version); /* a PUT without a version would overwrite anything */
	e->write_id = e->write_id == UINT32_MAX ? 1 : e->write_id + 1;
	e->write_pending = true;
	e->write_sent = now;
	e->write_record = *r;
	memset(e->write_version, 0, sizeof(e->write_version));
	if (!create)
		memcpy(e->write_version, e->seen_version, sizeof(e->write_version));
	a->timeout_ms = e->cfg.renew_ms / 2;
	e->write_timeout = mono_add_ms(now, a->timeout_ms);
	a->write_id = e->write_id;
	a->record = *r;
	memcpy(a->version, e->write_version, sizeof(a->version));
}

/* Asks for the Lease, because our version was refused or a follower's view is to be proven; asked again if
 * nothing comes of it. */
static void send_get(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct elect_action *a = act(ret, ELECT_DO_GET);

	a->timeout_ms = e->cfg.renew_ms / 2;
	if (e->refused)
		e->next_write = mono_add_ms(now, a->timeout_ms + 1 + elect_jitter_ms(e, e->cfg.renew_ms / 4));
	else
		elect_follow_asked(e, now);
}

static struct lease_record own_record(const struct elect *e)
{
	struct lease_record r = { .duration_ms = e->cfg.duration_ms };

	memcpy(r.holder, e->cfg.identity, sizeof(r.holder));
	if (!e->known || (e->absent && e->state != ELECT_LEADING))
		return r; /* a new object */
	r.transitions = e->seen.transitions;
	/* leaseTransitions is an int32 that may not be negative. */
	if (elect_record_kind(e) != HOLDER_SELF && r.transitions < INT32_MAX)
		r.transitions++;
	return r;
}

static void claim(struct elect *e, mono_t now, struct elect_actions *ret)
{
	static const char *const whys[] = {
		[HOLDER_ABSENT] = "there was no lease",	     [HOLDER_NOBODY] = "the lease was free",
		[HOLDER_SELF] = "the lease was still ours",  [HOLDER_FORMER] = "the lease was this node's",
		[HOLDER_OTHER] = "the holder's lease expired",
	};
	enum holder_kind kind = elect_holder_kind(e);
	struct lease_record r = own_record(e);

	assert(kind != HOLDER_UNKNOWN);
	/* What a former process left in the kernel may live as long as its record: no shorter one before we lead. */
	if ((kind == HOLDER_SELF || kind == HOLDER_FORMER) && e->seen.duration_ms > r.duration_ms)
		r.duration_ms = e->seen.duration_ms;
	if (kind != HOLDER_SELF)
		e->inherited = kind == HOLDER_FORMER || (kind == HOLDER_ABSENT && !e->wrote);
	e->why = whys[kind];
	e->state = ELECT_CLAIMING;
	send_write(e, now, &r, ret);
}

/* The end of our right to hold if the write under way has succeeded. */
static mono_t write_deadline(const struct elect *e)
{
	int64_t ms = e->write_record.duration_ms;

	return mono_add_ms(e->write_sent, ms - elect_margin_ms(ms));
}

static void renew(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct lease_record r = own_record(e);
	mono_t until = mono_add_ms(now, r.duration_ms - elect_margin_ms(r.duration_ms));

	/* Others may see the shorter record as soon as this write is sent; the kernel must know before. */
	if (mono_before(until, e->deadline)) {
		e->deadline = until;
		act(ret, ELECT_DO_HOLD)->deadline = until;
	}
	send_write(e, now, &r, ret);
}

/* Begins to give the Lease up.  A write under way is waited for: its outcome tells the version to release. */
static void release_begin(struct elect *e, mono_t now)
{
	e->state = ELECT_RELEASING;
	e->failures = 0;
	e->releases = 0;
	e->release_until = mono_add_ms(now, e->cfg.renew_ms);
	e->next_write = now;
}

static void release_end(struct elect *e, mono_t now, struct elect_actions *ret)
{
	follow(e, now);
	if (!e->stopping)
		return;
	e->state = ELECT_STOPPED;
	act(ret, ELECT_DO_STOPPED);
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
	bool refused = e->refused;

	if (!*ev->version || seen_is_old(e, ev->version))
		return;
	if (e->known && !e->absent && strcmp(ev->version, e->seen_version) == 0) {
		e->refused = false; /* asked, and nothing newer: try again when due */
		if (e->state == ELECT_FOLLOWING)
			elect_follow_unchanged(e, ev->now);
		return;
	}
	know(e, ev->now, &ev->record, ev->version);
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
			stop_holding(ret, *e->seen.holder ? "another holder" : "the lease was taken from us");
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
}

/* Deleted while we lead.  Until our deadline nobody else can have held, so there is nobody to wait for. */
static void lost_object(struct elect *e, mono_t now, struct elect_actions *ret)
{
	stop_holding(ret, "the lease was deleted");
	e->known = false;
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
		if (refused) {
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
	mono_t now = ev->now, deadline = write_deadline(e);

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
			stop_holding(ret, "the renewal took too long");
		follow(e, now);
		e->failures = 1;
		e->next_write = mono_add_ms(now, backoff_ms(e));
	} else {
		bool leading = e->state == ELECT_LEADING;
		struct elect_action *a = act(ret, leading ? ELECT_DO_HOLD : ELECT_DO_LEAD);

		a->why = leading ? NULL : e->why;
		a->deadline = e->deadline = deadline;
		e->state = ELECT_LEADING;
		e->inherited = false;
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
	e->failures++;
	if (e->state == ELECT_CLAIMING)
		e->state = ELECT_FOLLOWING;
	e->next_write = mono_add_ms(now, backoff_ms(e));
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

static void on_fit(struct elect *e, mono_t now, bool fit, struct elect_actions *ret)
{
	bool before = e->fit;

	e->fit = fit;
	if (fit && !before && e->state == ELECT_FOLLOWING)
		elect_follow_plan(e, now);
	if (fit || (e->state != ELECT_LEADING && e->state != ELECT_CLAIMING))
		return;
	if (e->state == ELECT_LEADING)
		stop_holding(ret, "this node may not hold");
	release_begin(e, now);
}

static void on_stop(struct elect *e, mono_t now, struct elect_actions *ret)
{
	e->stopping = true;
	switch (e->state) {
	case ELECT_LEADING:
		stop_holding(ret, "stopping");
		release_begin(e, now);
		break;
	case ELECT_CLAIMING:
		release_begin(e, now);
		break;
	case ELECT_FOLLOWING:
		if (elect_holder_kind(e) == HOLDER_SELF)
			release_begin(e, now);
		else
			release_end(e, now, ret);
		break;
	case ELECT_RELEASING:
	case ELECT_STOPPED:
		break;
	}
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
	}
}

/* --- what is due --------------------------------------------------------------------------------------- */

static void release_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct lease_record r = { .duration_ms = RELEASED_MS, .transitions = e->seen.transitions };

	/* What we inherited and never led by may still be held up by our node's kernel: it must run out. */
	if (e->inherited || mono_reached(now, e->release_until) ||
	    (!e->write_pending && !e->refused &&
	     (elect_holder_kind(e) != HOLDER_SELF || e->releases == RELEASES_MAX))) {
		release_end(e, now, ret);
	} else if (!e->write_pending && mono_reached(now, e->next_write)) {
		if (e->refused) {
			send_get(e, now, ret);
		} else {
			e->releases++;
			send_write(e, now, &r, ret);
		}
	}
}

/* Sends what is due. */
static void send_due(struct elect *e, mono_t now, struct elect_actions *ret)
{
	if (e->state == ELECT_RELEASING)
		release_due(e, now, ret);
	if (e->state == ELECT_FOLLOWING && mono_reached(now, elect_follow_due(e)))
		elect_follow_asks(e) ? send_get(e, now, ret) : claim(e, now, ret);
	else if (e->state == ELECT_LEADING && !e->write_pending && mono_reached(now, e->next_write))
		e->refused ? send_get(e, now, ret) : renew(e, now, ret);
}

static mono_t next_wake(const struct elect *e)
{
	mono_t next = e->write_pending ? e->write_timeout : e->next_write;

	if (e->state == ELECT_STOPPED)
		return MONO_NEVER;
	if (e->state == ELECT_FOLLOWING)
		return elect_follow_due(e);
	if (e->state == ELECT_LEADING)
		return mono_min(next, e->deadline);
	return e->state == ELECT_RELEASING ? mono_min(next, e->release_until) : next;
}

void elect_step(struct elect *e, const struct elect_event *ev, struct elect_actions *ret)
{
	mono_t now = ev->now;

	ret->n = 0;
	if (e->state == ELECT_LEADING && mono_reached(now, e->deadline)) {
		stop_holding(ret, "the lease could not be renewed in time");
		e->state = e->write_pending ? ELECT_CLAIMING : ELECT_FOLLOWING;
		e->why = "the lease was still ours";
	}
	if (e->state != ELECT_STOPPED)
		on_event(e, ev, ret);
	if (e->write_pending && mono_reached(now, e->write_timeout)) {
		e->write_pending = false;
		on_write_failed(e, now);
	}
	send_due(e, now, ret);
	ret->wake_at = next_wake(e);
	assert(mono_before(now, ret->wake_at));
}

void elect_init(struct elect *e, const struct elect_config *cfg)
{
	assert(*cfg->identity);
	assert(cfg->duration_ms >= LEASE_MS_MIN && cfg->duration_ms <= LEASE_MS_MAX);
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
	return e->state == ELECT_LEADING && mono_before(now, e->deadline);
}

const char *elect_state_name(enum elect_state s)
{
	static const char *const names[] = {
		[ELECT_FOLLOWING] = "following", [ELECT_CLAIMING] = "claiming", [ELECT_LEADING] = "leading",
		[ELECT_RELEASING] = "releasing", [ELECT_STOPPED] = "stopped",
	};

	return s <= ELECT_STOPPED ? names[s] : "invalid";
}
