/* SPDX-License-Identifier: Apache-2.0 */
/* fence.c: elections, VIPs and links to rows of the gate; claims on the wire to elections. */
#include "agent/fence.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/core/place.h"

#define DEFEND_EVERY_MS 1000
#define RETRY_MS 1000
#define RESTART_REDIRECT_MS 60000

/* ---- gate ---- */

static bool mac_known(const uint8_t mac[static LINK_MAC_LEN])
{
	static const uint8_t none[LINK_MAC_LEN];

	return memcmp(mac, none, sizeof(none)) != 0;
}

static const struct link *link_of(const struct link_state *s, int ifindex)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].index == ifindex)
			return &s->links[i];
	return NULL;
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

	if (w->gate.ip_until.ns > 0 || g->move.preparing || a->stop != STOP_NO ||
	    !mono_before(mono_now(), mono_add_ms(a->started, RESTART_REDIRECT_MS)))
		return false;
	if (lease_node(g->leader.seen.holder, node, sizeof(node)) && !text_eq(node, a->cfg->node_name))
		to = candidates_by_node(a->candidates, node);
	if (!to || to->n_macs != 1 || to->macs[0][0] & 1)
		return false;
	w->redirect_mac = to->macs[0];
	w->gate.redirect_to = to->identity;
	w->gate.redirect_until = mono_add_ms(a->started, RESTART_REDIRECT_MS);
	return true;
}

static void fence_vip(struct agent *a, const struct vip *vip, const struct group *g)
{
	struct gate_wish w = { .ip = vip->ip, .ifindex = vip->ifindex, .ready = vip->ready,
			       .loaded = dataplane_holds(&a->dataplane, &vip->ip), .own = vip->own };

	if (g)
		w.gate = g->gate;
	if (!g || vip->moving || a->stop >= STOP_WITHDRAWING)
		w.gate.arp_until = w.gate.ip_until = (mono_t){ 0 };
	if (!w.gate.redirect_to)
		w.gate.redirect_to = "";
	if (g && mac_known(g->move.mac) && mac_known(vip->mac)) {
		w.own_mac = vip->mac;
		w.redirect_mac = g->move.mac;
	}
	if (g && !w.redirect_mac && mac_known(vip->mac) && restarted_follower(a, g, &w))
		w.own_mac = vip->mac;
	gates_set(&a->gates, &w);
}

void fence_group(struct agent *a, const struct group *g)
{
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

bool fence_may_add(void *ctx, const struct kernel_addr *addr)
{
	const struct agent *a = ctx;

	return gates_fenced(&a->gates, &addr->ip) && gates_attached(&a->gates, addr->ifindex) &&
	       guard_stands(&a->guard, addr);
}

bool fence_ready_for(const struct agent *a, const struct vip *vip)
{
	const struct kernel_addr at = { vip->ip, vip->ifindex };

	if (a->vips.routed)
		return dataplane_holds(&a->dataplane, &at.ip);
	return gates_fenced(&a->gates, &at.ip) && gates_attached(&a->gates, at.ifindex) && guard_stands(&a->guard, &at) &&
	       dataplane_holds(&a->dataplane, &at.ip);
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
	const struct kernel_addr at = { vip->ip, vip->ifindex };

	if (!kernel_has_addr(&a->kernel, &at))
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
	const struct link *l = link_of(s, ifindex);

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
		add_place(a, s, a->vips.v[i].ifindex);
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].ours)
			add_place(a, s, s->addrs[i].index);
}

/* Rows of the map and ports follow the set of VIPs, where they are, and what is left of former ones. */
static int update_rows(struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	struct ip *vips = calloc(a->vips.n + 1, sizeof(*vips));
	struct gate_place *places = reallocarray(a->gate_places, a->vips.n + s->n_addrs + 1, sizeof(*places));
	int r = vips && places ? 0 : -ENOMEM;

	if (places)
		a->gate_places = places;
	for (size_t i = 0; vips && i < a->vips.n; i++)
		vips[i] = a->vips.v[i].ip;
	if (r == 0)
		r = gates_update(&a->gates, vips, a->vips.n, s);
	if (r == 0)
		r = wire_update(&a->wire, vips, a->vips.n, s);
	free(vips);
	for (size_t i = 0; r == 0 && i < a->vips.n; i++)
		fence_vip(a, &a->vips.v[i], group_of(a, &a->vips.v[i]));
	if (r == 0)
		find_places(a, s);
	return r;
}

