/* SPDX-License-Identifier: Apache-2.0 */
/* endpoints.c: the choice of backends.  After kube-proxy's CategorizeEndpoints() and topologyModeFromHints()
 * (pkg/proxy/topology.go), so that a client meets the same backends with and without it.  publishNotReadyAddresses needs
 * nothing here: the endpoints of such a Service are published as ready. */
#include "agent/core/endpoints.h"

#include <assert.h>
#include <string.h>

#include "agent/base/nat.h"
#include "agent/base/text.h"
#include "agent/core/sort.h"

enum scope {
	SCOPE_ALL,
	SCOPE_HERE, /* on this node */
	SCOPE_NODE, /* hinted at this node */
	SCOPE_ZONE, /* hinted at this zone */
};

/* What is asked of an endpoint. */
struct choice {
	const struct wanted_input *in;
	const struct service_port *port;
	uint8_t family;
	bool ready; /* ready; else on its way out and serving still */
	enum scope scope;
};

static bool known(const char *name)
{
	return name && *name;
}

static bool listed(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (text_eq(names[i], name))
			return true;
	return false;
}

static size_t endpoints_bound(const struct wanted_input *in)
{
	const size_t faces = in->n_ips * in->service->n_ports;
	const size_t each = ENDPOINTS_OF_ALL_PORTS / (faces ? faces : 1);

	return each < ENDPOINTS_MAX ? each : ENDPOINTS_MAX;
}

size_t endpoints_count(const struct wanted_input *in)
{
	const size_t bound = endpoints_bound(in);
	size_t n = 0;

	for (size_t i = 0; i < in->n_slices; i++)
		n += in->slices[i]->n_endpoints;
	return n < bound ? n : bound;
}

bool endpoints_is_here(const struct wanted_input *in, const struct endpoint *ep)
{
	return known(in->node) && text_eq(ep->node, in->node);
}

/* The slice's port for a Service port: API rule: by name, and of the same protocol.  0 = none. */
static uint16_t slice_port_number(const struct slice *slice, const struct choice *c)
{
	if (slice->family != c->family)
		return 0;
	for (size_t i = 0; i < slice->n_ports; i++)
		if (slice->ports[i].proto == c->port->proto && text_eq(slice->ports[i].name, c->port->name))
			return slice->ports[i].port;
	return 0;
}

static bool counts(const struct choice *c, const struct endpoint *ep)
{
	return ep->ip.family == c->family && (c->ready ? ep->ready : ep->serving && ep->terminating);
}

static bool in_scope(const struct choice *c, const struct endpoint *ep)
{
	switch (c->scope) {
	case SCOPE_HERE:
		return endpoints_is_here(c->in, ep);
	case SCOPE_NODE:
		return listed(ep->for_nodes, ep->n_for_nodes, c->in->node);
	case SCOPE_ZONE:
		return listed(ep->for_zones, ep->n_for_zones, c->in->zone);
	case SCOPE_ALL:
		break;
	}
	return true;
}

/* What the hints of the ready endpoints say.  One without a hint, and hints of that kind count for nothing. */
static enum scope hinted_scope(const struct choice *c)
{
	bool nodes = known(c->in->node), zones = known(c->in->zone), this_node = false, this_zone = false;

	for (size_t i = 0; (nodes || zones) && i < c->in->n_slices; i++) {
		const struct slice *slice = c->in->slices[i];
		const uint16_t number = slice_port_number(slice, c);

		for (size_t e = 0; number && e < slice->n_endpoints; e++) {
			const struct endpoint *ep = &slice->endpoints[e];

			if (!counts(c, ep))
				continue;
			nodes = nodes && ep->n_for_nodes > 0;
			zones = zones && ep->n_for_zones > 0;
			this_node = this_node || (nodes && listed(ep->for_nodes, ep->n_for_nodes, c->in->node));
			this_zone = this_zone || (zones && listed(ep->for_zones, ep->n_for_zones, c->in->zone));
		}
	}
	return nodes && this_node ? SCOPE_NODE : zones && this_zone ? SCOPE_ZONE : SCOPE_ALL;
}

/* ---- weights ---- */

