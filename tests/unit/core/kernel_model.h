/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_model.h: what a few Services may want, at random, and a model of the kernel that plans are carried out on.  It is
 * strict: whatever a plan says of what there is must be so. */
#pragma once

#include "tests/unit/core/make.h"

#include "agent/core/digest.h"
#include "agent/core/diff.h"

#define SERVICES 4
#define KEYS 10	   /* frontends that there may be, each of one Service at a time */
#define MEMBERS 24 /* members that there may be, each of any number */
#define SLOTS 13
#define CAP 64

struct owned {
	struct nat_service s;
	struct frontend f[KEYS];
	struct ip_port backends[KEYS][3];
	uint16_t slots[KEYS][SLOTS];
	struct nat_member members[MEMBERS];
	struct nat_firewall fw;
};

/* All Services, and which of them has which frontend (SERVICES = none). */
struct state {
	struct owned v[SERVICES];
	size_t owner[KEYS];
};

/* The kernel: copies, not pointers. */
struct model {
	bool member[MEMBERS];
	struct {
		bool there;
		struct frontend f; /* backends and slots in those below */
		struct ip_port backends[3];
		uint16_t slots[SLOTS];
		char firewall[NAT_FIREWALL_NAME_MAX]; /* "" = none */
	} f[KEYS];
	struct {
		bool there;
		uint64_t digest;
	} wall[SERVICES];
};

static inline struct frontend key_at(size_t k)
{
	return (struct frontend){ .vip = k < KEYS / 2 ? make_v4((uint32_t)k / 2) : make_v6((uint32_t)k / 2),
				  .proto = PROTO_TCP, .port = (uint16_t)(80 + k % 2) };
}

/* In order. */
static inline struct nat_member member_at(size_t i)
{
	return (struct nat_member){ .ip = make_v4(500 + (uint32_t)i % 4), .kind = (uint8_t)(i / 4) };
}

static inline size_t key_index(const struct frontend *f)
{
	for (size_t k = 0; k < KEYS; k++) {
		const struct frontend key = key_at(k);

		if (frontend_cmp(&key, f) == 0)
			return k;
	}
	fail_msg("a frontend that nobody has");
	return 0;
}

static inline size_t member_index(const struct nat_member *m)
{
	for (size_t i = 0; i < MEMBERS; i++) {
		const struct nat_member x = member_at(i);

		if (nat_member_cmp(&x, m) == 0)
			return i;
	}
	fail_msg("a member that nobody has");
	return 0;
}

static inline size_t wall_index(const char *name)
{
	assert_true(text_starts(name, "n/") && name[2] >= '0' && name[2] < '0' + SERVICES && name[3] == '\0');
	return (size_t)(name[2] - '0');
}

/* ---- making states ---- */

/* One of a few contents, so that a frontend is often the same again. */
static inline void make_frontend(struct prng *p, struct owned *o, size_t at, size_t key)
{
	struct frontend *f = &o->f[at];
	const uint32_t content = below(p, 4);

	*f = key_at(key);
	f->n_backends = (uint16_t)(1 + content % 3);
	f->n_slots = content == 3 ? SLOTS : SLOTS - 2;
	f->balance = (uint8_t)(content / 2);
	for (uint32_t i = 0; i < 3; i++)
		o->backends[at][i] = (struct ip_port){ f->vip.family == IP_V4 ? make_v4(90 + i) : make_v6(90 + i), 8080 };
	for (uint32_t i = 0; i < SLOTS; i++)
		o->slots[at][i] = (uint16_t)((i * (content + 1)) % f->n_backends);
	f->backends = o->backends[at];
	f->slots = o->slots[at];
	f->digest = digest_frontend(f);
}

