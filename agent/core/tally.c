/* SPDX-License-Identifier: Apache-2.0 */
/* tally.c: linear probing; what follows a removed entry moves up, so that there are no graves and a table that lives for
 * months does not fill up with them.  diff.c decides what is counted. */
#include "agent/core/tally.h"

#include <assert.h>
#include <string.h>

#include "agent/core/hash.h"

void tally_init(struct tally *t, void *mem, size_t cap)
{
	assert(cap > 0 && (cap & (cap - 1)) == 0);
	memset(mem, 0, cap * sizeof(struct tally_entry));
	*t = (struct tally){ .v = mem, .cap = cap };
}

/* In memory alone, so the machine's byte order may enter. */
static size_t home_of(const struct tally *t, const struct nat_member *m)
{
	uint64_t w[2];
	uint64_t h;

	memcpy(w, m->ip.b, sizeof(w));
	h = hash_mix(w[0] ^ ((uint64_t)m->ip.family << 56 | (uint64_t)m->kind << 48 | (uint64_t)m->proto << 40 |
		     nat_member_number(m)));
	h = hash_mix(h ^ w[1]);
	return (size_t)h & (t->cap - 1);
}

/* Where the member is, or the free place where it would be. */
static size_t find(const struct tally *t, const struct nat_member *m)
{
	size_t i = home_of(t, m);

	while (t->v[i].count > 0 && nat_member_cmp(&t->v[i].member, m) != 0)
		i = (i + 1) & (t->cap - 1);
	return i;
}

bool tally_room(const struct tally *t, size_t more)
{
	return t->n + more <= t->cap / 4 * 3;
}

/* The entry for the member, which is made if there is none. */
static struct tally_entry *enter(struct tally *t, const struct nat_member *m)
{
	struct tally_entry *e = &t->v[find(t, m)];

	if (e->count == 0) {
		assert(t->n + 1 < t->cap); /* one stays free: find() ends there */
		e->member = *m;
		t->n++;
	}
	return e;
}

void tally_move(struct tally *to, const struct tally *from)
{
	for (size_t i = 0; i < from->cap; i++)
		if (from->v[i].count > 0)
			enter(to, &from->v[i].member)->count += from->v[i].count;
}

bool tally_add(struct tally *t, const struct nat_member *m)
{
	return enter(t, m)->count++ == 0;
}

/* Closes the gap at 'hole': whoever could not stand at home because of those before moves up. */
static void close_gap(struct tally *t, size_t hole)
{
	const size_t mask = t->cap - 1;

	for (size_t i = (hole + 1) & mask; t->v[i].count > 0; i = (i + 1) & mask) {
		const size_t home = home_of(t, &t->v[i].member);

		if (((i - home) & mask) < ((i - hole) & mask))
			continue; /* its home lies behind the gap */
		t->v[hole] = t->v[i];
		hole = i;
	}
	t->v[hole].count = 0;
}

bool tally_sub(struct tally *t, const struct nat_member *m)
{
	const size_t i = find(t, m);

	assert(t->v[i].count > 0);
	if (t->v[i].count > 1) {
		t->v[i].count--;
		return false;
	}
	close_gap(t, i);
	t->n--;
	return true;
}

uint32_t tally_count(const struct tally *t, const struct nat_member *m)
{
	return t->v[find(t, m)].count;
}

size_t tally_find(const struct tally *t, const struct nat_member *m)
{
	const size_t i = find(t, m);

	return t->v[i].count > 0 ? i : t->cap;
}
