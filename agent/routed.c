/* SPDX-License-Identifier: Apache-2.0 */
/* routed.c: Services to addresses on 'lo'.  Gathers what core/routes.h and core/drain.h decide by.  kernel.c adds, refreshes and
 * removes the addresses, and puts back what others remove. */
#include "agent/routed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/text.h"
#include "netlink/ct_if.h"

#define COUNT_EVERY_MS 500

/* ---- which VIPs there are ---- */

static struct routed_vip *find(const struct routed *r, const struct ip *ip)
{
	size_t lo = 0, hi = r->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&r->v[mid].ip, ip);

		if (c == 0)
			return &r->v[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

const struct routed_vip *routed_find(const struct routed *r, const struct ip *ip)
{
	return find(r, ip);
}

int routed_loopback(const struct link_state *s)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].loopback)
			return s->links[i].index;
	return 0;
}

static bool same_vips(const struct agent *a)
{
	const struct routed *r = &a->routed;

	if (r->n != a->vips.n)
		return false;
	for (size_t i = 0; i < r->n; i++)
		if (!ip_eq(&r->v[i].ip, &a->vips.v[i].ip))
			return false;
	return true;
}

static bool is_there(const struct agent *a, const struct ip *ip)
{
	const struct link *l = link_find(link_watch_state(a->kernel.links), a->routed.lo);

	/* Of an interface that is down daemons export nothing. */
	return l && l->up && kernel_has_addr(&a->kernel, &(struct kernel_addr){ .ip = *ip, .ifindex = a->routed.lo });
}

/* One that is there already was this node's before a restart: it stays up until it is known whether it should. */
static void take_vips(struct agent *a)
{
	struct routed *r = &a->routed;
	struct routed_vip *v = calloc(a->vips.n + 1, sizeof(*v));
	struct kernel_addr *homes = calloc(a->vips.n + 1, sizeof(*homes));

	if (!v || !homes) {
		free(v);
		free(homes);
		return; /* with the next step */
	}
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct routed_vip *old = find(r, &a->vips.v[i].ip);

		v[i] = (struct routed_vip){ .ip = a->vips.v[i].ip, .route.why = ROUTE_NO_SERVICE, .there = is_there(a, &a->vips.v[i].ip) };
		v[i].route.up = !r->node.known && v[i].there;
		if (old)
			v[i] = *old;
		homes[i] = (struct kernel_addr){ .ip = v[i].ip, .ifindex = r->lo };
	}
	free(r->v);
	free(r->homes);
	r->v = v;
	r->homes = homes;
	r->n = a->vips.n;
	r->changes++;
	r->again = true;
}

/* ---- which of them this node serves ---- */

/* Ready endpoints of that family: on this node, or (elsewhere) on one that stays. */
static bool has_endpoint(const struct agent *a, const struct service *s, uint8_t family, bool elsewhere)
{
	size_t n;
	const struct store_slice *v = store_slices(&a->store, s->meta.ns, s->meta.name, &n);

	for (size_t i = 0; i < n; i++) {
		const struct slice *slice = v[i].object;

		for (size_t k = 0; slice->family == family && k < slice->n_endpoints; k++) {
			const struct endpoint *e = &slice->endpoints[k];
			const struct candidate *c;

			if (!e->ready || text_eq(e->node, a->cfg->node_name) == elsewhere)
				continue;
			c = elsewhere ? candidates_by_node(a->candidates, e->node) : NULL;
			if (!elsewhere || (c && !c->leaving))
				return true;
		}
	}
	return false;
}

static struct route_lease lease_of(const struct agent *a, const struct elect *e)
{
	char node[LEASE_HOLDER_MAX];
	const struct candidate *c = NULL;

	if (!e->known || e->absent)
		return (struct route_lease){ .held = false };
	if (lease_node(e->seen.holder, node, sizeof(node)) && !text_eq(node, a->cfg->node_name))
		c = candidates_by_node(a->candidates, node);
	return (struct route_lease){ .held = true, .stays = c && !c->leaving, .seen_at = e->seen_at, .duration_ms = e->seen.duration_ms };
}

static bool others_live(const struct agent *a, mono_t now)
{
	struct route_lease leases[ARRAY_LEN(a->groups)];

	for (size_t i = 0; i < a->n_groups; i++)
		leases[i] = lease_of(a, &a->groups[i]->leader.elect);
	return routes_others(leases, a->n_groups, a->lease_view.live, a->routed.node.others, now);
}

static bool has_backend(const struct nat_service *want, const struct ip *vip)
{
	for (size_t i = 0; i < want->n_frontends; i++)
		if (want->frontends[i].n_backends > 0 && ip_eq(&want->frontends[i].vip, vip))
			return true;
	return false;
}

static enum route_why judge(const struct agent *a, const struct service *s, const struct nat_service *want, const struct ip *vip)
{
	const struct routes_node *n = &a->routed.node;
	const struct route_service facts = {
		.backends = has_backend(want, vip), .local = s->policy_local,
		.ready_here = s->policy_local && has_endpoint(a, s, vip->family, false),
		.ready_elsewhere = s->policy_local && n->leaving && has_endpoint(a, s, vip->family, true),
	};

	return routes_judge(&facts, n);
}

