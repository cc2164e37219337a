/* SPDX-License-Identifier: Apache-2.0 */
/* test_wanted.c: on random clusters, wanted_build() says the same as a naive reading of the rules: one frontend for each
 * address and port with a backend, its slots filled from exactly the backends that count; sorted, distinct, the same
 * whatever stood in the arena, and whatever the order in which slices and endpoints came to be.  Cases by hand are
 * in tests/golden/core/wanted-*.txt and sources.txt. */
#include "agent/core/wanted.h"

#include <time.h>

#include "agent/core/maglev.h"
#include "tests/unit/core/make.h"

#define SERVICES 6
#define SLICES 14
#define SEEDS 600

static const char *const names[] = { "a", "ab", "b", "web", "web-2", "x" };
static const char *const spaces[] = { "n", "n-1" };
static const char *const port_names[] = { "", "http", "https" };

struct cluster {
	struct service services[SERVICES];
	struct service_port ports[SERVICES][3];
	struct pool_decision decisions[SERVICES];
	const struct service *service_list[SERVICES];
	struct slice slices[SLICES];
	char slice_names[SLICES][24];
	struct endpoint endpoints[SLICES][6];
	struct slice_port slice_ports[SLICES][3];
	const struct slice *slice_list[SLICES];
	struct wanted_home homes[SERVICES];
	struct wanted_input in;
};

static int slice_order(const void *a, const void *b)
{
	const struct slice *const *x = a, *const *y = b;
	int c = strcmp((*x)->meta.ns, (*y)->meta.ns);

	if (c == 0)
		c = strcmp((*x)->service, (*y)->service);
	return c ? c : strcmp((*x)->meta.name, (*y)->meta.name);
}

static void make_service(struct cluster *c, struct prng *p, size_t i)
{
	struct pool_decision *d = &c->decisions[i];
	struct service *s = &c->services[i];

	*s = (struct service){ .meta = { OBJECT_SERVICE, spaces[i / 3], names[i % 3 * 2], "", "", false },
			       .ports = c->ports[i], .n_ports = below(p, 4), .balance = (enum balance)below(p, 2) };
	for (size_t k = 0; k < s->n_ports; k++) /* a common address sometimes: ports differ by Service */
		c->ports[i][k] = (struct service_port){ port_names[k], (uint16_t)(80 + i * 3 + k),
							chance(p, 70) ? PROTO_TCP : PROTO_UDP };
	*d = (struct pool_decision){ .state = (enum pool_state)below(p, 5) };
	if (d->state == POOL_FOREIGN || d->state == POOL_RELEASE)
		return;
	if (chance(p, 80))
		d->ips[d->n_ips++] = make_v4(below(p, 4));
	if (chance(p, 50))
		d->ips[d->n_ips++] = make_v6(below(p, 4));
}

static void make_slice(struct cluster *c, struct prng *p, size_t i)
{
	struct slice *s = &c->slices[i];

	snprintf(c->slice_names[i], sizeof(c->slice_names[i]), "s%02zu", i);
	*s = (struct slice){ .meta = { OBJECT_SLICE, spaces[below(p, 2)], c->slice_names[i], "", "", false },
			     .service = names[below(p, ARRAY_LEN(names))], .family = chance(p, 70) ? IP_V4 : IP_V6,
			     .endpoints = c->endpoints[i], .n_endpoints = below(p, 7), .ports = c->slice_ports[i],
			     .n_ports = below(p, 4) };
	for (size_t k = 0; k < s->n_ports; k++)
		c->slice_ports[i][k] = (struct slice_port){ port_names[k], (uint16_t)(chance(p, 90) ? 8080 + below(p, 2) : 0),
							    chance(p, 70) ? PROTO_TCP : PROTO_UDP };
	for (size_t k = 0; k < s->n_endpoints; k++) {
		uint32_t at = 1000 + below(p, 5);

		c->endpoints[i][k] = (struct endpoint){ s->family == IP_V4 ? make_v4(at) : make_v6(at),
							at % 2 ? "here" : "there", chance(p, 40), chance(p, 60),
							chance(p, 50) };
	}
}

