/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c: feeds the pure core and takes over its results; at most a fifth of the time goes into it.
 *
 * Which Services have which addresses and groups is decided for all at once, when a Service has changed; but not for changes
 * that only record what was decided.  What follows for the data plane is build.c's. */
#include "agent/plan.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/build.h"
#include "agent/core/groups.h"
#include "agent/core/place.h"
#include "agent/memory.h"

#define PLAN_NO_SERVICE SIZE_MAX /* the control plane's VIP */
#define TRIM_MS 2000 /* after the last plan */
#define PLAN_CREDIT_MS 1000 /* so much of the time that planning may not take is lent */

/* What the core works on; in the plan's arena. */
struct plan_lists {
	const struct service **services; /* as the API shows them */
	const struct service **expected; /* with the allocations under way */
	const struct slice **slices;
	struct pool_decision *durable;
};

static int take_lists(struct agent *a, struct plan_lists *l)
{
	struct store *s = &a->store;

	l->services = arena_take_array(&a->plan_arena, s->n_services + 1, sizeof(*l->services));
	l->expected = arena_take_array(&a->plan_arena, s->n_services + 1, sizeof(*l->expected));
	l->slices = arena_take_array(&a->plan_arena, s->n_slices + 1, sizeof(*l->slices));
	l->durable = arena_take_array(&a->plan_arena, s->n_services + 1, sizeof(*l->durable));
	if (!l->services || !l->expected || !l->slices || !l->durable)
		return -ENOSPC;
	for (size_t i = 0; i < s->n_services; i++) {
		l->services[i] = s->services[i]->object;
		l->expected[i] = publish_expect(s->services[i], &a->plan_arena);
		if (!l->expected[i])
			return -ENOSPC;
	}
	for (size_t i = 0; i < s->n_slices; i++)
		l->slices[i] = s->slices[i].object;
	return 0;
}

/* Only what is written down already may go live: a crash must not allocate anew. */
static void take_durable(const struct agent *a, const struct pool_decision *decisions, struct plan_lists *l)
{
	for (size_t i = 0; i < a->store.n_services; i++) {
		struct pool_decision *d = &l->durable[i];

		*d = decisions[i];
		d->n_ips = 0;
		for (size_t k = 0; k < decisions[i].n_ips; k++)
			for (size_t m = 0; m < l->services[i]->n_allocated; m++)
				if (ip_eq(&decisions[i].ips[k], &l->services[i]->allocated[m]))
					d->ips[d->n_ips++] = decisions[i].ips[k];
	}
}

/* The groups of all addresses.  One that was let go lately, or is about to be, keeps its group. */
static int choose_groups(struct agent *a, const struct plan_lists *l, const struct pool_decision *decisions,
			 struct groups_choice **ret)
{
	size_t n = a->vips.n + a->past.n;
	struct groups_past *past = arena_take_array(&a->plan_arena, n + 1, sizeof(*past));
	const struct groups_input in = { .services = l->expected, .decisions = decisions, .n_services = a->store.n_services,
					 .n_groups = (unsigned int)a->cfg->groups, .past = past, .n_past = n };

	if (!past)
		return -ENOSPC;
	for (size_t i = 0; i < a->vips.n; i++)
		past[i] = (struct groups_past){ a->vips.v[i].ip, a->vips.v[i].recorded };
	memcpy(past + a->vips.n, a->past.v, a->past.n * sizeof(*past));
	return groups_plan(&in, &a->plan_arena, ret);
}

/* The VIPs of Services, and that of the control plane. */
static int find_vips(struct agent *a, const struct pool_decision *durable, struct arena *arena)
{
	const struct wanted_vip own = { a->cfg->control_vip, PLAN_NO_SERVICE };
	struct wanted_vip *vips, *all;
	size_t n, at = 0;
	int r = wanted_vips(durable, a->store.n_services, arena, &vips, &n);

	if (r < 0)
		return r;
	all = arena_take_array(arena, n + 1, sizeof(*all));
	if (!all)
		return -ENOSPC;
	if (control_plane_on(&a->control_plane)) {
		while (at < n && ip_cmp(&vips[at].ip, &own.ip) < 0)
			at++;
		memcpy(all, vips, at * sizeof(*all));
		if (at < n && ip_eq(&vips[at].ip, &own.ip)) /* a Service was given it elsewhere: it is the control plane's */
			memmove(&vips[at], &vips[at + 1], (--n - at) * sizeof(*vips));
		all[at] = own;
		memcpy(all + at + 1, vips + at, (n - at) * sizeof(*all));
		n++;
		vips = all;
	}
	a->wanted_vips = vips;
	a->n_wanted_vips = n;
	return 0;
}

/* One try in the arena as it is. */
static int plan_try(struct agent *a)
{
	const struct config *c = a->cfg;
	const struct pool_config pool = { c->ranges, c->pools.n, c->class_name, c->default_class };
	struct pool_decision *decisions;
	struct groups_choice *choices;
	struct plan_lists l;
	int r = take_lists(a, &l);

	if (r == 0)
		r = pool_plan(&pool, l.expected, a->store.n_services, &a->plan_arena, &decisions);
	if (r < 0)
		return r;
	r = choose_groups(a, &l, decisions, &choices);
	if (r < 0)
		return r;
	take_durable(a, decisions, &l);
	r = find_vips(a, l.durable, &a->plan_arena);
	if (r < 0)
		return r;
	a->decisions = decisions;
	a->choices = choices;
	a->n_decisions = a->store.n_services;
	a->durable = l.durable;
	return 0;
}

