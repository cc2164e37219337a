/* SPDX-License-Identifier: Apache-2.0 */
/* sort.c: bottom-up merge sort between the array and a scratch array of the same size. */
#include "agent/core/sort.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

struct order {
	size_t size;
	int (*cmp)(const void *a, const void *b);
};

static bool in_order(const unsigned char *v, size_t n, const struct order *o)
{
	for (size_t i = 1; i < n; i++)
		if (o->cmp(v + (i - 1) * o->size, v + i * o->size) > 0)
			return false;
	return true;
}

/* Merges the sorted runs from[0..mid) and from[mid..n) into to[0..n); on a tie the left one goes first. */
static void merge(const unsigned char *from, unsigned char *to, size_t mid, size_t n, const struct order *o)
{
	size_t left = 0, right = mid;

	for (size_t i = 0; i < n; i++) {
		bool take_left = left < mid && (right == n || o->cmp(from + left * o->size, from + right * o->size) <= 0);

		memcpy(to + i * o->size, from + (take_left ? left++ : right++) * o->size, o->size);
	}
}

int sort_array(void *base, size_t n, size_t size, int (*cmp)(const void *a, const void *b), struct arena *scratch)
{
	const struct order o = { size, cmp };
	const size_t mark = scratch->used;
	unsigned char *from = base, *to, *tmp;

	assert(size > 0);
	if (n < 2 || in_order(from, n, &o))
		return 0;
	to = arena_take_array(scratch, n, size);
	if (!to)
		return -ENOSPC;
	for (size_t width = 1; width < n; width *= 2) {
		for (size_t at = 0; at < n; at += 2 * width) {
			size_t len = n - at < 2 * width ? n - at : 2 * width;

			merge(from + at * size, to + at * size, len < width ? len : width, len, &o);
		}
		tmp = from;
		from = to;
		to = tmp;
	}
	if (from != base)
		memcpy(base, from, n * size);
	scratch->used = mark;
	return 0;
}
