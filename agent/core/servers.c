/* SPDX-License-Identifier: Apache-2.0 */
/* servers.c: EndpointSlices in, EndpointSlices out; which servers are well is health.c's. */
#include "agent/core/servers.h"

#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include "agent/base/text.h"

/* Names that sort as their numbers do. */
static const char *const slice_names[] = { "00", "01", "02", "03", "04", "05", "06", "07",
					   "08", "09", "10", "11", "12", "13", "14", "15" };
static_assert(sizeof(slice_names) / sizeof(slice_names[0]) == HEALTH_SERVERS_MAX, "a name for each");

/* Keeps the list sorted and distinct; of too many the highest goes. */
static void insert(struct servers_found *f, const struct ip_port *at)
{
	size_t i = 0;

	while (i < f->n && ip_port_cmp(&f->v[i], at) < 0)
		i++;
	if (i < f->n && ip_port_cmp(&f->v[i], at) == 0)
		return;
	if (f->n == HEALTH_SERVERS_MAX) {
		f->left_out++;
		if (i == f->n)
			return;
		f->n--;
	}
	memmove(f->v + i + 1, f->v + i, (f->n - i) * sizeof(f->v[0]));
	f->v[i] = *at;
	f->n++;
}

/* 0: none. */
static uint16_t port_of(const struct slice *s)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].proto == IPPROTO_TCP && text_eq(s->ports[i].name, SERVERS_PORT_NAME))
			return s->ports[i].port;
	return 0;
}

void servers_find(struct servers_found *f, const struct slice *s, const struct ip *vip)
{
	uint16_t port = s->family == vip->family ? port_of(s) : 0;

	for (size_t i = 0; port && i < s->n_endpoints; i++) {
		const struct endpoint *e = &s->endpoints[i];

		if (ip_eq(&e->ip, vip))
			f->itself = true;
		else if (e->ready && !ip_is_unusable(&e->ip))
			insert(f, &(struct ip_port){ e->ip, port });
	}
}

static void name(struct object_meta *m, enum object_kind kind, const char *text)
{
	*m = (struct object_meta){ .kind = kind, .ns = SERVERS_NAMESPACE, .name = text, .uid = "", .resource_version = "" };
}

void servers_view_init(struct servers_view *w, const struct ip *vip, uint16_t port)
{
	memset(w, 0, sizeof(*w));
	name(&w->service.meta, OBJECT_SERVICE, SERVERS_NAME);
	w->port = (struct service_port){ SERVERS_PORT_NAME, port, IPPROTO_TCP };
	w->service.type = "LoadBalancer";
	w->service.load_balancer_class = w->service.lease = w->service.sharing_key = w->service.problem = "";
	w->service.ports = &w->port;
	w->service.n_ports = 1;
	w->service.families[0] = vip->family;
	w->service.allocated[0] = *vip;
	w->service.n_allocated = 1;
	w->service.balance = BALANCE_HASH;
	w->service.ingress_all_vip_mode = true;
	for (size_t i = 0; i < HEALTH_SERVERS_MAX; i++) {
		struct slice *s = &w->slices[i];

		name(&s->meta, OBJECT_SLICE, slice_names[i]);
		s->service = SERVERS_NAME;
		s->family = vip->family;
		s->endpoints = &w->endpoints[i];
		s->ports = &w->ports[i];
		s->n_endpoints = s->n_ports = 1;
		w->ports[i] = (struct slice_port){ SERVERS_PORT_NAME, 0, IPPROTO_TCP };
		w->endpoints[i] = (struct endpoint){ .node = "", .zone = "", .target = "", .ready = true, .serving = true };
		w->list[i] = s;
	}
}

bool servers_view_update(struct servers_view *w, const struct health *h)
{
	bool changed = false;
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++) {
		const struct ip_port *at = &h->v[i].at;

		if (!health_serves(h, &h->v[i]))
			continue;
		changed = changed || n >= w->n || !ip_eq(&w->endpoints[n].ip, &at->ip) || w->ports[n].port != at->port;
		w->endpoints[n].ip = at->ip;
		w->ports[n].port = at->port;
		n++;
	}
	changed = changed || n != w->n;
	w->n = n;
	return changed;
}
