/* SPDX-License-Identifier: Apache-2.0 */
/* test_diff.c: through random changes of some Services at a time, every plan carried out on a model of the kernel yields
 * what is wanted.  Nothing is deleted that is not there, nothing added that is; a frontend's old state is what the kernel has;
 * a firewall is there while a frontend is behind it; members are there before the frontends that need them, and go after
 * them; the plan is minimal; and a state against itself is nothing.  The same from what was read of a damaged kernel. */
#include "tests/unit/core/kernel_model.h"

#define SEEDS 300
#define STEPS 12

struct run {
	struct state states[2];
	bool changed[SERVICES];
	struct tally_entry entries[CAP];
	struct tally tally;
	struct model m;
};

static void count_all(const struct state *st, struct tally *t, struct tally_entry entries[static CAP])
{
	tally_init(t, entries, CAP);
	for (size_t i = 0; i < SERVICES; i++)
		for (size_t k = 0; k < st->v[i].s.n_members; k++)
			tally_add(t, &st->v[i].s.members[k]);
}

static void check_tally(const struct tally *t, const struct state *st)
{
	struct tally_entry entries[CAP];
	struct tally want;

	count_all(st, &want, entries);
	assert_int_equal(t->n, want.n);
	for (size_t i = 0; i < MEMBERS; i++) {
		const struct nat_member m = member_at(i);

		assert_int_equal(tally_count(t, &m), tally_count(&want, &m));
	}
}

static void begin(struct run *r)
{
	memset(r, 0, sizeof(*r));
	for (size_t k = 0; k < KEYS; k++)
		r->states[0].owner[k] = SERVICES;
	tally_init(&r->tally, r->entries, CAP);
}

/* One Service that is not yet, or no more, is NULL or empty. */
static size_t make_pairs(struct prng *p, const struct run *r, struct diff_pair *pairs)
{
	const struct state *old = &r->states[0], *now = &r->states[1];
	size_t n = 0;

	for (size_t i = 0; i < SERVICES; i++) {
		const struct nat_service *a = &old->v[i].s, *b = &now->v[i].s;

		if (!r->changed[i])
			continue;
		pairs[n].old = a->n_frontends + a->n_members == 0 && !a->firewall && chance(p, 50) ? NULL : a;
		pairs[n].now = b->n_frontends + b->n_members == 0 && !b->firewall && chance(p, 50) ? NULL : b;
		n++;
	}
	for (size_t i = n; i > 1; i--) { /* in any order */
		const size_t k = below(p, (uint32_t)i);
		const struct diff_pair t = pairs[i - 1];

		pairs[i - 1] = pairs[k];
		pairs[k] = t;
	}
	return n;
}

static void test_services(void **state)
{
	static struct run r;
	static struct model want;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct prng p = { seed };

		begin(&r);
		for (size_t step = 0; step < STEPS; step++) {
			struct arena a = make_arena(16 * 1024);
			struct diff_pair pairs[SERVICES];
			struct nat_plan plan;
			size_t n;

			make_next(&p, &r.states[0], &r.states[1], r.changed);
			settle(&r.states[1]);
			n = make_pairs(&p, &r, pairs);
			assert_int_equal(diff_services(pairs, n, &r.tally, &a, &plan), 0);
			load(&r.states[1], &want);
			assert_int_equal(steps_of(&plan), difference(&r.m, &want));
			apply(&r.m, &plan);
			assert_int_equal(difference(&r.m, &want), 0);
			check_tally(&r.tally, &r.states[1]);
			r.states[0] = r.states[1];
			settle(&r.states[0]);
			drop_arena(&a);
		}
	}
}

/* Every Service at its own address twice: the second is a copy. */
static void test_same_is_nothing(void **state)
{
	static struct run r;

	(void)state;
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct prng p = { seed };
		struct arena a = make_arena(16 * 1024);
		struct diff_pair pairs[SERVICES];
		struct nat_plan plan;

		begin(&r);
		make_next(&p, &r.states[0], &r.states[1], r.changed);
		settle(&r.states[1]);
		r.states[0] = r.states[1];
		settle(&r.states[0]);
		count_all(&r.states[0], &r.tally, r.entries);
		for (size_t i = 0; i < SERVICES; i++)
			pairs[i] = (struct diff_pair){ &r.states[0].v[i].s, &r.states[1].v[i].s };
		assert_int_equal(diff_services(pairs, SERVICES, &r.tally, &a, &plan), 0);
		assert_true(nat_plan_empty(&plan));
		check_tally(&r.tally, &r.states[1]);
		drop_arena(&a);
	}
}