static void make_cluster(struct cluster *c, uint64_t seed)
{
	struct prng p = { seed };

	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < SERVICES; i++) {
		make_service(c, &p, i);
		c->service_list[i] = &c->services[i];
	}
	for (size_t i = 0; i < SLICES; i++) {
		make_slice(c, &p, i);
		c->slice_list[i] = &c->slices[i];
	}
	qsort(c->slice_list, SLICES, sizeof(const struct slice *), slice_order);
	for (size_t i = 0; i < SERVICES; i++)
		for (size_t k = 0; k < c->decisions[i].n_ips; k++) /* an address has one home */
			c->homes[i].ifindex[k] = c->decisions[i].ips[k].b[ip_len(&c->decisions[i].ips[k]) - 1] % 3u;
	c->in = (struct wanted_input){ .services = c->service_list, .decisions = c->decisions, .n_services = SERVICES,
				       .slices = c->slice_list, .n_slices = SLICES, .dataplane_nft = true,
				       .snat_to_vip = chance(&p, 80), .node = "here", .homes = c->homes };
}

/* ---- the rules, read naively ---- */

struct naive {
	uint8_t family;
	struct ip_port v[SLICES * 6];
	size_t n;
};

static bool counts(const struct endpoint *ep, bool ready)
{
	return ready ? ep->ready : ep->serving && ep->terminating;
}

static void naive_add(struct naive *ret, const struct ip_port *b)
{
	for (size_t i = 0; i < ret->n; i++)
		if (ip_port_cmp(&ret->v[i], b) == 0)
			return;
	ret->v[ret->n++] = *b;
}

static void naive_pass(const struct cluster *c, const struct service *s, const struct service_port *port, bool ready,
		       struct naive *ret)
{
	for (size_t k = 0; k < SLICES; k++) {
		const struct slice *sl = &c->slices[k];

		if (!text_eq(sl->meta.ns, s->meta.ns) || !text_eq(sl->service, s->meta.name) || sl->family != ret->family)
			continue;
		for (size_t x = 0; x < sl->n_ports; x++) {
			if (!text_eq(sl->ports[x].name, port->name) || sl->ports[x].proto != port->proto)
				continue;
			for (size_t e = 0; sl->ports[x].port && e < sl->n_endpoints; e++)
				if (counts(&sl->endpoints[e], ready))
					naive_add(ret, &(struct ip_port){ sl->endpoints[e].ip, sl->ports[x].port });
		}
	}
}

static void naive_backends(const struct cluster *c, size_t i, size_t port, struct naive *ret)
{
	naive_pass(c, &c->services[i], &c->ports[i][port], true, ret);
	if (ret->n == 0)
		naive_pass(c, &c->services[i], &c->ports[i][port], false, ret);
}

static const struct frontend *find(const struct wanted *w, const struct ip *vip, const struct service_port *port)
{
	for (size_t i = 0; i < w->n_frontends; i++)
		if (ip_eq(&w->frontends[i].vip, vip) && w->frontends[i].proto == port->proto &&
		    w->frontends[i].port == port->port)
			return &w->frontends[i];
	return NULL;
}

static void check_frontend(const struct frontend *f, const struct service *s, const struct ip_port *backends, size_t n)
{
	size_t used = 0;

	assert_non_null(f);
	assert_int_equal(f->balance, s->balance);
	assert_int_equal(f->n_slots, maglev_class(n));
	for (size_t b = 0; b < n; b++) {
		size_t count = 0;

		for (size_t i = 0; i < f->n_slots; i++)
			count += ip_port_cmp(&f->slots[i], &backends[b]) == 0;
		assert_true(count > 0);
		used += count;
	}
	assert_int_equal(used, f->n_slots); /* so no slot holds anything else */
}

