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
};

struct builder {
	const struct wanted_input *in;
	struct arena *arena;
	struct wanted out;
	struct ip_port *backends; /* room for those of any one Service */
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

/* ---- slices of a Service ---- */

/* Moves *at to the Service's first slice and returns its slices.  Both lists are sorted, so *at only moves forward. */
static struct join join_slices(const struct wanted_input *in, const struct service *s, size_t *at)
{
	struct join j = { 0 };

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

/* ---- the two lists ---- */

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
	b->out.frontends[b->out.n_frontends++] = f;
	return 0;
}

static int add_service(struct builder *b, size_t index, const struct join *j)
{
	const struct service *s = b->in->services[index];
	const struct pool_decision *d = &b->in->decisions[index];

	for (size_t i = 0; i < d->n_ips; i++) {
		b->out.vips[b->out.n_vips++] = (struct wanted_vip){ d->ips[i], index };
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

/* Takes the room for VIPs, frontends and the backends of the largest Service. */
static int take_room(struct builder *b)
{
	const struct wanted_input *in = b->in;
	size_t n_vips = 0, n_frontends = 0, n_backends = 0, at = 0;

	for (size_t i = 0; i < in->n_services; i++) {
		const struct join j = join_slices(in, in->services[i], &at);
		size_t n = 0;

		if (!serves(&in->decisions[i]))
			continue;
		for (size_t k = 0; k < j.n; k++)
			n += j.slices[k]->n_endpoints;
		n_backends = n > n_backends ? n : n_backends;
		n_vips += in->decisions[i].n_ips;
		n_frontends += in->decisions[i].n_ips * in->services[i]->n_ports;
	}
	if (!in->dataplane_nft)
		n_frontends = n_backends = 0;
	b->out.vips = arena_take_array(b->arena, n_vips, sizeof(*b->out.vips));
	b->out.frontends = arena_take_array(b->arena, n_frontends, sizeof(*b->out.frontends));
	b->backends = arena_take_array(b->arena, n_backends, sizeof(*b->backends));
	return b->out.vips && b->out.frontends && b->backends ? 0 : -ENOSPC;
}

/* Sorts both lists.  The sort is stable and Services come in order, so of equals the first Service's stays. */
static int put_in_order(struct builder *b)
{
	struct wanted *w = &b->out;
	size_t n_vips = 0, n_frontends = 0;
	int r = sort_array(w->vips, w->n_vips, sizeof(*w->vips), vip_cmp, b->arena);

	if (r == 0)
		r = sort_array(w->frontends, w->n_frontends, sizeof(*w->frontends), frontend_order, b->arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < w->n_vips; i++)
		if (i == 0 || vip_cmp(&w->vips[n_vips - 1], &w->vips[i]) != 0)
			w->vips[n_vips++] = w->vips[i];
	for (size_t i = 0; i < w->n_frontends; i++)
		if (i == 0 || frontend_cmp(&w->frontends[n_frontends - 1], &w->frontends[i]) != 0)
			w->frontends[n_frontends++] = w->frontends[i];
	w->n_vips = n_vips;
	w->n_frontends = n_frontends;
	return 0;
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
		r = put_in_order(&b);
	if (r == 0)
		*ret = b.out;
	return r;
}