/* A tally full of others is not looked at: the plan is about the pair, and needs the memory of the pair. */
static void test_others_do_not_matter(void **state)
{
	enum { LARGE = 1 << 16 };
	struct tally_entry *entries = malloc(LARGE * sizeof(*entries));
	struct arena a = make_arena(2048);
	struct nat_member one = member_at(0), two[] = { member_at(0), member_at(5) };
	const struct nat_service old = { .members = &one, .n_members = 1 }, now = { .members = two, .n_members = 2 };
	const struct diff_pair pair = { &old, &now };
	struct nat_plan plan;
	struct tally t;

	(void)state;
	assert_non_null(entries);
	tally_init(&t, entries, LARGE);
	for (uint32_t i = 0; i < LARGE / 2; i++)
		tally_add(&t, &(struct nat_member){ .ip = make_v6(i), .kind = NAT_GUARD });
	tally_add(&t, &one);
	assert_int_equal(diff_services(&pair, 1, &t, &a, &plan), 0);
	assert_int_equal(steps_of(&plan), 1);
	assert_int_equal(plan.n_add, 1);
	assert_int_equal(nat_member_cmp(&plan.add[0], &two[1]), 0);
	free(entries);
	drop_arena(&a);
}

/* ---- from what was read ---- */

struct reading {
	struct nat_read r;
	struct nat_member members[MEMBERS], partial[MEMBERS];
	struct nat_read_frontend frontends[KEYS];
	struct nat_read_firewall walls[SERVICES];
	char names[SERVICES][8];
};

/* What a reading of the model gives: no slots. */
static void read_model(const struct model *m, struct reading *x)
{
	memset(x, 0, sizeof(*x));
	for (size_t i = 0; i < MEMBERS; i++)
		if (m->member[i])
			x->members[x->r.n_members++] = member_at(i);
	for (size_t i = 0; i < SERVICES; i++) {
		snprintf(x->names[i], sizeof(x->names[i]), "n/%zu", i);
		if (m->wall[i].there)
			x->walls[x->r.n_firewalls++] = (struct nat_read_firewall){ x->names[i], m->wall[i].digest };
	}
	for (size_t k = 0; k < KEYS; k++) {
		struct nat_read_frontend *f = &x->frontends[x->r.n_frontends];

		if (!m->f[k].there)
			continue;
		f->f = m->f[k].f;
		f->f.n_backends = 0;
		f->f.backends = NULL;
		f->f.slots = NULL;
		f->firewall = *m->f[k].firewall ? x->names[wall_index(m->f[k].firewall)] : NULL;
		x->r.n_frontends++;
	}
	x->r.members = x->members;
	x->r.frontends = x->frontends;
	x->r.firewalls = x->walls;
}

/* Something lacks of some members: for a plan those are not there if they are wanted, and else they are. */
static void break_members(struct prng *p, struct reading *x, const struct model *want, struct model *back)
{
	size_t n = 0;

	x->r.partial = x->partial;
	for (size_t i = 0; i < x->r.n_members; i++) {
		const size_t k = member_index(&x->members[i]);

		if (chance(p, 80)) {
			x->members[n++] = x->members[i];
			continue;
		}
		x->partial[x->r.n_partial++] = x->members[i];
		back->member[k] = !want->member[k];
	}
	x->r.n_members = n;
}

/* Somebody else was at it. */
static void damage(struct prng *p, struct model *m)
{
	for (size_t i = 0; i < MEMBERS; i++)
		m->member[i] = chance(p, 15) ? !m->member[i] : m->member[i];
	for (size_t k = 0; k < KEYS; k++) {
		if (!m->f[k].there || chance(p, 50))
			continue;
		switch (below(p, 5)) {
		case 0:
			m->f[k].there = false;
			break;
		case 1:
			m->f[k].f.digest = chance(p, 50) ? 0 : 4711;
			break;
		case 2:
			m->f[k].f.n_slots = 0;
			break;
		case 3:
			m->f[k].f.balance ^= 1;
			break;
		case 4:
			m->f[k].firewall[0] = '\0';
			break;
		}
	}
	for (size_t i = 0; i < SERVICES; i++)
		m->wall[i].digest += m->wall[i].there && chance(p, 15);
}

/* The state of another time altogether. */
static void load_other(struct prng *p, struct run *r, struct model *ret)
{
	make_next(p, &r->states[0], &r->states[0], r->changed);
	settle(&r->states[0]);
	load(&r->states[0], ret);
}

