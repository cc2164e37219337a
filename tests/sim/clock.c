/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: each machine's CLOCK_BOOTTIME: it starts anywhere, and runs fast or slow by a fixed rate.  True time is the
 * world's alone.  A jump (fault.c) changes the offset. */
#include "tests/sim/sim.h"

mono_t clock_at(const struct clock *c, int64_t t_ns)
{
	return (mono_t){ c->offset_ns + t_ns + t_ns / 1000 * c->rate_ppm / 1000 };
}

int64_t clock_true_ns(const struct clock *c, mono_t local)
{
	int64_t rate = 1000000 + c->rate_ppm, since_ns, t_ns;

	if (mono_is_never(local))
		return INT64_MAX;
	since_ns = local.ns - c->offset_ns;
	t_ns = since_ns / rate * 1000000 + since_ns % rate * 1000000 / rate - 200;
	while (mono_before(clock_at(c, t_ns), local))
		t_ns++;
	return t_ns;
}

/* The worst pairs, one clock fast and one slow, must not be rare. */
static int64_t pick_rate_ppm(struct world *w)
{
	int64_t max = w->opt.mutant && w->opt.mutant->skew_ppm ? w->opt.mutant->skew_ppm : w->opt.skew_ppm;

	switch (world_between(w, 0, 3)) {
	case 0:
		return max;
	case 1:
		return -max;
	default:
		return world_between(w, -max, max);
	}
}

void clock_setup(struct world *w, struct clock *c)
{
	c->rate_ppm = pick_rate_ppm(w);
	c->offset_ns = world_between(w, 3600 * NS_PER_S, INT64_C(1) << 50);
	c->wall_offset_ns = world_between(w, -3000, 3000) * NS_PER_MS;
}