/* This node has a ready endpoint of the Service; or none is ready anywhere, and one here serves while it terminates. */
static bool has_endpoint(const struct agent *a, const struct service *s)
{
	bool ready = false, last = false;
	size_t n;
	const struct store_slice *v = store_slices(&a->store, s->meta.ns, s->meta.name, &n);

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < v[i].object->n_endpoints; k++) {
			const struct endpoint *e = &v[i].object->endpoints[k];
			bool here = text_eq(e->node, a->cfg->node_name);

			if (e->ready && here)
				return true;
			ready |= e->ready;
			last |= here && e->serving && e->terminating;
		}
	}
	return last && !ready;
}

/* Joins a group that a record names, or is to; whatever --groups says here. */
static void want_group(struct agent *a, unsigned int number, const struct ip *ip, bool able)
{
	struct group *g = agent_need_group(a, number, ip);

	if (!g)
		return;
	g->wanted = true;
	g->able |= able;
}

/* The groups that VIPs have and are to have.  An own Lease is for nodes with an endpoint; one that is not wanted any more
 * for all, so that somebody moves the record. */
static void want_groups(struct agent *a)
{
	for (unsigned int i = 0; i < a->n_groups; i++)
		a->groups[i]->wanted = a->groups[i]->able = a->groups[i]->number < GROUPS_MAX;
	for (size_t i = 0; i < a->n_decisions; i++) {
		const struct service *s = a->store.services[i]->object;
		bool here = a->decisions[i].n_ips > 0 && s->policy_local && has_endpoint(a, s);

		for (size_t k = 0; k < a->decisions[i].n_ips; k++) {
			const struct groups_choice *c = &a->choices[i];

			want_group(a, c->of[k], &a->decisions[i].ips[k], here || c->want[k] != GROUPS_OWN);
			if (c->want[k] != c->of[k])
				want_group(a, c->want[k], &a->decisions[i].ips[k], here);
		}
	}
	if (control_plane_on(&a->control_plane))
		want_group(a, GROUPS_OWN, &a->cfg->control_vip, true);
	for (unsigned int i = 0; i < a->n_groups; i++)
		if (!a->groups[i]->wanted)
			group_end(a->groups[i], mono_now());
}

/* A VIP's group, as the decision on its first Service has it. */
static void take_group(struct agent *a, struct vip *vip, size_t service)
{
	const struct group *g = agent_group(a, GROUPS_OWN, &vip->ip);
	const struct pool_decision *d;
	const struct groups_choice *c;
	const struct service *s;

	vip->group = UINT32_MAX;
	if (service == PLAN_NO_SERVICE) {
		vip->recorded = GROUPS_OWN;
		vip->moving = false;
		vip->published = true;
		if (g && !g->ending)
			vip->group = g->index;
		return;
	}
	d = &a->decisions[service];
	c = &a->choices[service];
	s = a->store.services[service]->object;
	vip->moving = true;
	vip->published = false;
	for (size_t k = 0; k < s->n_ingress; k++)
		vip->published |= ip_eq(&s->ingress[k], &vip->ip);
	for (size_t k = 0; k < d->n_ips; k++) {
		if (!ip_eq(&d->ips[k], &vip->ip))
			continue;
		vip->recorded = c->of[k];
		vip->moving = c->want[k] != c->of[k];
		g = agent_group(a, c->of[k], &vip->ip);
		if (g && !g->ending)
			vip->group = g->index;
	}
}

/* Brings groups and the table of VIPs in line with the wanted state. */
static int take_vips(struct agent *a)
{
	const struct wanted_vip *vips = a->wanted_vips;
	size_t n = a->n_wanted_vips;
	size_t room = n > a->vips.n ? n : a->vips.n; /* the old table stays if there is no memory for the new */
	struct kernel_addr *addrs = reallocarray(a->addrs, room * PLACE_MAX + 1, sizeof(*addrs));
	int r;

	if (!addrs)
		return -ENOMEM;
	a->addrs = addrs;
	past_update(&a->past, &a->vips, vips, n, mono_now());
	r = vips_update(&a->vips, vips, n);
	if (r < 0)
		return r;
	if (a->stop == STOP_NO)
		want_groups(a);
	a->n_moving = 0;
	for (size_t i = 0; i < n; i++) {
		take_group(a, &a->vips.v[i], vips[i].service);
		a->n_moving += a->vips.v[i].moving;
	}
	return 0;
}

/* A burst of objects leaves holes all over the heap: once it is over, their pages go back to the system. */
static mono_t give_back(struct agent *a, mono_t now)
{
	if (!mono_reached(now, a->trim_at))
		return a->trim_at;
	dataplane_give_back(&a->dataplane);
	arena_give_back(&a->build_arena);
	IGNORE(malloc_trim(0)); /* whether there was anything to give */
	a->trim_at = MONO_NEVER;
	return MONO_NEVER;
}