static void check(const struct cluster *c, const struct wanted *w)
{
	size_t n_frontends = 0;

	for (size_t i = 0; i < SERVICES; i++) {
		for (size_t x = 0; x < c->decisions[i].n_ips; x++) {
			const struct ip *vip = &c->decisions[i].ips[x];
			size_t v = 0;

			while (v < w->n_vips && !ip_eq(&w->vips[v].ip, vip))
				v++;
			assert_true(v < w->n_vips);
			assert_true(w->vips[v].service <= i); /* the first that has it */
			for (size_t k = 0; k < c->services[i].n_ports; k++) {
				struct naive want = { .family = vip->family };

				naive_backends(c, i, k, &want);
				if (want.n == 0) {
					assert_null(find(w, vip, &c->ports[i][k]));
					continue;
				}
				check_frontend(find(w, vip, &c->ports[i][k]), &c->services[i], want.v, want.n);
				n_frontends++;
			}
		}
	}
	assert_int_equal(w->n_frontends, n_frontends);
	for (size_t i = 1; i < w->n_frontends; i++)
		assert_true(frontend_cmp(&w->frontends[i - 1], &w->frontends[i]) < 0);
	for (size_t i = 0; i < w->n_vips; i++) {
		const struct pool_decision *d = &c->decisions[w->vips[i].service];

		assert_true(i == 0 || ip_cmp(&w->vips[i - 1].ip, &w->vips[i].ip) < 0);
		assert_true((d->n_ips > 0 && ip_eq(&d->ips[0], &w->vips[i].ip)) ||
			    (d->n_ips > 1 && ip_eq(&d->ips[1], &w->vips[i].ip)));
	}
}

/* Every backend of every frontend is a guard, and nothing else is. */
static void check_guards(const struct wanted *w)
{
	size_t found = 0;

	for (size_t g = 0; g < w->n_guards; g++) {
		const struct nat_guard *guard = &w->guards[g];
		bool used = false;

		assert_true(g == 0 || nat_guard_cmp(&w->guards[g - 1], guard) < 0);
		for (size_t i = 0; i < w->n_frontends; i++)
			for (size_t k = 0; k < w->frontends[i].n_slots; k++)
				used = used || (w->frontends[i].proto == guard->proto &&
						ip_eq(&w->frontends[i].slots[k].ip, &guard->ip) &&
						w->frontends[i].slots[k].port == guard->port);
		assert_true(used);
	}
	for (size_t i = 0; i < w->n_frontends; i++) {
		for (size_t k = 0; k < w->frontends[i].n_slots; k++) {
			const struct ip_port *slot = &w->frontends[i].slots[k];
			const struct nat_guard guard = { slot->ip, w->frontends[i].proto, slot->port };

			for (found = 0; found < w->n_guards && nat_guard_cmp(&w->guards[found], &guard) != 0; found++)
				;
			assert_true(found < w->n_guards);
		}
	}
}

static void check_sources(const struct cluster *c, const struct wanted *w)
{
	size_t n_homes = 0;

	check_guards(w);
	for (size_t i = 0; i < w->n_vips; i++) { /* both are sorted */
		const uint32_t ifindex = w->vips[i].ip.b[ip_len(&w->vips[i].ip) - 1] % 3u;

		if (!c->in.snat_to_vip || ifindex == 0)
			continue;
		assert_true(n_homes < w->n_homes);
		assert_true(ip_eq(&w->homes[n_homes].vip, &w->vips[i].ip));
		assert_int_equal(w->homes[n_homes++].ifindex, ifindex);
	}
	assert_int_equal(w->n_homes, n_homes);
	for (size_t i = 0; i < w->n_locals; i++) {
		bool here = false;

		assert_true(c->in.snat_to_vip);
		assert_true(i == 0 || ip_cmp(&w->locals[i - 1], &w->locals[i]) < 0);
		for (size_t k = 0; k < SLICES; k++)
			for (size_t e = 0; e < c->slices[k].n_endpoints; e++)
				here = here || (ip_eq(&c->endpoints[k][e].ip, &w->locals[i]) &&
						text_eq(c->endpoints[k][e].node, "here"));
		assert_true(here);
	}
	for (size_t i = 0; c->in.snat_to_vip && i < w->n_guards; i++) { /* every guard that is here is a local */
		const uint8_t last = w->guards[i].ip.b[ip_len(&w->guards[i].ip) - 1];
		size_t k = 0;

		while (k < w->n_locals && !ip_eq(&w->locals[k], &w->guards[i].ip))
			k++;
		assert_int_equal(k < w->n_locals, last % 2);
	}
}

