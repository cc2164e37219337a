/* SPDX-License-Identifier: Apache-2.0 */
/* diff.c: each of the three (frontends, firewalls, members) is two sorted lists, what there is and what is to be, walked
 * through together.  What is wanted is wanted.c's affair, putting a plan into netlink messages that of netlink/. */
#include "agent/core/diff.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/core/same.h"
#include "agent/core/sort.h"

/* ---- frontends ---- */

/* A frontend with the firewall that stands before it. */
struct side {
	const struct frontend *f;
	const char *firewall; /* NULL = none */
};

struct sides {
	struct side *v;
	size_t n;
};

static int side_order(const void *a, const void *b)
{
	const struct side *x = a, *y = b;

	return frontend_cmp(x->f, y->f);
}

static bool same_name(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Of what was read from the kernel the digest tells; that the dispatch goes elsewhere than it says is possible, too, when
 * somebody else wrote there. */
static bool same_side(const struct side *old, const struct side *now)
{
	if (!same_name(old->firewall, now->firewall))
		return false;
	if (old->f->slots)
		return same_frontend(old->f, now->f);
	return old->f->digest == now->f->digest && old->f->balance == now->f->balance &&
	       old->f->n_slots == now->f->n_slots && old->f->sticky_s == now->f->sticky_s;
}

static const char *firewall_of(const struct nat_service *s)
{
	return s->firewall ? s->firewall->name : NULL;
}

static void put_side(struct sides *to, const struct nat_service *s, size_t i)
{
	to->v[to->n++] = (struct side){ &s->frontends[i], firewall_of(s) };
}

/* What a pair's Services do not have in common. */
static void split_frontends(const struct diff_pair *p, struct sides *old, struct sides *now)
{
	const size_t n_old = p->old ? p->old->n_frontends : 0, n_now = p->now ? p->now->n_frontends : 0;
	size_t i = 0, j = 0;

	while (i < n_old || j < n_now) {
		const int c = i == n_old ? 1 : j == n_now ? -1 : frontend_cmp(&p->old->frontends[i], &p->now->frontends[j]);

		if (c == 0 && same_side(&(struct side){ &p->old->frontends[i], firewall_of(p->old) },
					&(struct side){ &p->now->frontends[j], firewall_of(p->now) })) {
			i++;
			j++;
			continue;
		}
		if (c <= 0)
			put_side(old, p->old, i++);
		if (c >= 0)
			put_side(now, p->now, j++);
	}
}

/* Walks through both lists and puts down the changes: those without a 'now', or all others. */
static void put_changes(const struct sides *old, const struct sides *now, bool deleted, struct nat_change *to, size_t *n)
{
	size_t i = 0, j = 0;

	while (i < old->n || j < now->n) {
		const int c = i == old->n ? 1 : j == now->n ? -1 : frontend_cmp(old->v[i].f, now->v[j].f);
		const struct side *was = c <= 0 ? &old->v[i++] : NULL, *is = c >= 0 ? &now->v[j++] : NULL;

		if (deleted != !is || (was && is && same_side(was, is)))
			continue;
		to[(*n)++] = (struct nat_change){ was ? was->f : NULL, is ? is->f : NULL, was ? was->firewall : NULL,
						  is ? is->firewall : NULL };
	}
}

/* The changes from 'old' to 'now', which are put in order for it.  A frontend that goes from one Service to another stands
 * in both: it is one change. */
static int plan_changes(struct sides *old, struct sides *now, struct arena *arena, struct nat_plan *plan)
{
	struct nat_change *v = arena_take_array(arena, old->n + now->n, sizeof(*v));
	int r = sort_array(old->v, old->n, sizeof(*old->v), side_order, arena);

	if (r == 0)
		r = sort_array(now->v, now->n, sizeof(*now->v), side_order, arena);
	if (r < 0 || !v)
		return -ENOSPC;
	plan->changes = v;
	put_changes(old, now, true, v, &plan->n_changes);
	put_changes(old, now, false, v, &plan->n_changes);
	return 0;
}

static bool take_sides(struct sides *s, size_t max, struct arena *arena)
{
	*s = (struct sides){ .v = arena_take_array(arena, max, sizeof(*s->v)) };
	return s->v;
}

/* ---- firewalls ---- */

struct wall {
	const char *name;
	uint64_t digest;
	const struct nat_firewall *fw; /* NULL = read from the kernel */
};

struct walls {
	struct wall *v;
	size_t n;
};

static int wall_order(const void *a, const void *b)
{
	const struct wall *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void put_wall(struct walls *to, const struct nat_service *s)
{
	if (s && s->firewall)
		to->v[to->n++] = (struct wall){ s->firewall->name, s->firewall->digest, s->firewall };
}

static bool take_walls(struct walls *w, size_t max, struct arena *arena)
{
	*w = (struct walls){ .v = arena_take_array(arena, max, sizeof(*w->v)) };
	return w->v;
}

static int plan_firewalls(struct walls *old, struct walls *now, struct arena *arena, struct nat_plan *plan)
{
	const struct nat_firewall **made = arena_take_array(arena, now->n, sizeof(*made));
	const char **gone = arena_take_array(arena, old->n, sizeof(*gone));
	size_t i = 0, j = 0;
	int r = sort_array(old->v, old->n, sizeof(*old->v), wall_order, arena);

	if (r == 0)
		r = sort_array(now->v, now->n, sizeof(*now->v), wall_order, arena);
	if (r < 0 || !made || !gone)
		return -ENOSPC;
	while (i < old->n || j < now->n) {
		const int c = i == old->n ? 1 : j == now->n ? -1 : wall_order(&old->v[i], &now->v[j]);

		if (c < 0)
			gone[plan->n_gone++] = old->v[i].name;
		else if (c > 0 || old->v[i].digest != now->v[j].digest)
			made[plan->n_firewalls++] = now->v[j].fw;
		i += c <= 0;
		j += c >= 0;
	}
	plan->firewalls = made;
	plan->gone = gone;
	return 0;
}

/* ---- members ---- */

/* A list with the members of each kind together, since netlink messages are by set; in the order they came in besides.
 * First counted, at most so many, then put down with gaps, which close in the end. */
struct by_kind {
	struct nat_member *v;
	size_t at[NAT_MEMBER_KIND_N + 1]; /* where a kind begins; before take_by_kind(): how many the one before has */
	size_t n[NAT_MEMBER_KIND_N];
};

static void count_by_kind(struct by_kind *l, const struct nat_member *m)
{
	l->at[m->kind + 1]++;
}

static bool take_by_kind(struct by_kind *l, struct arena *arena)
{
	for (size_t k = 1; k <= NAT_MEMBER_KIND_N; k++)
		l->at[k] += l->at[k - 1];
	l->v = arena_take_array(arena, l->at[NAT_MEMBER_KIND_N], sizeof(*l->v));
	return l->v;
}

static void put_by_kind(struct by_kind *l, const struct nat_member *m)
{
	assert(l->at[m->kind] + l->n[m->kind] < l->at[m->kind + 1]);
	l->v[l->at[m->kind] + l->n[m->kind]++] = *m;
}

static const struct nat_member *close_by_kind(const struct by_kind *l, size_t *ret_n)
{
	size_t n = 0;

	for (size_t k = 0; k < NAT_MEMBER_KIND_N; k++) {
		memmove(l->v + n, l->v + l->at[k], l->n[k] * sizeof(*l->v));
		n += l->n[k];
	}
	*ret_n = n;
	return l->v;
}

/* Of what one Service has and the other has not, the next from *i on; NULL = no more. */
static const struct nat_member *next_missing(const struct nat_service *has, const struct nat_service *not, size_t *i,
					     size_t *j)
{
	while (has && *i < has->n_members) {
		const struct nat_member *m = &has->members[(*i)++];

		while (not && *j < not->n_members && nat_member_cmp(&not->members[*j], m) < 0)
			(*j)++;
		if (!not || *j == not->n_members || nat_member_cmp(&not->members[*j], m) != 0)
			return m;
	}
	return NULL;
}

static void count_missing(const struct nat_service *has, const struct nat_service *not, struct by_kind *to)
{
	const struct nat_member *m;

	for (size_t i = 0, j = 0; (m = next_missing(has, not, &i, &j));)
		count_by_kind(to, m);
}

/* First what comes, then what goes: so an element that goes from one Service to another has not been gone. */
static int plan_members(const struct diff_pair *pairs, size_t n, struct tally *tally, struct arena *arena,
			struct nat_plan *plan)
{
	struct by_kind add = { 0 }, del = { 0 };
	const struct nat_member *m;

	for (size_t k = 0; k < n; k++) {
		count_missing(pairs[k].now, pairs[k].old, &add);
		count_missing(pairs[k].old, pairs[k].now, &del);
	}
	if (!take_by_kind(&add, arena) || !take_by_kind(&del, arena))
		return -ENOSPC; /* from here on nothing can fail: the tally changes */
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0, j = 0; (m = next_missing(pairs[k].now, pairs[k].old, &i, &j));)
			if (tally_add(tally, m))
				put_by_kind(&add, m);
	for (size_t k = 0; k < n; k++)
		for (size_t i = 0, j = 0; (m = next_missing(pairs[k].old, pairs[k].now, &i, &j));)
			if (tally_sub(tally, m))
				put_by_kind(&del, m);
	plan->add = close_by_kind(&add, &plan->n_add);
	plan->del = close_by_kind(&del, &plan->n_del);
	return 0;
}

int diff_services(const struct diff_pair *pairs, size_t n, struct tally *tally, struct arena *arena, struct nat_plan *ret)
{
	struct nat_plan plan = { 0 };
	struct walls old_walls, now_walls;
	struct sides old, now;
	size_t n_old = 0, n_now = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		n_old += pairs[i].old ? pairs[i].old->n_frontends : 0;
		n_now += pairs[i].now ? pairs[i].now->n_frontends : 0;
	}
	if (!take_sides(&old, n_old, arena) || !take_sides(&now, n_now, arena) || !take_walls(&old_walls, n, arena) ||
	    !take_walls(&now_walls, n, arena))
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		split_frontends(&pairs[i], &old, &now);
		put_wall(&old_walls, pairs[i].old);
		put_wall(&now_walls, pairs[i].now);
	}
	r = plan_changes(&old, &now, arena, &plan);
	if (r == 0)
		r = plan_firewalls(&old_walls, &now_walls, arena, &plan);
	if (r == 0) /* last, because it changes the tally */
		r = plan_members(pairs, n, tally, arena, &plan);
	if (r == 0)
		*ret = plan;
	return r;
}

