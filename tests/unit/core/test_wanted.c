/* SPDX-License-Identifier: Apache-2.0 */
/* test_wanted.c: on random Services and slices, wanted_service() says the same as a naive reading of its rules: one frontend
 * for each VIP and port with a backend, its slots filled from exactly the backends that count, the members that belong
 * to it and no other; the same whatever stood in the arena, and whatever the order in which slices and endpoints came to be.
 * Copies are complete.  Cases by hand are in tests/golden/core/wanted-*.txt. */
#include "agent/core/wanted.h"

#include "agent/core/digest.h"
#include "agent/core/slots.h"
#include "agent/core/turns.h"
#include "tests/unit/core/cluster.h"

#define BACKENDS (SLICES * ENDPOINTS * 2)
#define SEEDS 1500

/* ---- the rules, read naively ---- */

struct naive {
	const struct cluster *c;
	uint8_t family;
	const struct service_port *port;
	struct backend v[BACKENDS];
	size_t n;
};

static bool same_text(const char *a, const char *b)
{
	return a && b && *a && text_eq(a, b);
}

static uint16_t naive_weight(const struct cluster *c, const struct endpoint *ep)
{
	char text[IP_TEXT_MAX];
	const char *const names[] = { ip_format(&ep->ip, text), ep->target, ep->node };

	for (size_t k = 0; k < 3; k++)
		for (size_t i = 0; i < c->service.n_weights; i++)
			if (same_text(names[k], c->weights[i].name))
				return c->weights[i].weight;
	for (size_t i = 0; i < c->in.n_weights; i++)
		if (same_text(ep->node, c->node_weights[i].node))
			return c->node_weights[i].weight;
	return 1;
}

enum hint { NO_HINT, NODE_HINT, ZONE_HINT };

static void naive_put(struct naive *ret, const struct ip_port *at, uint16_t weight)
{
	size_t i = 0;

	while (i < ret->n && ip_port_cmp(&ret->v[i].at, at) < 0)
		i++;
	if (i < ret->n && ip_port_cmp(&ret->v[i].at, at) == 0) {
		ret->v[i].weight = ret->v[i].weight > weight ? ret->v[i].weight : weight;
		return;
	}
	memmove(&ret->v[i + 1], &ret->v[i], (ret->n - i) * sizeof(ret->v[0]));
	ret->v[i] = (struct backend){ *at, weight };
	ret->n++;
}

/* The endpoints that pass; returns how many had no hint of that kind. */
static size_t naive_pass(struct naive *ret, bool ready, bool local, enum hint hint)
{
	const struct cluster *c = ret->c;
	size_t without = 0;

	ret->n = 0;
	for (size_t k = 0; k < SLICES; k++) {
		const struct slice *sl = &c->slices[k];

		for (size_t x = 0; sl->family == ret->family && x < sl->n_ports; x++) {
			if (!text_eq(sl->ports[x].name, ret->port->name) || sl->ports[x].proto != ret->port->proto)
				continue;
			for (size_t e = 0; sl->ports[x].port && e < sl->n_endpoints; e++) {
				const struct endpoint *ep = &sl->endpoints[e];
				const struct ip_port at = { ep->ip, sl->ports[x].port };

				if (ready ? !ep->ready : !(ep->serving && ep->terminating))
					continue;
				without += hint == NODE_HINT ? ep->n_for_nodes == 0 : hint == ZONE_HINT && ep->n_for_zones == 0;
				if (local && !same_text(ep->node, c->in.node))
					continue;
				if (hint == NODE_HINT && !(ep->n_for_nodes && same_text(ep->for_nodes[0], c->in.node)))
					continue;
				if (hint == ZONE_HINT && !(ep->n_for_zones && same_text(ep->for_zones[0], c->in.zone)))
					continue;
				naive_put(ret, &at, naive_weight(c, ep));
			}
		}
	}
	return without;
}

static void naive_reduce(struct naive *x)
{
	uint16_t divisor = 0;
	size_t n = 0;

	for (size_t i = 0; i < x->n; i++)
		if (x->v[i].weight > 0)
			x->v[n++] = x->v[i];
	if (n == 0) {
		for (size_t i = 0; i < x->n; i++)
			x->v[i].weight = 1;
		return;
	}
	x->n = n;
	for (uint16_t d = 1; d <= WEIGHT_MAX; d++) {
		bool all = true;

		for (size_t i = 0; i < n; i++)
			all = all && x->v[i].weight % d == 0;
		divisor = all ? d : divisor;
	}
	for (size_t i = 0; i < n; i++)
		x->v[i].weight = x->v[i].weight / divisor;
}