static inline void make_owned(struct prng *p, struct state *st, size_t i)
{
	struct owned *o = &st->v[i];
	size_t n_frontends = 0, n_members = 0;

	memset(o, 0, sizeof(*o));
	for (size_t k = 0; k < KEYS; k++)
		if (st->owner[k] == i)
			make_frontend(p, o, n_frontends++, k);
	for (size_t k = 0; k < MEMBERS; k++)
		if (chance(p, 30))
			o->members[n_members++] = member_at(k);
	o->s = (struct nat_service){ o->f, n_frontends, o->members, n_members, NULL };
	if (chance(p, 50))
		return;
	snprintf(o->fw.name, sizeof(o->fw.name), "n/%zu", i);
	o->fw.client_connections = 1 + below(p, 2);
	o->fw.digest = digest_firewall(&o->fw);
	o->s.firewall = &o->fw;
}

/* Some Services change; those only give and take frontends among themselves. */
static inline void make_next(struct prng *p, const struct state *old, struct state *now, bool changed[static SERVICES])
{
	*now = *old; /* those that stay point into 'old', which stands while they are compared */
	for (size_t i = 0; i < SERVICES; i++)
		changed[i] = chance(p, 60);
	for (size_t k = 0; k < KEYS; k++) {
		const size_t to = below(p, SERVICES + 1);

		if ((old->owner[k] == SERVICES || changed[old->owner[k]]) && (to == SERVICES || changed[to]) && chance(p, 60))
			now->owner[k] = to;
	}
	for (size_t i = 0; i < SERVICES; i++)
		if (changed[i])
			make_owned(p, now, i);
}

/* Points a state's Services to what the state itself holds. */
static inline void settle(struct state *st)
{
	for (size_t i = 0; i < SERVICES; i++) {
		struct owned *o = &st->v[i];

		for (size_t k = 0; k < o->s.n_frontends; k++) {
			o->f[k].backends = o->backends[k];
			o->f[k].slots = o->slots[k];
		}
		o->s.frontends = o->f;
		o->s.members = o->members;
		o->s.firewall = o->s.firewall ? &o->fw : NULL;
	}
}

/* ---- the model ---- */

static inline void put_frontend(struct model *m, const struct frontend *f, const char *firewall)
{
	const size_t k = key_index(f);

	m->f[k].there = true;
	m->f[k].f = *f;
	memset(m->f[k].backends, 0, sizeof(m->f[k].backends));
	memset(m->f[k].slots, 0, sizeof(m->f[k].slots));
	for (size_t i = 0; i < f->n_backends; i++)
		m->f[k].backends[i] = f->backends[i];
	memcpy(m->f[k].slots, f->slots, f->n_slots * sizeof(*f->slots));
	m->f[k].f.backends = m->f[k].backends;
	m->f[k].f.slots = m->f[k].slots;
	assert_true(text_copy(m->f[k].firewall, NAT_FIREWALL_NAME_MAX, firewall ? firewall : ""));
}

static inline void load(const struct state *st, struct model *m)
{
	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < SERVICES; i++) {
		const struct nat_service *s = &st->v[i].s;

		for (size_t k = 0; k < s->n_members; k++)
			m->member[member_index(&s->members[k])] = true;
		for (size_t k = 0; k < s->n_frontends; k++)
			put_frontend(m, &s->frontends[k], s->firewall ? s->firewall->name : NULL);
		m->wall[i].there = s->firewall;
		m->wall[i].digest = s->firewall ? s->firewall->digest : 0;
	}
}

static inline bool same_front(const struct model *a, const struct model *b, size_t k)
{
	if (!a->f[k].there || !b->f[k].there)
		return a->f[k].there == b->f[k].there;
	return a->f[k].f.digest == b->f[k].f.digest && a->f[k].f.n_slots == b->f[k].f.n_slots &&
	       a->f[k].f.balance == b->f[k].f.balance && text_eq(a->f[k].firewall, b->f[k].firewall) &&
	       memcmp(a->f[k].slots, b->f[k].slots, sizeof(a->f[k].slots)) == 0;
}