static void assert_same(const struct wanted *a, const struct wanted *b)
{
	assert_int_equal(a->n_frontends, b->n_frontends);
	for (size_t i = 0; i < a->n_frontends; i++) {
		assert_int_equal(frontend_cmp(&a->frontends[i], &b->frontends[i]), 0);
		assert_int_equal(a->frontends[i].n_slots, b->frontends[i].n_slots);
		for (size_t k = 0; k < a->frontends[i].n_slots; k++) /* not memcmp(): there is padding */
			assert_int_equal(ip_port_cmp(&a->frontends[i].slots[k], &b->frontends[i].slots[k]), 0);
	}
	assert_int_equal(a->n_guards, b->n_guards);
	for (size_t i = 0; i < a->n_guards; i++)
		assert_int_equal(nat_guard_cmp(&a->guards[i], &b->guards[i]), 0);
	assert_int_equal(a->n_locals, b->n_locals);
	for (size_t i = 0; i < a->n_locals; i++)
		assert_true(ip_eq(&a->locals[i], &b->locals[i]));
}

/* A connection keeps its slot on every node: the table is the same, slot by slot, however the endpoints are spread over
 * slices, in whatever order, after whatever came and went. */
static void test_same_table_everywhere(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct arena a = make_arena(256 * 1024), b = make_arena(256 * 1024);
		struct prng p = { seed };
		struct wanted w, other;

		make_cluster(&c, seed);
		assert_int_equal(wanted_build(&c.in, &a, &w), 0);
		for (size_t i = 0; i < SLICES; i++) { /* other names, so another order; endpoints shuffled, some twice */
			struct slice *s = &c.slices[i];

			snprintf(c.slice_names[i], sizeof(c.slice_names[i]), "r%08x", below(&p, UINT32_MAX));
			for (size_t e = s->n_endpoints; e > 1; e--) {
				const size_t k = below(&p, (uint32_t)e);
				const struct endpoint t = s->endpoints[e - 1];

				s->endpoints[e - 1] = s->endpoints[k];
				s->endpoints[k] = t;
			}
			if (s->n_endpoints > 0 && s->n_endpoints < 6) {
				s->endpoints[s->n_endpoints] = s->endpoints[0];
				s->n_endpoints++;
			}
		}
		qsort(c.slice_list, SLICES, sizeof(const struct slice *), slice_order);
		memset(b.base, 0x5a, b.size);
		assert_int_equal(wanted_build(&c.in, &b, &other), 0);
		assert_same(&w, &other);
		c.in.n_slices /= 2; /* half of them go */
		arena_reset(&b);
		assert_int_equal(wanted_build(&c.in, &b, &other), 0);
		c.in.n_slices = SLICES; /* and come back */
		arena_reset(&b);
		assert_int_equal(wanted_build(&c.in, &b, &other), 0);
		assert_same(&w, &other);
		drop_arena(&a);
		drop_arena(&b);
	}
}

