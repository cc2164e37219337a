/* SPDX-License-Identifier: Apache-2.0 */
/* hash.h: the mixing step of digests and hash tables.  Pure. */
#pragma once

#include <stdint.h>

/* The finalizer of splitmix64: every bit of the input reaches every bit of the result.  One to one. */
static inline uint64_t hash_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}
