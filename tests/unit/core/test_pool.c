/* SPDX-License-Identifier: Apache-2.0 */
/* test_pool.c: properties of pool_plan() on random clusters that change step by step, with writes that arrive late, in
 * part, or never.  The decisions case by case are in tests/golden/core/pool-*.txt.
 *
 * Checked after each step:
 *  - no address is with two Services unless they share it (one key, disjoint ports);
 *  - an address comes from the pool, or was allocated and shown before;
 *  - families are those of the Service, in its order;
 *  - a Service that was served, and did not change, keeps its addresses whatever the others do;
 *  - "exhausted" is said only when every address of the family is spoken for;
 *  - the same input gives the same answer;
 * and when writes get through and nothing changes any more, the plan comes to rest. */
#include "agent/core/pool.h"

#include <time.h>

#include "tests/unit/core/make.h"

#define SERVICES_MAX 24
#define SEEDS 300
#define STEPS 40

struct item {
	struct service s;
	char name[24];
	struct service_port ports[3];
	bool changed;	       /* since the last step */
	struct ip last[2];     /* decided in the last step */
	size_t n_last;
	enum pool_state state; /* likewise */
};

struct cluster {
	struct prng prng;
	struct pool_config cfg;
	struct ip_range ranges[3];
	struct item *items[SERVICES_MAX]; /* sorted by name; NULL = none */
	const struct service *list[SERVICES_MAX];
	struct item *of_list[SERVICES_MAX];
	size_t n;
	uint64_t seed;
	unsigned int step;
};

