/* SPDX-License-Identifier: Apache-2.0 */
/* elect_follow.c: what a follower waits for: the part of elect.c that weighs another's right.
 *
 * The proof.  A record that has not changed for its duration means a dead holder only if changes would have
 * reached us.  A torn watch says so itself (VIEW).  A watch that hangs does not: with the whole API hanging, every
 * follower would see an expired record, and whoever's PUT comes first when the API is back would move addresses
 * that need not move.  So two thirds into the duration, by when a living holder has renewed, the follower reads
 * the Lease; in ordinary times no such GET is ever sent.  An answer to the first, or before the expiry, proves the
 * view, and leaves the holder a third of the duration to come back with the API (it tries far more often).  No
 * answer is a gap like any other: asked until answered, and then the expiry starts again. */
#include "election/elect_follow.h"

#include <assert.h>
#include <string.h>

#define JITTER_FREE_MS 20 /* lets one candidate's write be seen before the others send theirs */

static mono_t mono_max(mono_t a, mono_t b)
{
	return mono_before(a, b) ? b : a;
}

int64_t elect_jitter_ms(struct elect *e, int64_t max_ms)
{
	return prng_range(&e->prng, 0, max_ms);
}

enum holder_kind elect_record_kind(const struct elect *e)
{
	if (strcmp(e->seen.holder, e->cfg.identity) == 0)
		return HOLDER_SELF;
	if (!*e->seen.holder)
		return HOLDER_NOBODY;
	if (!e->wrote && lease_same_node(e->seen.holder, e->cfg.identity))
		return HOLDER_FORMER;
	return e->seen.stage == LEASE_STAGE_CLAIM && e->seen.handover != 0 &&
	       strcmp(e->seen.successor, e->cfg.identity) == 0 ? HOLDER_CEDED : HOLDER_OTHER;
}

enum holder_kind elect_holder_kind(const struct elect *e)
{
	if (e->absent)
		return HOLDER_ABSENT;
	return e->known ? elect_record_kind(e) : HOLDER_UNKNOWN;
}

/* As it counts for us: candidates that are preferred come first. */
static mono_t record_expiry(const struct elect *e)
{
	return mono_add_ms(e->seen_at, e->seen.duration_ms + e->cfg.delay_ms);
}

void elect_follow_plan(struct elect *e, mono_t now)
{
	mono_t expiry = record_expiry(e);
	mono_t due = now;

	assert(e->state == ELECT_FOLLOWING);
	e->asked = 0;
	e->proven = false;
	if (e->refused) {
		e->next_write = mono_max(now, e->next_write); /* a GET comes first */
		return;
	}
	switch (elect_holder_kind(e)) {
	case HOLDER_UNKNOWN:
		due = MONO_NEVER;
		break;
	case HOLDER_SELF:
	case HOLDER_FORMER:
	case HOLDER_CEDED:
		/* At once, but a backlog of old records must not make a write of each. */
		if (e->write_id)
			due = mono_max(now, mono_add_ms(e->write_sent, e->cfg.renew_ms / 8));
		if (e->move.shut && e->seen.stage == LEASE_STAGE_CLAIM)
			due = mono_max(due, e->move.until); /* the successor's turn */
		break;
	case HOLDER_NOBODY:
		due = mono_add_ms(now, e->cfg.delay_ms + elect_jitter_ms(e, JITTER_FREE_MS));
		break;
	case HOLDER_OTHER:
		due = mono_add_ms(expiry, elect_jitter_ms(e, JITTER_FREE_MS));
		e->next_probe = mono_add_ms(e->seen_at, e->seen.duration_ms * 2 / 3 + e->cfg.delay_ms);
		break;
	case HOLDER_ABSENT:
		due = mono_add_ms(now, e->cfg.delay_ms);
		if (e->known && *e->seen.holder)
			due = mono_max(due, expiry);
		due = mono_add_ms(due, elect_jitter_ms(e, e->cfg.renew_ms / 4));
		break;
	}
	e->next_write = e->failures > 0 ? mono_max(due, e->next_write) : due;
}

mono_t elect_follow_due(const struct elect *e)
{
	enum holder_kind kind = elect_holder_kind(e);

	if (!e->fit || kind == HOLDER_UNKNOWN)
		return MONO_NEVER;
	/* Our own record needs no fresh view: nobody else's right is weighed, and the PUT itself tells whether
	 * it is still ours.  So a holder is back with the API, not with the watch.  Nor does one ceded to us. */
	if (e->refused || kind == HOLDER_SELF || kind == HOLDER_FORMER || kind == HOLDER_CEDED)
		return e->next_write;
	if (!e->fresh)
		return MONO_NEVER;
	return kind == HOLDER_OTHER && !e->proven ? e->next_probe : e->next_write;
}

bool elect_follow_asks(const struct elect *e)
{
	return e->refused || (elect_holder_kind(e) == HOLDER_OTHER && !e->proven);
}

void elect_follow_asked(struct elect *e, mono_t now)
{
	/* Several tries fit in before the expiry, so one dead API server is no gap. */
	int64_t ms = mono_before(now, record_expiry(e)) ? e->cfg.renew_ms / 2 : e->cfg.renew_ms;

	e->next_probe = mono_add_ms(now, ms + 1 + elect_jitter_ms(e, e->cfg.renew_ms / 8));
	e->asked++;
}

void elect_follow_unchanged(struct elect *e, mono_t now)
{
	if (e->asked == 0 || e->proven || !e->fresh)
		return;
	if (e->asked == 1 || mono_before(now, record_expiry(e))) {
		e->proven = true;
		e->next_write = mono_max(e->next_write, mono_add_ms(now, e->seen.duration_ms / 3));
	} else {
		e->seen_at = now;
		elect_follow_plan(e, now);
	}
}
