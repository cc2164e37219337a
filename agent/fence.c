/* SPDX-License-Identifier: Apache-2.0 */
/* fence.c: elections, VIPs and links to rows of the gate. */
#include "agent/fence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/conflicts.h"
#include "agent/core/place.h"

#define RETRY_MS 1000
#define RESTART_REDIRECT_MS 60000

/* ---- gate ---- */

static bool mac_known(const uint8_t mac[static LINK_MAC_LEN])
{
	static const uint8_t none[LINK_MAC_LEN];

	return memcmp(mac, none, sizeof(none)) != 0;
}

static const struct group *group_of(const struct agent *a, const struct vip *vip)
{
	return vip->group < a->n_groups ? a->groups[vip->group] : NULL;
}

/* A neighbour that takes no announcement may still send to this node what its former process held: for the first minute it is
 * sent on to the holder, if that has one MAC.  Not while this node gets ready itself: the holder sends to it. */
static bool restarted_follower(const struct agent *a, const struct group *g, struct gate_wish *w)
{
	const struct candidate *to = NULL;
	char node[LEASE_HOLDER_MAX];

	if (g->gate.ip_until.ns > 0 || g->move.preparing || a->stop != STOP_NO ||
	    !mono_before(mono_now(), mono_add_ms(a->started, RESTART_REDIRECT_MS)))
		return false;
	if (lease_node(g->leader.seen.holder, node, sizeof(node)) && !text_eq(node, a->cfg->node_name))
		to = candidates_by_node(a->candidates, node);
	if (!to || to->n_macs != 1 || to->macs[0][0] & 1)
		return false;
	w->redirect_mac = to->macs[0];
	w->redirect_until = mono_add_ms(a->started, RESTART_REDIRECT_MS);
	return true;
}

static void fence_vip(struct agent *a, const struct vip *vip, const struct group *g)
{
	struct gate_wish w = { .ip = vip->ip, .ready = vip->ready, .loaded = dataplane_holds(&a->dataplane, &vip->ip),
			       .own = vip->at[0].own, .group = GATE_GROUP_NONE };
	const uint8_t *mac = vip->n_at == 1 && mac_known(vip->at[0].mac) ? vip->at[0].mac : NULL; /* else: no redirect */

	for (size_t i = 0; i < vip->n_at; i++)
		w.ifindexes[i] = vip->at[i].ifindex;
	if (g && !vip->moving && a->stop < STOP_WITHDRAWING)
		w.group = g->gate_group;
	if (g && mac && mac_known(g->move.mac) && g->gate.redirect_to && *g->gate.redirect_to) {
		w.redirect_mac = g->move.mac;
		w.redirect_until = g->gate.redirect_until;
	}
	w.own_mac = w.redirect_mac || (g && mac && !mac_known(g->move.mac) && restarted_follower(a, g, &w)) ? mac : NULL;
	gates_set(&a->gates, &w);
}

void fence_deadlines(struct agent *a, const struct group *g)
{
	const mono_t shut = { 0 };
	bool stops = a->stop >= STOP_WITHDRAWING;

	gates_set_group(&a->gates, g->gate_group, stops ? shut : g->gate.arp_until, stops ? shut : g->gate.ip_until);
}

void fence_group(struct agent *a, const struct group *g)
{
	fence_deadlines(a, g);
	for (size_t i = 0; i < a->vips.n; i++)
		if (a->vips.v[i].group == g->index)
			fence_vip(a, &a->vips.v[i], g);
}

/* Without a gate, the address itself must go where the gate would be shut. */
bool fence_wants_addr(const struct agent *a, const struct vip *vip, mono_t now)
{
	const struct group *g = group_of(a, vip);

	if (!g || vip->moving || a->stop >= STOP_WITHDRAWING)
		return false;
	return mono_before(now, g->gate.arp_until) || (a->gates.gate && g->gate.local && mono_before(now, g->gate.ip_until));
}

static bool stands(const struct agent *a, const struct kernel_addr *addr)
{
	return gates_fenced(&a->gates, &addr->ip) && gates_attached(&a->gates, addr->ifindex) &&
	       guard_stands(&a->guard, addr);
}

bool fence_may_add(void *ctx, const struct kernel_addr *addr)
{
	const struct agent *a = ctx;

	return a->routed.on ? guard_stands(&a->guard, addr) : stands(a, addr);
}

bool fence_ready_for(const struct agent *a, const struct vip *vip)
{
	for (size_t i = 0; i < vip->n_at; i++)
		if (!stands(a, &(struct kernel_addr){ vip->ip, vip->at[i].ifindex }))
			return false;
	return (a->vips.routed || vip->n_at > 0) && dataplane_holds(&a->dataplane, &vip->ip);
}

bool fence_settled(const struct agent *a)
{
	return a->gate_ours;
}

/* Once on every interface, or when whatever an earlier run allowed is over. */
static void note_settled(struct agent *a, mono_t now)
{
	bool all = a->planned && !a->fence_again;

	for (size_t i = 0; i < a->n_gate_places && all; i++)
		all = gates_attached(&a->gates, a->gate_places[i].ifindex);
	a->gate_ours |= all || mono_reached(now, a->adopt_until);
}

bool fence_shut(const struct agent *a, const struct vip *vip)
{
	if (!vip_is_up(vip, &a->kernel))
		return true;
	return a->gates.gate && fence_settled(a) && gates_fenced(&a->gates, &vip->ip) &&
	       !gates_open(&a->gates, &vip->ip, mono_now());
}