/* One set of backends in one slice, or in several: the same table. */
static void test_split_slices(void **state)
{
	enum { N = 6 };
	static struct cluster c;
	struct arena a = make_arena(256 * 1024), b = make_arena(256 * 1024);
	struct wanted whole, split;

	(void)state;
	make_cluster(&c, 3);
	c.in.n_services = 1;
	c.decisions[0] = (struct pool_decision){ .state = POOL_KEEP, .ips = { make_v4(1) }, .n_ips = 1 };
	c.services[0].n_ports = 1;
	c.ports[0][0] = (struct service_port){ "", 80, PROTO_TCP };
	for (size_t i = 0; i < N; i++) {
		snprintf(c.slice_names[i], sizeof(c.slice_names[i]), "s%zu", N - i);
		c.slices[i] = (struct slice){ .meta = { OBJECT_SLICE, c.services[0].meta.ns, c.slice_names[i], "", "", false },
					      .service = c.services[0].meta.name, .family = IP_V4,
					      .endpoints = c.endpoints[i], .n_endpoints = i == 0 ? N : 0,
					      .ports = c.slice_ports[i], .n_ports = 1 };
		c.slice_ports[i][0] = (struct slice_port){ "", 8080, PROTO_TCP };
		c.endpoints[0][i] = (struct endpoint){ make_v4(100 + (uint32_t)i), "here", true, true, false };
		c.slice_list[i] = &c.slices[N - 1 - i]; /* by name */
	}
	c.in.n_slices = N;
	assert_int_equal(wanted_build(&c.in, &a, &whole), 0);
	assert_int_equal(whole.n_frontends, 1);
	assert_int_equal(whole.n_guards, N);
	for (size_t i = 1; i < N; i++) {
		c.endpoints[i][0] = c.endpoints[0][i];
		c.slices[i].n_endpoints = 1;
	}
	c.slices[0].n_endpoints = 1;
	assert_int_equal(wanted_build(&c.in, &b, &split), 0);
	assert_same(&whole, &split);
	drop_arena(&a);
	drop_arena(&b);
}

static void test_random(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct arena a = make_arena(256 * 1024), b = make_arena(256 * 1024);
		struct wanted w, again;

		make_cluster(&c, seed);
		memset(b.base, 0x5a, b.size);
		assert_int_equal(wanted_build(&c.in, &a, &w), 0);
		assert_int_equal(wanted_build(&c.in, &b, &again), 0);
		check(&c, &w);
		check_sources(&c, &w);
		assert_int_equal(w.n_frontends, again.n_frontends);
		for (size_t i = 0; i < w.n_frontends; i++) {
			assert_int_equal(frontend_cmp(&w.frontends[i], &again.frontends[i]), 0);
			for (size_t k = 0; k < w.frontends[i].n_slots; k++)
				assert_int_equal(ip_port_cmp(&w.frontends[i].slots[k], &again.frontends[i].slots[k]), 0);
		}
		drop_arena(&a);
		drop_arena(&b);
	}
}

/* Two Services with one address and one port, which pool_plan() never gives: still distinct, the first one's. */
static void test_clash(void **state)
{
	static struct cluster c;
	struct arena a = make_arena(256 * 1024);
	struct wanted w;

	(void)state;
	make_cluster(&c, 1);
	c.in.n_slices = 2;
	for (size_t i = 0; i < SERVICES; i++)
		c.decisions[i] = (struct pool_decision){ .state = i < 2 ? POOL_KEEP : POOL_FOREIGN };
	for (size_t i = 0; i < 2; i++) {
		c.services[i].n_ports = 1;
		c.ports[i][0] = (struct service_port){ "", 80, PROTO_TCP };
		c.decisions[i].n_ips = 1;
		c.decisions[i].ips[0] = make_v4(7);
		c.slices[i] = (struct slice){ .meta = { OBJECT_SLICE, c.services[i].meta.ns, "s", "", "", false },
					      .service = c.services[i].meta.name, .family = IP_V4,
					      .endpoints = c.endpoints[i], .n_endpoints = 1, .ports = c.slice_ports[i],
					      .n_ports = 1 };
		c.slice_ports[i][0] = (struct slice_port){ "", 8080, PROTO_TCP };
		c.endpoints[i][0] = (struct endpoint){ make_v4(100 + (uint32_t)i), "", true, true, false };
		c.slice_list[i] = &c.slices[i];
	}
	assert_int_equal(wanted_build(&c.in, &a, &w), 0);
	assert_int_equal(w.n_vips, 1);
	assert_int_equal(w.vips[0].service, 0);
	assert_int_equal(w.n_frontends, 1);
	assert_int_equal(w.frontends[0].slots[0].ip.b[3], 100);
	drop_arena(&a);
}

