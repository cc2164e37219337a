/* SPDX-License-Identifier: Apache-2.0 */
/* past.c: a short list, oldest first. */
#include "agent/past.h"

#include <string.h>

/* Longer than a view of the Services may be behind: a silent watch is cut after 120 s, and listed again. */
#define PAST_MS (INT64_C(300) * 1000)

static void drop(struct past *p, size_t n)
{
	memmove(p->v, p->v + n, (p->n - n) * sizeof(p->v[0]));
	memmove(p->at, p->at + n, (p->n - n) * sizeof(p->at[0]));
	p->n -= n;
}

void past_update(struct past *p, const struct vips *now_known, const struct wanted_vip *wanted, size_t n, mono_t now)
{
	size_t old = 0, k = 0;

	while (old < p->n && mono_reached(now, mono_add_ms(p->at[old], PAST_MS)))
		old++;
	drop(p, old);
	for (size_t i = 0; i < now_known->n; i++) { /* both are sorted */
		const struct vip *vip = &now_known->v[i];

		while (k < n && ip_cmp(&wanted[k].ip, &vip->ip) < 0)
			k++;
		if (k < n && ip_eq(&wanted[k].ip, &vip->ip))
			continue;
		if (p->n == PAST_MAX)
			drop(p, 1);
		p->at[p->n] = now;
		p->v[p->n++] = (struct groups_past){ vip->ip, vip->recorded };
	}
}
