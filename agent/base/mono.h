/* SPDX-License-Identifier: Apache-2.0 */
/* mono.h: points in time on CLOCK_BOOTTIME, as a type of their own so that they cannot be mixed up
 * with durations or with wall-clock time.
 *
 * CLOCK_BOOTTIME and not CLOCK_MONOTONIC: it goes on during suspend, so a machine that slept does not
 * believe a deadline that has passed.  Durations are plain int64_t in milliseconds or nanoseconds with
 * the unit last in the name.  Everything here but mono_now() and mono_clocks_now() is pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
	int64_t ns; /* since boot; MONO_NEVER = no such time */
} mono_t;

#define MONO_NEVER ((mono_t){ INT64_MAX })
#define NS_PER_MS INT64_C(1000000)
#define MS_PER_S INT64_C(1000)

/* The present moment.  Read once per wake of the loop and passed on. */
mono_t mono_now(void);

/* The three clocks at one moment, for those who compare them (suspend, a paused VM). */
struct mono_clocks {
	mono_t boot;		/* CLOCK_BOOTTIME: goes on during suspend */
	int64_t monotonic_ns;	/* CLOCK_MONOTONIC: does not */
	int64_t realtime_ns;	/* CLOCK_REALTIME: the wall clock, which others may set */
	int64_t blur_ns;	/* the three were read within this time */
};

/* Reads again when the thread was interrupted between the clocks, a few times; blur_ns says how well it went. */
struct mono_clocks mono_clocks_now(void);

static inline bool mono_is_never(mono_t t)
{
	return t.ns == INT64_MAX;
}

static inline bool mono_before(mono_t a, mono_t b)
{
	return a.ns < b.ns;
}

/* True when 'now' has reached 't'; a time that is MONO_NEVER is never reached. */
static inline bool mono_reached(mono_t now, mono_t t)
{
	return t.ns != INT64_MAX && now.ns >= t.ns;
}

static inline mono_t mono_min(mono_t a, mono_t b)
{
	return a.ns < b.ns ? a : b;
}

/* 't' plus 'ms' milliseconds (may be negative); saturates, and MONO_NEVER stays MONO_NEVER. */
mono_t mono_add_ms(mono_t t, int64_t ms);

/* a - b in milliseconds, rounded towards zero; INT64_MAX when 'a' is MONO_NEVER, INT64_MIN when only
 * 'b' is.  Saturates. */
int64_t mono_diff_ms(mono_t a, mono_t b);
