/* SPDX-License-Identifier: Apache-2.0 */
/* agent.c: puts the parts together and turns the loop: drain sources, step what is due, carry out, sleep.
 *
 * Each step brings everything closer to what is wanted and is safe to repeat; no part calls another part's callback. */
#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>

#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/core/place.h"
#include "agent/fence.h"
#include "agent/forwarding.h"
#include "agent/own_record.h"
#include "agent/plan.h"
#include "agent/realtime.h"
#include "agent/spreading.h"
#include "agent/stop.h"
#include "agent/version.h"

#define ADDR_GRACE_S 2 /* beyond the Lease: a stalled worker must not expire a held VIP */

/* ---- sources ---- */

static void on_signal(void *ctx, uint32_t events)
{
	struct agent *a = ctx;
	struct signalfd_siginfo si;

	(void)events;
	if (read(a->signals.fd, &si, sizeof(si)) != (ssize_t)sizeof(si) || a->stop != STOP_NO)
		return;
	stop_begin(a, (int)si.ssi_signo);
}

static void on_worker(void *ctx, uint32_t events)
{
	(void)events;
	worker_dispatch(ctx);
}

static void on_client(void *ctx, uint32_t events)
{
	static struct log_limit limit;
	struct agent *a = ctx;
	struct err_info err = ERR_INFO_INIT;
	uint32_t left_out;

	(void)events;
	if (kube_client_dispatch(a->client, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_ERROR, "client_failed", "the API client failed", log_str("error", err.text),
			  log_int("left_out", left_out));
}

static void links_dispatch(struct agent *a)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	bool changed = false;
	uint32_t left_out;

	if (link_watch_dispatch(a->kernel.links, &changed, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "link_watch_failed", "interfaces could not be read; trying again",
			  log_str("error", err.text), log_int("left_out", left_out));
	a->place_again |= changed;
	a->fence_again |= changed;
}

static void on_links(void *ctx, uint32_t events)
{
	(void)events;
	links_dispatch(ctx);
}

/* A kernel job ended: its notifications are in the socket already, so look before comparing. */
static void on_kernel_changed(void *ctx)
{
	links_dispatch(ctx);
}

static void on_request_done(void *ctx, const char *verb, int code, int64_t ms)
{
	struct agent *a = ctx;

	(void)ms;
	metrics_request(&a->metrics, verb, code);
}

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
	const struct config *c = a->cfg;

	for (size_t k = 0; k < c->interfaces.n; k++)
		if (text_eq(l->name, c->interfaces.v[k]))
			return true;
	if (c->interfaces.n > 0)
		return false;
	if (l->index == s->default_v4 || l->index == s->default_v6)
		return true;
	for (size_t k = 0; k < a->vips.n; k++)
		if (a->vips.v[k].ifindex == l->index)
			return true;
	return a->vips.n == 0 && !l->loopback; /* by subnet, and no VIP yet: any will do */
}

/* This node may hold when its data plane is up and an interface for VIPs has carrier.  That the kernel refuses a single
 * change is no reason: the next node's would, too, and the VIPs would wander for ever. */
static bool fit(const struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);

	if ((a->kernel.use_nat && !a->kernel.nat_up) || !store_synced(&a->store) || *gates_problem(&a->gates) ||
	    *guard_problem(&a->guard))
		return false;
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
		leader_fit(&g->leader, now, (able && g->able && g->placed) || (leader_holds(&g->leader, now) && !settled));
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

	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *vip = &a->vips.v[i];

		if (vip->ifindex && fence_wants_addr(a, vip, now))
			a->addrs[n++] = (struct kernel_addr){ vip->ip, vip->ifindex };
	}
	return n;
}

/* Links, addresses or VIPs have changed: which interface carries which VIP. */
static void place(struct agent *a, mono_t now)
{
	const struct config *c = a->cfg;
	bool moved;

	a->place_again = false;
	a->fence_again = true;
	moved = vips_place(&a->vips, link_watch_state(a->kernel.links), (const char *const *)c->interfaces.v, c->interfaces.n, now);
	own_record_links(a);
	for (size_t i = 0; i < a->n_groups; i++)
		a->groups[i]->placed = true;
	for (size_t i = 0; i < a->vips.n; i++)
		if (a->vips.v[i].published && !a->vips.v[i].ifindex && a->vips.v[i].group < a->n_groups)
			a->groups[a->vips.v[i].group]->placed = false;
	if (!moved)
		return;
	forwarding_check(a);
	a->kernel.need_build = true; /* source NAT depends on the interfaces */
}

