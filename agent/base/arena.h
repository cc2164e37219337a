/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h: memory that is freed all at once.  The caller hands over the storage; arena_take() never
 * calls the allocator, it answers NULL when the arena is full.  The pure core works in arenas: it returns
 * -ENOSPC, the shell doubles the arena and calls again.  Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct arena {
	unsigned char *base;
	size_t size; /* bytes at base */
	size_t used; /* bytes given out */
};

/* 'n' zeroed bytes aligned for any object, or NULL when they do not fit. */
static inline void *arena_take(struct arena *a, size_t n)
{
	size_t at = (a->used + 15) & ~(size_t)15;
	void *p;

	if (!a->base || at > a->size || n > a->size - at)
		return NULL;
	p = a->base + at;
	a->used = at + n;
	memset(p, 0, n);
	return p;
}

/* As arena_take() for an array; NULL also when n * size overflows. */
static inline void *arena_take_array(struct arena *a, size_t n, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(n, size, &bytes) ? NULL : arena_take(a, bytes);
}

static inline void arena_reset(struct arena *a)
{
	a->used = 0;
}
