/* SPDX-License-Identifier: Apache-2.0 */
/* conflict.c: the policy's table, and how often it speaks. */
#include "agent/core/conflict.h"

#include <assert.h>

#include "agent/base/auto.h"

#define DEFEND_SOON 3
#define DEFEND_SOON_MS 1000
#define DEFEND_INTERVAL_MS 10000 /* RFC 5227 section 1.1 */
#define QUOTA_MS 60000
#define BATCH_MS 250 /* between two batches, at least */

const char *conflict_kind_name(enum conflict_kind kind)
{
	static const char *const names[] = {
		[CONFLICT_HOST] = "host",	[CONFLICT_BALANCER] = "balancer", [CONFLICT_NODE] = "node",
		[CONFLICT_ADDRESS] = "address", [CONFLICT_PROBE] = "probe",
	};

	static_assert(ARRAY_LEN(names) == CONFLICT_KIND_N, "each has a name");
	return names[kind];
}

/* ---- the table ---- */

static struct conflict_verdict weigh_held(const struct conflict_case *c)
{
	struct conflict_verdict ignore = { CONFLICT_IGNORE, CONFLICT_HOST };

	if (c->heard == CONFLICT_ASKED)
		return c->who == CONFLICT_STRANGER ? (struct conflict_verdict){ CONFLICT_REPORT, CONFLICT_PROBE } : ignore;
	switch (c->who) {
	case CONFLICT_SELF:
		return ignore;
	case CONFLICT_CANDIDATE:
		if (c->held_ms < c->late_ms)
			return ignore;
		return (struct conflict_verdict){ CONFLICT_DEFEND | CONFLICT_REPORT | CONFLICT_CONFIRM, CONFLICT_NODE };
	case CONFLICT_UNKNOWN:
		return (struct conflict_verdict){ CONFLICT_DEFEND, CONFLICT_HOST };
	case CONFLICT_STRANGER:
		if (c->held_ms < CONFLICT_LATE_MS && !c->answer)
			return ignore;
		return (struct conflict_verdict){ CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST };
	}
	return ignore;
}

struct conflict_verdict conflict_weigh(const struct conflict_case *c)
{
	const bool answers = c->here == CONFLICT_HELD || c->here == CONFLICT_BUSY;

	if (c->here == CONFLICT_BUSY && c->who == CONFLICT_CANDIDATE && c->heard != CONFLICT_ASKED)
		return (struct conflict_verdict){ CONFLICT_YIELD, CONFLICT_NODE };
	return answers ? weigh_held(c) : (struct conflict_verdict){ CONFLICT_IGNORE, CONFLICT_HOST };
}

/* ---- doubt ---- */

bool conflict_doubt_stands(const struct conflict_doubt *d, mono_t now, mono_t held_since)
{
	return d->since.ns != 0 && held_since.ns != 0 && !mono_before(d->since, held_since) &&
	       mono_diff_ms(now, d->last) <= CONFLICT_DOUBT_MS;
}

bool conflict_doubt_hear(struct conflict_doubt *d, mono_t now, mono_t held_since, bool answer, bool asks)
{
	if (!conflict_doubt_stands(d, now, held_since)) {
		*d = (struct conflict_doubt){ .since = now, .last = now };
		return false;
	}
	d->last = now;
	if (!asks)
		return mono_diff_ms(now, d->since) >= CONFLICT_CONFIRM_MS;
	return d->asked >= (answer ? 1 : 2);
}

mono_t conflict_doubt_ask_at(const struct conflict_doubt *d)
{
	if (d->since.ns == 0 || d->asked >= 2)
		return MONO_NEVER;
	return d->asked == 0 ? mono_add_ms(d->since, CONFLICT_ASK_MS) :
			       mono_add_ms(d->asked_at, CONFLICT_CONFIRM_MS - CONFLICT_ASK_MS);
}

void conflict_doubt_asked(struct conflict_doubt *d, mono_t now)
{
	d->asked++;
	d->asked_at = now;
}

/* ---- defence ---- */

mono_t conflict_defend(struct conflict_defence *d, mono_t now)
{
	mono_t soonest = now;

	if (d->claimed.ns == 0 || mono_diff_ms(now, d->claimed) >= DEFEND_INTERVAL_MS)
		d->n = 0;
	d->claimed = now;
	if (mono_before(now, d->last))
		return d->last;
	if (d->n > 0)
		soonest = mono_add_ms(d->last, d->n < DEFEND_SOON ? DEFEND_SOON_MS : DEFEND_INTERVAL_MS);
	d->last = mono_before(soonest, now) ? now : soonest;
	d->n += d->n < DEFEND_SOON;
	return d->last;
}

/* ---- strangers ---- */

void conflict_hear(struct conflict_voice *v, enum conflict_heard heard, bool v4)
{
	if (heard != CONFLICT_ANNOUNCE && heard != CONFLICT_ANNOUNCE_REPLY)
		return;
	v->announced++;
	v->request |= v4 && heard == CONFLICT_ANNOUNCE;
	v->reply |= v4 && heard == CONFLICT_ANNOUNCE_REPLY;
}

enum conflict_kind conflict_stranger(const struct conflict_voice *v, bool v4)
{
	return v->announced >= CONFLICT_ANNOUNCED && (!v4 || (v->request && v->reply)) ? CONFLICT_BALANCER : CONFLICT_HOST;
}

/* ---- telling ---- */

bool conflict_may_tell(struct conflict_quota *q, mono_t now, unsigned int max)
{
	if (q->since.ns == 0 || mono_diff_ms(now, q->since) >= QUOTA_MS)
		*q = (struct conflict_quota){ .since = now };
	if (q->n >= max)
		return false;
	q->n++;
	return true;
}

/* ---- sweep ---- */

int64_t conflict_round_ms(size_t n, unsigned int rate)
{
	int64_t ms = rate > 0 ? (int64_t)n * 1000 / rate : 0;

	return ms > CONFLICT_SWEEP_MS ? ms : CONFLICT_SWEEP_MS;
}

/* What was sent besides goes into the room that the batch leaves, and then into the batch's own. */
static size_t pay(struct conflict_sweep *s, size_t due, size_t room)
{
	size_t spare = room > due ? room - due : 0, paid;

	paid = s->debt < spare ? s->debt : spare;
	s->debt -= (unsigned int)paid;
	paid = s->debt < due ? s->debt : due;
	s->debt -= (unsigned int)paid;
	return due - paid;
}

unsigned int conflict_sweep_due(struct conflict_sweep *s, mono_t now, size_t n, unsigned int rate, struct prng *prng)
{
	int64_t gap, round = conflict_round_ms(n, rate);
	size_t batches, k, due;

	if (n == 0 || rate == 0) {
		*s = (struct conflict_sweep){ .next = MONO_NEVER, .at = s->at };
		return 0;
	}
	if (!mono_is_never(s->next) && mono_before(now, s->next))
		return 0;
	batches = (size_t)(round / BATCH_MS);
	batches = batches < n ? batches : n;
	gap = round / (int64_t)batches;
	k = s->batch++ % batches;
	due = n * (k + 1) / batches - n * k / batches;
	s->next = mono_add_ms(now, prng_range(prng, gap * 9 / 10, gap * 11 / 10));
	return (unsigned int)pay(s, due, (size_t)(gap * rate / 1000));
}

unsigned int conflict_sweep_spare(const struct conflict_sweep *s, unsigned int rate)
{
	return rate > s->debt ? rate - s->debt : 0;
}

void conflict_sweep_spent(struct conflict_sweep *s, unsigned int n)
{
	s->debt += n;
}