static void naive_backends(struct naive *x)
{
	const bool local = x->c->service.policy_local;

	if (local || ((naive_pass(x, true, false, NODE_HINT) > 0 || x->n == 0) &&
		      (naive_pass(x, true, false, ZONE_HINT) > 0 || x->n == 0)))
		naive_pass(x, true, local, NO_HINT);
	if (x->n == 0)
		naive_pass(x, false, local, NO_HINT);
	naive_reduce(x);
}

/* ---- checks ---- */

static const struct frontend *find(const struct nat_service *s, const struct ip *vip, const struct service_port *port)
{
	const struct frontend key = { .vip = *vip, .proto = port->proto, .port = port->port };

	for (size_t i = 0; i < s->n_frontends; i++)
		if (frontend_cmp(&s->frontends[i], &key) == 0)
			return &s->frontends[i];
	return NULL;
}

static void check_frontend(const struct frontend *f, const struct service *s, const struct naive *want)
{
	struct arena a = make_arena(1024 * 1024);
	uint16_t slots[NAT_SLOTS_MAX];
	size_t units = 0;

	assert_non_null(f);
	assert_int_equal(f->balance, s->balance);
	assert_int_equal(f->sticky_s, s->balance == BALANCE_SOURCE ? s->sticky_s : 0);
	assert_int_equal(f->n_backends, want->n);
	for (size_t i = 0; i < want->n; i++) {
		assert_int_equal(ip_port_cmp(&f->backends[i], &want->v[i].at), 0);
		units += want->v[i].weight;
	}
	if (s->balance == BALANCE_ROUND_ROBIN) {
		assert_int_equal(f->n_slots, units);
		assert_int_equal(turns_fill(want->v, want->n, slots, &a), 0);
	} else {
		assert_int_equal(f->n_slots, slots_class(units, s->min_slots));
		assert_int_equal(slots_fill(want->v, want->n, slots, f->n_slots, &a), 0);
	}
	assert_memory_equal(f->slots, slots, f->n_slots * sizeof(*slots));
	assert_true(f->digest != 0 && f->digest == digest_frontend(f));
	drop_arena(&a);
}

static void check_frontends(const struct cluster *c, const struct nat_service *s)
{
	size_t n = 0;

	for (size_t x = 0; x < c->in.n_ips; x++) {
		for (size_t k = 0; k < c->service.n_ports; k++) {
			struct naive want = { .c = c, .family = c->in.ips[x].family, .port = &c->ports[k] };

			naive_backends(&want);
			if (want.n == 0) {
				assert_null(find(s, &c->in.ips[x], &c->ports[k]));
				continue;
			}
			check_frontend(find(s, &c->in.ips[x], &c->ports[k]), &c->service, &want);
			n++;
		}
	}
	assert_int_equal(s->n_frontends, n);
	for (size_t i = 1; i < s->n_frontends; i++)
		assert_true(frontend_cmp(&s->frontends[i - 1], &s->frontends[i]) < 0);
}

static bool is_home(const uint32_t homes[static PLACE_MAX], uint32_t ifindex)
{
	for (size_t i = 0; i < PLACE_MAX && homes[i]; i++)
		if (homes[i] == ifindex)
			return true;
	return false;
}

/* Whether the member belongs to the Service, read off the frontends and the input. */
static bool is_vip(const struct cluster *c, const struct nat_member *m)
{
	for (size_t i = 0; i < c->in.n_ips; i++)
		if (ip_eq(&c->in.ips[i], &m->ip))
			return m->kind != NAT_HOME || is_home(c->in.homes[i], m->ifindex);
	return false;
}

static bool is_port(const struct nat_service *s, const struct nat_member *m)
{
	for (size_t i = 0; i < s->n_frontends; i++)
		if (ip_eq(&s->frontends[i].vip, &m->ip) && s->frontends[i].proto == m->proto && s->frontends[i].port == m->port)
			return true;
	return false;
}

static bool is_backend(const struct nat_service *s, const struct nat_member *m)
{
	for (size_t i = 0; i < s->n_frontends; i++)
		for (size_t k = 0; k < s->frontends[i].n_backends; k++)
			if (ip_eq(&s->frontends[i].backends[k].ip, &m->ip) &&
			    (m->kind == NAT_HAIRPIN ||
			     (s->frontends[i].proto == m->proto && s->frontends[i].backends[k].port == m->port)))
				return true;
	return false;
}

