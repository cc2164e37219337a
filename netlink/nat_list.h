/* SPDX-License-Identifier: Apache-2.0 */
/* nat_list.h: growing arrays of what the kernel tells. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/auto.h"

/* No set, chain or frontend of ours comes in such numbers. */
#define NAT_LIST_MAX ((size_t)8 * 1024 * 1024)

/* Room for 'need' members of 'size' bytes in *v, which has room for *cap.  -ENOMEM; -E2BIG: need > NAT_LIST_MAX. */
MUST_USE int nat_list_reserve(void **v, size_t need, size_t *cap, size_t size);

/* Sorts; true when a member is there twice.
 *
 * While the kernel resizes a set, which it does by and by after many additions or deletions, a dump may give some
 * elements twice and leave out as many others, without a word (nft_rhash_walk() counts what it skips).  So an
 * element that comes twice means: read all again. */
bool nat_list_sort_twice(void *v, size_t n, size_t size, int (*order)(const void *, const void *));
