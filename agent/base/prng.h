/* SPDX-License-Identifier: Apache-2.0 */
/* prng.h: a small deterministic generator (splitmix64) for jitter.  State is a field of its user, so that
 * a run can be repeated from its seed.  Never for secrets.  Pure. */
#pragma once

#include <stdint.h>

struct prng {
	uint64_t state;
};

/* The next 64 bits. */
static inline uint64_t prng_next(struct prng *p)
{
	uint64_t z = (p->state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Uniform (to within 2^-32) in [lo, hi]; lo <= hi. */
static inline int64_t prng_range(struct prng *p, int64_t lo, int64_t hi)
{
	uint64_t span = (uint64_t)hi - (uint64_t)lo + 1; /* 0: all 2^64 */

	return (int64_t)((uint64_t)lo + (span == 0 ? prng_next(p) : prng_next(p) % span));
}