/* Addresses and groups of all Services. */
static int plan_all(struct agent *a, mono_t now)
{
	int64_t cost_ns;
	int r;

	do {
		arena_reset(&a->plan_arena);
		r = a->plan_arena.size ? plan_try(a) : -ENOSPC;
	} while (r == -ENOSPC && (r = arena_grow(&a->plan_arena)) == 0);
	if (r == 0)
		r = take_vips(a);
	cost_ns = mono_now().ns - now.ns;
	/* A fifth of the time; a few at once are free, for most changes come in twos and threes. */
	a->plan_paid = (mono_t){ (mono_before(a->plan_paid, now) ? now.ns : a->plan_paid.ns) + 5 * cost_ns };
	a->plan_at = mono_add_ms(a->plan_paid, -PLAN_CREDIT_MS);
	if (r < 0) {
		a->decisions = NULL;
		a->building = false;
		a->plan_at = mono_add_ms(now, MS_PER_S);
		log_event(LOG_ERROR, "out_of_memory", "planning failed; what is up stays up", log_str("error", strerror(-r)));
		return r;
	}
	agent_place(a, now);
	build_start(a, true);
	a->store.dirty = a->store.touched = a->store.recorded = a->places_changed = false;
	for (size_t i = 0; i < a->n_decisions; i++)
		a->store.services[i]->recorded = false;
	a->planned_at = now;
	a->publish.again = true;
	return 0;
}

/* ---- what is recorded of decisions ---- */

/* The Service asks for what it asked for, and its object shows what was decided: then nothing is decided anew.  False: it
 * shows something else.  *ret_vips: it has an address that the table of VIPs has not. */
static bool take_record(struct agent *a, size_t i, bool *ret_vips)
{
	const struct service *s = a->store.services[i]->object;
	struct pool_decision *d = &a->decisions[i];

	if (d->state == POOL_FOREIGN)
		return s->n_allocated == 0;
	if ((d->state != POOL_KEEP && d->state != POOL_ASSIGN) || d->reason || s->n_allocated != d->n_ips)
		return false;
	for (size_t k = 0; k < d->n_ips; k++)
		if (!ip_eq(&s->allocated[k], &d->ips[k]) || groups_recorded(s, k) != a->choices[i].of[k] ||
		    a->choices[i].of[k] != a->choices[i].want[k])
			return false;
	d->state = POOL_KEEP;
	a->durable[i] = *d;
	for (size_t k = 0; k < d->n_ips; k++) {
		struct vip *vip = vips_find(&a->vips, &d->ips[k]);

		*ret_vips |= !vip;
		for (size_t m = 0; vip && m < s->n_ingress; m++)
			vip->published |= ip_eq(&s->ingress[m], &vip->ip);
	}
	return true;
}

/* Many changes of Services are our own writes coming back.  What they record was decided before. */
static int take_records(struct agent *a, mono_t now)
{
	bool vips = false;
	int r = 0;

	a->store.recorded = false;
	a->publish.again = true;
	for (size_t i = 0; i < a->n_decisions; i++) {
		struct store_service *e = a->store.services[i];

		if (!e->recorded)
			continue;
		e->recorded = false;
		a->store.dirty |= !take_record(a, i, &vips);
	}
	if (!vips || a->store.dirty)
		return 0;
	do {
		arena_reset(&a->build_arena);
		r = a->build_arena.size ? find_vips(a, a->durable, &a->build_arena) : -ENOSPC;
	} while (r == -ENOSPC && (r = arena_grow(&a->build_arena)) == 0);
	if (r == 0)
		r = take_vips(a);
	if (r == 0)
		agent_place(a, now);
	return r;
}

mono_t plan_step(struct agent *a, mono_t now)
{
	bool again;

	if (!store_synced(&a->store))
		return give_back(a, now);
	if (!a->decisions)
		a->store.dirty = true;
	if (a->store.recorded && !a->store.dirty && take_records(a, now) < 0)
		a->store.dirty = true;
	if (a->store.dirty) {
		if (mono_before(now, a->plan_at))
			return a->plan_at;
		if (plan_all(a, now) < 0)
			return a->plan_at;
		now = mono_now();
	}
	if (build_take_common(a))
		for (size_t i = 0; i < a->n_decisions; i++)
			a->store.services[i]->touched = a->store.touched = true;
	a->build_control |= control_plane_changed(&a->control_plane);
	again = mono_reached(now, a->build_again); /* whatever it was that failed */
	if (a->decisions && (a->store.touched || a->places_changed || a->build_control || again)) {
		build_start(a, a->places_changed || again);
		a->store.touched = a->places_changed = false;
		a->build_again = MONO_NEVER;
	}
	if (!a->building)
		return mono_min(give_back(a, now), a->build_again);
	a->trim_at = mono_add_ms(now, TRIM_MS);
	if (!build_step(a, now))
		return now;
	a->planned = true;
	return mono_min(a->trim_at, a->build_again);
}
