/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c: storage of arenas. */
#include "agent/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define ARENA_FIRST (64 * 1024)
#define ARENA_SMALL (4 * 1024 * 1024) /* up to here it grows faster: what did not fit is computed anew */
#define ARENA_MAX ((size_t)256 * 1024 * 1024)

int arena_grow(struct arena *a)
{
	size_t size = !a->size ? ARENA_FIRST : a->size < ARENA_SMALL ? a->size * 4 : a->size * 2;
	unsigned char *base;

	if (size > ARENA_MAX)
		return -ENOMEM;
	base = malloc(size);
	if (!base)
		return -ENOMEM;
	free(a->base);
	*a = (struct arena){ .base = base, .size = size };
	return 0;
}

void arena_give_back(struct arena *a)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)a->base + page - 1) & ~(page - 1);
	uintptr_t to = ((uintptr_t)a->base + a->size) & ~(page - 1);

	arena_reset(a);
	if (a->base && to > from)
		IGNORE(madvise((void *)from, to - from, MADV_DONTNEED)); /* it costs memory only, if that fails */
}
