/* SPDX-License-Identifier: Apache-2.0 */
/* wires.c: FNV-1a, member by member: padding between them is anything. */
#include "agent/core/wires.h"

#include <stddef.h>

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static uint64_t add(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * FNV_PRIME;
	return h;
}

static uint64_t add_number(uint64_t h, uint64_t v)
{
	return add(h, &v, sizeof(v));
}

static uint64_t add_link(uint64_t h, const struct link *l)
{
	const uint64_t flags = (uint64_t)l->port << 0 | (uint64_t)l->pair << 1 | (uint64_t)l->ethernet << 2 | (uint64_t)l->up << 3 |
			       (uint64_t)l->carrier << 4 | (uint64_t)l->loopback << 5 | (uint64_t)l->noarp << 6;

	h = add_number(h, (uint64_t)l->index);
	h = add(h, l->name, sizeof(l->name)); /* the rest behind the text is zero */
	h = add_number(h, (uint64_t)l->kind);
	h = add_number(h, (uint64_t)l->master);
	h = add_number(h, (uint64_t)l->lower);
	h = add_number(h, l->announcements);
	h = add(h, l->mac, sizeof(l->mac));
	h = add_number(h, flags);
	return add_number(h, l->born);
}

uint64_t wires_digest(const struct link_state *s)
{
	uint64_t h = FNV_START;

	for (size_t i = 0; i < s->n_links; i++)
		h = add_link(h, &s->links[i]);
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];

		if (a->ours)
			continue;
		h = add_number(h, (uint64_t)a->index);
		h = add(h, &a->ip.family, 1);
		h = add(h, a->ip.b, sizeof(a->ip.b));
		h = add(h, &a->prefix_len, 1);
	}
	h = add_number(h, (uint64_t)s->default_v4);
	h = add_number(h, (uint64_t)s->default_v6);
	h = add_number(h, (uint64_t)s->default_v6_ra);
	return add_number(h, s->default_v6_from_ra);
}
