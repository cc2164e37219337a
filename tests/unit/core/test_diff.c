/* SPDX-License-Identifier: Apache-2.0 */
/* test_diff.c: on random states, a plan carried out on a model of the kernel yields what is wanted; nothing is deleted
 * that is not there and nothing added that is; a packet that comes between two groups never meets a dispatch whose slots
 * are missing, nor a frontend whose VIP is not in the set or whose guards, homes and local backends are not all there;
 * the plan is minimal; and a state against itself is nothing. */
#include "agent/core/diff.h"

#include "tests/unit/core/make.h"

#define VIPS 6
#define PORTS 4	 /* per VIP */
#define SLOTS 61 /* the two smallest classes */
#define OTHERS 8 /* guards, locals, homes that there may be */
#define SEEDS 2000

struct model {
	bool vip[VIPS], guard[OTHERS], local[OTHERS], home[OTHERS];
	struct {
		bool dispatch;
		enum balance balance;
		uint16_t n_slots;
		struct ip_port slots[SLOTS]; /* family IP_NONE = absent */
	} f[VIPS][PORTS];
};

struct state {
	struct nat_state s;
	struct ip vips[VIPS];
	struct nat_guard guards[OTHERS];
	struct ip locals[OTHERS];
	struct nat_home homes[OTHERS];
	struct frontend frontends[VIPS * PORTS];
	struct ip_port slots[VIPS * PORTS][SLOTS];
};

static struct ip vip_at(size_t v)
{
	return v % 2 ? make_v6((uint32_t)v) : make_v4((uint32_t)v);
}

/* The i-th of each, in order. */
static struct nat_guard guard_at(size_t i)
{
	return (struct nat_guard){ make_v4(500 + (uint32_t)i / 4), i % 4 < 2 ? PROTO_TCP : PROTO_UDP,
				   (uint16_t)(80 + i % 2) };
}

static struct ip local_at(size_t i)
{
	return i < 4 ? make_v4(700 + (uint32_t)i) : make_v6((uint32_t)i);
}

static struct nat_home home_at(size_t i)
{
	return (struct nat_home){ local_at(i / 2 * 2), 1 + (uint32_t)i % 2 };
}

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

static int frontend_order(const void *a, const void *b)
{
	return frontend_cmp(a, b);
}

static struct ip_port some_backend(struct prng *p, uint8_t family)
{
	uint32_t i = 100 + below(p, 3);

	return (struct ip_port){ family == IP_V4 ? make_v4(i) : make_v6(i), (uint16_t)(8080 + below(p, 2)) };
}

/* A random state; 'holes': with slots missing, as a dump of a damaged table may be. */
static void make_state(struct prng *p, struct state *st, bool holes)
{
	struct nat_state *s = &st->s;
	size_t n_vips = 0, n = 0;

	for (size_t v = 0; v < VIPS; v++) {
		if (chance(p, 40))
			continue;
		st->vips[n_vips++] = vip_at(v);
		for (size_t k = 0; k < PORTS; k++) {
			struct frontend *f = &st->frontends[n];

			if (chance(p, 40))
				continue;
			*f = (struct frontend){ .vip = vip_at(v), .proto = k % 2 ? PROTO_TCP : PROTO_UDP,
						.port = (uint16_t)(80 + k), .balance = (enum balance)below(p, 2),
						.n_slots = chance(p, 50) ? 13 : 61, .slots = st->slots[n] };
			for (size_t i = 0; i < f->n_slots; i++)
				st->slots[n][i] = holes && chance(p, 10) ? (struct ip_port){ 0 } :
									     some_backend(p, f->vip.family);
			n++;
		}
	}
	if (holes && n_vips && chance(p, 20)) /* a VIP that is missing in the set although frontends are there */
		n_vips--;
	qsort(st->vips, n_vips, sizeof(*st->vips), ip_order);
	qsort(st->frontends, n, sizeof(*st->frontends), frontend_order);
	*s = (struct nat_state){ .vips = st->vips, .n_vips = n_vips, .frontends = st->frontends, .n_frontends = n };
	for (size_t i = 0; i < OTHERS; i++) {
		if (chance(p, 50))
			st->guards[s->n_guards++] = guard_at(i);
		if (chance(p, 50))
			st->locals[s->n_locals++] = local_at(i);
		if (chance(p, 50))
			st->homes[s->n_homes++] = home_at(i);
	}
	s->guards = st->guards;
	s->locals = st->locals;
	s->homes = st->homes;
}