static void test_read(void **state)
{
	static struct run r;
	static struct model want, back;
	static struct reading x;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS * 2; seed++) {
		const struct nat_service *services[SERVICES];
		struct arena a = make_arena(16 * 1024);
		struct prng p = { seed };
		struct nat_plan plan;

		begin(&r);
		make_next(&p, &r.states[0], &r.states[1], r.changed);
		settle(&r.states[1]);
		count_all(&r.states[1], &r.tally, r.entries);
		load(&r.states[1], &want);
		back = want;
		if (seed % 4 == 0)
			load_other(&p, &r, &back);
		else if (seed % 4 != 1)
			damage(&p, &back);
		for (size_t i = 0; i < SERVICES; i++)
			services[i] = &r.states[1].v[i].s;
		read_model(&back, &x);
		if (seed % 4 == 2)
			break_members(&p, &x, &want, &back);
		assert_int_equal(diff_read(services, SERVICES, &r.tally, &x.r, &a, &plan), 0);
		assert_int_equal(steps_of(&plan), difference(&back, &want));
		if (seed % 4 == 1)
			assert_true(nat_plan_empty(&plan));
		apply(&back, &plan);
		assert_int_equal(difference(&back, &want), 0);
		check_tally(&r.tally, &r.states[1]);
		drop_arena(&a);
	}
}

/* ---- too little memory ---- */

static int diff_in(struct arena *a, void *ctx)
{
	struct run *r = ctx;
	struct tally_entry entries[CAP];
	struct diff_pair pairs[SERVICES];
	struct nat_plan plan = { .n_add = 12345 };
	struct tally t;
	int rc;

	tally_init(&t, entries, CAP);
	tally_move(&t, &r->tally);
	for (size_t i = 0; i < SERVICES; i++)
		pairs[i] = (struct diff_pair){ &r->states[0].v[i].s, &r->states[1].v[i].s };
	rc = diff_services(pairs, SERVICES, &t, a, &plan);
	if (rc < 0) {
		assert_int_equal(plan.n_add, 12345);
		check_tally(&t, &r->states[0]);
	}
	return rc;
}

static int read_in(struct arena *a, void *ctx)
{
	static struct reading x;
	struct run *r = ctx;
	const struct nat_service *services[SERVICES];
	struct nat_plan plan = { .n_add = 12345 };
	int rc;

	read_model(&r->m, &x);
	for (size_t i = 0; i < SERVICES; i++)
		services[i] = &r->states[0].v[i].s;
	rc = diff_read(services, SERVICES, &r->tally, &x.r, a, &plan);
	if (rc < 0)
		assert_int_equal(plan.n_add, 12345);
	return rc;
}

static void test_small_arena(void **state)
{
	static struct run r;

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct prng p = { seed };

		begin(&r);
		make_next(&p, &r.states[0], &r.states[1], r.changed);
		r.states[0] = r.states[1];
		settle(&r.states[0]);
		make_next(&p, &r.states[0], &r.states[1], r.changed);
		settle(&r.states[1]);
		count_all(&r.states[0], &r.tally, r.entries);
		load(&r.states[1], &r.m);
		refuse_all_smaller(diff_in, &r, 64 * 1024, 1);
		refuse_all_smaller(read_in, &r, 64 * 1024, 1);
	}
}

/* ---- addresses ---- */

#define VIPS 6

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

static void test_addrs(void **state)
{
	struct prng p = { 6 };

	(void)state;
	for (size_t round = 0; round < 500; round++) {
		struct ip wanted[VIPS], observed[VIPS];
		size_t n_wanted = 0, n_observed = 0, n_add = 0, n_del = 0;
		struct arena a = make_arena(4096);
		struct addr_diff d;

		for (size_t v = 0; v < VIPS; v++) { /* v4 before v6: sorted */
			const struct ip ip = v < VIPS / 2 ? make_v4((uint32_t)v) : make_v6((uint32_t)v);
			const bool w = chance(&p, 50), o = chance(&p, 50);

			if (w)
				wanted[n_wanted++] = ip;
			if (o)
				observed[n_observed++] = ip;
			n_add += w && !o;
			n_del += o && !w;
		}
		assert_int_equal(diff_addrs(wanted, n_wanted, observed, n_observed, &a, &d), 0);
		assert_int_equal(d.n_add, n_add);
		assert_int_equal(d.n_del, n_del);
		for (size_t i = 0; i < d.n_add; i++) {
			assert_non_null(bsearch(&d.add[i], wanted, n_wanted, sizeof(struct ip), ip_order));
			assert_true(i == 0 || ip_cmp(&d.add[i - 1], &d.add[i]) < 0);
		}
		for (size_t i = 0; i < d.n_del; i++) {
			assert_non_null(bsearch(&d.del[i], observed, n_observed, sizeof(struct ip), ip_order));
			assert_true(i == 0 || ip_cmp(&d.del[i - 1], &d.del[i]) < 0);
		}
		drop_arena(&a);
		a = make_arena((n_add + n_del) * sizeof(struct ip) / 2);
		if (n_add + n_del > 0)
			assert_int_equal(diff_addrs(wanted, n_wanted, observed, n_observed, &a, &d), -28 /* ENOSPC */);
		drop_arena(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services),
		cmocka_unit_test(test_same_is_nothing),
		cmocka_unit_test(test_others_do_not_matter),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_small_arena),
		cmocka_unit_test(test_addrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
