/* SPDX-License-Identifier: Apache-2.0 */
/* wanted_copy.c: a nat_service as a value: its copy in one piece of memory, and comparison.  wanted.c makes them. */
#include <assert.h>
#include <string.h>

#include "agent/core/same.h"
#include "agent/core/wanted.h"

/* With what arena_take() adds to keep the next piece aligned. */
static size_t padded(size_t bytes)
{
	return (bytes + 15) & ~(size_t)15;
}

size_t wanted_size(const struct nat_service *s)
{
	size_t n = padded(sizeof(*s)) + padded(s->n_frontends * sizeof(*s->frontends)) +
		   padded(s->n_members * sizeof(*s->members));

	for (size_t i = 0; i < s->n_frontends; i++)
		n += padded(s->frontends[i].n_backends * sizeof(*s->frontends[i].backends)) +
		     padded(s->frontends[i].n_slots * sizeof(*s->frontends[i].slots));
	if (s->firewall)
		n += padded(sizeof(*s->firewall)) + padded(s->firewall->n_sources * sizeof(*s->firewall->sources));
	return n;
}

static void *copy_of(struct arena *a, const void *from, size_t bytes)
{
	void *to = arena_take(a, bytes);

	assert(to); /* wanted_size() says how much there must be */
	if (bytes)
		memcpy(to, from, bytes);
	return to;
}

struct nat_service *wanted_copy(const struct nat_service *s, void *mem)
{
	struct arena a = { .base = mem, .size = wanted_size(s) };
	struct nat_service *copy = copy_of(&a, s, sizeof(*s));
	struct frontend *frontends = copy_of(&a, s->frontends, s->n_frontends * sizeof(*frontends));

	for (size_t i = 0; i < s->n_frontends; i++) {
		const struct frontend *f = &s->frontends[i];

		frontends[i].backends = copy_of(&a, f->backends, f->n_backends * sizeof(*f->backends));
		frontends[i].slots = copy_of(&a, f->slots, f->n_slots * sizeof(*f->slots));
	}
	copy->frontends = frontends;
	copy->members = copy_of(&a, s->members, s->n_members * sizeof(*s->members));
	if (s->firewall) {
		struct nat_firewall *fw = copy_of(&a, s->firewall, sizeof(*fw));

		fw->sources = copy_of(&a, fw->sources, fw->n_sources * sizeof(*fw->sources));
		copy->firewall = fw;
	}
	return copy;
}

bool wanted_eq(const struct nat_service *a, const struct nat_service *b)
{
	if (a->n_frontends != b->n_frontends || a->n_members != b->n_members || !same_firewall(a->firewall, b->firewall))
		return false;
	for (size_t i = 0; i < a->n_frontends; i++)
		if (!same_frontend(&a->frontends[i], &b->frontends[i]))
			return false;
	for (size_t i = 0; i < a->n_members; i++)
		if (nat_member_cmp(&a->members[i], &b->members[i]) != 0)
			return false;
	return true;
}
