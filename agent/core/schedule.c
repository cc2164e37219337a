/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.c: the times of announcements; who sends them is vips.c in the shell. */
#include "agent/core/schedule.h"

#include <assert.h>

#include "agent/base/auto.h"

#define GAP_MS_MIN 100 /* rounds that are late (a stalled loop) do not bunch up */
#define STEADY_MS_MIN 30000
#define STEADY_MS_MAX 60000

static const int64_t burst_ms[] = { 0, 100, 300, 1100, 2200, 5000 };

void schedule_start(struct schedule *s, mono_t now)
{
	*s = (struct schedule){ .start = now, .next = mono_add_ms(now, burst_ms[0]), .round = 0 };
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