static void index_of(const struct ip *vip, uint16_t port, size_t *ret_v, size_t *ret_k)
{
	for (*ret_v = 0; *ret_v < VIPS; (*ret_v)++) {
		struct ip ip = vip_at(*ret_v);

		if (ip_eq(&ip, vip))
			break;
	}
	assert_true(*ret_v < VIPS);
	*ret_k = port ? port - 80u : 0;
	assert_true(*ret_k < PORTS);
}

/* Which of the others an op or element is about. */
static size_t guard_index(const struct nat_guard *g)
{
	size_t i = 0;
	struct nat_guard at = guard_at(0);

	while (i < OTHERS && nat_guard_cmp(&at, g) != 0)
		at = guard_at(++i);
	assert_true(i < OTHERS);
	return i;
}

static size_t local_index(const struct ip *ip)
{
	size_t i = 0;
	struct ip at = local_at(0);

	while (i < OTHERS && !ip_eq(&at, ip))
		at = local_at(++i);
	assert_true(i < OTHERS);
	return i;
}

static size_t home_index(const struct nat_home *h)
{
	size_t i = 0;
	struct nat_home at = home_at(0);

	while (i < OTHERS && nat_home_cmp(&at, h) != 0)
		at = home_at(++i);
	assert_true(i < OTHERS);
	return i;
}

static void load(const struct nat_state *s, struct model *m)
{
	size_t v, k;

	memset(m, 0, sizeof(*m));
	for (size_t i = 0; i < s->n_guards; i++)
		m->guard[guard_index(&s->guards[i])] = true;
	for (size_t i = 0; i < s->n_locals; i++)
		m->local[local_index(&s->locals[i])] = true;
	for (size_t i = 0; i < s->n_homes; i++)
		m->home[home_index(&s->homes[i])] = true;
	for (size_t i = 0; i < s->n_vips; i++) {
		index_of(&s->vips[i], 0, &v, &k);
		m->vip[v] = true;
	}
	for (size_t i = 0; i < s->n_frontends; i++) {
		const struct frontend *f = &s->frontends[i];

		index_of(&f->vip, f->port, &v, &k);
		m->f[v][k].dispatch = true;
		m->f[v][k].balance = f->balance;
		m->f[v][k].n_slots = f->n_slots;
		memcpy(m->f[v][k].slots, f->slots, f->n_slots * sizeof(*f->slots));
	}
}

/* As the kernel does: an ADD of what exists and a DEL of what does not are errors. */
static void toggle(bool *there, bool add)
{
	assert_int_equal(*there, !add);
	*there = add;
}

static bool apply_other(struct model *m, const struct nat_op *op)
{
	const struct nat_guard guard = { op->vip, op->proto, op->port };
	const struct nat_home home = { op->vip, op->ifindex };
	const bool add = !nat_op_is_del(op->kind);

	if (op->kind == NAT_OP_GUARD_ADD || op->kind == NAT_OP_GUARD_DEL)
		toggle(&m->guard[guard_index(&guard)], add);
	else if (op->kind == NAT_OP_LOCAL_ADD || op->kind == NAT_OP_LOCAL_DEL)
		toggle(&m->local[local_index(&op->vip)], add);
	else if (op->kind == NAT_OP_HOME_ADD || op->kind == NAT_OP_HOME_DEL)
		toggle(&m->home[home_index(&home)], add);
	else
		return false;
	return true;
}