#define CHECK(c, cond)                                                                             \
	do {                                                                                       \
		if (!(cond))                                                                       \
			fail_msg("seed %" PRIu64 " step %u: %s", (c)->seed, (c)->step, #cond);     \
	} while (0)

static struct ip some_ip(struct prng *p)
{
	return chance(p, 70) ? make_v4(below(p, 14)) : make_v6(below(p, 10));
}

static void change_families(struct item *it, struct prng *p)
{
	static const uint8_t pairs[][2] = { { IP_V4, IP_NONE }, { IP_V6, IP_NONE }, { IP_V4, IP_V6 },
					    { IP_V6, IP_V4 },	{ IP_NONE, IP_NONE } };

	memcpy(it->s.families, pairs[below(p, ARRAY_LEN(pairs))], sizeof(it->s.families));
	it->s.family_policy = (enum family_policy)below(p, 3);
	if (it->s.family_policy == FAMILY_REQUIRE_DUAL && it->s.families[1] == IP_NONE) /* the API refuses that */
		it->s.family_policy = FAMILY_PREFER_DUAL;
}

static void change_request(struct item *it, struct prng *p)
{
	it->s.n_requested = below(p, 2);
	it->s.requested[0] = some_ip(p);
	if (it->s.n_requested && chance(p, 30)) {
		it->s.requested[1] = it->s.requested[0].family == IP_V4 ? make_v6(below(p, 10)) : make_v4(below(p, 14));
		it->s.n_requested = 2;
	}
}

static void change_sharing(struct item *it, struct prng *p)
{
	static const char *const keys[] = { "", "", "k", "l" };

	it->s.sharing_key = keys[below(p, ARRAY_LEN(keys))];
	it->s.n_ports = 1 + below(p, 3);
	for (size_t i = 0; i < it->s.n_ports; i++)
		it->ports[i] = (struct service_port){ "", (uint16_t)(80 + below(p, 5) * 3 + i), chance(p, 80) ? PROTO_TCP :
													  PROTO_UDP };
}

static struct item *make_item(struct prng *p, size_t slot)
{
	struct item *it = calloc(1, sizeof(*it));

	assert_non_null(it);
	snprintf(it->name, sizeof(it->name), "s%02zu", slot);
	it->s = (struct service){ .meta = { OBJECT_SERVICE, "t", it->name, "", "", false }, .type = "LoadBalancer",
				  .load_balancer_class = "c", .ports = it->ports, .sharing_key = "", .problem = "" };
	change_families(it, p);
	change_sharing(it, p);
	if (chance(p, 30))
		change_request(it, p);
	it->changed = true;
	return it;
}

/* Something about one Service changes, or it comes or goes. */
static void mutate(struct cluster *c)
{
	struct prng *p = &c->prng;
	size_t slot = below(p, SERVICES_MAX);
	struct item *it = c->items[slot];

	if (!it) {
		c->items[slot] = make_item(p, slot);
		return;
	}
	it->changed = true;
	switch (below(p, 8)) {
	case 0:
		free(it);
		c->items[slot] = NULL;
		break;
	case 1:
		change_families(it, p);
		break;
	case 2:
	case 3:
		change_request(it, p);
		break;
	case 4:
		change_sharing(it, p);
		break;
	case 5: /* an annotation by hand */
		it->s.n_allocated = 1;
		it->s.allocated[0] = some_ip(p);
		break;
	case 6:
		it->s.type = text_eq(it->s.type, "LoadBalancer") ? "ClusterIP" : "LoadBalancer";
		break;
	default:
		it->s.meta.deleting = !it->s.meta.deleting;
		break;
	}
}

static void change_pool(struct cluster *c)
{
	struct prng *p = &c->prng;
	uint32_t from = below(p, 6);

	c->cfg.n_ranges = 1 + below(p, 3);
	c->ranges[0] = (struct ip_range){ make_v4(from), make_v4(from + below(p, 8)) };
	c->ranges[1] = (struct ip_range){ make_v6(1), make_v6(1 + below(p, 7)) };
	c->ranges[2] = (struct ip_range){ make_v4(2), make_v4(2 + below(p, 9)) };
}

static void settle(struct cluster *c)
{
	c->n = 0;
	for (size_t i = 0; i < SERVICES_MAX; i++) {
		if (!c->items[i])
			continue;
		c->of_list[c->n] = c->items[i];
		c->list[c->n++] = &c->items[i]->s;
	}
}

static bool holds(const struct ip *ips, size_t n, const struct ip *ip)
{
	for (size_t i = 0; i < n; i++)
		if (ip_eq(&ips[i], ip))
			return true;
	return false;
}

static bool in_pool(const struct cluster *c, const struct ip *ip)
{
	for (size_t i = 0; i < c->cfg.n_ranges; i++)
		if (ip_in_range(ip, &c->ranges[i]))
			return true;
	return false;
}

static bool may_share(const struct service *a, const struct service *b)
{
	if (!*a->sharing_key || !text_eq(a->sharing_key, b->sharing_key))
		return false;
	for (size_t i = 0; i < a->n_ports; i++)
		for (size_t k = 0; k < b->n_ports; k++)
			if (a->ports[i].proto == b->ports[k].proto && a->ports[i].port == b->ports[k].port)
				return false;
	return true;
}

/* ---- invariants ---- */

static void check_exclusive(const struct cluster *c, const struct pool_decision *d)
{
	for (size_t i = 0; i < c->n; i++)
		for (size_t k = 0; k < i; k++)
			for (size_t x = 0; x < d[i].n_ips; x++)
				if (holds(d[k].ips, d[k].n_ips, &d[i].ips[x]))
					CHECK(c, may_share(c->list[i], c->list[k]));
}

static void check_origin(const struct cluster *c, size_t i, const struct pool_decision *d)
{
	const struct service *s = c->list[i];

	for (size_t x = 0; x < d->n_ips; x++)
		CHECK(c, in_pool(c, &d->ips[x]) || (holds(s->allocated, s->n_allocated, &d->ips[x]) &&
						    holds(s->ingress, s->n_ingress, &d->ips[x])));
}

static void check_families(const struct cluster *c, size_t i, const struct pool_decision *d)
{
	const struct service *s = c->list[i];

	CHECK(c, d->n_ips <= (s->family_policy == FAMILY_SINGLE ? 1u : 2u));
	if (d->n_ips == 2)
		CHECK(c, d->ips[0].family != d->ips[1].family);
	if (s->families[0] == IP_NONE)
		return;
	for (size_t x = 0; x < d->n_ips; x++)
		CHECK(c, d->ips[x].family == s->families[0] || d->ips[x].family == s->families[1]);
	if (d->n_ips == 2 || s->family_policy == FAMILY_SINGLE)
		CHECK(c, d->n_ips == 0 || d->ips[0].family == s->families[0]);
}

static void check_state(const struct cluster *c, size_t i, const struct pool_decision *d)
{
	const struct service *s = c->list[i];
	bool same = d->n_ips == s->n_allocated;

	for (size_t x = 0; same && x < d->n_ips; x++)
		same = ip_eq(&d->ips[x], &s->allocated[x]);
	CHECK(c, !d->reason == !d->message);
	if (!pool_is_ours(&c->cfg, s)) {
		CHECK(c, d->state == (s->n_allocated ? POOL_RELEASE : POOL_FOREIGN));
		CHECK(c, d->n_ips == 0 && !d->reason);
		return;
	}
	CHECK(c, d->state == POOL_KEEP || d->state == POOL_ASSIGN || d->state == POOL_FAILED);
	if (d->state == POOL_KEEP)
		CHECK(c, same && d->n_ips > 0);
	if (d->state == POOL_ASSIGN)
		CHECK(c, !same && d->n_ips > 0);
	if (d->state == POOL_FAILED)
		CHECK(c, d->reason);
	if (d->state != POOL_FAILED && s->family_policy == FAMILY_REQUIRE_DUAL)
		CHECK(c, d->n_ips == 2);
}

/* Another Service that was changed has the same address with the same right: sharers that fell out, or an annotation by
 * hand that names what an old status still shows.  Then the order decides, and it may be against this one. */
static bool contested(const struct cluster *c, size_t i, const struct ip *ip)
{
	for (size_t k = 0; k < c->n; k++) {
		const struct service *s = c->list[k];

		if (k != i && c->of_list[k]->changed && pool_is_ours(&c->cfg, s) && holds(s->ingress, s->n_ingress, ip) &&
		    holds(s->allocated, s->n_allocated, ip))
			return true;
	}
	return false;
}

static void check_stable(const struct cluster *c, size_t i, const struct pool_decision *d)
{
	const struct item *it = c->of_list[i];
	const struct service *s = &it->s;

	if (it->changed || it->state == POOL_FOREIGN || it->state == POOL_RELEASE)
		return;
	for (size_t x = 0; x < it->n_last; x++) {
		/* served, durable, and shown: safe from everything but its own request coming true */
		if (!holds(s->allocated, s->n_allocated, &it->last[x]) || !holds(s->ingress, s->n_ingress, &it->last[x]))
			continue;
		if (!holds(d->ips, d->n_ips, &it->last[x]) && !contested(c, i, &it->last[x]))
			CHECK(c, s->n_requested && !holds(s->requested, s->n_requested, &it->last[x]));
	}
}

/* Every address of the exhausted family is decided, allocated, or asked for by Services of ours. */
static void check_exhausted(const struct cluster *c, const struct pool_decision *d, size_t i)
{
	const bool v4 = d[i].message && strstr(d[i].message, "IPv4");

	if (!d[i].reason || !text_eq(d[i].reason, "PoolExhausted"))
		return;
	for (uint32_t a = 0; a < 20; a++) {
		const struct ip ip = v4 ? make_v4(a) : make_v6(a);
		bool taken = !in_pool(c, &ip);

		for (size_t k = 0; k < c->n && !taken; k++)
			taken = pool_is_ours(&c->cfg, c->list[k]) &&
				(holds(d[k].ips, d[k].n_ips, &ip) ||
				 holds(c->list[k]->allocated, c->list[k]->n_allocated, &ip) ||
				 holds(c->list[k]->requested, c->list[k]->n_requested, &ip));
		CHECK(c, taken);
	}
}

static void check_same(const struct cluster *c, const struct pool_decision *a, const struct pool_decision *b)
{
	for (size_t i = 0; i < c->n; i++) {
		CHECK(c, a[i].state == b[i].state && a[i].n_ips == b[i].n_ips);
		CHECK(c, memcmp(a[i].ips, b[i].ips, sizeof(a[i].ips)) == 0);
		CHECK(c, !a[i].reason || text_eq(a[i].message, b[i].message));
	}
}

/* ---- running ---- */

static void apply(struct cluster *c, const struct pool_decision *d, uint32_t percent)
{
	for (size_t i = 0; i < c->n; i++) {
		struct item *it = c->of_list[i];
		struct service *s = &it->s;

		it->changed = false;
		it->state = d[i].state;
		it->n_last = d[i].n_ips;
		memcpy(it->last, d[i].ips, sizeof(it->last));
		if (d[i].state == POOL_FOREIGN || !chance(&c->prng, percent))
			continue;
		s->n_allocated = d[i].n_ips;
		memcpy(s->allocated, d[i].ips, sizeof(d[i].ips));
		if (!chance(&c->prng, percent))
			continue; /* allocated, not live yet */
		s->n_ingress = d[i].n_ips;
		memcpy(s->ingress, d[i].ips, sizeof(d[i].ips));
	}
}

/* Plans, checks, writes to 'percent' of the Services.  False when nothing was left to write. */
static bool step(struct cluster *c, uint32_t percent)
{
	struct arena a = make_arena(256 * 1024), b = make_arena(256 * 1024);
	struct pool_decision *d, *again;
	bool work = false;

	settle(c);
	memset(a.base, 0xaa, a.size);
	assert_int_equal(pool_plan(&c->cfg, c->list, c->n, &a, &d), 0);
	assert_int_equal(pool_plan(&c->cfg, c->list, c->n, &b, &again), 0);
	check_same(c, d, again);
	check_exclusive(c, d);
	for (size_t i = 0; i < c->n; i++) {
		const struct service *s = c->list[i];

		check_origin(c, i, &d[i]);
		check_families(c, i, &d[i]);
		check_state(c, i, &d[i]);
		check_stable(c, i, &d[i]);
		check_exhausted(c, d, i);
		if (d[i].state != POOL_FOREIGN)
			work |= d[i].n_ips != s->n_allocated || memcmp(d[i].ips, s->allocated, d[i].n_ips * sizeof(*d->ips));
	}
	apply(c, d, percent);
	drop_arena(&a);
	drop_arena(&b);
	c->step++;
	return work;
}

static void random_run(uint64_t seed)
{
	struct cluster c = { .prng = { seed }, .seed = seed, .cfg = { .class_name = "c" } };
	unsigned int rounds = 0;

	c.cfg.ranges = c.ranges;
	change_pool(&c);
	for (unsigned int i = 0; i < STEPS; i++) {
		for (uint32_t k = below(&c.prng, 4); k > 0; k--)
			mutate(&c);
		if (chance(&c.prng, 3))
			change_pool(&c);
		step(&c, 60);
	}
	while (step(&c, 100)) /* a chain of requests each of which waits for the next resolves one link a round */
		CHECK(&c, ++rounds <= SERVICES_MAX + 2);
	for (size_t i = 0; i < SERVICES_MAX; i++)
		free(c.items[i]);
}

static void test_random(void **state)
{
	const char *one = getenv("LEASEHOLD_SEED");
	uint64_t seed;

	(void)state;
	if (one && text_to_u64(one, UINT64_MAX, &seed) == 0) {
		random_run(seed);
		return;
	}
	for (seed = 1; seed <= SEEDS; seed++)
		random_run(seed);
}

/* ---- size ---- */

struct many {
	struct service *s;
	const struct service **list;
	char (*names)[24];
	size_t n;
};

static struct many make_many(size_t n)
{
	static struct service_port port = { "", 80, PROTO_TCP };
	struct many m = { calloc(n, sizeof(*m.s)), calloc(n, sizeof(const struct service *)), calloc(n, sizeof(*m.names)), n };

	assert_true(m.s && m.list && m.names);
	for (size_t i = 0; i < n; i++) {
		snprintf(m.names[i], sizeof(m.names[i]), "s%06zu", i);
		m.s[i] = (struct service){ .meta = { OBJECT_SERVICE, "t", m.names[i], "", "", false }, .type = "LoadBalancer",
					   .load_balancer_class = "c", .ports = &port, .n_ports = 1, .families = { IP_V4 },
					   .sharing_key = "", .problem = "" };
		m.list[i] = &m.s[i];
	}
	return m;
}

static void drop_many(struct many *m)
{
	free(m->s);
	free(m->list);
	free(m->names);
}

/* Processor seconds of one plan; the decisions are written back, and so many of them are 'want'. */
static double plan_many(struct many *m, const struct ip_range *ranges, size_t n_ranges, enum pool_state want, size_t n_want)
{
	const struct pool_config cfg = { .ranges = ranges, .n_ranges = n_ranges, .class_name = "c" };
	struct arena a = make_arena((size_t)64 << 20);
	struct pool_decision *d;
	clock_t before = clock();
	size_t n = 0;
	double s;

	assert_int_equal(pool_plan(&cfg, m->list, m->n, &a, &d), 0);
	s = (double)(clock() - before) / CLOCKS_PER_SEC;
	print_message("%zu Services, %zu ranges: %.1f ms, %zu KiB\n", m->n, n_ranges, s * 1000, a.used / 1024);
	for (size_t i = 0; i < m->n; i++) {
		n += d[i].state == want;
		m->s[i].n_allocated = d[i].n_ips;
		memcpy(m->s[i].allocated, d[i].ips, sizeof(d[i].ips));
	}
	assert_int_equal(n, n_want);
	drop_arena(&a);
	return s;
}

/* Work must not grow with Services times pool: 60,000 Services in a /15 would be 8e9 looks at an address (minutes), while
 * the plan takes tens of milliseconds.  The bound is far from both. */
static void test_large(void **state)
{
	const struct ip_range v4 = make_range("198.18.0.0/15"), half = make_range("198.18.0.0/16");
	const struct ip_range v6[] = { make_range("2001:db8::/33"), make_range("2001:db8::/32"), make_range("2001:db8::/48") };
	struct many m = make_many(60000);
	double s = plan_many(&m, &v4, 1, POOL_ASSIGN, m.n);

	(void)state;
	s += plan_many(&m, &v4, 1, POOL_KEEP, m.n);
	for (size_t i = 0; i < m.n; i++) /* the late ones hold the front of the pool */
		m.s[i].n_allocated = i >= 30000;
	for (size_t i = 30000; i < m.n; i++)
		m.s[i].allocated[0] = make_v4((uint32_t)(i - 30000) + 1);
	s += plan_many(&m, &half, 1, POOL_ASSIGN, 30000);
	for (size_t i = 0; i < m.n; i++) {
		m.s[i].families[0] = IP_V6;
		m.s[i].n_allocated = 0;
	}
	s += plan_many(&m, v6, 3, POOL_ASSIGN, m.n);
	s += plan_many(&m, v6 + 2, 1, POOL_KEEP, m.n);
	drop_many(&m);
	assert_true(s < 10);
}

/* A pool that is far too small, and one key for all: the same port never fits beside itself. */
static void test_large_and_full(void **state)
{
	const struct ip_range small = make_range("198.18.0.0/20"), wide = make_range("198.18.0.0/15");
	struct many m = make_many(20000);
	double s = plan_many(&m, &small, 1, POOL_FAILED, m.n - 4094);

	(void)state;
	for (size_t i = 0; i < m.n; i++) {
		m.s[i].n_allocated = 0;
		m.s[i].sharing_key = "k";
	}
	s += plan_many(&m, &wide, 1, POOL_ASSIGN, m.n);
	s += plan_many(&m, &wide, 1, POOL_KEEP, m.n);
	drop_many(&m);
	assert_true(s < 10);
}

struct refuse {
	const struct pool_config *cfg;
	struct many *m;
};

static int plan_in(struct arena *a, void *ctx)
{
	const struct refuse *r = ctx;
	struct pool_decision *mark = NULL, *d = mark;
	int k = pool_plan(r->cfg, r->m->list, r->m->n, a, &d);

	if (k < 0)
		assert_ptr_equal(d, mark); /* untouched on failure */
	for (size_t i = 0; k == 0 && i < r->m->n; i++)
		assert_int_equal(!d[i].reason, !d[i].message); /* no sentence was lost */
	return k;
}

static void test_small_arena(void **state)
{
	const struct ip_range ranges[] = { make_range("198.18.0.1-198.18.0.5"), make_range("2001:db8::1") };
	const struct pool_config cfg = { .ranges = ranges, .n_ranges = 2, .class_name = "c" };
	struct many m = make_many(10);
	struct refuse r = { &cfg, &m };

	(void)state;
	for (size_t i = 0; i < m.n; i++) {
		m.s[i].sharing_key = i % 3 ? "" : "k";
		m.s[i].family_policy = FAMILY_PREFER_DUAL;
		m.s[i].families[1] = IP_V6;
	}
	m.s[4].n_requested = m.s[7].n_requested = 1;
	m.s[4].requested[0] = m.s[7].requested[0] = make_v4(2);
	assert_true(refuse_all_smaller(plan_in, &r, 1 << 16, 1) > 1000);
	drop_many(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_large_and_full),
		cmocka_unit_test(test_small_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
