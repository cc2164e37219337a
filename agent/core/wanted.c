/* SPDX-License-Identifier: Apache-2.0 */
/* wanted.c: joins Services with their EndpointSlices.  Which address a Service has was decided in pool.c; which backend
 * fills which slot is maglev.c's affair; what has to change in the kernel is diff.c's. */
#include "agent/core/wanted.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/maglev.h"
#include "agent/core/sort.h"

/* The slices of one Service. */
struct join {
	const struct slice *const *slices;
	size_t n;
	const char *only; /* externalTrafficPolicy Local: endpoints of this node alone; NULL = all */
};

struct builder {
	const struct wanted_input *in;
	struct arena *arena;
	struct wanted out;
	struct ip_port *backends; /* room for those of any one Service */
	size_t cap_guards, cap_locals, cap_homes;
};

/* How much there may be of each at most. */
struct room {
	size_t vips, frontends, backends, guards, locals;
};

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

static int vip_cmp(const void *a, const void *b)
{
	const struct wanted_vip *x = a, *y = b;

	return ip_cmp(&x->ip, &y->ip);
}

static int frontend_order(const void *a, const void *b)
{
	return frontend_cmp(a, b);
}

static int backend_order(const void *a, const void *b)
{
	return ip_port_cmp(a, b);
}

static int guard_order(const void *a, const void *b)
{
	return nat_guard_cmp(a, b);
}

static int home_order(const void *a, const void *b)
{
	return nat_home_cmp(a, b);
}

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

/* ---- slices of a Service ---- */

/* Moves *at to the Service's first slice and returns its slices.  Both lists are sorted, so *at only moves forward. */
static struct join join_slices(const struct wanted_input *in, const struct service *s, size_t *at)
{
	struct join j = { .only = s->policy_local ? in->node ? in->node : "" : NULL };

	for (; *at < in->n_slices; (*at)++) {
		const struct slice *slice = in->slices[*at];
		int c = strcmp(slice->meta.ns, s->meta.ns);

		if (c == 0)
			c = strcmp(slice->service, s->meta.name);
		if (c > 0)
			break;
		if (c < 0)
			continue;
		if (j.n == 0)
			j.slices = &in->slices[*at];
		j.n++;
	}
	return j;
}

/* The slice's port for a Service port: API rule: by name, and of the same protocol. */
static uint16_t slice_port_number(const struct slice *slice, const struct service_port *port)
{
	for (size_t i = 0; i < slice->n_ports; i++)
		if (slice->ports[i].proto == port->proto && text_eq(slice->ports[i].name, port->name))
			return slice->ports[i].port;
	return 0;
}

/* Adds the endpoints that are ready, or those that are on their way out and serving still. */
static size_t add_backends(const struct join *j, uint8_t family, const struct service_port *port, bool ready,
			   struct ip_port *to)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n; i++) {
		const struct slice *slice = j->slices[i];
		const uint16_t number = slice->family == family ? slice_port_number(slice, port) : 0;

		for (size_t e = 0; number && e < slice->n_endpoints; e++) {
			const struct endpoint *ep = &slice->endpoints[e];

			if (j->only && (!*j->only || !text_eq(ep->node, j->only)))
				continue;
			if (ep->ip.family == family && (ready ? ep->ready : ep->serving && ep->terminating))
				to[n++] = (struct ip_port){ ep->ip, number };
		}
	}
	return n;
}