mono_t fence_step(struct agent *a, mono_t now, bool adopting)
{
	static struct log_limit limit;
	mono_t wake = wire_tick(&a->wire, now);
	uint32_t left_out;
	int r;

	if (!a->gate_ours)
		note_settled(a, now);
	if (!a->planned)
		return wake;
	if (a->fence_again) {
		r = update_rows(a);
		if (r < 0 && log_limit(&limit, now.ns, 5000, &left_out))
			log_event(LOG_ERROR, "gate_rows", "the gate does not know all VIPs; new ones stay down",
				  log_str("error", strerror(-r)), log_int("left_out", left_out));
		a->fence_again = r < 0;
		wake = r < 0 ? mono_min(wake, mono_add_ms(now, RETRY_MS)) : wake;
	}
	wake = mono_min(wake, guard_sync(&a->guard, now, a->vips.addrs, a->vips.n_addrs));
	wake = mono_min(wake, tables_step(&a->tables, now));
	if (adopting || a->fence_again)
		return wake;
	return mono_min(wake, gates_sync(&a->gates, now, a->gate_places, a->n_gate_places));
}

/* ---- wire ---- */

void fence_probe(struct agent *a, const struct group *g, uint32_t probe_id)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	struct wire_target targets[WIRE_TARGETS_MAX];
	size_t n = 0, vips = 0;

	/* Others each time: a holder that lost the API may not know the latest. */
	for (size_t i = 0; i < a->vips.n && n < WIRE_TARGETS_MAX; i++) {
		const struct vip *vip = &a->vips.v[(i + (size_t)probe_id * WIRE_TARGETS_MAX) % a->vips.n];
		const struct link *l = vip->group == g->index ? link_of(s, vip->ifindex) : NULL;

		vips += vip->group == g->index;
		if (l && place_usable(l))
			targets[n++] = (struct wire_target){ l, vip->own, vip->ip };
	}
	if (vips == 0 || a->vips.routed)
		wire_nobody(&a->wire, mono_now(), g->index, probe_id);
	else
		wire_ask(&a->wire, mono_now(), g->index, probe_id, targets, n);
}

void fence_announce(struct agent *a, const struct group *g)
{
	for (size_t i = 0; i < a->vips.n; i++)
		if (a->vips.v[i].group == g->index)
			vips_announce_shut(&a->vips, link_watch_state(a->kernel.links), &a->vips.v[i]);
}

/* We hold the VIP by right: say so again, and let people know. */
static void defend(struct agent *a, struct vip *vip, const struct wire_claim *c, const struct candidate *who)
{
	struct wire_row *row = wire_row(&a->wire, &vip->ip);
	mono_t now = mono_now();
	char mac[18];

	if (!row || mono_before(now, mono_add_ms(row->defended_at, DEFEND_EVERY_MS)))
		return;
	row->defended_at = now;
	a->metrics.conflicts++;
	IGNORE(snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", c->mac[0], c->mac[1], c->mac[2], c->mac[3], c->mac[4],
			c->mac[5])); /* fits */
	log_event(LOG_WARN, "conflict", "somebody else claims a VIP that this node holds; announcing it again",
		  log_ip("vip", &vip->ip), log_str("mac", mac), log_str("node", who ? who->node : ""));
	schedule_start(&vip->schedule, now);
}

static enum elect_wire on_claimed(void *ctx, const struct wire_claim *c, unsigned int *ret_group)
{
	struct agent *a = ctx;
	const struct candidate *who = candidates_by_mac(a->candidates, c->mac);
	enum elect_wire wire = who ? ELECT_WIRE_CANDIDATE : ELECT_WIRE_STRANGER;
	struct vip *vip = vips_find(&a->vips, &c->vip);
	struct group *g;

	*ret_group = vip ? vip->group : UINT32_MAX;
	if (!vip || vip->group >= a->n_groups)
		return wire;
	g = a->groups[vip->group];
	if (!c->reply)
		leader_wire(&g->leader, mono_now(), wire, 0);
	if (vip->live && group_holds(g, mono_now()))
		defend(a, vip, c, who);
	return wire;
}

static void on_probed(void *ctx, unsigned int group, uint32_t probe_id, enum elect_wire found)
{
	struct agent *a = ctx;

	if (group < a->n_groups)
		leader_wire(&a->groups[group]->leader, mono_now(), found, probe_id);
}

/* ---- start and end ---- */

int fence_open(struct agent *a, struct err_info *err)
{
	static const struct wire_ops ops = { on_claimed, on_probed };
	int r;

	guard_init(&a->guard, a->nat_worker);
	tables_init(&a->tables, a->nat_worker, &a->dataplane, &a->guard);
	r = gates_init(&a->gates, a->cfg->gate == GATE_OFF, &a->loop, a->addr_worker, err);
	if (r == 0)
		r = wire_init(&a->wire, &a->loop, &ops, a, err);
	if (r == 0 && !a->gates.gate)
		log_event(LOG_WARN, "gate_off", "no gate: after a crash or a freeze of this agent its VIPs are answered until their "
			  "addresses expire");
	a->fence_again = true;
	return r;
}

void fence_close(struct agent *a)
{
	wire_fini(&a->wire);
	gates_fini(&a->gates);
	guard_fini(&a->guard);
	tables_fini(&a->tables);
	free(a->gate_places);
}
