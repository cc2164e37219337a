/* SPDX-License-Identifier: Apache-2.0 */
/* place.c: chooses among the links as observed; it does not ask the kernel. */
#include "agent/core/place.h"

#include <string.h>

static const struct link *link_of(const struct link_state *s, int index)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].index == index)
			return &s->links[i];
	return NULL;
}

static const struct link *link_named(const struct link_state *s, const char *name)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (!s->links[i].loopback && strcmp(s->links[i].name, name) == 0)
			return &s->links[i];
	return NULL;
}

/* The link with the longest subnet that holds the address; only: this link alone, NULL = all. */
static const struct link *link_by_subnet(const struct link_state *s, const struct ip *ip, const struct link *only)
{
	const struct link *best = NULL;
	unsigned int best_len = 0;

	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];
		const struct link *l;

		if (a->ours || a->prefix_len == ip_len(ip) * 8 || !ip_in_prefix(ip, &a->ip, a->prefix_len) ||
		    (best && a->prefix_len <= best_len) || (only && a->index != only->index))
			continue;
		l = link_of(s, a->index);
		if (!l || l->loopback)
			continue;
		best = l;
		best_len = a->prefix_len;
	}
	return best;
}

bool place_usable(const struct link *l)
{
	return l->up && l->carrier;
}

const struct link *place_vip(const struct link_state *s, const char *const *names, size_t n_names, const struct ip *ip)
{
	const struct link *l = NULL, *first = NULL;

	for (size_t i = 0; i < n_names; i++) {
		const struct link *named = link_named(s, names[i]);

		if (named && link_by_subnet(s, ip, named))
			return named;
		if (!first)
			first = named;
	}
	if (n_names > 0)
		return first;
	l = link_by_subnet(s, ip, NULL);
	if (!l)
		l = link_of(s, ip->family == IP_V4 ? s->default_v4 : s->default_v6);
	return l && !l->loopback ? l : NULL;
}
