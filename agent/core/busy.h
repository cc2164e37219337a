/* SPDX-License-Identifier: Apache-2.0 */
/* busy.h: the VIPs with most traffic, so that whoever takes over announces those first.  Pure.
 *
 * From one reading of the counters to the next a VIP scores the bytes that it had meanwhile, and half of what it scored
 * before: some minutes' traffic counts, and that of the last ten seconds most. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"

#define BUSY_MAX 32

struct busy {
	struct {
		struct ip ip;
		uint64_t score; /* > 0 */
	} v[BUSY_MAX]; /* the busiest first; of equals the lower address */
	size_t n;
};

/* One VIP's bytes since the reading before, into 'next', which begins empty.  Each VIP once. */
void busy_add(struct busy *next, const struct busy *before, const struct ip *vip, uint64_t bytes);

/* Whether told[0..n), the busiest first, would mislead: one of the 8 that are busiest now is not among its first 16, or one
 * of the first 16 now is not in it at all.  Fewer VIPs than that differ sooner; their order alone does not matter. */
bool busy_differs(const struct ip *told, size_t n, const struct busy *now);