static mono_t step_addrs(struct agent *a, mono_t now, bool adopting)
{
	if (adopting || (agent_holds(a, now) && !a->planned))
		return MONO_NEVER;
	return kernel_sync_addrs(&a->kernel, now, a->addrs, wanted_addrs(a, now));
}

static bool is_live(void *ctx, const struct ip *ip)
{
	const struct agent *a = ctx;

	if (!vips_is_live(&a->vips, ip))
		return false;
	/* While the kernel refuses something, the VIPs it took must do: one bad element is not to hold up all Services. */
	return a->kernel.nat_as_wanted || (a->kernel.nat_failures > 0 && kernel_nat_holds(&a->kernel, ip));
}

static const char *refused(void *ctx, const struct ip *ip)
{
	return agent_refused(ctx, ip);
}

static mono_t step(struct agent *a, mono_t now)
{
	bool adopting = step_groups(a, now);
	mono_t wake = adopting ? a->adopt_until : MONO_NEVER;

	wake = mono_min(wake, plan_step(a, now));
	now = mono_now(); /* planning takes a while, and the deadline may be over */
	if (a->kernel.use_nat)
		wake = mono_min(wake, kernel_sync_nat(&a->kernel, now));
	if (a->place_again && a->planned)
		place(a, now);
	former_step(a, now);
	wake = mono_min(wake, fence_step(a, now, adopting));
	wake = mono_min(wake, step_addrs(a, now, adopting));
	a->n_live = vips_refresh_live(&a->vips, &a->kernel, fence_answers, a, now);
	for (size_t i = 0; i < a->n_groups; i++)
		handover_step(a->groups[i], now);
	if (agent_holds(a, now)) {
		wake = mono_min(wake, vips_announce(&a->vips, link_watch_state(a->kernel.links), now));
		if (a->planned && a->decisions && !a->store.dirty) {
			const struct publish_view view = { a->decisions, a->choices, holds_group(a, 0, NULL), holds_group,
							   is_live, is_shut, refused, a };

			wake = mono_min(wake, publish_run(&a->publish, now, &view));
		}
	}
	wake = mono_min(wake, own_record_step(a, now));
	wake = mono_min(wake, spreading_step(a, now));
	wake = mono_min(wake, stop_step(a, now));
	wake = mono_min(wake, http_tick(a->http, now));
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

/* ---- start ---- */

/* Leases held past their deadline. */
static unsigned int overtimes(const struct agent *a)
{
	unsigned int n = 0;

	for (size_t i = 0; i < a->n_groups; i++)
		n += a->groups[i]->leader.elect.over.on;
	return n;
}

static void metrics_page(void *ctx, struct buf *out)
{
	struct agent *a = ctx;
	const struct leader *first = &a->groups[0]->leader;
	mono_t now = mono_now();
	uint64_t frames[GATE_COUNT_N] = { 0 };
	const struct metrics_now m = {
		.gate_arp = gates_frames(&a->gates, frames)[GATE_COUNT_ARP],
		.gate_ip = frames[GATE_COUNT_IP],
		.gate_egress = frames[GATE_COUNT_EGRESS],
		.gate_redirected = frames[GATE_COUNT_REDIRECT],
		.tables_lost = a->tables.lost,
		.node = a->cfg->node_name,
		.vips_held = (unsigned int)a->n_live,
		.vips_wanted = (unsigned int)a->vips.n,
		.services = agent_services(a),
		.leading = agent_holds(a, now),
		.lease_age_s = first->renewed_at.ns ? (double)mono_diff_ms(now, first->renewed_at) / 1000 : -1,
		.synced = store_synced(&a->store),
		.as_wanted = a->kernel.nat_as_wanted,
		.gate = a->gates.gate != NULL,
		.gate_put_back = a->gates.put_back,
		.overtime = overtimes(a),
		.netlink_errors = a->kernel.netlink_errors,
		.nat_ops = a->kernel.nat_ops_applied,
		.addr_ops = a->kernel.addr_ops_applied,
		.bad_objects = a->store.bad_objects,
	};

	metrics_render(&a->metrics, &m, out);
}

static bool ready_page(void *ctx, struct buf *why)
{
	return agent_ready(ctx, why);
}

static void status_page(void *ctx, bool json, struct buf *out)
{
	struct agent *a = ctx;
	mono_t now = mono_now();

	a->plan_at = mono_min(a->plan_at, now); /* decisions belong to the store as it was when they were made */
	IGNORE(plan_step(a, now));		/* the next step asks again */
	status_render(a, json, out);
}

static int make_identity(struct agent *a, struct err_info *err)
{
	struct buf boot = BUF_INIT(64);
	uint64_t dice[2];
	int r = file_read("/proc/sys/kernel/random/boot_id", &boot, err);

	if (r == 0 && getrandom(dice, sizeof(dice), 0) != (ssize_t)sizeof(dice))
		r = err_errno(err, -errno, "getrandom");
	if (r == 0) {
		IGNORE(snprintf(a->elect_cfg.identity, sizeof(a->elect_cfg.identity), "%s_%.8s_%08x", a->cfg->node_name,
				buf_text(&boot), (unsigned int)dice[0])); /* a node name has 253 characters at most */
		a->elect_cfg.seed = dice[1];
	}
	a->elect_cfg.duration_ms = a->cfg->lease_ms;
	a->elect_cfg.renew_ms = a->cfg->renew_ms;
	a->elect_cfg.delay_ms = a->cfg->rank * a->cfg->renew_ms;
	a->elect_cfg.policy = a->cfg->on_api_loss == API_LOSS_HOLD ? LEASE_HOLD : LEASE_FENCE;
	a->prng.state = dice[1] + 1;
	buf_fini(&boot);
	return r;
}

static int open_signals(struct agent *a, struct err_info *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return err_errno(err, -errno, "signals");
	a->signals = (struct loop_source){ signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), on_signal, a };
	if (a->signals.fd < 0)
		return err_errno(err, -errno, "signalfd");
	return loop_add(&a->loop, &a->signals, EPOLLIN, err);
}

