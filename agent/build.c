/* SPDX-License-Identifier: Apache-2.0 */
/* build.c: feeds wanted_service() and hands its results to the data plane.  Which addresses a Service has was decided in plan.c. */
#include "agent/build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/memory.h"

#define BUILD_MS 5   /* at a time */
#define WAIT_MS 1000 /* at most, until all that has changed together is built */
#define WEIGHTS_MAX 5000 /* nodes of a cluster: Kubernetes' own bound */

/* ---- what is the same for all ---- */

/* Not where every node has the VIPs locally: kube-proxy in IPVS mode puts them on this interface, and a node drops what
 * comes in with an address of its own as source. */
static bool snat_to_vip(const struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	bool ipvs = false;

	for (size_t i = 0; i < s->n_links; i++)
		ipvs = ipvs || text_eq(s->links[i].name, "kube-ipvs0");
	return a->cfg->source_nat == SOURCE_NAT_AUTO && !ipvs && a->cfg->announce != ANNOUNCE_BGP;
}

static int weight_order(const void *a, const void *b)
{
	return strcmp(((const struct wanted_weight *)a)->node, ((const struct wanted_weight *)b)->node);
}

bool build_take_common(struct agent *a)
{
	struct plan_common *c = &a->common;
	struct plan_common now = { .snat_to_vip = snat_to_vip(a), .routed = a->cfg->announce != ANNOUNCE_ARP,
				   .counters = a->cfg->counters == COUNTERS_ON,
				   .weights = candidates_changes(a->candidates) };

	IGNORE(text_copy(now.zone, sizeof(now.zone), a->own_node.node.zone)); /* same size */
	if (c->snat_to_vip == now.snat_to_vip && c->routed == now.routed && c->counters == now.counters &&
	    c->weights == now.weights && text_eq(c->zone, now.zone))
		return false;
	*c = now;
	return true;
}

/* Nodes whose endpoints weigh something else than 1.  NULL: the arena is too small. */
static struct wanted_weight *find_weights(const struct agent *a, struct arena *arena, size_t *ret_n)
{
	const struct candidate *c;
	struct wanted_weight *v;
	size_t n = 0;

	for (size_t i = 0; (c = candidates_at(a->candidates, i)); i++)
		n += c->weight != 1;
	n = n < WEIGHTS_MAX ? n : WEIGHTS_MAX;
	v = arena_take_array(arena, n + 1, sizeof(*v));
	*ret_n = 0;
	for (size_t i = 0; v && *ret_n < n && (c = candidates_at(a->candidates, i)); i++)
		if (c->weight != 1)
			v[(*ret_n)++] = (struct wanted_weight){ c->node, (uint16_t)c->weight };
	if (v)
		qsort(v, *ret_n, sizeof(*v), weight_order);
	return v;
}

/* The interfaces of a VIP of the table, into zeros; vips_place() has seen to it. */
static void find_homes(const struct agent *a, const struct ip *vip, uint32_t homes[static PLACE_MAX])
{
	const struct vip *v = vips_find(&a->vips, vip);

	for (size_t i = 0; v && i < v->n_at; i++)
		homes[i] = (uint32_t)v->at[i].ifindex;
}

/* Never source NAT to the VIP: nobody knows which of the servers runs on the node of a dead holder (agent/former.h). */
static int build_control_try(struct agent *a, struct nat_service *ret)
{
	struct wanted_input in = { .service = control_plane_service(&a->control_plane), .n_ips = 1,
				   .node = a->cfg->node_name, .routed = a->common.routed, .counters = a->common.counters };

	in.ips[0] = a->cfg->control_vip;
	find_homes(a, &a->cfg->control_vip, in.homes[0]);
	in.slices = control_plane_slices(&a->control_plane, &in.n_slices);
	return wanted_service(&in, &a->build_arena, ret);
}

/* One Service in the arena as it is. */
static int build_try(struct agent *a, size_t i, struct nat_service *ret)
{
	const struct store_service *e = a->store.services[i];
	struct arena *arena = &a->build_arena;
	size_t n;
	const struct store_slice *found = store_slices(&a->store, e->object->meta.ns, e->object->meta.name, &n);
	const struct slice **slices = arena_take_array(arena, n + 1, sizeof(*slices));
	struct wanted_input in = { .service = e->object, .slices = slices, .n_slices = n, .n_ips = e->built.n_ips,
				   .node = a->cfg->node_name, .zone = a->common.zone, .snat_to_vip = a->common.snat_to_vip,
				   .routed = a->common.routed, .counters = a->common.counters };

	in.weights = find_weights(a, arena, &in.n_weights);
	if (!slices || !in.weights)
		return -ENOSPC;
	for (size_t k = 0; k < n; k++)
		slices[k] = found[k].object;
	memcpy(in.ips, e->built.ips, sizeof(in.ips));
	memcpy(in.homes, e->built.homes, sizeof(in.homes));
	return wanted_service(&in, arena, ret);
}

