/* SPDX-License-Identifier: Apache-2.0 */
/* status_gather.c: what the parts of the agent know of one Lease, one VIP, and the whole. */
#include "agent/status_gather.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/conflicts.h"
#include "agent/version.h"

/* ---- links ---- */

const char *status_link_name(const struct agent *a, int ifindex, char name[static LINK_NAME_MAX])
{
	const struct link *l = link_find(link_watch_state(a->kernel.links), ifindex);

	IGNORE(text_copy(name, LINK_NAME_MAX, l ? l->name : "")); /* fits */
	return name;
}

/* ---- head ---- */

static const char *role(const struct agent *a, mono_t now)
{
	return agent_holds(a, now) ? "holder" : a->groups[0]->leader.elect.fit ? "candidate" : "unfit";
}

void status_head_of(struct agent *a, mono_t now, struct buf *why, struct status_head *ret)
{
	bool ready = agent_ready(a, why);

	*ret = (struct status_head){
		.version = version_text(), .node = a->cfg->node_name, .identity = a->elect_cfg.identity, .role = role(a, now),
		.ready = ready, .not_ready_because = buf_text(why), .gate = a->gates.gate != NULL,
		.gate_problem = gates_problem(&a->gates), .gate_put_back = a->gates.put_back, .conflicts = a->metrics.conflicts,
		.hold = a->elect_cfg.policy == LEASE_HOLD, .routed = a->vips.routed, .advertised = a->routed.on,
		.up_ms = mono_diff_ms(now, a->started),
		.synced = store_synced(&a->store), .services_seen = a->store.n_services, .slices_seen = a->store.n_slices,
		.services = agent_services(a), .kernel_ready = !a->dataplane.on || a->dataplane.up,
		.as_wanted = dataplane_as_wanted(&a->dataplane), .kernel_problem = agent_kernel_problem(a),
		.forwarding_problem = forwarding_problem(a), .elements = a->dataplane.elements, .mended = a->dataplane.mended,
		.job_ms = a->dataplane.job_ms, .leases = a->n_groups, .vips = a->vips.n,
		.vips_answered = a->routed.on ? a->routed.n_there : a->n_live,
	};
	for (size_t i = 0; i < a->n_groups; i++)
		ret->leases_held += group_holds(a->groups[i], now);
}

/* ---- Leases ---- */

size_t status_vips_in(const struct agent *a, unsigned int group)
{
	size_t n = 0;

	for (size_t i = 0; i < a->vips.n; i++)
		n += a->vips.v[i].group == group;
	return n;
}

/* What the election does just now, in a word. */
static const char *doing(const struct elect *e)
{
	if (e->over.on)
		return "overtime"; /* past the deadline: the API is away, and nobody else answers */
	if (e->over.looking)
		return "looking"; /* before it opens: the former holder may answer yet */
	if (e->move.preparing)
		return "preparing";
	return e->state == ELECT_LEADING && e->move.stage != LEASE_STAGE_NONE ? "handing over" : elect_state_name(e->state);
}

void status_lease_of(const struct agent *a, const struct group *g, mono_t now, struct status_lease *ret)
{
	const struct leader *l = &g->leader;
	const struct elect *e = &l->elect;
	bool here = leader_holds(l, now);

	*ret = (struct status_lease){
		.ns = l->ns, .name = l->name, .identity = l->seen.holder, .state = doing(e), .here = here, .in_view = e->fresh,
		.known = e->known || e->absent, .hold = l->seen.hold, .transitions = l->seen.transitions,
		.duration_ms = e->known ? e->seen.duration_ms : a->cfg->lease_ms,
		.changed_ago_ms = e->known ? mono_diff_ms(now, e->seen_at) : STATUS_NO_TIME,
		.renewed_ago_ms = l->renewed_at.ns ? mono_diff_ms(now, l->renewed_at) : STATUS_NO_TIME,
		.deadline_in_ms = here ? mono_diff_ms(e->deadline, now) : STATUS_NO_TIME, .n_vips = status_vips_in(a, g->index),
	};
	IGNORE(lease_node(l->seen.holder, ret->holder, sizeof(ret->holder))); /* only shown, as below */
	if (here && e->move.stage != LEASE_STAGE_NONE)
		IGNORE(lease_node(e->move.successor, ret->moving_to, sizeof(ret->moving_to)));
	else if (l->seen.move.stage != KUBE_LEASE_STAYS)
		IGNORE(lease_node(l->seen.move.successor, ret->moving_to, sizeof(ret->moving_to)));
}