/* The backends of a port, sorted and distinct (an address may stand in two slices while it moves between them). */
static int find_backends(struct builder *b, const struct join *j, uint8_t family, const struct service_port *port,
			 size_t *ret_n)
{
	size_t n = add_backends(j, family, port, true, b->backends), distinct = 0;
	int r;

	if (n == 0) /* KEP-1669: rather a backend that ends soon than none */
		n = add_backends(j, family, port, false, b->backends);
	r = sort_array(b->backends, n, sizeof(*b->backends), backend_order, b->arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (i == 0 || ip_port_cmp(&b->backends[distinct - 1], &b->backends[i]) != 0)
			b->backends[distinct++] = b->backends[i];
	*ret_n = distinct;
	return 0;
}

/* ---- the lists ---- */

/* The backends of a port as sources.  A Service has one address a family, so each comes once for each port. */
static void add_guards(struct builder *b, uint8_t proto, size_t n_backends)
{
	assert(b->cap_guards - b->out.n_guards >= n_backends);
	for (size_t i = 0; i < n_backends; i++)
		b->out.guards[b->out.n_guards++] =
			(struct nat_guard){ b->backends[i].ip, proto, b->backends[i].port };
}

static bool is_here(const struct wanted_input *in, const struct endpoint *ep)
{
	return in->snat_to_vip && in->node && *in->node && text_eq(ep->node, in->node);
}

/* Ready or not: a connection may still go there. */
static void add_locals(struct builder *b, const struct join *j)
{
	for (size_t i = 0; i < j->n; i++) {
		const struct slice *slice = j->slices[i];

		for (size_t e = 0; e < slice->n_endpoints; e++) {
			if (!is_here(b->in, &slice->endpoints[e]))
				continue;
			assert(b->out.n_locals < b->cap_locals);
			b->out.locals[b->out.n_locals++] = slice->endpoints[e].ip;
		}
	}
}

static void add_home(struct builder *b, size_t service, size_t k)
{
	const struct wanted_input *in = b->in;
	uint32_t ifindex = in->snat_to_vip && in->homes ? in->homes[service].ifindex[k] : 0;

	if (ifindex == 0)
		return;
	assert(b->out.n_homes < b->cap_homes);
	b->out.homes[b->out.n_homes++] = (struct nat_home){ in->decisions[service].ips[k], ifindex };
}

static int add_frontend(struct builder *b, const struct service *s, const struct service_port *port,
			const struct ip *vip, size_t n_backends)
{
	struct frontend f = { .vip = *vip, .proto = port->proto, .port = port->port, .balance = s->balance };
	struct ip_port *slots;
	int r;

	f.n_slots = maglev_class(n_backends);
	slots = arena_take_array(b->arena, f.n_slots, sizeof(*slots));
	if (!slots)
		return -ENOSPC;
	r = maglev_fill(b->backends, n_backends, slots, f.n_slots, b->arena);
	if (r < 0)
		return r;
	f.slots = slots;
	add_guards(b, port->proto, n_backends);
	b->out.frontends[b->out.n_frontends++] = f;
	return 0;
}

static int add_service(struct builder *b, size_t index, const struct join *j)
{
	const struct service *s = b->in->services[index];
	const struct pool_decision *d = &b->in->decisions[index];

	if (b->in->dataplane_nft)
		add_locals(b, j);
	for (size_t i = 0; i < d->n_ips; i++) {
		b->out.vips[b->out.n_vips++] = (struct wanted_vip){ d->ips[i], index };
		if (b->in->dataplane_nft)
			add_home(b, index, i);
		for (size_t p = 0; b->in->dataplane_nft && p < s->n_ports; p++) {
			size_t n = 0;
			int r = find_backends(b, j, d->ips[i].family, &s->ports[p], &n);

			if (r == 0 && n > 0)
				r = add_frontend(b, s, &s->ports[p], &d->ips[i], n);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Counts what one Service may need. */
static void count_service(const struct wanted_input *in, size_t index, const struct join *j, struct room *ret)
{
	const struct service *s = in->services[index];
	const struct pool_decision *d = &in->decisions[index];
	size_t n = 0;

	for (size_t k = 0; k < j->n; k++) {
		const struct slice *slice = j->slices[k];

		n += slice->n_endpoints;
		for (size_t e = 0; e < slice->n_endpoints; e++)
			ret->locals += is_here(in, &slice->endpoints[e]);
	}
	ret->backends = n > ret->backends ? n : ret->backends;
	ret->guards += n * s->n_ports;
	ret->vips += d->n_ips;
	ret->frontends += d->n_ips * s->n_ports;
}

/* Takes the room for all lists and for the backends of the largest Service. */
static int take_room(struct builder *b)
{
	const struct wanted_input *in = b->in;
	struct room room = { 0 };
	size_t at = 0;

	for (size_t i = 0; i < in->n_services; i++) {
		const struct join j = join_slices(in, in->services[i], &at);

		if (serves(&in->decisions[i]))
			count_service(in, i, &j, &room);
	}
	if (!in->dataplane_nft)
		room = (struct room){ .vips = room.vips };
	b->cap_guards = room.guards;
	b->cap_locals = room.locals;
	b->cap_homes = in->snat_to_vip && in->homes && in->dataplane_nft ? room.vips : 0;
	b->out.vips = arena_take_array(b->arena, room.vips, sizeof(*b->out.vips));
	b->out.frontends = arena_take_array(b->arena, room.frontends, sizeof(*b->out.frontends));
	b->backends = arena_take_array(b->arena, room.backends, sizeof(*b->backends));
	b->out.guards = arena_take_array(b->arena, b->cap_guards, sizeof(*b->out.guards));
	b->out.locals = arena_take_array(b->arena, b->cap_locals, sizeof(*b->out.locals));
	b->out.homes = arena_take_array(b->arena, b->cap_homes, sizeof(*b->out.homes));
	return b->out.vips && b->out.frontends && b->backends && b->out.guards && b->out.locals && b->out.homes ?
		       0 :
		       -ENOSPC;
}

/* Sorts a list and makes it distinct.  The sort is stable and Services come in order, so of equals the first
 * Service's stays. */
static int put_in_order(struct builder *b, void *list, size_t *n, size_t size, int (*cmp)(const void *, const void *))
{
	unsigned char *at = list;
	size_t distinct = 0;
	int r = sort_array(list, *n, size, cmp, b->arena);

	if (r < 0)
		return r;
	for (size_t i = 0; i < *n; i++) {
		if (i > 0 && cmp(at + (distinct - 1) * size, at + i * size) == 0)
			continue;
		memmove(at + distinct * size, at + i * size, size);
		distinct++;
	}
	*n = distinct;
	return 0;
}

static int put_all_in_order(struct builder *b)
{
	struct wanted *w = &b->out;
	int r = put_in_order(b, w->vips, &w->n_vips, sizeof(*w->vips), vip_cmp);

	if (r == 0)
		r = put_in_order(b, w->frontends, &w->n_frontends, sizeof(*w->frontends), frontend_order);
	if (r == 0)
		r = put_in_order(b, w->guards, &w->n_guards, sizeof(*w->guards), guard_order);
	if (r == 0)
		r = put_in_order(b, w->locals, &w->n_locals, sizeof(*w->locals), ip_order);
	if (r == 0)
		r = put_in_order(b, w->homes, &w->n_homes, sizeof(*w->homes), home_order);
	return r;
}

int wanted_build(const struct wanted_input *in, struct arena *arena, struct wanted *ret)
{
	struct builder b = { .in = in, .arena = arena };
	size_t at = 0;
	int r = take_room(&b);

	for (size_t i = 0; r == 0 && i < in->n_services; i++) {
		const struct join j = join_slices(in, in->services[i], &at);

		if (serves(&in->decisions[i]))
			r = add_service(&b, i, &j);
	}
	if (r == 0)
		r = put_all_in_order(&b);
	if (r == 0)
		*ret = b.out;
	return r;
}
