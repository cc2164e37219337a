/* SPDX-License-Identifier: Apache-2.0 */
/* make.h: addresses, arenas and random values for the tests of the core. */
#pragma once

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/arena.h"
#include "agent/base/ip.h"
#include "agent/base/object.h"
#include "agent/base/prng.h"
#include "agent/base/text.h"

#define PROTO_TCP 6
#define PROTO_UDP 17
#define PROTO_SCTP 132

static inline struct ip make_ip(const char *text)
{
	struct ip ip = { 0 };

	if (ip_parse(text, &ip) < 0)
		fail_msg("\"%s\" is no address", text);
	return ip;
}

static inline struct ip_range make_range(const char *text)
{
	struct ip_range r = { 0 };

	if (ip_range_parse(text, &r) < 0)
		fail_msg("\"%s\" is no range", text);
	return r;
}

/* 198.18.0.0 + i; i < 2^17 */
static inline struct ip make_v4(uint32_t i)
{
	struct ip ip = { .family = IP_V4, .b = { 198, (uint8_t)(18 + (i >> 16 & 1)), (uint8_t)(i >> 8), (uint8_t)i } };

	return ip;
}

/* 2001:db8:: + i */
static inline struct ip make_v6(uint32_t i)
{
	struct ip ip = { .family = IP_V6, .b = { 0x20, 0x01, 0x0d, 0xb8 } };

	for (size_t k = 0; k < 4; k++)
		ip.b[15 - k] = (uint8_t)(i >> (8 * k));
	return ip;
}

/* Storage of exactly 'size' bytes from malloc, so that the sanitizers see a byte too much. */
static inline struct arena make_arena(size_t size)
{
	struct arena a = { .base = malloc(size ? size : 1), .size = size };

	assert_non_null(a.base);
	return a;
}

static inline void drop_arena(struct arena *a)
{
	free(a->base);
	*a = (struct arena){ 0 };
}

/* 0..n-1 */
static inline uint32_t below(struct prng *p, uint32_t n)
{
	return (uint32_t)prng_range(p, 0, (int64_t)n - 1);
}

static inline bool chance(struct prng *p, uint32_t percent)
{
	return below(p, 100) < percent;
}

/* Runs call(arena, ctx) with every arena size from 0 in steps of 16 up to the first that suffices, at most 'max' bytes,
 * every 'stride'th of them: each smaller one must be refused with -ENOSPC.  Returns the size that sufficed. */
static inline size_t refuse_all_smaller(int (*call)(struct arena *a, void *ctx), void *ctx, size_t max, size_t stride)
{
	for (size_t size = 0; size <= max; size += 16 * stride) {
		struct arena a = make_arena(size);
		int r = call(&a, ctx);

		assert_true(a.used <= a.size);
		drop_arena(&a);
		if (r == 0)
			return size;
		if (r != -28 /* ENOSPC */)
			fail_msg("arena of %zu bytes: %d", size, r);
	}
	fail_msg("%zu bytes do not suffice", max);
	return 0;
}
