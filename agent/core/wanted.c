/* SPDX-License-Identifier: Apache-2.0 */
/* wanted.c: what a Service wants of the data plane.  Which address it has was decided in pool.c; which endpoints count, in
 * endpoints.c; which backend fills which slot is the affair of slots.c and turns.c; what has to change in the kernel
 * is diff.c's. */
#include "agent/core/wanted.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/core/digest.h"
#include "agent/core/endpoints.h"
#include "agent/core/slots.h"
#include "agent/core/sort.h"
#include "agent/core/turns.h"

struct builder {
	const struct wanted_input *in;
	struct arena *arena;
	struct backend *backends; /* room for those of any one port */
	struct frontend *frontends;
	size_t n_frontends;
	struct nat_member *members;
	size_t n_members, cap_members;
};

/* ---- VIPs of all Services ---- */

static bool serves(const struct pool_decision *d)
{
	switch (d->state) {
	case POOL_FOREIGN:
	case POOL_RELEASE:
		return false;
	case POOL_KEEP:
	case POOL_ASSIGN:
	case POOL_FAILED:
		break;
	}
	return d->n_ips > 0;
}

static int vip_order(const void *a, const void *b)
{
	const struct wanted_vip *x = a, *y = b;

	return ip_cmp(&x->ip, &y->ip);
}

int wanted_vips(const struct pool_decision *decisions, size_t n, struct arena *arena, struct wanted_vip **ret,
		size_t *ret_n)
{
	struct wanted_vip *v;
	size_t n_v = 0, distinct = 0;
	int r;

	for (size_t i = 0; i < n; i++)
		n_v += serves(&decisions[i]) ? decisions[i].n_ips : 0;
	v = arena_take_array(arena, n_v, sizeof(*v));
	if (!v)
		return -ENOSPC;
	n_v = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; serves(&decisions[i]) && k < decisions[i].n_ips; k++)
			v[n_v++] = (struct wanted_vip){ decisions[i].ips[k], i };
	r = sort_array(v, n_v, sizeof(*v), vip_order, arena); /* stable: of equals the first Service's stays first */
	if (r < 0)
		return r;
	for (size_t i = 0; i < n_v; i++)
		if (i == 0 || !ip_eq(&v[distinct - 1].ip, &v[i].ip))
			v[distinct++] = v[i];
	*ret = v;
	*ret_n = distinct;
	return 0;
}

/* ---- frontends ---- */

static int frontend_order(const void *a, const void *b)
{
	return frontend_cmp(a, b);
}

static int fill_slots(struct builder *b, struct frontend *f)
{
	const bool in_turn = f->balance == BALANCE_ROUND_ROBIN;
	uint16_t *slots;
	size_t units = 0;
	int r;

	for (size_t i = 0; i < f->n_backends; i++)
		units += b->backends[i].weight;
	f->n_slots = in_turn ? turns_count(b->backends, f->n_backends) :
			       slots_class(units, b->in->service->min_slots);
	slots = arena_take_array(b->arena, f->n_slots, sizeof(*slots));
	if (!slots)
		return -ENOSPC;
	r = in_turn ? turns_fill(b->backends, f->n_backends, slots, b->arena) :
		      slots_fill(b->backends, f->n_backends, slots, f->n_slots, b->arena);
	f->slots = slots;
	return r;
}

/* The frontend of a port on a VIP, left out when there is no backend. */
static int add_frontend(struct builder *b, const struct ip *vip, const struct service_port *port)
{
	const struct service *s = b->in->service;
	struct frontend f = { .vip = *vip, .proto = port->proto, .balance = (uint8_t)s->balance, .port = port->port,
			      .sticky_s = s->balance == BALANCE_SOURCE ? s->sticky_s : 0 };
	struct ip_port *backends;
	size_t n;
	int r = endpoints_choose(b->in, vip->family, port, b->arena, b->backends, &n);

	if (r < 0 || n == 0)
		return r;
	backends = arena_take_array(b->arena, n, sizeof(*backends));
	if (!backends)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++)
		backends[i] = b->backends[i].at;
	f.backends = backends;
	f.n_backends = (uint16_t)n;
	r = fill_slots(b, &f);
	if (r < 0)
		return r;
	f.digest = digest_frontend(&f);
	b->frontends[b->n_frontends++] = f;
	return 0;
}