/* An endpoint that serves and terminates, wherever it is. */
static bool is_draining(const struct cluster *c, const struct nat_member *m)
{
	const struct ip_port at = { m->ip, m->port };

	for (size_t x = 0; x < c->in.n_ips; x++) {
		for (size_t k = 0; k < c->service.n_ports; k++) {
			struct naive all = { .c = c, .family = c->in.ips[x].family, .port = &c->ports[k] };

			naive_pass(&all, false, false, NO_HINT);
			for (size_t i = 0; i < all.n; i++)
				if (c->ports[k].proto == m->proto && ip_port_cmp(&all.v[i].at, &at) == 0)
					return true;
		}
	}
	return false;
}

static bool is_here(const struct cluster *c, const struct nat_member *m)
{
	for (size_t i = 0; i < SLICES; i++)
		for (size_t e = 0; e < c->slices[i].n_endpoints; e++)
			if (ip_eq(&c->endpoints[i][e].ip, &m->ip) && same_text(c->endpoints[i][e].node, c->in.node))
				return true;
	return false;
}

static bool belongs(const struct cluster *c, const struct nat_service *s, const struct nat_member *m)
{
	const bool local = c->service.policy_local;
	const bool bare = m->kind != NAT_GUARD && m->kind < NAT_RECEIVED; /* of no protocol and port */

	if ((bare && m->kind != NAT_HOME && m->port != 0) || bare != (m->proto == 0))
		return false;
	switch ((enum nat_member_kind)m->kind) {
	case NAT_VIP:
		return is_vip(c, m);
	case NAT_LOCAL:
		return c->in.snat_to_vip && !local && is_here(c, m);
	case NAT_HOME:
		return c->in.snat_to_vip && is_vip(c, m);
	case NAT_GUARD:
		return is_backend(s, m) || is_draining(c, m);
	case NAT_KEEP:
		return local && is_vip(c, m);
	case NAT_HAIRPIN:
		return local && is_backend(s, m);
	case NAT_ROUTED:
		return c->in.routed && is_vip(c, m);
	case NAT_RECEIVED:
		return c->in.counters && is_port(s, m);
	case NAT_SENT:
	case NAT_BACKEND:
	case NAT_OPENED:
		break;
	}
	return false;
}

static bool listed(const struct nat_service *s, const struct nat_member *m)
{
	for (size_t i = 0; i < s->n_members; i++)
		if (nat_member_cmp(&s->members[i], m) == 0)
			return true;
	return false;
}

/* Every one that there is belongs; and every one that belongs is there, of all that could be made of the addresses. */
static void check_members(const struct cluster *c, const struct nat_service *s)
{
	for (size_t i = 0; i < s->n_members; i++) {
		assert_true(belongs(c, s, &s->members[i]));
		assert_true(i == 0 || nat_member_cmp(&s->members[i - 1], &s->members[i]) < 0);
	}
	for (uint8_t kind = 0; kind < NAT_MEMBER_KIND_N; kind++) {
		for (size_t i = 0; i < s->n_frontends; i++) {
			const struct frontend *f = &s->frontends[i];
			struct nat_member m = { .ip = f->vip, .kind = kind, .proto = f->proto, .port = f->port };

			assert_int_equal(listed(s, &m), belongs(c, s, &m));
			for (size_t k = 0; k < f->n_backends; k++) {
				m = (struct nat_member){ .ip = f->backends[k].ip, .kind = kind, .proto = f->proto,
							 .port = f->backends[k].port };
				assert_int_equal(listed(s, &m), belongs(c, s, &m));
				m.proto = 0;
				m.port = 0;
				assert_int_equal(listed(s, &m), belongs(c, s, &m));
			}
		}
		for (size_t i = 0; i < c->in.n_ips * PLACE_MAX; i++) {
			const size_t at = i / PLACE_MAX;
			const struct nat_member m = { .ip = c->in.ips[at], .kind = kind,
						      .ifindex = kind == NAT_HOME ? c->in.homes[at][i % PLACE_MAX] : 0 };

			assert_int_equal(listed(s, &m), belongs(c, s, &m));
		}
		for (size_t i = 0; i < SLICES; i++) {
			for (size_t e = 0; e < c->slices[i].n_endpoints; e++) {
				const struct nat_member m = { .ip = c->endpoints[i][e].ip, .kind = kind };

				assert_int_equal(listed(s, &m), belongs(c, s, &m));
			}
		}
	}
}

static void check_firewall(const struct cluster *c, const struct nat_service *s)
{
	const bool any = c->service.restricted || c->service.n_rates > 0 || c->service.client_connections > 0;
	const struct nat_firewall *fw = s->firewall;

	if (!any || s->n_frontends == 0) {
		assert_null(fw);
		return;
	}
	assert_non_null(fw);
	assert_string_equal(fw->name, "n/web");
	assert_int_equal(fw->restricted, c->service.restricted);
	assert_int_equal(fw->n_sources, c->service.n_sources);
	for (size_t i = 0; i < fw->n_sources; i++)
		assert_int_equal(ip_net_cmp(&fw->sources[i], &c->sources[i]), 0);
	assert_int_equal(fw->n_rates, c->service.n_rates);
	assert_int_equal(fw->client_connections, c->service.client_connections);
	assert_true(fw->digest != 0 && fw->digest == digest_firewall(fw));
}