static inline bool same_wall(const struct model *a, const struct model *b, size_t i)
{
	return a->wall[i].there == b->wall[i].there && a->wall[i].digest == b->wall[i].digest;
}

/* Steps that a plan from one to the other must have. */
static inline size_t difference(const struct model *a, const struct model *b)
{
	size_t n = 0;

	for (size_t i = 0; i < MEMBERS; i++)
		n += a->member[i] != b->member[i];
	for (size_t k = 0; k < KEYS; k++)
		n += !same_front(a, b, k);
	for (size_t i = 0; i < SERVICES; i++)
		n += !same_wall(a, b, i);
	return n;
}

static inline void check_old(const struct model *m, const struct nat_change *c)
{
	const size_t k = key_index(c->old);

	assert_true(m->f[k].there);
	assert_string_equal(m->f[k].firewall, c->old_firewall ? c->old_firewall : "");
	assert_int_equal(m->f[k].f.n_slots, c->old->n_slots);
	assert_int_equal(m->f[k].f.balance, c->old->balance);
	assert_true(m->f[k].f.digest == c->old->digest);
	if (c->old->slots)
		assert_memory_equal(m->f[k].slots, c->old->slots, c->old->n_slots * sizeof(*c->old->slots));
}

static inline void apply_change(struct model *m, const struct nat_change *c)
{
	assert_true(c->old || c->now);
	if (c->old)
		check_old(m, c);
	else
		assert_false(m->f[key_index(c->now)].there);
	if (c->old && c->now)
		assert_int_equal(frontend_cmp(c->old, c->now), 0);
	if (c->now)
		put_frontend(m, c->now, c->now_firewall);
	else
		m->f[key_index(c->old)].there = false;
	assert_true(!c->now || !c->now_firewall || m->wall[wall_index(c->now_firewall)].there);
}

static inline void check_order(const struct nat_plan *plan)
{
	bool added = false;

	for (size_t i = 0; i < plan->n_changes; i++) {
		added = added || plan->changes[i].now;
		assert_true(!added || plan->changes[i].now); /* deletions first */
	}
	for (size_t i = 1; i < plan->n_add; i++)
		assert_true(plan->add[i - 1].kind <= plan->add[i].kind);
	for (size_t i = 1; i < plan->n_del; i++)
		assert_true(plan->del[i - 1].kind <= plan->del[i].kind);
}

/* In the order that struct nat_plan names. */
static inline void apply(struct model *m, const struct nat_plan *plan)
{
	check_order(plan);
	for (size_t i = 0; i < plan->n_add; i++) {
		assert_false(m->member[member_index(&plan->add[i])]);
		m->member[member_index(&plan->add[i])] = true;
	}
	for (size_t i = 0; i < plan->n_firewalls; i++) {
		const size_t w = wall_index(plan->firewalls[i]->name);

		assert_true(!m->wall[w].there || m->wall[w].digest != plan->firewalls[i]->digest);
		m->wall[w].there = true;
		m->wall[w].digest = plan->firewalls[i]->digest;
	}
	for (size_t i = 0; i < plan->n_changes; i++)
		apply_change(m, &plan->changes[i]);
	for (size_t i = 0; i < plan->n_gone; i++) {
		const size_t w = wall_index(plan->gone[i]);

		assert_true(m->wall[w].there);
		m->wall[w].there = false;
		m->wall[w].digest = 0;
		for (size_t k = 0; k < KEYS; k++) /* nobody is behind it any more */
			assert_false(m->f[k].there && text_eq(m->f[k].firewall, plan->gone[i]));
	}
	for (size_t i = 0; i < plan->n_del; i++) {
		assert_true(m->member[member_index(&plan->del[i])]);
		m->member[member_index(&plan->del[i])] = false;
	}
}

static inline size_t steps_of(const struct nat_plan *p)
{
	return p->n_add + p->n_firewalls + p->n_changes + p->n_gone + p->n_del;
}
