/* SPDX-License-Identifier: Apache-2.0 */
/* mono.c: arithmetic on points in time.  The clock itself is read in clock.c, which the pure modules
 * do not link. */
#include "agent/base/mono.h"

mono_t mono_add_ms(mono_t t, int64_t ms)
{
	int64_t ns;

	if (mono_is_never(t))
		return t;
	if (__builtin_mul_overflow(ms, NS_PER_MS, &ns) || __builtin_add_overflow(t.ns, ns, &ns))
		return ms < 0 ? (mono_t){ INT64_MIN } : MONO_NEVER;
	return (mono_t){ ns };
}

int64_t mono_diff_ms(mono_t a, mono_t b)
{
	int64_t ns;

	if (mono_is_never(a))
		return INT64_MAX;
	if (mono_is_never(b))
		return INT64_MIN;
	if (__builtin_sub_overflow(a.ns, b.ns, &ns))
		ns = a.ns < b.ns ? INT64_MIN : INT64_MAX;
	return ns / NS_PER_MS;
}