static void test_random(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct arena a = make_arena(ARENA), b = make_arena(ARENA);
		struct nat_service s, again;

		make_cluster(&c, seed);
		memset(b.base, 0x5a, b.size);
		s = build(&c, &a);
		again = build(&c, &b);
		check_frontends(&c, &s);
		check_members(&c, &s);
		check_firewall(&c, &s);
		assert_true(wanted_eq(&s, &again));
		drop_arena(&a);
		drop_arena(&b);
	}
}

/* A connection keeps its slot on every node: the table is the same, slot by slot, however the endpoints are spread over
 * slices, in whatever order, after whatever came and went. */
static void test_same_table_everywhere(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
		struct arena a = make_arena(ARENA), b = make_arena(ARENA);
		struct prng p = { seed };
		struct nat_service s, other;

		make_cluster(&c, seed);
		s = build(&c, &a);
		for (size_t i = 0; i < SLICES; i++) { /* endpoints shuffled, some twice; slices in another order */
			struct slice *sl = &c.slices[i];
			const size_t k = below(&p, (uint32_t)(i + 1));
			const struct slice *t = c.slice_list[i];

			for (size_t e = sl->n_endpoints; e > 1; e--) {
				const size_t x = below(&p, (uint32_t)e);
				const struct endpoint y = sl->endpoints[e - 1];

				sl->endpoints[e - 1] = sl->endpoints[x];
				sl->endpoints[x] = y;
			}
			if (sl->n_endpoints > 0) {
				sl->endpoints[sl->n_endpoints] = sl->endpoints[0];
				sl->n_endpoints++;
			}
			c.slice_list[i] = c.slice_list[k];
			c.slice_list[k] = t;
		}
		memset(b.base, 0x5a, b.size);
		other = build(&c, &b);
		assert_true(wanted_eq(&s, &other));
		c.in.n_slices /= 2; /* half of them go */
		arena_reset(&b);
		other = build(&c, &b);
		c.in.n_slices = SLICES; /* and come back */
		arena_reset(&b);
		other = build(&c, &b);
		assert_true(wanted_eq(&s, &other));
		drop_arena(&a);
		drop_arena(&b);
	}
}

/* ---- copies ---- */

/* The copy stands in exactly its bytes (the sanitizers see one too much), needs nothing of the original, and is equal. */
static void test_copy(void **state)
{
	static struct cluster c;

	(void)state;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct arena a = make_arena(ARENA), b = make_arena(ARENA);
		struct nat_service s, *copy;
		size_t size;
		void *mem;

		make_cluster(&c, seed);
		s = build(&c, &a);
		size = wanted_size(&s);
		mem = malloc(size);
		assert_non_null(mem);
		copy = wanted_copy(&s, mem);
		assert_ptr_equal(copy, mem);
		assert_true(wanted_eq(&s, copy));
		memset(a.base, 0x5a, a.size);
		s = build(&c, &b);
		assert_true(wanted_eq(&s, copy));
		assert_int_equal(wanted_size(copy), size);
		free(mem);
		drop_arena(&a);
		drop_arena(&b);
	}
}

/* Two random Services are equal only if all that is said of them is. */
static void test_eq(void **state)
{
	static struct cluster c, d;
	size_t differ = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct arena a = make_arena(ARENA), b = make_arena(ARENA);
		struct nat_service s, t;

		make_cluster(&c, seed);
		make_cluster(&d, seed);
		s = build(&c, &a);
		if (seed % 4 == 0)
			d.service.client_connections ^= 1;
		else if (seed % 4 == 1)
			d.in.homes[0][0] ^= 1;
		else if (seed % 4 == 2)
			d.service.balance = (enum balance)((d.service.balance + 1) % 4);
		else if (d.slices[0].n_endpoints > 0)
			d.endpoints[0][0].ip.b[3] ^= 64;
		t = build(&d, &b);
		differ += !wanted_eq(&s, &t);
		if (wanted_eq(&s, &t)) { /* then the change does not show */
			check_frontends(&d, &s);
			check_members(&d, &s);
			check_firewall(&d, &s);
		}
		drop_arena(&a);
		drop_arena(&b);
	}
	assert_in_range(differ, 150, 399);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_same_table_everywhere),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_eq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
