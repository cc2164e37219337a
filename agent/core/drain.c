/* SPDX-License-Identifier: Apache-2.0 */
/* drain.c: stages by the clock that the caller has looked at. */
#include "agent/core/drain.h"

void drain_step(struct drain *d, bool asked, bool others, int64_t drain_ms, mono_t now)
{
	mono_t withdraws, over;

	if (!asked) {
		*d = (struct drain){ .stage = DRAIN_NONE, .until = MONO_NEVER };
		return;
	}
	if (d->stage == DRAIN_NONE)
		d->asked_at = now;
	/* Who is alone by now, or finds company, is so from the next step on. */
	withdraws = mono_add_ms(d->asked_at, drain_ms > 0 && others ? DRAIN_HEAD_START_MS : 0);
	over = mono_add_ms(withdraws, drain_ms);
	if (mono_before(now, withdraws))
		*d = (struct drain){ DRAIN_TOLD, d->asked_at, withdraws };
	else if (mono_before(now, over))
		*d = (struct drain){ DRAIN_UNDER_WAY, d->asked_at, over };
	else
		*d = (struct drain){ DRAIN_OVER, d->asked_at, MONO_NEVER };
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