static int add_frontends(struct builder *b)
{
	const struct wanted_input *in = b->in;
	const struct service *s = in->service;
	size_t distinct = 0;
	int r = 0;

	b->frontends = arena_take_array(b->arena, in->n_ips * s->n_ports, sizeof(*b->frontends));
	b->backends = arena_take_array(b->arena, endpoints_count(in), sizeof(*b->backends));
	if (!b->frontends || !b->backends)
		return -ENOSPC;
	for (size_t i = 0; i < in->n_ips; i++)
		for (size_t p = 0; r == 0 && p < s->n_ports; p++)
			r = add_frontend(b, &in->ips[i], &s->ports[p]);
	if (r == 0)
		r = sort_array(b->frontends, b->n_frontends, sizeof(*b->frontends), frontend_order, b->arena);
	for (size_t i = 0; r == 0 && i < b->n_frontends; i++) /* the API allows no port twice; of such the first counts */
		if (i == 0 || frontend_cmp(&b->frontends[distinct - 1], &b->frontends[i]) != 0)
			b->frontends[distinct++] = b->frontends[i];
	b->n_frontends = distinct;
	return r;
}

/* ---- members ---- */

static int member_order(const void *a, const void *b)
{
	return nat_member_cmp(a, b);
}

static void add_member(struct builder *b, const struct nat_member *m)
{
	assert(b->n_members < b->cap_members);
	b->members[b->n_members++] = *m;
}

static void add_vips(struct builder *b, enum nat_member_kind kind)
{
	for (size_t i = 0; i < b->in->n_ips; i++)
		add_member(b, &(struct nat_member){ .ip = b->in->ips[i], .kind = (uint8_t)kind });
}

static void add_homes(struct builder *b)
{
	for (size_t i = 0; i < b->in->n_ips; i++)
		for (size_t k = 0; k < PLACE_MAX && b->in->homes[i][k]; k++)
			add_member(b, &(struct nat_member){ .ip = b->in->ips[i], .kind = NAT_HOME,
							    .ifindex = b->in->homes[i][k] });
}

/* Ready or not: a connection may still go there. */
static void add_locals(struct builder *b)
{
	size_t left = endpoints_count(b->in);

	for (size_t i = 0; i < b->in->n_slices; i++) {
		const struct slice *slice = b->in->slices[i];

		for (size_t e = 0; left > 0 && e < slice->n_endpoints; e++) {
			if (!endpoints_is_here(b->in, &slice->endpoints[e]))
				continue;
			add_member(b, &(struct nat_member){ .ip = slice->endpoints[e].ip, .kind = NAT_LOCAL });
			left--;
		}
	}
}

static void add_counted(struct builder *b)
{
	for (size_t i = 0; i < b->n_frontends; i++) {
		const struct frontend *f = &b->frontends[i];

		add_member(b, &(struct nat_member){ .ip = f->vip, .kind = NAT_RECEIVED, .proto = f->proto,
						    .port = f->port });
	}
}

static void add_backends(struct builder *b, enum nat_member_kind kind)
{
	const bool bare = kind == NAT_HAIRPIN;

	for (size_t i = 0; i < b->n_frontends; i++) {
		const struct frontend *f = &b->frontends[i];

		for (size_t k = 0; k < f->n_backends; k++)
			add_member(b, &(struct nat_member){ .ip = f->backends[k].ip, .kind = (uint8_t)kind,
							    .proto = bare ? 0 : f->proto,
							    .port = bare ? 0 : f->backends[k].port });
	}
}

/* What still goes on at endpoints that get no new connections is guarded, too. */
static int add_draining(struct builder *b)
{
	const struct wanted_input *in = b->in;
	struct ip_port *v = arena_take_array(b->arena, endpoints_count(in), sizeof(*v));

	if (!v)
		return -ENOSPC;
	for (size_t i = 0; i < in->n_ips; i++) {
		for (size_t p = 0; p < in->service->n_ports; p++) {
			const struct service_port *port = &in->service->ports[p];
			const size_t n = endpoints_draining(in, in->ips[i].family, port, v);

			for (size_t k = 0; k < n; k++)
				add_member(b, &(struct nat_member){ .ip = v[k].ip, .kind = NAT_GUARD, .proto = port->proto,
								    .port = v[k].port });
		}
	}
	return 0;
}

