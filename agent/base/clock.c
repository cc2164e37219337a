/* SPDX-License-Identifier: Apache-2.0 */
/* clock.c: the only place that reads CLOCK_BOOTTIME. */
#include <assert.h>
#include <time.h>

#include "agent/base/mono.h"

mono_t mono_now(void)
{
	struct timespec ts;
	int r = clock_gettime(CLOCK_BOOTTIME, &ts);

	assert(r == 0); /* fails only for a clock id the kernel does not know (Linux < 2.6.39) */
	return (mono_t){ (int64_t)ts.tv_sec * MS_PER_S * NS_PER_MS + ts.tv_nsec };
}
