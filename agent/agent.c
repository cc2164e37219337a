/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c: puts the parts together and turns the loop: drain sources, step what is due, carry out, sleep.
 *
 * Each step brings everything closer to what is wanted and is safe to repeat; no part calls another part's callback. */
#include "agent/agent.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/place.h"
#include "agent/fence.h"
#include "agent/forwarding.h"
#include "agent/open.h"
#include "agent/own_record.h"
#include "agent/plan.h"
#include "agent/realtime.h"
#include "agent/spreading.h"
#include "agent/status_services.h"
#include "agent/stop.h"
#include "agent/version.h"

#define LOOK_MS 2000 /* VIPs are looked at by then, whatever has been missed */

/* ---- steps ---- */

bool agent_holds(const struct agent *a, mono_t now)
{
	for (size_t i = 0; i < a->n_groups; i++)
		if (group_holds(a->groups[i], now))
			return true;
	return false;
}

bool agent_carries_vips(const struct agent *a, const struct link_state *s, const struct link *l)
{
	if (!place_may_carry(s, &a->interfaces.rules, l))
		return false;
	if (a->interfaces.rules.n_names > 0 || l->index == s->default_v4 || l->index == s->default_v6)
		return true;
	for (size_t k = 0; k < a->vips.n; k++)
		for (size_t i = 0; i < a->vips.v[k].n_at; i++)
			if (a->vips.v[k].at[i].ifindex == l->index)
				return true;
	return a->vips.n == 0; /* by subnet, and no VIP yet: any will do */
}

/* This node may hold when its data plane is up and an interface for VIPs has carrier.  That the kernel refuses a single
 * change is no reason: the next node's would, too, and the VIPs would wander for ever. */
static bool fit(const struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);

	if ((a->dataplane.on && !a->dataplane.up) || !store_synced(&a->store) || *gates_problem(&a->gates) ||
	    *guard_problem(&a->guard))
		return false;
	if (a->vips.routed)
		return true;
	for (size_t i = 0; i < s->n_links; i++)
		if (place_usable(&s->links[i]) && agent_carries_vips(a, s, &s->links[i]))
			return true;
	return false;
}

/* Groups that were this node's are re-adopted together, in a moment.  One that is not keeps the others' new gate waiting no
 * longer than that, and a stop not at all. */
static bool adopts_no_longer(const struct agent *a, mono_t now)
{
	return a->stop != STOP_NO || (a->led_at.ns && mono_reached(now, mono_add_ms(a->led_at, a->cfg->renew_ms)));
}

/* Elections whose time has come, and whether this node may hold.  True while some group's leftovers are left alone. */
static bool step_groups(struct agent *a, mono_t now)
{
	bool adopting = false, able = fit(a), settled = fence_settled(a);

	a->store.dirty |= agent_drop_groups(a);
	for (size_t i = 0; i < a->n_groups; i++) {
		struct group *g = a->groups[i];

		if (mono_reached(now, g->leader.wake_at))
			leader_tick(&g->leader, now);
		if (!leader_holds(&g->leader, now))
			leader_introduced(&g->leader, now, candidates_introduced(a->candidates, g->leader.seen.version));
		/* What it holds it gives up only once its gate obeys this process. */
		leader_fit(&g->leader, now, (able && g->able && g->place.placed) || (leader_holds(&g->leader, now) && !settled));
		if (g->adopting)
			group_adopt(g, now);
		adopting |= g->adopting;
		if (a->led_at.ns == 0 && leader_holds(&g->leader, now))
			a->led_at = now;
	}
	return adopting && !adopts_no_longer(a, now);
}

static bool holds_group(void *ctx, unsigned int number, const struct ip *ip)
{
	const struct group *g = agent_group(ctx, number, ip);

	return g && group_holds(g, mono_now());
}

static bool is_shut(void *ctx, const struct ip *ip)
{
	const struct agent *a = ctx;
	const struct vip *vip = vips_find(&a->vips, ip);

	return vip && vip->moving && !vip->live && fence_shut(a, vip);
}

/* The addresses of what this node answers for, or is about to, into a->addrs. */
static size_t wanted_addrs(struct agent *a, mono_t now)
{
	size_t n = 0;

	if (a->routed.on)
		return routed_addrs(a, a->addrs);
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *vip = &a->vips.v[i];

		for (size_t k = 0; k < vip->n_at && fence_wants_addr(a, vip, now); k++)
			a->addrs[n++] = (struct kernel_addr){ vip->ip, vip->at[k].ifindex };
	}
	return n;
}