static int open_client(struct agent *a, struct err_info *err)
{
	struct kube_client_config cfg = {
		.servers = (const char *const *)a->cfg->api_servers.v,
		.n_servers = a->cfg->api_servers.n,
		.user_agent = "leasehold",
		.on_done = on_request_done,
		.ctx = a,
	};
	struct kube_auth *auth = NULL;
	int r;

	if (*a->cfg->kubeconfig)
		r = kube_auth_from_kubeconfig(a->cfg->kubeconfig, &auth, err);
	else
		r = kube_auth_in_cluster(NULL, getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"), &auth, err);
	if (r < 0)
		return r;
	r = kube_client_new(auth, &cfg, &a->client, err);
	if (r < 0) {
		kube_auth_free(auth);
		return r;
	}
	a->client_source = (struct loop_source){ kube_client_fd(a->client), on_client, a };
	return loop_add(&a->loop, &a->client_source, EPOLLIN, err);
}

static int open_worker(struct agent *a, struct worker **ret, struct loop_source *source, struct err_info *err)
{
	int r = worker_new(ret, err);

	if (r < 0)
		return r;
	*source = (struct loop_source){ worker_fd(*ret), on_worker, *ret };
	return loop_add(&a->loop, source, EPOLLIN, err);
}

static int open_kernel(struct agent *a, struct err_info *err)
{
	struct kernel_config cfg = {
		.use_nat = a->cfg->dataplane == DATAPLANE_NFT,
		.valid_s = (uint32_t)lease_seconds(a->cfg->lease_ms) + ADDR_GRACE_S,
		.changed = on_kernel_changed,
		.may_add = fence_may_add,
		.ctx = a,
	};
	int r = open_worker(a, &a->nat_worker, &a->nat_source, err);

	if (r == 0)
		r = open_worker(a, &a->addr_worker, &a->addr_source, err);
	if (r < 0)
		return r;
	cfg.nat_worker = a->nat_worker;
	cfg.addr_worker = a->addr_worker;
	r = kernel_init(&a->kernel, &cfg, err);
	if (r < 0)
		return r;
	a->link_source = (struct loop_source){ link_watch_fd(a->kernel.links), on_links, a };
	r = loop_add(&a->loop, &a->link_source, EPOLLIN, err);
	if (r < 0)
		return r;
	return vips_init(&a->vips, &a->metrics, a->elect_cfg.seed, err);
}

static int open_groups(struct agent *a, struct err_info *err)
{
	struct lease_view_config cfg = { .ns = a->cfg->ns, .duration_ms = a->cfg->lease_ms, .seed = a->elect_cfg.seed,
					 .ops = &candidates_view_ops };
	int r = own_record_open(a, err);

	cfg.ctx = a->candidates;
	if (r == 0)
		r = own_node_init(&a->own_node, a->client, a->cfg->node_name, a->elect_cfg.seed + GROUPS_MAX, err);
	if (r == 0)
		r = lease_view_init(&a->lease_view, a->client, &cfg, err);
	for (unsigned int i = 0; r == 0 && i < (unsigned int)a->cfg->groups; i++)
		r = agent_need_group(a, i, NULL) ? 0 : err_errno(err, -ENOMEM, "group %u", i);
	return r;
}

static int open_http(struct agent *a, struct err_info *err)
{
	static const struct http_ops ops = { ready_page, metrics_page };
	struct ip_port listen;

	if (!*a->cfg->http_address)
		return 0;
	if (config_parse_listen(a->cfg->http_address, &listen) < 0)
		return err_set(err, -EINVAL, "http-address"); /* config_parse() has seen to it */
	return http_new(&a->loop, &listen, &ops, a, &a->http, err);
}

static int agent_open(struct agent *a, int lock_fd, struct err_info *err)
{
	int r;

	a->started = mono_now();
	pause_init(&a->pause, elect_margin_ms(a->cfg->lease_ms), a->cfg->renew_ms);
	a->adopt_until = mono_add_ms(a->started, 2 * a->cfg->lease_ms);
	r = make_identity(a, err);
	if (r == 0)
		r = loop_init(&a->loop, err);
	if (r == 0)
		r = open_signals(a, err);
	if (r == 0)
		r = control_init(&a->control, &a->loop, a->cfg->state_dir, lock_fd, status_page, a, err);
	if (r == 0)
		r = open_kernel(a, err);
	if (r == 0)
		r = fence_open(a, err);
	if (r == 0)
		r = open_client(a, err);
	if (r == 0)
		r = store_init(&a->store, a->client, a->elect_cfg.seed, err);
	if (r == 0)
		r = open_groups(a, err);
	if (r == 0)
		r = open_http(a, err);
	if (r < 0)
		return r;
	publish_init(&a->publish, a->client, &a->store, &a->metrics, a->cfg->node_name, a->elect_cfg.identity);
	return 0;
}

static void agent_close(struct agent *a)
{
	http_free(a->http);
	worker_free(a->nat_worker); /* first: their jobs use the kernel's sockets */
	worker_free(a->addr_worker);
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
	vips_fini(&a->vips);
	kernel_fini(&a->kernel);
	control_fini(&a->control);
	free(a->plan_arena.base);
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

	*a = (struct agent){ .cfg = cfg, .next_wake = MONO_NEVER, .signals = { .fd = -1 }, .loop = { -1, -1, MONO_NEVER },
			     .control = { .lock_fd = -1, .listener = { .fd = -1 } } };
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		a->control.clients[i].source.fd = -1;
	log_setup((enum log_level)cfg->log_level, (enum log_format)cfg->log_format);
	lean_malloc();
	r = control_lock(cfg->state_dir, &lock_fd, &err);
	code = r == -EWOULDBLOCK ? EXIT_RUNNING : EXIT_FAILED;
	if (r == 0)
		r = agent_open(a, lock_fd, &err);
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
