/* SPDX-License-Identifier: Apache-2.0 */
/* pacer.h: how fast announcements leave an interface: a token bucket, kept as the time at which it is full again (the generic
 * cell rate algorithm, ITU-T I.371 annex A).  Pure.
 *
 * A round of a VIP is one token: two ARP frames, or one NA.  A node that takes over a few VIPs announces them at once; hundreds
 * follow at the rate, because switches police ARP that their processor sees (600 frames a second are usual), and every host
 * of the segment reads each frame. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mono.h"

#define PACE_RATE_MIN 10 /* rounds a second */
#define PACE_RATE_MAX 100000

struct pace {
	int64_t gap_ns;	  /* between two rounds at the rate */
	int64_t depth_ns; /* a full bucket: so many gaps */
};

struct pacer {
	mono_t full_at; /* the bucket is full from then on; the start value 0: it is full */
};

/* rate: rounds a second, PACE_RATE_MIN to PACE_RATE_MAX.  The bucket holds what goes in 50 ms, 4 rounds at least. */
struct pace pace_of(unsigned int rate);

/* Takes a token; false: there is none at 'now'. */
bool pacer_take(struct pacer *p, const struct pace *pace, mono_t now);

/* When there will be 'n' tokens, or as many as the bucket holds; in the past: there are. */
mono_t pacer_when(const struct pacer *p, const struct pace *pace, unsigned int n);
