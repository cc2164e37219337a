/* SPDX-License-Identifier: Apache-2.0 */
/* group.c: what one Lease's election tells this node. */
#include "agent/group.h"

#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/conflicts.h"
#include "agent/fence.h"
#include "agent/stop.h"

#define LEASE_CALLS_MAX 16 /* kept ready, 75-100 KB each with their connection */

/* More than deadlines that have moved on. */
static bool gate_turns(const struct elect_gate *from, const struct elect_gate *to, mono_t now)
{
	return mono_before(now, from->arp_until) != mono_before(now, to->arp_until) ||
	       mono_before(now, from->ip_until) != mono_before(now, to->ip_until) || from->local != to->local ||
	       from->redirect_until.ns != to->redirect_until.ns || from->redirect_to != to->redirect_to;
}

static void on_gate(void *ctx, const struct elect_gate *gate)
{
	struct group *g = ctx;
	bool turns = gate_turns(&g->gate, gate, mono_now());

	g->gate = *gate;
	if (!turns) {
		fence_deadlines(g->agent, g); /* a renewal, or nothing */
		return;
	}
	fence_group(g->agent, g);
	agent_look_again(g->agent);
}

/* Services that this group's VIPs serve tell of the move once they are live here. */
static void note_moves(struct group *g)
{
	struct agent *a = g->agent;

	if (!*g->took_over_from || lease_same_node(g->took_over_from, a->elect_cfg.identity))
		return;
	for (size_t i = 0; i < a->store.n_services; i++) {
		struct store_service *e = a->store.services[i];

		if (e->object->n_allocated > 0 && agent_group(a, groups_recorded(e->object, 0), &e->object->allocated[0]) == g)
			e->publish.move_pending = e->object->n_ingress > 0;
	}
}

static void on_lead(void *ctx, const char *why)
{
	struct group *g = ctx;
	struct agent *a = g->agent;

	a->metrics.transitions++;
	g->adopting = false;
	handover_ended(&g->move);
	a->kernel.addr_refresh_at = mono_now(); /* adopted addresses have an old lifetime */
	note_moves(g);
	busiest_rank(a);
	if (text_eq(why, ELECT_WHY_EXPIRED))
		former_note(a, g->took_over_from, mono_now());
	log_event(LOG_INFO, "leading", "this node holds the Lease", log_str("lease", g->leader.name), log_str("why", why));
}

static void on_follow(void *ctx, const char *why)
{
	struct group *g = ctx;

	g->adopting = false;
	g->took_over_from[0] = '\0';
	handover_ended(&g->move);
	log_event(LOG_INFO, "following", "this node no longer holds the Lease", log_str("lease", g->leader.name),
		  log_str("why", why));
}

static void on_holder(void *ctx, const char *from, const char *to)
{
	struct group *g = ctx;

	/* A release goes through "nobody": the last one who was somebody counts. */
	if (*from && !text_eq(from, g->agent->elect_cfg.identity))
		IGNORE(text_copy(g->took_over_from, sizeof(g->took_over_from), from)); /* same size */
	if (text_eq(from, to))
		return; /* the first view, and nobody holds */
	log_event(LOG_INFO, "holder_changed", "the Lease has another holder", log_str("lease", g->leader.name),
		  log_str("from", from), log_str("to", to));
}

static void on_stopped(void *ctx)
{
	struct group *g = ctx;
	struct agent *a = g->agent;

	for (size_t i = 0; i < a->n_groups; i++)
		if (!a->groups[i]->leader.stopped)
			return;
	if (a->stop >= STOP_RELEASING)
		stop_released(a);
}

static void on_renewed(void *ctx, int64_t ms)
{
	struct group *g = ctx;

	metrics_renewed(&g->agent->metrics, ms);
}

static void on_prepare(void *ctx, uint32_t number)
{
	struct group *g = ctx;

	log_event(LOG_INFO, "preparing", "the holder asks this node to get ready to take over", log_str("lease", g->leader.name),
		  log_int("handover", number));
	handover_prepare(&g->move, number);
}