/* Whether this node has the network segments of each group's VIPs. */
static void place_groups(struct agent *a, mono_t now)
{
	struct placement_seen seen[GROUPS_MAX + GROUPS_OWN_MAX] = { 0 };

	for (size_t i = 0; i < a->vips.n && !a->vips.routed; i++) {
		const struct vip *vip = &a->vips.v[i];

		if (vip->group < a->n_groups)
			placement_see(&seen[vip->group], vip->n_at > 0, vip_usable(vip), vip->published);
	}
	for (size_t i = 0; i < a->n_groups; i++) {
		struct group *g = a->groups[i];

		a->place_again |= placement_look(&g->place, &seen[i], g->number == 0, leader_holds(&g->leader, now));
	}
}

void agent_place(struct agent *a, mono_t now)
{
	bool moved;

	a->place_again = false;
	a->fence_again = true;
	a->publish.again = true; /* of why a VIP has no interface Services are told */
	moved = vips_place(&a->vips, link_watch_state(a->kernel.links), &a->interfaces.rules, now);
	own_record_links(a);
	place_groups(a, now);
	if (!moved)
		return;
	forwarding_again(&a->forwarding);
	sysctls_again(&a->sysctls);
	a->places_changed = true;
}

void agent_look_again(struct agent *a)
{
	a->look.again = true;
}

static mono_t step_addrs(struct agent *a, mono_t now, bool adopting)
{
	if (a->routed.on ? !a->planned : adopting || (agent_holds(a, now) && !a->planned))
		return MONO_NEVER;
	return kernel_sync_addrs(&a->kernel, now, a->addrs, wanted_addrs(a, now));
}

static bool must_look(const struct agent *a, mono_t now, bool adopting)
{
	const struct look *l = &a->look;

	return a->fence_again || mono_reached(now, l->at) || l->adopting != adopting || l->planned != a->planned || l->stop != a->stop ||
	       a->routed.on;
}

/* Addresses, gate and readiness of each VIP.  Who holds answers until a time that comes by itself. */
static mono_t look_at_vips(struct agent *a, mono_t now, bool adopting)
{
	struct look *l = &a->look;
	size_t n_live;

	if (!l->again)
		return l->at;
	a->metrics.vip_looks++;
	l->again = false;
	l->adopting = adopting;
	l->planned = a->planned;
	l->stop = a->stop;
	l->at = mono_add_ms(now, LOOK_MS);
	for (size_t i = 0; i < a->n_groups; i++)
		if (mono_before(now, a->groups[i]->gate.arp_until))
			l->at = mono_min(l->at, a->groups[i]->gate.arp_until);
	l->at = mono_min(l->at, step_addrs(a, now, adopting));
	n_live = vips_refresh_live(&a->vips, &a->kernel, fence_answers, a, now);
	announcer_again(&a->announcer);
	if (n_live > a->n_live)
		busiest_rank(a);
	a->publish.again |= n_live != a->n_live;
	a->n_live = n_live;
	return l->at;
}

static bool is_live(void *ctx, const struct ip *ip)
{
	const struct agent *a = ctx;

	return vips_is_live(&a->vips, ip) && dataplane_holds(&a->dataplane, ip);
}

/* While the kernel refuses something, what it took must do: one bad element is not to hold up the Service. */
static bool is_settled(void *ctx, const char *ns, const char *name)
{
	const struct agent *a = ctx;

	return dataplane_settled(&a->dataplane, ns, name);
}

static const char *refused(void *ctx, const struct ip *ip)
{
	static char why[256];
	const struct agent *a = ctx;
	const struct vip *vip = vips_find(&a->vips, ip);

	if (!vip || vip->why == PLACE_OK)
		return agent_refused(a, ip);
	return interfaces_refusal(link_watch_state(a->kernel.links), vip, why, sizeof(why));
}

