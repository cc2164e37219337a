/* SPDX-License-Identifier: Apache-2.0 */
/* plan.c: feeds the pure core and takes over its results; at most a fifth of the time goes into it. */
#include "agent/plan.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/groups.h"
#include "agent/core/place.h"

#define TRIM_MS 2000 /* after the last plan */

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

/* Not where every node has the VIPs locally: kube-proxy in IPVS mode puts them on this interface, and a node drops what
 * comes in with an address of its own as source. */
static bool snat_to_vip(const struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	bool ipvs = false;

	for (size_t i = 0; i < s->n_links; i++)
		ipvs = ipvs || text_eq(s->links[i].name, "kube-ipvs0");
	return a->cfg->source_nat == SOURCE_NAT_AUTO && !ipvs;
}

/* The interfaces that are to carry the Services' addresses, for source NAT.  NULL: the arena is too small. */
static const struct wanted_home *find_homes(struct agent *a, const struct pool_decision *decisions)
{
	struct wanted_home *homes = arena_take_array(&a->plan_arena, a->store.n_services + 1, sizeof(*homes));

	for (size_t i = 0; homes && i < a->store.n_services; i++) {
		for (size_t k = 0; k < decisions[i].n_ips; k++) {
			const struct link *l = place_vip(link_watch_state(a->kernel.links),
							 (const char *const *)a->cfg->interfaces.v, a->cfg->interfaces.n,
							 &decisions[i].ips[k]);

			homes[i].ifindex[k] = l ? (uint32_t)l->index : 0;
		}
	}
	return homes;
}

static int build_wanted(struct agent *a, const struct wanted_input *in)
{
	struct kernel_slot *slot = kernel_next(&a->kernel);
	int r;

	for (;;) {
		arena_reset(&slot->arena);
		r = slot->arena.size ? wanted_build(in, &slot->arena, &slot->wanted) : -ENOSPC;
		/* kernel_sync_nat() adds a list of the VIPs to the same arena */
		if (r == 0 && slot->arena.size - slot->arena.used < (slot->wanted.n_vips + 2) * sizeof(struct ip))
			r = -ENOSPC;
		if (r != -ENOSPC)
			return r;
		r = arena_grow(&slot->arena);
		if (r < 0)
			return r;
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

/* One try in the arenas as they are. */
static int plan_try(struct agent *a)
{
	const struct config *c = a->cfg;
	const struct pool_config pool = { c->ranges, c->pools.n, c->class_name, c->default_class };
	struct pool_decision *decisions;
	struct groups_choice *choices;
	struct wanted_input in;
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
	in = (struct wanted_input){ .services = l.services, .decisions = l.durable, .n_services = a->store.n_services,
				    .slices = l.slices, .n_slices = a->store.n_slices,
				    .dataplane_nft = c->dataplane == DATAPLANE_NFT, .snat_to_vip = snat_to_vip(a),
				    .node = c->node_name, .homes = find_homes(a, l.durable) };
	if (!in.homes)
		return -ENOSPC;
	r = build_wanted(a, &in);
	if (r < 0)
		return r;
	a->decisions = decisions;
	a->choices = choices;
	a->n_decisions = a->store.n_services;
	return 0;
}

/* This node has a ready endpoint of the Service. */
static bool has_endpoint(const struct agent *a, const struct service *s)
{
	size_t n;
	const struct store_slice *v = store_slices(&a->store, s->meta.ns, s->meta.name, &n);

	for (size_t i = 0; i < n; i++)
		for (size_t e = 0; e < v[i].object->n_endpoints; e++)
			if (v[i].object->endpoints[e].ready && text_eq(v[i].object->endpoints[e].node, a->cfg->node_name))
				return true;
	return false;
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
	for (unsigned int i = 0; i < a->n_groups; i++)
		if (!a->groups[i]->wanted)
			group_end(a->groups[i], mono_now());
}

/* A VIP's group, as the decision on its first Service has it. */
static void take_group(struct agent *a, struct vip *vip, size_t service)
{
	const struct pool_decision *d = &a->decisions[service];
	const struct groups_choice *c = &a->choices[service];
	const struct group *g;

	const struct service *s = a->store.services[service]->object;

	vip->group = UINT32_MAX;
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
	const struct wanted *w = &kernel_next(&a->kernel)->wanted;
	size_t room = w->n_vips > a->vips.n ? w->n_vips : a->vips.n; /* the old table stays if there is no memory for the new */
	struct kernel_addr *addrs = reallocarray(a->addrs, room + 1, sizeof(*addrs));
	int r;

	if (!addrs)
		return -ENOMEM;
	a->addrs = addrs;
	past_update(&a->past, &a->vips, w, mono_now());
	r = vips_update(&a->vips, w);
	if (r < 0)
		return r;
	if (a->stop == STOP_NO)
		want_groups(a);
	for (size_t i = 0; i < w->n_vips; i++)
		take_group(a, &a->vips.v[i], w->vips[i].service);
	return 0;
}

/* A burst of objects leaves holes all over the heap: once it is over, their pages go back to the system. */
static mono_t give_back(struct agent *a, mono_t now)
{
	if (!mono_reached(now, a->trim_at))
		return a->trim_at;
	kernel_give_back(&a->kernel);
	IGNORE(malloc_trim(0)); /* whether there was anything to give */
	a->trim_at = MONO_NEVER;
	return MONO_NEVER;
}

mono_t plan_step(struct agent *a, mono_t now)
{
	int64_t cost_ns;
	int r;

	if (!store_synced(&a->store) || (!a->store.dirty && !a->kernel.need_build))
		return give_back(a, now);
	if (mono_before(now, a->plan_at))
		return a->plan_at;
	do {
		arena_reset(&a->plan_arena);
		r = a->plan_arena.size ? plan_try(a) : -ENOSPC;
	} while (r == -ENOSPC && (r = arena_grow(&a->plan_arena)) == 0);
	cost_ns = mono_now().ns - now.ns;
	a->plan_at = (mono_t){ now.ns + 5 * cost_ns };
	if (r == 0)
		r = take_vips(a);
	if (r < 0) {
		a->decisions = NULL;
		a->plan_at = mono_add_ms(now, MS_PER_S);
		log_event(LOG_ERROR, "out_of_memory", "planning failed; what is up stays up", log_str("error", strerror(-r)));
		return a->plan_at;
	}
	a->kernel.next_built = a->kernel.use_nat;
	a->kernel.need_build = false;
	a->store.dirty = false;
	a->planned = true;
	a->planned_at = now;
	a->place_again = true;
	a->trim_at = mono_add_ms(now, TRIM_MS);
	return a->trim_at;
}