bool fence_answers(void *ctx, const struct vip *vip)
{
	struct agent *a = ctx;
	const struct group *g = group_of(a, vip);
	mono_t now = mono_now();

	fence_vip(a, vip, g); /* it may just have become ready */
	if (a->vips.routed)
		return g && !vip->moving && a->stop < STOP_WITHDRAWING && group_holds(g, now);
	return g && !vip->moving && a->stop < STOP_WITHDRAWING && mono_before(now, g->gate.arp_until) &&
	       gates_open(&a->gates, &vip->ip, now);
}

static void add_place(struct agent *a, const struct link_state *s, int ifindex)
{
	const struct link *l = link_find(s, ifindex);

	for (size_t i = 0; i < a->n_gate_places; i++)
		if (a->gate_places[i].ifindex == ifindex)
			return;
	if (l)
		a->gate_places[a->n_gate_places++] = (struct gate_place){ ifindex, l->born };
}

/* The distinct interfaces of VIPs, and of addresses that an earlier run left.  There is room for one of each. */
static void find_places(struct agent *a, const struct link_state *s)
{
	a->n_gate_places = 0;
	for (size_t i = 0; i < a->vips.n; i++)
		for (size_t k = 0; k < a->vips.v[i].n_at; k++)
			add_place(a, s, a->vips.v[i].at[k].ifindex);
	for (size_t i = 0; i < s->n_addrs && !a->vips.routed; i++)
		if (s->addrs[i].ours)
			add_place(a, s, s->addrs[i].index);
}

/* Rows of the map and ports follow the set of VIPs, where they are, and what is left of former ones. */
static int update_rows(struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	struct ip *vips = calloc(a->vips.n + 1, sizeof(*vips));
	struct gate_place *places = reallocarray(a->gate_places, a->vips.n * PLACE_MAX + s->n_addrs + 1, sizeof(*places));
	int r = vips && places ? 0 : -ENOMEM;

	if (places)
		a->gate_places = places;
	for (size_t i = 0; vips && i < a->vips.n; i++)
		vips[i] = a->vips.v[i].ip;
	if (r == 0)
		r = gates_update(&a->gates, vips, a->vips.n, s);
	free(vips);
	for (size_t i = 0; r == 0 && i < a->vips.n; i++)
		fence_vip(a, &a->vips.v[i], group_of(a, &a->vips.v[i]));
	if (r == 0)
		find_places(a, s);
	return r;
}

/* On a further interface of a VIP the kernel would answer for the address of the first: not before the gate stands there. */
static mono_t sync_guard(struct agent *a, mono_t now, bool adopting)
{
	const struct kernel_addr *all = a->vips.addrs;
	struct kernel_addr *homes;
	size_t n = 0;
	mono_t wake;

	if (a->routed.on)
		return guard_sync(&a->guard, now, a->routed.homes, a->routed.n);
	if (!a->vips.several || adopting)
		return guard_sync(&a->guard, now, all, a->vips.n_addrs);
	homes = malloc((a->vips.n_addrs + 1) * sizeof(*homes));
	if (!homes)
		return mono_add_ms(now, RETRY_MS);
	for (size_t i = 0; i < a->vips.n_addrs; i++)
		if (i == 0 || !ip_eq(&all[i - 1].ip, &all[i].ip) || gates_attached(&a->gates, all[i].ifindex) ||
		    kernel_has_addr(&a->kernel, &all[i]))
			homes[n++] = all[i];
	wake = guard_sync(&a->guard, now, homes, n);
	free(homes);
	return wake;
}

mono_t fence_step(struct agent *a, mono_t now, bool adopting)
{
	static struct log_limit limit;
	mono_t wake = conflicts_tick(a, now);
	uint32_t left_out;
	int r;

	if (!a->gate_ours)
		note_settled(a, now);
	if (!a->planned)
		return wake;
	if (a->fence_again) {
		a->conflicts.again = true;
		r = update_rows(a);
		if (r < 0 && log_limit(&limit, now.ns, 5000, &left_out))
			log_event(LOG_ERROR, "gate_rows", "the gate does not know all VIPs; new ones stay down",
				  log_str("error", strerror(-r)), log_int("left_out", left_out));
		a->fence_again = r < 0;
		wake = r < 0 ? mono_min(wake, mono_add_ms(now, RETRY_MS)) : wake;
	}
	if (a->look.again || mono_reached(now, a->look.guard_at))
		a->look.guard_at = sync_guard(a, now, adopting);
	wake = mono_min(wake, a->look.guard_at);
	wake = mono_min(wake, tables_step(&a->tables, now));
	if (adopting || a->fence_again)
		return wake;
	return mono_min(wake, gates_sync(&a->gates, now, a->gate_places, a->n_gate_places));
}

/* ---- start and end ---- */

int fence_open(struct agent *a, struct err_info *err)
{
	int r;

	guard_init(&a->guard, a->nat_worker);
	tables_init(&a->tables, a->nat_worker, &a->dataplane, &a->guard);
	r = gates_init(&a->gates, a->cfg->gate == GATE_OFF, &a->loop, a->addr_worker, err);
	if (r == 0)
		r = conflicts_open(a, err);
	if (r == 0 && !a->gates.gate)
		log_event(LOG_WARN, "gate_off", "no gate: after a crash or a freeze of this agent its VIPs are answered until their "
			  "addresses expire");
	a->fence_again = true;
	return r;
}

void fence_close(struct agent *a)
{
	conflicts_close(a);
	gates_fini(&a->gates);
	guard_fini(&a->guard);
	tables_fini(&a->tables);
	free(a->gate_places);
}
