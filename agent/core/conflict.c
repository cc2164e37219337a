/* SPDX-License-Identifier: Apache-2.0 */
/* conflict.c: the policy's table, and how often it speaks. */
#include "agent/core/conflict.h"

#include <assert.h>

#include "agent/base/auto.h"

#define DEFEND_SOON 3
#define DEFEND_SOON_MS 1000
#define DEFEND_INTERVAL_MS 10000 /* RFC 5227 section 1.1 */
#define QUOTA_MS 60000
#define SWEEP_MS 1000
#define SWEEP_GAP_MS 200 /* wakes no more than five times a second */

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
	int64_t ms = rate > 0 ? (int64_t)n * SWEEP_MS / rate : 0;

	return ms > SWEEP_MS ? ms : SWEEP_MS;
}

unsigned int conflict_sweep_due(struct conflict_sweep *s, mono_t now, size_t n, unsigned int rate, struct prng *prng)
{
	int64_t gap, round = conflict_round_ms(n, rate), full;
	unsigned int due;

	if (n == 0 || rate == 0) {
		*s = (struct conflict_sweep){ .next = MONO_NEVER };
		return 0;
	}
	if (!mono_is_never(s->next) && mono_before(now, s->next))
		return 0;
	gap = round / (int64_t)n > SWEEP_GAP_MS ? round / (int64_t)n : SWEEP_GAP_MS;
	/* No more than for one gap and a bit: after standing still there is nothing to catch up with. */
	full = (gap + gap / 4) * (int64_t)n * 1000 / round;
	s->owed += s->paid.ns ? mono_diff_ms(now, s->paid) * (int64_t)n * 1000 / round : 1000;
	s->owed = s->owed < full ? s->owed : full;
	s->paid = now;
	due = s->owed > 0 ? (unsigned int)((s->owed + 500) / 1000) : 0;
	s->owed -= (int64_t)due * 1000;
	s->next = mono_add_ms(now, prng_range(prng, gap * 9 / 10, gap * 11 / 10));
	return due;
}

void conflict_sweep_spent(struct conflict_sweep *s, unsigned int n)
{
	s->owed -= (int64_t)n * 1000;
}