/* Writes to the API what has become true.  Looking at all Services takes a while: only when something has changed. */
static mono_t step_publish(struct agent *a, mono_t now)
{
	const struct publish_view view = { .decisions = a->decisions, .choices = a->choices,
					   .allocator = holds_group(a, 0, NULL), .proxy = a->cfg->ip_mode == IP_MODE_PROXY,
					   .holds = holds_group, .live = is_live, .settled = is_settled, .shut = is_shut, .refused = refused, .ctx = a };
	unsigned int held = 0;

	for (size_t i = 0; i < a->n_groups; i++)
		held += group_holds(a->groups[i], now);
	a->publish.again |= held != a->n_held || a->n_moving > 0;
	a->n_held = held;
	if (!a->planned || !a->decisions || a->store.dirty)
		return MONO_NEVER;
	return publish_run(&a->publish, now, &view);
}

static mono_t step_control_plane(struct agent *a, mono_t now)
{
	const struct group *g;

	if (!control_plane_on(&a->control_plane))
		return MONO_NEVER;
	if (a->store.dirty || a->store.touched)
		control_plane_see(&a->control_plane, &a->store, now);
	g = agent_group(a, GROUPS_OWN, &a->cfg->control_vip);
	return control_plane_step(&a->control_plane, now, g && group_holds(g, now));
}

/* Once the next job has the slots without them; before, connections would only find them again. */
static void cut_hung(struct agent *a)
{
	struct ct_gone hung[HEALTH_SERVERS_MAX];

	if (!a->build_control)
		dataplane_dead(&a->dataplane, hung, control_plane_take_hung(&a->control_plane, hung));
}

static mono_t step(struct agent *a, mono_t now)
{
	bool adopting = step_groups(a, now);
	mono_t wake = adopting ? a->adopt_until : MONO_NEVER;

	wake = mono_min(wake, step_control_plane(a, now));
	wake = mono_min(wake, plan_step(a, now));
	cut_hung(a);
	now = mono_now(); /* planning takes a while, and the deadline may be over */
	wake = mono_min(wake, forwarding_step(a, now));
	wake = mono_min(wake, sysctls_step(a, now));
	a->nat_options.forward_mark = forwarding_mark(a);
	dataplane_options(&a->dataplane, &a->nat_options);
	wake = mono_min(wake, dataplane_sync(&a->dataplane, now));
	a->place_again |= interfaces_update(&a->interfaces, a->cfg, &a->own_node);
	if (a->place_again && a->planned) {
		bool before = a->places_changed;

		agent_place(a, now);
		if (a->places_changed && !before)
			wake = now; /* the data plane is to know, and was looked at above */
	}
	former_step(a, now);
	wake = mono_min(wake, routed_step(a, now));
	wake = mono_min(wake, rendezvous_step(a, now));
	wake = mono_min(wake, former_gate_step(a, now));
	a->look.again |= must_look(a, now, adopting);
	wake = mono_min(wake, fence_step(a, now, adopting));
	wake = mono_min(wake, look_at_vips(a, now, adopting));
	wake = mono_min(wake, conflicts_step(a, now));
	for (size_t i = 0; i < a->n_groups; i++)
		handover_step(a->groups[i], now);
	if (agent_holds(a, now)) {
		wake = mono_min(wake, announcer_step(&a->announcer, &a->vips, link_watch_state(a->kernel.links), now));
		wake = mono_min(wake, step_publish(a, now));
	}
	wake = mono_min(wake, own_record_step(a, now));
	wake = mono_min(wake, spreading_step(a, now));
	wake = mono_min(wake, stop_step(a, now));
	wake = mono_min(wake, services_step(a, now));
	wake = mono_min(wake, control_step(&a->control, now));
	wake = mono_min(wake, http_tick(a->http, now));
	wake = mono_min(wake, health_ports_step(&a->health_ports, now));
	for (size_t i = 0; i < a->n_groups; i++)
		wake = mono_min(wake, a->groups[i]->leader.wake_at);
	return wake;
}

/* After a suspend, or when this process stood still, what it believes of the Lease is old: withdraw first, ask later. */
static void look_at_clocks(struct agent *a)
{
	struct mono_clocks clocks = mono_clocks_now();
	enum pause_kind kind = pause_check(&a->pause, &clocks, a->next_wake);

	if (kind == PAUSE_NONE)
		return;
	a->metrics.pauses++;
	log_event(LOG_WARN, "pause", "this node or process stood still: its Leases are asked for anew",
		  log_str("what", pause_name(kind)));
	for (size_t i = 0; i < a->n_groups; i++)
		leader_doubt(&a->groups[i]->leader, clocks.boot);
	for (size_t i = 0; i < a->vips.n; i++)
		vips_announce_again(&a->vips.v[i], clocks.boot); /* neighbours may have forgotten them meanwhile */
	announcer_again(&a->announcer);
}