static void apply_op(struct model *m, const struct nat_op *op)
{
	static const struct ip_port none;
	size_t v, k;

	if (apply_other(m, op))
		return;
	index_of(&op->vip, op->port, &v, &k);
	switch (op->kind) {
	case NAT_OP_VIP_ADD:
		assert_false(m->vip[v]);
		m->vip[v] = true;
		break;
	case NAT_OP_VIP_DEL:
		assert_true(m->vip[v]);
		m->vip[v] = false;
		break;
	case NAT_OP_FRONTEND_ADD:
		assert_false(m->f[v][k].dispatch);
		m->f[v][k].dispatch = true;
		m->f[v][k].balance = op->balance;
		m->f[v][k].n_slots = op->n_slots;
		break;
	case NAT_OP_FRONTEND_DEL:
		assert_true(m->f[v][k].dispatch);
		assert_int_equal(m->f[v][k].balance, op->balance);
		assert_int_equal(m->f[v][k].n_slots, op->n_slots);
		m->f[v][k].dispatch = false;
		m->f[v][k].balance = 0;
		m->f[v][k].n_slots = 0;
		break;
	case NAT_OP_SLOT_ADD:
		assert_true(op->slot < SLOTS);
		assert_int_equal(m->f[v][k].slots[op->slot].ip.family, IP_NONE);
		assert_int_equal(op->backend.ip.family, op->vip.family);
		m->f[v][k].slots[op->slot] = op->backend;
		break;
	case NAT_OP_SLOT_DEL:
		assert_true(op->slot < SLOTS);
		assert_int_equal(ip_port_cmp(&m->f[v][k].slots[op->slot], &op->backend), 0);
		assert_int_not_equal(op->backend.ip.family, IP_NONE);
		m->f[v][k].slots[op->slot] = none;
		break;
	case NAT_OP_LOCAL_ADD:
	case NAT_OP_LOCAL_DEL:
	case NAT_OP_HOME_ADD:
	case NAT_OP_HOME_DEL:
	case NAT_OP_GUARD_ADD:
	case NAT_OP_GUARD_DEL:
		break; /* done above */
	}
}

/* While frontends change, guards, homes and local backends are all there: what is new, and still what is to go. */
static void check_others(const struct model *m, const struct model *want, const struct model *old)
{
	for (size_t i = 0; i < OTHERS; i++) {
		assert_int_equal(m->guard[i], want->guard[i] || old->guard[i]);
		assert_int_equal(m->local[i], want->local[i] || old->local[i]);
		assert_int_equal(m->home[i], want->home[i] || old->home[i]);
	}
}

/* What a packet may meet: full slots behind each dispatch, and its VIP in the set. */
static void check_whole(const struct model *m)
{
	for (size_t v = 0; v < VIPS; v++) {
		for (size_t k = 0; k < PORTS; k++) {
			if (!m->f[v][k].dispatch)
				continue;
			assert_true(m->vip[v]);
			for (size_t i = 0; i < m->f[v][k].n_slots; i++)
				assert_int_not_equal(m->f[v][k].slots[i].ip.family, IP_NONE);
		}
	}
}

/* Elements that one model has and the other has not, or has otherwise (those count on both sides). */
static size_t difference(const struct model *a, const struct model *b)
{
	size_t n = 0;

	for (size_t i = 0; i < OTHERS; i++)
		n += (size_t)(a->guard[i] && !b->guard[i]) + (a->local[i] && !b->local[i]) + (a->home[i] && !b->home[i]);
	for (size_t v = 0; v < VIPS; v++) {
		n += a->vip[v] && !b->vip[v];
		for (size_t k = 0; k < PORTS; k++) {
			n += a->f[v][k].dispatch && (!b->f[v][k].dispatch || a->f[v][k].balance != b->f[v][k].balance ||
						     a->f[v][k].n_slots != b->f[v][k].n_slots);
			for (size_t i = 0; i < SLOTS; i++)
				n += a->f[v][k].slots[i].ip.family != IP_NONE &&
				     ip_port_cmp(&a->f[v][k].slots[i], &b->f[v][k].slots[i]) != 0;
		}
	}
	return n;
}

/* Every op of a group concerns one frontend, or all are of one set. */
static void check_group(const struct nat_op *ops, size_t n)
{
	assert_true(n > 0);
	for (size_t i = 1; i < n; i++) {
		if (ops[0].kind < NAT_OP_FRONTEND_ADD) {
			assert_int_equal(ops[i].kind, ops[0].kind);
			continue;
		}
		assert_true(ip_eq(&ops[i].vip, &ops[0].vip));
		assert_int_equal(ops[i].proto, ops[0].proto);
		assert_int_equal(ops[i].port, ops[0].port);
	}
}