static void look(struct agent *a)
{
	struct routed *r = &a->routed;

	for (size_t i = 0; i < r->n; i++)
		r->v[i].route.why = ROUTE_NO_SERVICE;
	for (size_t i = 0; i < a->store.n_services; i++) {
		const struct store_service *e = a->store.services[i];
		const struct object_meta *m = &e->object->meta;
		const struct nat_service *want = e->built.n_ips > 0 ? dataplane_wanted(&a->dataplane, m->ns, m->name) : NULL;

		for (size_t k = 0; want && k < e->built.n_ips; k++) {
			struct routed_vip *v = find(r, &e->built.ips[k]);
			enum route_why why = v && v->route.why != ROUTE_OK ? judge(a, e->object, want, &v->ip) : ROUTE_NO_SERVICE;

			if (v && why < v->route.why)
				v->route.why = why;
		}
	}
	r->node.known = true;
	r->again = false;
}

/* How the node as a whole stands.  What a VIP's Services say of it may change with that. */
static void look_at_node(struct agent *a, mono_t now)
{
	struct routed *r = &a->routed;
	struct routes_node n = { .known = r->node.known, .stopping = a->stop != STOP_NO, .withdraws = r->node.withdraws };

	n.leaving = n.stopping || a->draining;
	n.others = n.leaving && others_live(a, now);
	r->again |= n.leaving != r->node.leaving || n.others != r->node.others || r->candidates != candidates_changes(a->candidates);
	r->node = n;
}

/* After what the Services want was looked at, before anything is withdrawn. */
static void look_at_clock(struct agent *a, mono_t now)
{
	struct routed *r = &a->routed;
	struct drain_asks asks = { .asked = r->node.leaving, .others = r->node.leaving && candidates_any(a->candidates) };

	for (size_t i = 0; i < r->n; i++)
		asks.more |= routes_turns(&r->v[i].route, &r->node);
	drain_step(&r->drain, &asks, a->cfg->drain_ms, now);
	r->node.withdraws = drain_withdraws(&r->drain);
}

static void note(const struct routed_vip *v)
{
	log_event(LOG_INFO, v->there ? "route_up" : "route_down", v->there ? "this node offers the VIP to routers" :
		  "this node no longer offers the VIP to routers", log_ip("vip", &v->ip));
}

mono_t routed_step(struct agent *a, mono_t now)
{
	struct routed *r = &a->routed;
	const struct link_state *s = link_watch_state(a->kernel.links);

	if (!r->on || !a->planned)
		return MONO_NEVER;
	if (!same_vips(a) || r->lo != routed_loopback(s)) {
		r->lo = routed_loopback(s);
		take_vips(a);
	}
	look_at_node(a, now);
	if (r->again && !a->building && a->dataplane.complete) {
		r->candidates = candidates_changes(a->candidates);
		look(a);
	}
	look_at_clock(a, now);
	r->n_there = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct routed_vip *v = &r->v[i];
		bool asks = !v->route.up && v->route.why == ROUTE_OK, there = is_there(a, &v->ip);

		routes_step(&v->route, &r->node, asks && dataplane_holds(&a->dataplane, &v->ip));
		if (there != v->there) {
			v->there = there;
			note(v);
		}
		r->n_there += there;
	}
	return r->drain.until;
}

struct route_report routed_report(const struct agent *a, const struct routed_vip *v, mono_t now)
{
	return routes_report(&v->route, &a->routed.node, &a->routed.drain, v->there, now);
}

size_t routed_addrs(const struct agent *a, struct kernel_addr *out)
{
	const struct routed *r = &a->routed;
	size_t n = 0;

	for (size_t i = 0; r->lo && i < r->n && n < a->vips.n; i++)
		if (r->v[i].route.up)
			out[n++] = r->homes[i];
	return n;
}

/* ---- what still goes on ---- */

static void count_run(struct worker_job *job)
{
	struct routed_job *j = (struct routed_job *)job;

	j->err = (struct err_info)ERR_INFO_INIT;
	j->result = ct_if_count(j->vips, j->n_vips, &j->connections, &j->err);
}

static void count_done(struct worker_job *job)
{
	struct routed_job *j = (struct routed_job *)job;

	j->routed->busy = false;
	if (j->result == 0)
		j->routed->connections = j->connections;
	else
		log_event(LOG_WARN, "drain_unknown", "connections to VIPs cannot be counted; the drain takes its full time",
			  log_str("error", j->err.text));
	free(j->vips);
	j->vips = NULL;
}

static void count(struct agent *a, mono_t now)
{
	struct routed *r = &a->routed;
	struct routed_job *j = &r->job;

	r->count_at = mono_add_ms(now, COUNT_EVERY_MS);
	j->vips = calloc(r->n + 1, sizeof(*j->vips));
	if (!j->vips)
		return;
	for (size_t i = 0; i < r->n; i++)
		j->vips[i] = r->v[i].ip;
	j->n_vips = r->n;
	j->routed = r;
	j->job = (struct worker_job){ .run = count_run, .done = count_done };
	r->busy = true;
	worker_submit(a->addr_worker, &j->job);
}

bool routed_drained(struct agent *a, mono_t now, mono_t *wake)
{
	struct routed *r = &a->routed;

	if (!r->on || drain_is_empty(r->n, r->connections))
		return true;
	if (!r->busy && mono_reached(now, r->count_at))
		count(a, now);
	if (!r->busy)
		*wake = mono_min(*wake, r->count_at);
	return false;
}

void routed_init(struct routed *r, bool on)
{
	*r = (struct routed){ .on = on, .connections = DRAIN_NOT_COUNTED, .drain.until = MONO_NEVER };
}

void routed_fini(struct routed *r)
{
	free(r->v);
	free(r->homes);
	free(r->job.vips);
	*r = (struct routed){ .on = false };
}