/* ---- VIPs ---- */

/* How long the gate lets ARP and ND for the VIP through from now; 0 = shut. */
static int64_t open_for_ms(const struct agent *a, const struct vip *v, mono_t now)
{
	mono_t until = gates_open_until(&a->gates, &v->ip);

	return mono_before(now, until) ? mono_diff_ms(until, now) : 0;
}

static void conflict_of(const struct agent *a, const struct vip *v, mono_t now, struct status_conflict *ret)
{
	const struct conflict_row *row = conflicts_of(a, &v->ip);

	*ret = (struct status_conflict){ .kind = "", .node = "", .interface = "" };
	if (!row)
		return;
	ret->kind = conflict_kind_name(row->kind);
	ret->grave = row->kind != CONFLICT_PROBE;
	ret->node = row->node;
	ret->interface = row->interface;
	ret->since_ms = mono_diff_ms(now, row->first);
	ret->ago_ms = mono_diff_ms(now, row->last);
	ret->count = row->count;
	IGNORE(conflict_text(row, ret->text, sizeof(ret->text))); /* returns ret->text */
	if (row->kind != CONFLICT_ADDRESS)
		IGNORE(snprintf(ret->mac, sizeof(ret->mac), "%02x:%02x:%02x:%02x:%02x:%02x", row->mac[0], row->mac[1], row->mac[2],
				row->mac[3], row->mac[4], row->mac[5])); /* fits */
}

static void place_of(const struct agent *a, const struct vip *v, const struct vip_place *p, mono_t now,
		     struct status_place *ret)
{
	bool goes_on = v->live && !mono_is_never(p->schedule.next);

	*ret = (struct status_place){ .usable = p->usable, .gate = gates_attached(&a->gates, p->ifindex), .announced = p->rounds,
				      .errors = p->errors, .failing = p->failing,
				      .last_ago_ms = p->sent_at.ns ? mono_diff_ms(now, p->sent_at) : STATUS_NO_TIME,
				      .next_in_ms = goes_on ? mono_diff_ms(p->schedule.next, now) : STATUS_NO_TIME };
	if (goes_on && ret->next_in_ms < 0)
		ret->next_in_ms = 0; /* due */
	IGNORE(status_link_name(a, p->ifindex, ret->name));
}

/* Why no interface of this node carries it. */
static void no_place(const struct agent *a, const struct vip *v, char why[static STATUS_WHY_MAX])
{
	const struct place p = { .why = v->why, .refused = link_find(link_watch_state(a->kernel.links), v->refused) };

	IGNORE(place_why_text(link_watch_state(a->kernel.links), &p, &v->ip, why, STATUS_WHY_MAX)); /* returns 'why' */
}

/* Why it is not advertised, or is about to be so no more. */
static void why_not(const struct agent *a, const struct route_report *r, char why[static STATUS_WHY_MAX])
{
	const char *leaving = r->why == ROUTE_LEAVING ? own_node_leaving(&a->own_node) : NULL;

	IGNORE(snprintf(why, STATUS_WHY_MAX, "%s%s%s", r->state == ROUTE_ADVERTISED ? "being withdrawn: " : "",
			leaving ? leaving : routes_why_text(r->why), leaving ? ", and another node serves it" : "")); /* fits */
}

/* What keeps an address away that is to be there. */
static const char *awaited(const struct agent *a, const struct kernel_addr *home)
{
	return home->ifindex == 0 ? "there is no interface lo" :
	       !guard_stands(&a->guard, home) ? "the other interfaces could answer ARP for it yet" : "";
}