static int build_control(struct agent *a)
{
	const struct service *of = control_plane_service(&a->control_plane);
	struct nat_service s;
	int r;

	do {
		arena_reset(&a->build_arena);
		r = a->build_arena.size ? build_control_try(a, &s) : -ENOSPC;
	} while (r == -ENOSPC && (r = arena_grow(&a->build_arena)) == 0);
	return r < 0 ? r : dataplane_put(&a->dataplane, of->meta.ns, of->meta.name, &s);
}

static int build_one(struct agent *a, size_t i)
{
	struct store_service *e = a->store.services[i];
	struct nat_service s;
	int r;

	if (e->built.n_ips == 0) {
		dataplane_remove(&a->dataplane, e->object->meta.ns, e->object->meta.name);
		e->touched = false;
		return 0;
	}
	do {
		arena_reset(&a->build_arena);
		r = a->build_arena.size ? build_try(a, i, &s) : -ENOSPC;
	} while (r == -ENOSPC && (r = arena_grow(&a->build_arena)) == 0);
	if (r == 0)
		r = dataplane_put(&a->dataplane, e->object->meta.ns, e->object->meta.name, &s);
	if (r == 0)
		e->touched = false;
	return r;
}

/* The Service's addresses and their interfaces.  True when they have changed. */
static bool take_places(struct agent *a, size_t i)
{
	const struct pool_decision *d = &a->durable[i];
	struct store_built now;

	memset(&now, 0, sizeof(now)); /* compared as bytes */
	if (d->state != POOL_FOREIGN && d->state != POOL_RELEASE)
		now.n_ips = d->n_ips;
	for (size_t k = 0; k < now.n_ips; k++) {
		now.ips[k] = d->ips[k];
		find_homes(a, &d->ips[k], now.homes[k]);
	}
	if (memcmp(&a->store.services[i]->built, &now, sizeof(now)) == 0)
		return false;
	a->store.services[i]->built = now;
	return true;
}

static void want_health_ports(struct agent *a)
{
	if (a->cfg->health_check_node_ports != HEALTH_PORTS_ON)
		return;
	health_ports_begin(&a->health_ports);
	for (size_t i = 0; i < a->n_decisions; i++) {
		const struct service *s = a->store.services[i]->object;

		if (s->policy_local && s->health_check_port && a->store.services[i]->built.n_ips > 0)
			health_ports_put(&a->health_ports, s->meta.ns, s->meta.name, s->health_check_port);
	}
	health_ports_end(&a->health_ports);
}

/* Services of the store, in the order in which they are asked for. */
struct known {
	const struct store *store;
	size_t at;
};

static bool is_known(void *ctx, const char *ns, const char *name)
{
	struct known *k = ctx;
	int c = -1;

	for (; k->at < k->store->n_services; k->at++) {
		const struct object_meta *m = &k->store->services[k->at]->object->meta;

		c = strcmp(m->ns, ns);
		c = c ? c : strcmp(m->name, name);
		if (c >= 0)
			break;
	}
	return c == 0 || (text_eq(ns, SERVERS_NAMESPACE) && text_eq(name, SERVERS_NAME));
}

bool build_step(struct agent *a, mono_t now)
{
	const mono_t until = mono_add_ms(now, BUILD_MS);

	for (; a->build_at < a->n_decisions; a->build_at++) {
		const size_t i = a->build_at;

		if (!a->store.services[i]->touched)
			continue;
		/* It may have got its address since, which changes no other. */
		IGNORE(take_places(a, i));
		if (build_one(a, i) < 0)
			a->build_again = mono_add_ms(now, MS_PER_S);
		if (mono_reached(mono_now(), until)) {
			a->build_at++;
			return false;
		}
	}
	if (control_plane_on(&a->control_plane) && a->build_control) {
		if (build_control(a) < 0)
			a->build_again = mono_add_ms(now, MS_PER_S);
		a->build_control = false;
	}
	a->building = false;
	a->routed.again = true;
	dataplane_complete(&a->dataplane);
	return true;
}

/* What goes goes first, and Services whose addresses or interfaces have changed are to be built. */
static void look_at_places(struct agent *a)
{
	for (size_t i = 0; i < a->n_decisions; i++) {
		struct store_service *e = a->store.services[i];

		e->touched |= take_places(a, i);
		if (e->built.n_ips == 0 && e->touched)
			IGNORE(build_one(a, i)); /* only removes */
	}
	dataplane_sweep(&a->dataplane, is_known, &(struct known){ &a->store, 0 });
	want_health_ports(a);
	a->build_control = control_plane_on(&a->control_plane);
}

void build_start(struct agent *a, bool places)
{
	if (places) {
		look_at_places(a);
		dataplane_wait(&a->dataplane, mono_add_ms(mono_now(), WAIT_MS));
	}
	a->metrics.builds++;
	a->building = true;
	a->build_at = 0;
}