static const struct weight *find_weight(const struct service *s, const char *name)
{
	for (size_t lo = 0, hi = s->n_weights; lo < hi;) {
		const size_t mid = lo + (hi - lo) / 2;
		const int c = strcmp(s->weights[mid].name, name);

		if (c == 0)
			return &s->weights[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static uint16_t weight_of_node(const struct wanted_input *in, const char *node)
{
	for (size_t lo = 0, hi = in->n_weights; lo < hi;) {
		const size_t mid = lo + (hi - lo) / 2;
		const int c = strcmp(in->weights[mid].node, node);

		if (c == 0)
			return in->weights[mid].weight;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return 1;
}

static uint16_t weight_of(const struct wanted_input *in, const struct endpoint *ep)
{
	const struct weight *w = NULL;
	char text[IP_TEXT_MAX];

	if (in->service->n_weights > 0) {
		w = find_weight(in->service, ip_format(&ep->ip, text));
		if (!w && *ep->target)
			w = find_weight(in->service, ep->target);
		if (!w && *ep->node)
			w = find_weight(in->service, ep->node);
	}
	return w ? w->weight : weight_of_node(in, ep->node);
}

/* ---- the list ---- */

static size_t collect(const struct choice *c, struct backend *v)
{
	const size_t bound = endpoints_bound(c->in);
	size_t n = 0;

	for (size_t i = 0; i < c->in->n_slices; i++) {
		const struct slice *slice = c->in->slices[i];
		const uint16_t number = slice_port_number(slice, c);

		for (size_t e = 0; number && n < bound && e < slice->n_endpoints; e++) {
			const struct endpoint *ep = &slice->endpoints[e];

			if (counts(c, ep) && in_scope(c, ep))
				v[n++] = (struct backend){ { ep->ip, number }, weight_of(c->in, ep) };
		}
	}
	return n;
}

size_t endpoints_draining(const struct wanted_input *in, uint8_t family, const struct service_port *port,
			  struct ip_port *v)
{
	const struct choice c = { .in = in, .port = port, .family = family, .ready = false, .scope = SCOPE_ALL };
	const size_t bound = endpoints_bound(in);
	size_t n = 0;

	for (size_t i = 0; i < in->n_slices; i++) {
		const struct slice *slice = in->slices[i];
		const uint16_t number = slice_port_number(slice, &c);

		for (size_t e = 0; number && n < bound && e < slice->n_endpoints; e++)
			if (counts(&c, &slice->endpoints[e]))
				v[n++] = (struct ip_port){ slice->endpoints[e].ip, number };
	}
	return n;
}

/* Of equals the heaviest first. */
static int backend_order(const void *a, const void *b)
{
	const struct backend *x = a, *y = b;
	int c = ip_port_cmp(&x->at, &y->at);

	return c ? c : (x->weight < y->weight) - (x->weight > y->weight);
}

static uint16_t common_divisor(uint16_t a, uint16_t b)
{
	while (b) {
		const uint16_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/* Those of weight 0 go, unless all have it; then all weigh the same. */
static size_t weigh(struct backend *v, size_t n)
{
	uint16_t divisor = 0;
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		if (v[i].weight > 0)
			v[left++] = v[i];
	for (size_t i = 0; left == 0 && i < n; i++)
		v[i].weight = 1;
	n = left ? left : n;
	n = n < NAT_SLOTS_MAX ? n : NAT_SLOTS_MAX;
	for (size_t i = 0; i < n; i++)
		divisor = common_divisor(divisor, v[i].weight);
	for (size_t i = 0; i < n; i++)
		v[i].weight = v[i].weight / divisor;
	return n;
}

int endpoints_choose(const struct wanted_input *in, uint8_t family, const struct service_port *port,
		     struct arena *scratch, struct backend *v, size_t *ret_n)
{
	struct choice c = { in, port, family, true, SCOPE_HERE };
	size_t n, distinct = 0;
	int r;

	if (!in->service->policy_local)
		c.scope = hinted_scope(&c);
	n = collect(&c, v);
	if (n == 0) { /* KEP-1669: rather a backend that ends soon than none; hints never narrow to nobody */
		c.ready = false;
		n = collect(&c, v);
	}
	r = sort_array(v, n, sizeof(*v), backend_order, scratch);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) /* an address may stand in two slices while it moves between them */
		if (i == 0 || ip_port_cmp(&v[distinct - 1].at, &v[i].at) != 0)
			v[distinct++] = v[i];
	*ret_n = weigh(v, distinct);
	return 0;
}
