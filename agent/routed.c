/* SPDX-License-Identifier: Apache-2.0 */
/* routed.c: Services to addresses on 'lo'.  kernel.c adds, refreshes and removes them, and puts back what others remove. */
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
	return a->routed.lo && kernel_has_addr(&a->kernel, &(struct kernel_addr){ .ip = *ip, .ifindex = a->routed.lo });
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

		v[i].ip = a->vips.v[i].ip;
		homes[i] = (struct kernel_addr){ .ip = v[i].ip, .ifindex = r->lo };
		if (old)
			v[i] = *old;
		else
			v[i].up = !r->known && is_there(a, &v[i].ip);
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

/* Another node that stays has renewed a Lease within its duration.  While Leases cannot be seen: as it was. */
static bool others_live(const struct agent *a, mono_t now)
{
	if (!a->lease_view.live)
		return a->routed.others;
	for (size_t i = 0; i < a->n_groups; i++) {
		const struct elect *e = &a->groups[i]->leader.elect;
		const struct candidate *c;
		char node[LEASE_HOLDER_MAX];

		if (!e->known || e->absent || mono_reached(now, mono_add_ms(e->seen_at, e->seen.duration_ms)) ||
		    !lease_node(e->seen.holder, node, sizeof(node)) || text_eq(node, a->cfg->node_name))
			continue;
		c = candidates_by_node(a->candidates, node);
		if (c && !c->leaving)
			return true;
	}
	return false;
}

static bool has_backend(const struct nat_service *want, const struct ip *vip)
{
	for (size_t i = 0; i < want->n_frontends; i++)
		if (want->frontends[i].n_backends > 0 && ip_eq(&want->frontends[i].vip, vip))
			return true;
	return false;
}

/* Serving endpoints that terminate are backends, but no reason to draw new connections to them past others. */
static bool serves(const struct agent *a, const struct service *s, const struct nat_service *want, const struct ip *vip)
{
	const bool leaving = a->routed.leaving;

	if (!has_backend(want, vip))
		return false;
	if (s->policy_local)
		return has_endpoint(a, s, vip->family, false) && (!leaving || !has_endpoint(a, s, vip->family, true));
	return !leaving || !a->routed.others;
}

static void look(struct agent *a)
{
	struct routed *r = &a->routed;

	for (size_t i = 0; i < r->n; i++)
		r->v[i].wanted = false;
	for (size_t i = 0; i < a->store.n_services; i++) {
		const struct store_service *e = a->store.services[i];
		const struct object_meta *m = &e->object->meta;
		const struct nat_service *want = e->built.n_ips > 0 ? dataplane_wanted(&a->dataplane, m->ns, m->name) : NULL;

		for (size_t k = 0; want && k < e->built.n_ips; k++) {
			struct routed_vip *v = find(r, &e->built.ips[k]);

			if (v && !v->wanted)
				v->wanted = serves(a, e->object, want, &v->ip);
		}
	}
	r->known = true;
	r->again = false;
}

static void note(const struct routed_vip *v, bool up)
{
	log_event(LOG_INFO, up ? "route_up" : "route_down", up ? "this node offers the VIP to routers" :
		  "this node no longer offers the VIP to routers", log_ip("vip", &v->ip));
}

/* Whether a node that is to withdraw does it now: others hear of it first, so that they are ready for its connections. */
static bool withdraws(struct agent *a, mono_t now, mono_t *wake)
{
	struct routed *r = &a->routed;
	mono_t at;

	if (a->stop == STOP_NO && !a->draining) {
		r->asked_at = (mono_t){ 0 };
		return false;
	}
	if (r->asked_at.ns == 0)
		r->asked_at = now;
	at = mono_add_ms(r->asked_at, a->cfg->drain_ms > 0 && candidates_any(a->candidates) ? RENDEZVOUS_HEAD_START_MS : 0);
	if (mono_reached(now, at))
		return true;
	*wake = at;
	return false;
}

mono_t routed_step(struct agent *a, mono_t now)
{
	struct routed *r = &a->routed;
	const struct link_state *s = link_watch_state(a->kernel.links);
	mono_t wake = MONO_NEVER;
	bool withdraw, others;

	if (!r->on || !a->planned)
		return MONO_NEVER;
	withdraw = withdraws(a, now, &wake);
	if (!same_vips(a) || r->lo != routed_loopback(s)) {
		r->lo = routed_loopback(s);
		take_vips(a);
	}
	others = withdraw && others_live(a, now);
	r->again |= r->leaving != withdraw || r->others != others || r->candidates != candidates_changes(a->candidates);
	if (r->again && !a->building && a->dataplane.complete) {
		r->leaving = withdraw;
		r->others = others;
		r->candidates = candidates_changes(a->candidates);
		look(a);
	}
	r->n_up = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct routed_vip *v = &r->v[i];
		bool up = v->up;

		/* Once up, a data plane that is being read again is no reason to withdraw. */
		if (r->known)
			up = v->wanted && (v->up || dataplane_holds(&a->dataplane, &v->ip));
		up = up && !(withdraw && a->stop != STOP_NO);
		if (up != v->up)
			note(v, up);
		v->up = up;
		r->n_up += up;
	}
	return wake;
}

size_t routed_addrs(const struct agent *a, struct kernel_addr *out)
{
	const struct routed *r = &a->routed;
	size_t n = 0;

	for (size_t i = 0; r->lo && i < r->n && n < a->vips.n; i++)
		if (r->v[i].up)
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

	if (!r->on || r->n == 0 || r->connections == 0)
		return true;
	if (!r->busy && mono_reached(now, r->count_at))
		count(a, now);
	if (!r->busy)
		*wake = mono_min(*wake, r->count_at);
	return false;
}

void routed_init(struct routed *r, bool on)
{
	*r = (struct routed){ .on = on, .connections = SIZE_MAX };
}

void routed_fini(struct routed *r)
{
	free(r->v);
	free(r->homes);
	free(r->job.vips);
	*r = (struct routed){ .on = false };
}
