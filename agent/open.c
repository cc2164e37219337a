/* SPDX-License-Identifier: Apache-2.0 */
/* open.c: opens the agent's parts, in the order in which they need each other, and passes on what their sources tell. */
#include "agent/open.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/signalfd.h>

#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/core/wires.h"
#include "agent/fence.h"
#include "agent/own_record.h"
#include "agent/pages.h"
#include "agent/status_answer.h"
#include "agent/stop.h"

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

static void on_nat_worker(void *ctx, uint32_t events)
{
	struct agent *a = ctx;
	uint64_t before = a->guard.jobs + a->tables.lost;

	(void)events;
	worker_dispatch(a->nat_worker);
	if (a->guard.jobs + a->tables.lost != before) /* the data plane tells by itself */
		agent_look_again(a);
}

static void on_addr_worker(void *ctx, uint32_t events)
{
	struct agent *a = ctx;

	(void)events;
	worker_dispatch(a->addr_worker);
	agent_look_again(a);
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
	uint64_t wires;

	if (link_watch_dispatch(a->kernel.links, &changed, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "link_watch_failed", "interfaces could not be read; trying again",
			  log_str("error", err.text), log_int("left_out", left_out));
	if (changed) {
		wires = wires_digest(link_watch_state(a->kernel.links));
		a->place_again |= wires != a->wires;
		a->wires = wires;
	}
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
	struct agent *a = ctx;

	links_dispatch(a);
	agent_look_again(a);
	a->publish.again = true;
}

static void on_request_done(void *ctx, const char *verb, int code, int64_t ms)
{
	struct agent *a = ctx;

	(void)ms;
	metrics_request(&a->metrics, verb, code);
}

/* ---- start ---- */

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

/* 'source' has its callback. */
static int open_worker(struct agent *a, struct worker **ret, struct loop_source *source, struct err_info *err)
{
	int r = worker_new(ret, err);

	if (r < 0)
		return r;
	source->fd = worker_fd(*ret);
	source->ctx = a;
	return loop_add(&a->loop, source, EPOLLIN, err);
}

static int open_kernel(struct agent *a, struct err_info *err)
{
	struct kernel_config cfg = {
		.dataplane = &a->dataplane,
		.valid_s = (uint32_t)lease_seconds(config_longest_lease_ms(a->cfg)) + ADDR_GRACE_S,
		.gate = a->cfg->gate == GATE_ON && a->cfg->announce == ANNOUNCE_ARP,
		.changed = on_kernel_changed,
		.may_add = fence_may_add,
		.rank = busiest_rank_of,
		.ctx = a,
	};
	int r;

	a->nat_source.ready = on_nat_worker;
	a->addr_source.ready = on_addr_worker;
	r = open_worker(a, &a->nat_worker, &a->nat_source, err);
	if (r == 0)
		r = open_worker(a, &a->addr_worker, &a->addr_source, err);
	if (r < 0)
		return r;
	a->nat_options.unmatched = (uint8_t)a->cfg->unmatched;
	a->nat_options.counters = a->cfg->counters == COUNTERS_ON;
	a->nat_options.router = a->cfg->router;
	if (a->cfg->dataplane == DATAPLANE_NFT)
		dataplane_init(&a->dataplane, a->nat_worker, &a->loop, on_kernel_changed, a);
	cfg.addr_worker = a->addr_worker;
	r = kernel_init(&a->kernel, &cfg, err);
	if (r < 0)
		return r;
	a->link_source = (struct loop_source){ link_watch_fd(a->kernel.links), on_links, a };
	r = loop_add(&a->loop, &a->link_source, EPOLLIN, err);
	if (r < 0)
		return r;
	routed_init(&a->routed, a->cfg->announce == ANNOUNCE_BGP);
	vips_init(&a->vips, a->cfg->announce != ANNOUNCE_ARP, a->routed.on);
	return announcer_init(&a->announcer, (unsigned int)a->cfg->announce_rate, &a->metrics, a->elect_cfg.seed, err);
}

static int open_groups(struct agent *a, struct err_info *err)
{
	struct lease_view_config cfg = { .ns = a->cfg->ns, .duration_ms = a->cfg->lease_ms, .seed = a->elect_cfg.seed,
					 .ops = &candidates_view_ops };
	int r = own_record_open(a, err);

	cfg.ctx = a->candidates;
	if (r == 0)
		r = own_node_init(&a->own_node, a->client, a->cfg->node_name, a->elect_cfg.seed + GROUPS_MAX, err);
	own_node_ask(&a->own_node, &a->cfg->node_labels);
	if (r == 0)
		r = lease_view_init(&a->lease_view, a->client, &cfg, err);
	for (unsigned int i = 0; r == 0 && i < (unsigned int)a->cfg->groups; i++)
		r = agent_need_group(a, i, NULL) ? 0 : err_errno(err, -ENOMEM, "group %u", i);
	return r;
}

/* Ready endpoints of the Service on this node, of the family that has more: those that only terminate do not count, so that
 * who asks goes elsewhere before the last one ends (k8s.io/kubernetes/pkg/proxy/healthcheck/service_health.go). */
static unsigned int local_endpoints(void *ctx, const char *ns, const char *name)
{
	const struct agent *a = ctx;
	unsigned int four = 0, six = 0;
	size_t n;
	const struct store_slice *v = store_slices(&a->store, ns, name, &n);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < v[i].object->n_endpoints; k++)
			if (v[i].object->endpoints[k].ready && text_eq(v[i].object->endpoints[k].node, a->cfg->node_name))
				(*(v[i].object->family == IP_V4 ? &four : &six))++;
	return four > six ? four : six;
}

static int open_http(struct agent *a, struct err_info *err)
{
	static const struct http_ops ops = { .ready = pages_ready, .metrics = pages_metrics };
	struct ip_port listen;

	health_ports_init(&a->health_ports, &a->loop, local_endpoints, a);
	if (!*a->cfg->http_address)
		return 0;
	if (config_parse_listen(a->cfg->http_address, &listen) < 0)
		return err_set(err, -EINVAL, "http-address"); /* config_parse() has seen to it */
	return http_new(&a->loop, &listen, &ops, a, &a->http, err);
}

int open_agent(struct agent *a, int lock_fd, struct err_info *err)
{
	int r;

	a->started = mono_now();
	pause_init(&a->pause, elect_margin_ms(a->cfg->lease_ms), a->cfg->renew_ms);
	a->adopt_until = mono_add_ms(a->started, 2 * config_longest_lease_ms(a->cfg));
	r = make_identity(a, err);
	if (r == 0)
		r = loop_init(&a->loop, err);
	if (r == 0)
		r = open_signals(a, err);
	if (r == 0)
		r = control_init(&a->control, &a->loop, a->cfg->state_dir, lock_fd, &status_answer_ops, a, err);
	if (r == 0)
		r = open_kernel(a, err);
	if (r == 0)
		r = traffic_init(&a->traffic, &a->loop, a->dataplane.on, a->cfg->counters == COUNTERS_ON, err);
	if (r == 0)
		r = fence_open(a, err);
	if (r == 0)
		r = open_client(a, err);
	if (r == 0)
		control_plane_init(&a->control_plane, a->client,
				   &(struct ip_port){ a->cfg->control_vip, (uint16_t)a->cfg->vip_port });
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