/* As many members of a kind as there may be at most. */
static size_t room_for_members(const struct builder *b)
{
	size_t n_backends = 0;

	for (size_t i = 0; i < b->n_frontends; i++)
		n_backends += b->frontends[i].n_backends;
	return (3 + PLACE_MAX) * b->in->n_ips + (1 + b->in->n_ips * b->in->service->n_ports) * endpoints_count(b->in) + b->n_frontends +
	       2 * n_backends;
}

/* In the order of kinds, so that there is little to sort. */
static int add_members(struct builder *b)
{
	const struct wanted_input *in = b->in;
	const bool local = in->service->policy_local;
	size_t distinct = 0;
	int r;

	b->cap_members = room_for_members(b);
	b->members = arena_take_array(b->arena, b->cap_members, sizeof(*b->members));
	if (!b->members)
		return -ENOSPC;
	add_vips(b, NAT_VIP);
	if (in->snat_to_vip && !local)
		add_locals(b);
	if (in->snat_to_vip)
		add_homes(b);
	add_backends(b, NAT_GUARD);
	r = add_draining(b);
	if (r < 0)
		return r;
	if (local) {
		add_vips(b, NAT_KEEP);
		add_backends(b, NAT_HAIRPIN);
	}
	if (in->routed)
		add_vips(b, NAT_ROUTED);
	if (in->counters)
		add_counted(b);
	r = sort_array(b->members, b->n_members, sizeof(*b->members), member_order, b->arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < b->n_members; i++)
		if (i == 0 || nat_member_cmp(&b->members[distinct - 1], &b->members[i]) != 0)
			b->members[distinct++] = b->members[i];
	b->n_members = distinct;
	return 0;
}

/* ---- firewall ---- */

static int make_firewall(const struct wanted_input *in, struct arena *arena, const struct nat_firewall **ret)
{
	const struct service *s = in->service;
	const size_t ns = strlen(s->meta.ns), name = strlen(s->meta.name);
	struct nat_firewall *fw;
	struct ip_net *sources;

	if (!s->restricted && s->n_rates == 0 && s->client_connections == 0)
		return 0;
	fw = arena_take(arena, sizeof(*fw));
	sources = arena_take_array(arena, s->n_sources, sizeof(*sources));
	if (!fw || !sources)
		return -ENOSPC;
	if (ns + 1 + name >= sizeof(fw->name))
		return -ENAMETOOLONG;
	assert(s->n_sources <= OBJECT_SOURCES_MAX && s->n_rates <= RATES_MAX);
	memcpy(fw->name, s->meta.ns, ns);
	fw->name[ns] = '/';
	memcpy(fw->name + ns + 1, s->meta.name, name);
	for (size_t i = 0; s->restricted && i < s->n_sources; i++)
		sources[fw->n_sources++] = s->sources[i];
	fw->sources = sources;
	fw->restricted = s->restricted;
	fw->n_rates = (uint8_t)s->n_rates;
	memcpy(fw->rates, s->rates, s->n_rates * sizeof(*s->rates));
	fw->client_connections = s->client_connections;
	fw->digest = digest_firewall(fw);
	*ret = fw;
	return 0;
}

int wanted_service(const struct wanted_input *in, struct arena *arena, struct nat_service *ret)
{
	struct builder b = { .in = in, .arena = arena };
	const struct nat_firewall *firewall = NULL;
	int r;

	assert(in->n_ips <= OBJECT_ADDRESSES_MAX);
	r = add_frontends(&b);
	if (r == 0)
		r = add_members(&b);
	if (r == 0 && b.n_frontends > 0) /* it stands before the frontends: without any there is nothing to guard */
		r = make_firewall(in, arena, &firewall);
	if (r < 0)
		return r;
	*ret = (struct nat_service){ b.frontends, b.n_frontends, b.members, b.n_members, firewall };
	return 0;
}
