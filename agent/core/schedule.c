/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c: the times of announcements; who sends them is announcer.c in the shell. */
#include "agent/core/schedule.h"

#include <assert.h>

#include "agent/base/auto.h"

#define GAP_MS_MIN 100 /* rounds that are late (a stalled loop) do not bunch up */
#define STEADY_MS_MIN 30000
#define STEADY_MS_MAX 60000
#define COMPANY_MS 250

static const int64_t burst_ms[] = { 0, 100, 300, 1100, 2200, 5000 };

void schedule_start(struct schedule *s, mono_t now)
{
	*s = (struct schedule){ .start = now, .next = mono_add_ms(now, burst_ms[0]), .round = 0 };
}

void schedule_once(struct schedule *s, mono_t at)
{
	if (schedule_steady(s))
		s->round = ARRAY_LEN(burst_ms) - 1; /* as the last of a burst: it does not wait for company */
	s->next = mono_min(s->next, at);
}

void schedule_sent(struct schedule *s, mono_t now, struct prng *prng)
{
	mono_t soonest = mono_add_ms(now, GAP_MS_MIN);
	mono_t due;

	s->round++;
	if (s->round >= ARRAY_LEN(burst_ms)) {
		s->next = mono_add_ms(now, prng_range(prng, STEADY_MS_MIN, STEADY_MS_MAX));
		return;
	}
	due = mono_add_ms(s->start, burst_ms[s->round]);
	s->next = mono_before(due, soonest) ? soonest : due;
	assert(mono_before(now, s->next));
}

bool schedule_steady(const struct schedule *s)
{
	return s->round >= ARRAY_LEN(burst_ms);
}

mono_t schedule_wake(const struct schedule *s)
{
	return schedule_steady(s) ? mono_add_ms(s->next, COMPANY_MS) : s->next;
}