static void on_unprepare(void *ctx, const char *why)
{
	struct group *g = ctx;

	log_event(LOG_INFO, "unprepared", "nothing came of the handover to this node", log_str("lease", g->leader.name),
		  log_str("why", why));
	handover_prepare(&g->move, 0);
}

static void on_handover_failed(void *ctx, uint32_t number, const char *why)
{
	handover_failed(ctx, number, why);
}

static void on_probe(void *ctx, uint32_t probe_id)
{
	const struct group *g = ctx;

	conflicts_probe(g->agent, g, probe_id);
}

static void on_announce(void *ctx)
{
	const struct group *g = ctx;

	conflicts_announce(g->agent, g);
}

static void on_asked(void *ctx, uint32_t number, const char *node)
{
	struct group *g = ctx;

	log_event(LOG_INFO, "handover_asked", "somebody asks for a handover", log_str("lease", g->leader.name),
		  log_int("handover", number), log_str("to", node));
	handover_asked(&g->move, number, node);
}

int group_new(struct agent *a, unsigned int number, const struct ip *ip, struct group **ret, struct err_info *err)
{
	static const struct leader_ops ops = {
		.gate = on_gate, .lead = on_lead, .follow = on_follow, .holder = on_holder, .stopped = on_stopped,
		.renewed = on_renewed, .prepare = on_prepare, .unprepare = on_unprepare, .handover_failed = on_handover_failed,
		.probe = on_probe, .announce = on_announce, .asked = on_asked,
	};
	struct elect_config cfg = a->elect_cfg;
	struct group *g = calloc(1, sizeof(*g));
	char name[GROUPS_NAME_MAX];
	int r;

	if (!g)
		return err_errno(err, -ENOMEM, "group %u", number);
	g->agent = a;
	g->number = number;
	g->able = number != GROUPS_OWN;
	g->gate_group = gates_group_new(&a->gates);
	g->place = (struct placement)PLACEMENT_INIT;
	if (number == GROUPS_OWN)
		g->ip = *ip;
	g->adopting = mono_before(mono_now(), a->adopt_until);
	groups_name(number, ip, name);
	if (number == GROUPS_OWN && ip_eq(ip, &a->cfg->control_vip)) {
		cfg.duration_ms = config_vip_lease_ms(a->cfg);
		cfg.renew_ms = config_vip_renew_ms(a->cfg);
		cfg.delay_ms = a->cfg->rank * cfg.renew_ms;
	}
	cfg.seed = prng_next(&a->prng);
	/* A renewal and a read for each group; when many groups are busy at once, the others' requests take memory. */
	r = kube_client_reserve(a->client, a->n_groups < LEASE_CALLS_MAX / 2 ? 2 * (a->n_groups + 1) : LEASE_CALLS_MAX, err);
	if (r == 0)
		r = leader_init(&g->leader, a->client, &cfg, a->cfg->ns, name, &ops, g, err);
	if (r < 0) {
		gates_group_free(&a->gates, g->gate_group);
		group_free(g);
		return r;
	}
	lease_view_add(&a->lease_view, &g->leader);
	*ret = g;
	return 0;
}

void group_free(struct group *g)
{
	if (!g)
		return;
	lease_view_remove(&g->agent->lease_view, &g->leader);
	leader_fini(&g->leader);
	free(g);
}

void group_end(struct group *g, mono_t now)
{
	if (g->ending)
		return;
	g->ending = true;
	leader_stop(&g->leader, now);
}

bool group_ended(const struct group *g)
{
	return g->ending && g->leader.stopped && leader_idle(&g->leader);
}

bool group_holds(const struct group *g, mono_t now)
{
	return g->agent->stop <= STOP_HANDING_OVER && leader_holds(&g->leader, now);
}

void group_adopt(struct group *g, mono_t now)
{
	const struct agent *a = g->agent;
	bool other = leader_knows(&g->leader) && !lease_same_node(g->leader.seen.holder, a->elect_cfg.identity);

	if (other || mono_reached(now, a->adopt_until))
		g->adopting = false;
}