/* 5,000 Services of 20 endpoints: joined in one pass.  Service times slice would be seconds. */
static void test_large(void **state)
{
	enum { N = 5000, ENDPOINTS = 20 };
	static struct service services[N];
	static struct pool_decision decisions[N];
	static struct slice slices[N];
	static char service_names[N][24];
	static struct endpoint endpoints[ENDPOINTS];
	static const struct service *service_list[N];
	static const struct slice *slice_list[N];
	static struct service_port port = { "", 80, PROTO_TCP };
	static struct slice_port slice_port = { "", 8080, PROTO_TCP };
	static struct wanted_home homes[N];
	const struct wanted_input in = { .services = service_list, .decisions = decisions, .n_services = N,
					 .slices = slice_list, .n_slices = N, .dataplane_nft = true, .snat_to_vip = true,
					 .node = "here", .homes = homes };
	struct arena a = make_arena((size_t)64 << 20);
	struct wanted w;
	clock_t before;
	double s;

	(void)state;
	for (uint32_t i = 0; i < ENDPOINTS; i++)
		endpoints[i] = (struct endpoint){ make_v4(100000 + i * 7), i % 4 ? "there" : "here", true, true, false };
	for (uint32_t i = 0; i < N; i++) {
		snprintf(service_names[i], sizeof(service_names[i]), "s%05u", i);
		services[i] = (struct service){ .meta = { OBJECT_SERVICE, "n", service_names[i], "", "", false },
						.ports = &port, .n_ports = 1 };
		decisions[i] = (struct pool_decision){ .state = POOL_KEEP, .ips = { make_v4(N - i) }, .n_ips = 1 };
		homes[i].ifindex[0] = 2;
		slices[i] = (struct slice){ .meta = { OBJECT_SLICE, "n", "x", "", "", false }, .service = service_names[i],
					    .family = IP_V4, .endpoints = endpoints, .n_endpoints = ENDPOINTS,
					    .ports = &slice_port, .n_ports = 1 };
		service_list[i] = &services[i];
		slice_list[i] = &slices[i];
	}
	before = clock();
	assert_int_equal(wanted_build(&in, &a, &w), 0);
	s = (double)(clock() - before) / CLOCKS_PER_SEC;
	print_message("%d Services: %.1f ms, %zu KiB; %zu bytes a guard, %zu a home, %zu a local backend\n", N, s * 1000,
		      a.used / 1024, sizeof(struct nat_guard), sizeof(struct nat_home), sizeof(struct ip));
	assert_int_equal(w.n_guards, ENDPOINTS); /* all Services have the same */
	assert_int_equal(w.n_locals, ENDPOINTS / 4);
	assert_int_equal(w.n_frontends, N);
	assert_true(s < 10);
	drop_arena(&a);
}

static int build_in(struct arena *a, void *ctx)
{
	struct wanted w = { .n_vips = 12345 };
	int r = wanted_build(ctx, a, &w);

	if (r < 0)
		assert_int_equal(w.n_vips, 12345);
	return r;
}

static void test_small_arena(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= 10; seed++) {
		make_cluster(&c, seed);
		refuse_all_smaller(build_in, &c.in, 256 * 1024, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_same_table_everywhere),
		cmocka_unit_test(test_split_slices),
		cmocka_unit_test(test_clash),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_small_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