static int turn(struct agent *a)
{
	struct err_info err = ERR_INFO_INIT;
	mono_t now;
	int64_t late;

	while (a->stop != STOP_DONE) {
		now = mono_now();
		late = mono_is_never(a->next_wake) ? 0 : mono_diff_ms(now, a->next_wake);
		if (late > a->metrics.loop_late_max_ms)
			a->metrics.loop_late_max_ms = late;
		look_at_clocks(a);
		a->metrics.loop_turns++;
		a->next_wake = step(a, mono_now());
		if (a->stop == STOP_DONE)
			break;
		if (loop_wait(&a->loop, a->next_wake, &err) < 0) {
			log_event(LOG_ERROR, "loop_failed", "the event loop failed", log_str("error", err.text));
			return EXIT_FAILED;
		}
	}
	log_event(LOG_INFO, "stopped", "stopped");
	return EXIT_OK;
}

/* ---- end ---- */

static void agent_close(struct agent *a)
{
	http_free(a->http);
	health_ports_fini(&a->health_ports);
	worker_free(a->nat_worker); /* first: their jobs use the kernel's sockets */
	worker_free(a->addr_worker);
	traffic_fini(&a->traffic);
	former_fini(&a->former);
	for (size_t i = 0; i < a->n_groups; i++)
		group_free(a->groups[i]);
	lease_view_fini(&a->lease_view);
	candidates_free(a->candidates);
	own_node_fini(&a->own_node);
	publish_fini(&a->publish);
	store_fini(&a->store);
	kube_client_free(a->client);
	fence_close(a);
	rendezvous_fini(&a->rendezvous);
	routed_fini(&a->routed);
	vips_fini(&a->vips);
	announcer_fini(&a->announcer);
	dataplane_fini(&a->dataplane);
	kernel_fini(&a->kernel);
	control_fini(&a->control);
	free(a->plan_arena.base);
	free(a->build_arena.base);
	free(a->addrs);
	close_fdp(&a->signals.fd);
	loop_fini(&a->loop);
}

/* One arena for all threads (curl's resolver and the workers would have one each), and what a burst took is given back:
 * fixed thresholds, because glibc raises them with the first large block freed. */
static void lean_malloc(void)
{
	IGNORE(mallopt(M_ARENA_MAX, 1)); /* it costs memory only, if that fails */
	IGNORE(mallopt(M_MMAP_THRESHOLD, 128 * 1024));
	IGNORE(mallopt(M_TRIM_THRESHOLD, 128 * 1024));
}

int agent_run(const struct config *cfg)
{
	static struct agent agent; /* large, and one a process */
	struct err_info err = ERR_INFO_INIT;
	struct agent *a = &agent;
	int lock_fd = -1, code, r;

	*a = (struct agent){ .cfg = cfg, .next_wake = MONO_NEVER, .build_again = MONO_NEVER, .trim_at = MONO_NEVER, .signals = { .fd = -1 }, .loop = { -1, -1, MONO_NEVER },
			     .control = { .lock_fd = -1, .listener = { .fd = -1 } } };
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		a->control.clients[i].source.fd = -1;
	log_setup((enum log_level)cfg->log_level, (enum log_format)cfg->log_format);
	lean_malloc();
	r = control_lock(cfg->state_dir, &lock_fd, &err);
	code = r == -EWOULDBLOCK ? EXIT_RUNNING : EXIT_FAILED;
	if (r == 0)
		r = open_agent(a, lock_fd, &err);
	if (r < 0) {
		log_event(LOG_ERROR, "start_failed", "the agent cannot start", log_str("error", err.text));
	} else {
		log_event(LOG_INFO, "started", "leasehold agent started", log_str("version", version_text()),
			  log_str("node", cfg->node_name), log_str("identity", a->elect_cfg.identity),
			  log_int("lease_ms", cfg->lease_ms), log_int("renew_ms", cfg->renew_ms),
			  log_int("pools", (int64_t)cfg->pools.n));
		if (cfg->realtime)
			realtime_enter();
		code = turn(a);
	}
	agent_close(a);
	stop_finish(a);
	return code;
}
