/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c: the steps of an orderly end, each bounded in time. */
#include "agent/stop.h"

#include "agent/cleanup.h"
#include "agent/kube/object_json.h"

#define STOP_WITHDRAW_MS 1000
#define STOP_RELEASE_MS 3000
#define STOP_ASK_MS 1000

void stop_begin(struct agent *a, int signal)
{
	log_event(LOG_INFO, "stopping", "asked to stop: withdrawing, then releasing the Lease", log_int("signal", signal));
	a->stop = STOP_WITHDRAWING;
	a->stop_by = mono_add_ms(mono_now(), STOP_WITHDRAW_MS);
}

/* Refused counts as gone, too: an uninstall takes our rights away with the DaemonSet. */
static void on_daemonset(void *ctx, const struct kube_reply *rp)
{
	struct agent *a = ctx;
	bool deleting = false;

	if (rp->status == 200 && object_deleting_decode(rp->body, rp->len, &deleting) < 0)
		deleting = false; /* when in doubt, nothing is removed */
	a->uninstalled = deleting || rp->status == 404 || rp->status == 403 || rp->status == 401;
	a->stop = STOP_DONE;
}

/* A stop for an upgrade or a restart leaves the data plane to the next agent; one for an uninstall must not. */
void stop_released(struct agent *a)
{
	struct kube_request rq = { .method = KUBE_GET, .channel = KUBE_CHANNEL_LEASE, .timeout_ms = STOP_ASK_MS };
	struct buf path = BUF_INIT(1024);
	struct err_info err = ERR_INFO_INIT;

	if (a->stop == STOP_ASKING || a->stop == STOP_DONE)
		return; /* it took too long and was given up; this is its end */
	a->stop = STOP_DONE;
	if (!*a->cfg->daemonset)
		return;
	buf_printf(&path, "/apis/apps/v1/namespaces/%s/daemonsets/%s", a->cfg->ns, a->cfg->daemonset);
	rq.path = buf_text(&path);
	if (buf_failed(&path) == 0 && kube_request(a->client, &rq, on_daemonset, a, &err) == 0) {
		a->stop = STOP_ASKING;
		a->stop_by = mono_add_ms(mono_now(), 2 * STOP_ASK_MS);
	}
	buf_fini(&path);
}

mono_t stop_step(struct agent *a, mono_t now)
{
	if (a->stop == STOP_WITHDRAWING) {
		if ((a->kernel.addr_busy || a->n_live > 0) && !mono_reached(now, a->stop_by))
			return a->stop_by;
		if (a->n_live > 0) {
			/* The kernel would not: nobody is told to take over what this node still answers for. */
			log_event(LOG_WARN, "withdrawal_failed", "addresses could not be removed; they and the Lease will expire",
				  log_int("addresses", (int64_t)a->n_live));
			stop_released(a);
			return stop_step(a, now);
		}
		a->stop = STOP_RELEASING;
		a->stop_by = mono_add_ms(now, STOP_RELEASE_MS);
		leader_stop(&a->leader, now);
	}
	if (a->stop == STOP_RELEASING && mono_reached(now, a->stop_by)) {
		log_event(LOG_WARN, "release_failed", "the Lease could not be released; it will expire");
		stop_released(a);
	}
	if (a->stop == STOP_ASKING && mono_reached(now, a->stop_by))
		a->stop = STOP_DONE;
	return a->stop == STOP_RELEASING || a->stop == STOP_ASKING ? a->stop_by : MONO_NEVER;
}

void stop_finish(const struct agent *a)
{
	struct err_info err = ERR_INFO_INIT;
	unsigned int addrs = 0;

	if (!a->uninstalled)
		return;
	if (cleanup_kernel(&addrs, &err) < 0)
		log_event(LOG_ERROR, "cleanup_failed", "not everything could be removed; run leasehold cleanup",
			  log_str("error", err.text));
	else
		log_event(LOG_INFO, "cleaned_up", "the DaemonSet is gone: table and addresses were removed",
			  log_int("addresses", addrs));
}
