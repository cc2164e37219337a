/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c: stages by the clock that the caller has looked at. */
#include "agent/core/drain.h"

/* The others stay ready for long enough to hear that the time starts anew. */
static bool are_ready(const struct drain *d, mono_t now)
{
	return d->stage == DRAIN_UNDER_WAY && mono_before(mono_add_ms(now, DRAIN_HEAD_START_MS), d->over);
}

static void begin(struct drain *d, mono_t since)
{
	d->since = since;
	d->number = d->number < DRAIN_NUMBER_MAX ? d->number + 1 : 1;
}

void drain_step(struct drain *d, const struct drain_asks *asks, int64_t drain_ms, mono_t now)
{
	mono_t withdraws;

	if (!asks->asked) {
		*d = (struct drain){ .stage = DRAIN_NONE, .number = d->number, .until = MONO_NEVER };
		return;
	}
	if (d->stage == DRAIN_NONE)
		begin(d, now);
	else if (asks->more && drain_ms > 0 && drain_withdraws(d))
		begin(d, are_ready(d, now) ? mono_add_ms(now, -DRAIN_HEAD_START_MS) : now);
	/* Who is alone by now, or finds company, is so from the next step on. */
	withdraws = mono_add_ms(d->since, drain_ms > 0 && asks->others ? DRAIN_HEAD_START_MS : 0);
	d->over = mono_add_ms(withdraws, drain_ms);
	if (mono_before(now, withdraws)) {
		d->stage = DRAIN_TOLD;
		d->until = withdraws;
	} else if (mono_before(now, d->over)) {
		d->stage = DRAIN_UNDER_WAY;
		d->until = d->over;
	} else {
		d->stage = DRAIN_OVER;
		d->until = MONO_NEVER;
	}
}

bool drain_withdraws(const struct drain *d)
{
	return d->stage == DRAIN_UNDER_WAY || d->stage == DRAIN_OVER;
}

enum drain_next drain_removed(const struct drain_removal *r)
{
	if ((r->under_way || r->up > 0 || r->open) && !r->late)
		return DRAIN_WAIT;
	if (!r->routed && (r->open || (r->up > 0 && !r->gate)))
		return DRAIN_KEEP;
	return DRAIN_RELEASE;
}

bool drain_is_empty(size_t n_vips, size_t connections)
{
	return n_vips == 0 || connections == 0;
}