static void check_plan(const struct state *wanted, const struct state *observed, bool whole)
{
	static struct model m, want, old;
	struct arena a = make_arena(1 << 20);
	struct nat_plan plan;
	size_t at = 0;

	assert_int_equal(diff_nat(&wanted->s, &observed->s, &a, &plan), 0);
	load(&observed->s, &m);
	load(&observed->s, &old);
	load(&wanted->s, &want);
	assert_int_equal(plan.n_ops, difference(&m, &want) + difference(&want, &m));
	for (size_t g = 0; g < plan.n_groups; g++) {
		const bool of_frontend = plan.ops[at].kind >= NAT_OP_FRONTEND_ADD;

		check_group(plan.ops + at, plan.ends[g] - at);
		if (of_frontend)
			check_others(&m, &want, &old);
		for (; at < plan.ends[g]; at++)
			apply_op(&m, &plan.ops[at]);
		if (whole)
			check_whole(&m);
	}
	assert_int_equal(at, plan.n_ops);
	assert_int_equal(difference(&m, &want) + difference(&want, &m), 0);
	drop_arena(&a);
}

static void test_random(void **state)
{
	static struct state wanted, observed;
	struct prng p = { 4711 };

	(void)state;
	for (size_t i = 0; i < SEEDS; i++) {
		const bool holes = i % 2;

		make_state(&p, &wanted, false);
		make_state(&p, &observed, holes);
		check_plan(&wanted, &observed, !holes);
	}
}

static void test_same_is_nothing(void **state)
{
	static struct state x;
	struct prng p = { 815 };

	(void)state;
	for (size_t i = 0; i < 200; i++) {
		struct arena a = make_arena(64);
		struct nat_plan plan;

		make_state(&p, &x, false);
		assert_int_equal(diff_nat(&x.s, &x.s, &a, &plan), 0);
		assert_int_equal(plan.n_ops, 0);
		assert_int_equal(plan.n_groups, 0);
		drop_arena(&a);
	}
}

/* Which row of its own 'slots' the k-th frontend has. */
static size_t row_of(const struct state *st, size_t k)
{
	return (size_t)(st->frontends[k].slots - st->slots[0]) / SLOTS;
}

/* From a few steps apart the plan is about what changed, not about the size of the state. */
static void test_neighbours(void **state)
{
	static struct state wanted, observed;
	struct prng p = { 99 };

	(void)state;
	for (size_t i = 0; i < 500; i++) {
		size_t n, k;

		make_state(&p, &observed, false);
		wanted = observed;
		n = wanted.s.n_frontends;
		if (n == 0)
			continue;
		for (k = 0; k < n; k++) /* the copy points into itself */
			wanted.frontends[k].slots = wanted.slots[row_of(&observed, k)];
		wanted.s.vips = wanted.vips;
		wanted.s.guards = wanted.guards;
		wanted.s.locals = wanted.locals;
		wanted.s.homes = wanted.homes;
		wanted.s.frontends = wanted.frontends;
		k = below(&p, (uint32_t)n);
		wanted.slots[row_of(&observed, k)][below(&p, 13)] = some_backend(&p, wanted.frontends[k].vip.family);
		if (chance(&p, 30))
			wanted.frontends[k].balance = wanted.frontends[k].balance == BALANCE_HASH ? BALANCE_RANDOM : BALANCE_HASH;
		check_plan(&wanted, &observed, true);
	}
}

struct call {
	struct state wanted, observed;
};

static int diff_in(struct arena *a, void *ctx)
{
	const struct call *c = ctx;
	struct nat_plan plan = { .n_ops = 12345 };
	int r = diff_nat(&c->wanted.s, &c->observed.s, a, &plan);

	if (r < 0)
		assert_int_equal(plan.n_ops, 12345);
	return r;
}

static void test_small_arena(void **state)
{
	static struct call c;
	struct prng p = { 5 };

	(void)state;
	make_state(&p, &c.wanted, false);
	make_state(&p, &c.observed, false);
	assert_true(refuse_all_smaller(diff_in, &c, 1 << 20, 16) > 1000);
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
			const struct ip ip = vip_at(v < VIPS / 2 ? v * 2 : (v - VIPS / 2) * 2 + 1);
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
		cmocka_unit_test(test_random),	    cmocka_unit_test(test_same_is_nothing),
		cmocka_unit_test(test_neighbours),  cmocka_unit_test(test_small_arena),
		cmocka_unit_test(test_addrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
