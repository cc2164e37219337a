/* SPDX-License-Identifier: Apache-2.0 */
/* lifetime.c: how long addresses live. */
#include "agent/core/lifetime.h"

#define MS_PER_S 1000

uint32_t lifetime_s(uint32_t least_s, uint32_t n, int64_t left_ms)
{
	uint32_t by_rate = (2 * n + LIFETIME_RATE - 1) / LIFETIME_RATE;
	int64_t to_refresh = (left_ms + (int64_t)least_s * (MS_PER_S / 2) + MS_PER_S - 1) / MS_PER_S;
	uint32_t s = by_rate > least_s ? by_rate : least_s;

	return left_ms > 0 && to_refresh > s ? (uint32_t)to_refresh : s;
}
