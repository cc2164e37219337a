/* SPDX-License-Identifier: Apache-2.0 */
/* plan_state.h: what plan_driver.c wants of the data plane, and the plan that leads from one such state to another.  The
 * agent's own way there is agent/core, which drivers of netlink/ do not link. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "agent/base/nat.h"
#include "agent/base/text.h"
#include "tests/netns/command.h"

struct state {
	struct nat_member *members;
	struct nat_member *partial; /* read: something of these lacks; sorted */
	struct frontend *frontends;
	const char **walls; /* the frontends' firewalls, NULL = none */
	struct nat_firewall **firewalls; /* sorted by name */
	size_t n_members, n_partial, n_frontends, n_firewalls;
};

static const char *const kinds[] = { "vip",    "local",	   "home", "guard",   "keep",  "hairpin",
				     "routed", "received", "sent", "backend", "opened" };
static const char *const balances[] = { "hash", "random", "source", "turn" };

static uint64_t digest_of(uint64_t h, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len-- > 0)
		h = (h ^ *at++) * 1099511628211u;
	return h;
}

static void state_fini(struct state *s)
{
	for (size_t i = 0; i < s->n_frontends; i++) {
		free((void *)(uintptr_t)s->frontends[i].backends);
		free((void *)(uintptr_t)s->frontends[i].slots);
		free((void *)(uintptr_t)s->walls[i]);
	}
	for (size_t i = 0; i < s->n_firewalls; i++) {
		free((void *)(uintptr_t)s->firewalls[i]->sources);
		free(s->firewalls[i]);
	}
	free(s->members);
	free(s->partial);
	free(s->frontends);
	free((void *)s->walls);
	free((void *)s->firewalls);
	*s = (struct state){ .members = NULL };
}

/* Slots and digest of a frontend that has all else. */
static void fill(struct frontend *f, size_t salt)
{
	uint16_t *slots = need(calloc(f->n_slots, sizeof(*slots)));
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < f->n_slots; i++)
		slots[i] = (uint16_t)((i + salt) % f->n_backends);
	f->slots = slots;
	h = digest_of(h, &f->balance, sizeof(f->balance));
	h = digest_of(h, &f->sticky_s, sizeof(f->sticky_s));
	for (size_t i = 0; i < f->n_backends; i++) {
		h = digest_of(h, f->backends[i].ip.b, sizeof(f->backends[i].ip.b));
		h = digest_of(h, &f->backends[i].port, sizeof(f->backends[i].port));
	}
	f->digest = digest_of(h, slots, f->n_slots * sizeof(*slots));
}

struct plan_store {
	struct nat_member *add, *del;
	const struct nat_firewall **firewalls;
	struct nat_change *changes;
	const char **gone;
};

static void plan_fini(struct plan_store *p)
{
	free(p->add);
	free(p->del);
	free((void *)p->firewalls);
	free(p->changes);
	free((void *)p->gone);
}

static int member_order(const void *a, const void *b)
{
	return nat_member_cmp(a, b);
}

static void diff_members(const struct state *old, const struct state *now, struct plan_store *st, struct nat_plan *p)
{
	st->add = need(calloc(now->n_members + 1, sizeof(*st->add)));
	st->del = need(calloc(old->n_members + old->n_partial + 1, sizeof(*st->del)));
	for (size_t i = 0, j = 0; i < old->n_members || j < now->n_members;) {
		int c = i == old->n_members   ? 1
			: j == now->n_members ? -1
					      : nat_member_cmp(&old->members[i], &now->members[j]);

		if (c < 0)
			st->del[p->n_del++] = old->members[i];
		else if (c > 0)
			st->add[p->n_add++] = now->members[j];
		i += c <= 0;
		j += c >= 0;
	}
	for (size_t i = 0; i < old->n_partial; i++) /* added again, or deleted */
		if (now->n_members == 0 ||
		    !bsearch(&old->partial[i], now->members, now->n_members, sizeof(*now->members), member_order))
			st->del[p->n_del++] = old->partial[i];
	qsort(st->del, p->n_del, sizeof(*st->del), member_order);
	p->add = st->add;
	p->del = st->del;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? text_eq(a, b) : a == b;
}

static void diff_frontends(const struct state *old, const struct state *now, struct plan_store *st, struct nat_plan *p)
{
	st->changes = need(calloc(old->n_frontends + now->n_frontends + 1, sizeof(*st->changes)));
	for (unsigned int pass = 0; pass < 2; pass++) /* first those without a 'now' */
		for (size_t i = 0, j = 0; i < old->n_frontends || j < now->n_frontends;) {
			const int c = i == old->n_frontends   ? 1
				      : j == now->n_frontends ? -1
							      : frontend_cmp(&old->frontends[i], &now->frontends[j]);
			const struct nat_change change = {
				.old = c <= 0 ? &old->frontends[i] : NULL,
				.now = c >= 0 ? &now->frontends[j] : NULL,
				.old_firewall = c <= 0 ? old->walls[i] : NULL,
				.now_firewall = c >= 0 ? now->walls[j] : NULL,
			};

			if ((change.now == NULL) == (pass == 0) &&
			    (c != 0 || change.old->digest != change.now->digest || !change.old->slots ||
			     !same_text(change.old_firewall, change.now_firewall)))
				st->changes[p->n_changes++] = change;
			i += c <= 0;
			j += c >= 0;
		}
	p->changes = st->changes;
}

static void diff_firewalls(const struct state *old, const struct state *now, struct plan_store *st, struct nat_plan *p)
{
	st->firewalls = need(calloc(now->n_firewalls + 1, sizeof(const struct nat_firewall *)));
	st->gone = need(calloc(old->n_firewalls + 1, sizeof(const char *)));
	for (size_t i = 0, j = 0; i < old->n_firewalls || j < now->n_firewalls;) {
		const int c = i == old->n_firewalls   ? 1
			      : j == now->n_firewalls ? -1
						      : strcmp(old->firewalls[i]->name, now->firewalls[j]->name);

		if (c < 0)
			st->gone[p->n_gone++] = old->firewalls[i]->name;
		else if (c > 0 || old->firewalls[i]->digest != now->firewalls[j]->digest)
			st->firewalls[p->n_firewalls++] = now->firewalls[j];
		i += c <= 0;
		j += c >= 0;
	}
	p->firewalls = st->firewalls;
	p->gone = st->gone;
}
