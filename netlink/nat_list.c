/* SPDX-License-Identifier: Apache-2.0 */
/* nat_list.c: see nat_list.h. */
#include "netlink/nat_list.h"

#include <errno.h>
#include <stdlib.h>

#define CAP_MIN 256

int nat_list_reserve(void **v, size_t need, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap : CAP_MIN;
	void *p;

	if (need <= *cap)
		return 0;
	if (need > NAT_LIST_MAX)
		return -E2BIG;
	while (want < need)
		want *= 2;
	p = reallocarray(*v, want, size);
	if (!p)
		return -ENOMEM;
	*v = p;
	*cap = want;
	return 0;
}

bool nat_list_sort_twice(void *v, size_t n, size_t size, int (*order)(const void *, const void *))
{
	const unsigned char *at = v;

	if (n == 0)
		return false;
	qsort(v, n, size, order);
	for (size_t i = 1; i < n; i++)
		if (order(at + (i - 1) * size, at + i * size) == 0)
			return true;
	return false;
}