/* ---- against what was read ---- */

/* A bit for each place of the tally: its member is done with. */
static bool marked(const uint8_t *marks, size_t at)
{
	return marks[at / 8] >> at % 8 & 1;
}

static void mark(uint8_t *marks, size_t at)
{
	marks[at / 8] = (uint8_t)(marks[at / 8] | 1u << at % 8);
}

static int read_members(const struct nat_service *const *services, size_t n, const struct tally *tally,
			const struct nat_read *read, struct arena *arena, struct nat_plan *plan)
{
	uint8_t *marks = arena_take(arena, tally->cap / 8 + 1);
	struct nat_member *del = arena_take_array(arena, read->n_members + read->n_partial, sizeof(*del));
	struct by_kind add = { 0 };

	if (!marks || !del)
		return -ENOSPC;
	for (size_t i = 0, j = 0; i < read->n_members || j < read->n_partial;) {
		const bool whole = j == read->n_partial ||
				   (i < read->n_members && nat_member_cmp(&read->members[i], &read->partial[j]) < 0);
		const struct nat_member *m = whole ? &read->members[i++] : &read->partial[j++];
		const size_t at = tally_find(tally, m);

		if (at == tally->cap)
			del[plan->n_del++] = *m;
		else if (whole)
			mark(marks, at);
	}
	for (size_t i = 0; i < tally->cap; i++)
		if (tally->v[i].count > 0 && !marked(marks, i))
			count_by_kind(&add, &tally->v[i].member);
	if (!take_by_kind(&add, arena))
		return -ENOSPC;
	for (size_t i = 0; add.at[NAT_MEMBER_KIND_N] > 0 && i < n; i++) {
		for (size_t k = 0; k < services[i]->n_members; k++) {
			const size_t at = tally_find(tally, &services[i]->members[k]);

			if (marked(marks, at))
				continue;
			mark(marks, at);
			put_by_kind(&add, &services[i]->members[k]);
		}
	}
	plan->add = close_by_kind(&add, &plan->n_add);
	plan->del = del;
	return 0;
}

