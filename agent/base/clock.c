/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: the only place that reads the clocks that decide. */
#include <assert.h>
#include <time.h>

#include "agent/base/mono.h"

#define CLOCKS_TRIES 4
#define CLOCKS_BLUR_GOOD_NS NS_PER_MS

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;
	int r = clock_gettime(clock, &ts);

	assert(r == 0); /* fails only for a clock id the kernel does not know (CLOCK_BOOTTIME: Linux < 2.6.39) */
	return (int64_t)ts.tv_sec * MS_PER_S * NS_PER_MS + ts.tv_nsec;
}

mono_t mono_now(void)
{
	return (mono_t){ clock_ns(CLOCK_BOOTTIME) };
}

struct mono_clocks mono_clocks_now(void)
{
	struct mono_clocks best = { .blur_ns = INT64_MAX };

	for (int i = 0; i < CLOCKS_TRIES && best.blur_ns > CLOCKS_BLUR_GOOD_NS; i++) {
		struct mono_clocks c = { .boot = mono_now() };

		c.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
		c.realtime_ns = clock_ns(CLOCK_REALTIME);
		c.blur_ns = clock_ns(CLOCK_BOOTTIME) - c.boot.ns;
		if (c.blur_ns < best.blur_ns)
			best = c;
	}
	return best;
}