/* announce: bgp.  Whoever holds the Lease, each node that can serve the VIP has it. */
static void routed_state(const struct agent *a, const struct vip *v, mono_t now, struct status_vip *ret)
{
	static const enum status_vip_state states[ROUTE_STATE_N] = {
		[ROUTE_ADVERTISED] = STATUS_VIP_ADVERTISED, [ROUTE_COMING] = STATUS_VIP_COMING,
		[ROUTE_DRAINING] = STATUS_VIP_DRAINING, [ROUTE_WITHDRAWN] = STATUS_VIP_WITHDRAWN,
	};
	const struct kernel_addr home = { .ip = v->ip, .ifindex = a->routed.lo };
	const struct routed_vip *r = routed_find(&a->routed, &v->ip);
	struct route_report report = { .state = ROUTE_WITHDRAWN, .why = ROUTE_UNKNOWN };
	const struct link *lo = link_find(link_watch_state(a->kernel.links), home.ifindex);
	const bool down = lo && !lo->up;
	const char *refused;

	if (r)
		report = routed_report(a, r, now);
	ret->state = states[report.state];
	ret->live = report.state == ROUTE_ADVERTISED;
	ret->n_at = 1;
	ret->at[0] = (struct status_place){ .usable = !down, .last_ago_ms = STATUS_NO_TIME, .next_in_ms = STATUS_NO_TIME };
	IGNORE(status_link_name(a, a->routed.lo, ret->at[0].name));
	if (report.state == ROUTE_DRAINING)
		ret->drains_ms = report.drains_ms;
	if (report.why != ROUTE_OK)
		why_not(a, &report, ret->why);
	if (report.state != ROUTE_COMING)
		return;
	refused = down ? "lo is down" : home.ifindex ? status_refusal_text(kernel_refuses_addr(&a->kernel, &home)) : NULL;
	ret->state = refused ? STATUS_VIP_REFUSED : STATUS_VIP_COMING;
	IGNORE(text_copy(ret->why, sizeof(ret->why), refused ? refused : awaited(a, &home))); /* cut is fine */
}

static enum status_vip_state state_of(const struct agent *a, const struct vip *v, mono_t now)
{
	const struct group *g = v->group < a->n_groups ? a->groups[v->group] : NULL;

	if (v->live)
		return a->vips.routed ? STATUS_VIP_ROUTED : STATUS_VIP_ANSWERS;
	if (v->moving)
		return STATUS_VIP_MOVING;
	if (!a->vips.routed && v->n_at == 0)
		return STATUS_VIP_NO_INTERFACE;
	if (!a->vips.routed && !vip_usable(v))
		return STATUS_VIP_NO_CARRIER;
	if (agent_refused(a, &v->ip))
		return STATUS_VIP_REFUSED;
	return g && group_holds(g, now) ? STATUS_VIP_COMING : STATUS_VIP_STANDBY;
}

void status_vip_of(const struct agent *a, const struct vip *vip, mono_t now, struct status_vip *ret)
{
	const struct group *g = vip->group < a->n_groups ? a->groups[vip->group] : NULL;
	const char *refused;

	*ret = (struct status_vip){ .ip = vip->ip, .lease = g ? g->leader.name : "", .state = state_of(a, vip, now),
				    .live = vip->live, .gated = a->gates.gate != NULL && !a->vips.routed, .gate_open_ms = open_for_ms(a, vip, now),
				    .n_at = vip->n_at, .drains_ms = STATUS_NO_TIME };
	if (g)
		IGNORE(lease_node(g->leader.seen.holder, ret->holder, sizeof(ret->holder))); /* only shown */
	for (size_t i = 0; i < vip->n_at; i++)
		place_of(a, vip, &vip->at[i], now, &ret->at[i]);
	if (a->routed.on)
		routed_state(a, vip, now, ret);
	if (ret->state == STATUS_VIP_NO_INTERFACE)
		no_place(a, vip, ret->why);
	if (ret->state == STATUS_VIP_REFUSED && (refused = agent_refused(a, &vip->ip)))
		IGNORE(text_copy(ret->why, sizeof(ret->why), refused)); /* cut is fine */
	conflict_of(a, vip, now, &ret->conflict);
}