int diff_read(const struct nat_service *const *services, size_t n, const struct tally *tally, const struct nat_read *read,
	      struct arena *arena, struct nat_plan *ret)
{
	struct nat_plan plan = { 0 };
	struct walls old_walls, now_walls;
	struct sides old, now;
	size_t n_now = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		n_now += services[i]->n_frontends;
	if (!take_sides(&old, read->n_frontends, arena) || !take_sides(&now, n_now, arena) ||
	    !take_walls(&old_walls, read->n_firewalls, arena) || !take_walls(&now_walls, n, arena))
		return -ENOSPC;
	for (size_t i = 0; i < read->n_frontends; i++)
		old.v[old.n++] = (struct side){ &read->frontends[i].f, read->frontends[i].firewall };
	for (size_t i = 0; i < read->n_firewalls; i++)
		old_walls.v[old_walls.n++] = (struct wall){ read->firewalls[i].name, read->firewalls[i].digest, NULL };
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < services[i]->n_frontends; k++)
			put_side(&now, services[i], k);
		put_wall(&now_walls, services[i]);
	}
	r = plan_changes(&old, &now, arena, &plan);
	if (r == 0)
		r = plan_firewalls(&old_walls, &now_walls, arena, &plan);
	if (r == 0)
		r = read_members(services, n, tally, read, arena, &plan);
	if (r == 0)
		*ret = plan;
	return r;
}

