/* SPDX-License-Identifier: Apache-2.0 */
/* link.c: looks links up. */
#include "agent/base/link.h"

const struct link *link_find(const struct link_state *s, int index)
{
	size_t lo = 0, hi = s->n_links;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->links[mid].index == index)
			return &s->links[mid];
		if (s->links[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}
