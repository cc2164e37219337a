/* SPDX-License-Identifier: Apache-2.0 */
/* sort.h: a stable sort for the pure core, where qsort(3) is out of bounds (glibc's allocates).  Pure. */
#pragma once

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"

/* Sorts n elements of 'size' bytes ascending by 'cmp' (<0, 0, >0); equal ones keep their order.  O(n log n)
 * comparisons, n - 1 when the input is in order already.  'scratch' serves during the call only (its use is undone).
 * -ENOSPC: scratch has less than n * size bytes left; the array is as it was. */
MUST_USE int sort_array(void *base, size_t n, size_t size, int (*cmp)(const void *a, const void *b),
			struct arena *scratch);