/* ---- addresses ---- */

/* The addresses of a that are not in b; 'to' NULL = only counts them. */
static size_t missing(const struct ip *a, size_t n_a, const struct ip *b, size_t n_b, struct ip *to)
{
	size_t n = 0, j = 0;

	for (size_t i = 0; i < n_a; i++) {
		while (j < n_b && ip_cmp(&b[j], &a[i]) < 0)
			j++;
		if (j < n_b && ip_eq(&b[j], &a[i]))
			continue;
		if (to)
			to[n] = a[i];
		n++;
	}
	return n;
}

int diff_addrs(const struct ip *wanted, size_t n_wanted, const struct ip *observed, size_t n_observed,
	       struct arena *arena, struct addr_diff *ret)
{
	struct addr_diff d = { .n_add = missing(wanted, n_wanted, observed, n_observed, NULL),
			       .n_del = missing(observed, n_observed, wanted, n_wanted, NULL) };

	d.add = arena_take_array(arena, d.n_add, sizeof(*d.add));
	d.del = arena_take_array(arena, d.n_del, sizeof(*d.del));
	if (!d.add || !d.del)
		return -ENOSPC;
	missing(wanted, n_wanted, observed, n_observed, d.add);
	missing(observed, n_observed, wanted, n_wanted, d.del);
	*ret = d;
	return 0;
}
