/* SPDX-License-Identifier: Apache-2.0 */
/* stop.c: the steps of an orderly end, each bounded in time. */
#include "agent/stop.h"

#include "agent/cleanup.h"
#include "agent/core/drain.h"
#include "agent/fence.h"
#include "agent/kube/object_json.h"

#define STOP_HAND_OVER_MS 4000
#define STOP_WITHDRAW_MS 1000
#define STOP_RELEASE_MS 3000
#define STOP_ASK_MS 1000

void stop_begin(struct agent *a, int signal)
{
	mono_t now = mono_now();

	log_event(LOG_INFO, "stopping", "asked to stop: handing over, then withdrawing, then releasing", log_int("signal", signal));
	a->stop = STOP_HANDING_OVER;
	a->stop_by = mono_add_ms(now, STOP_HAND_OVER_MS);
	for (size_t i = 0; i < a->n_groups; i++)
		if (handover_moving(&a->groups[i]->move))
			a->groups[i]->move.any = true; /* if the one asked for does not get ready, another may */
		else if (leader_holds(&a->groups[i]->leader, now))
			IGNORE(handover_begin(a->groups[i], now, "*", 0)); /* nobody there: withdrawn and released */
}

static bool handing_over(const struct agent *a)
{
	for (size_t i = 0; i < a->n_groups; i++)
		if (handover_moving(&a->groups[i]->move))
			return true;
	return false;
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

static bool holds_any(const struct agent *a, mono_t now)
{
	for (size_t i = 0; i < a->n_groups; i++)
		if (leader_holds(&a->groups[i]->leader, now))
			return true;
	return false;
}

/* What the groups' VIPs were here for is over; connections of routed ones need no Lease. */
static void release(struct agent *a, mono_t now)
{
	for (size_t i = 0; i < a->n_groups; i++)
		leader_stop(&a->groups[i]->leader, now);
}

static bool is_released(const struct agent *a)
{
	for (size_t i = 0; i < a->n_groups; i++)
		if (!a->groups[i]->leader.stopped)
			return false;
	return true;
}

static size_t addresses_up(const struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	size_t n = 0;

	for (size_t i = 0; i < s->n_addrs; i++)
		n += s->addrs[i].ours;
	return n;
}

/* No connection is handed back past the drain's own time. */
static mono_t drain_ends(const struct agent *a, mono_t now)
{
	const mono_t latest = mono_add_ms(now, a->cfg->drain_ms);

	return a->routed.drain.stage == DRAIN_NONE ? latest : mono_min(latest, a->routed.drain.over);
}

mono_t stop_step(struct agent *a, mono_t now)
{
	if (a->stop == STOP_HANDING_OVER) {
		if (handing_over(a) && !mono_reached(now, a->stop_by))
			return a->stop_by;
		a->stop = STOP_WITHDRAWING;
		a->stop_by = mono_add_ms(now, STOP_WITHDRAW_MS);
		for (size_t i = 0; i < a->n_groups; i++)
			fence_group(a, a->groups[i]);
		return now; /* the next step takes the addresses away */
	}
	if (a->stop == STOP_WITHDRAWING) {
		const struct drain_removal r = { .up = addresses_up(a), .under_way = a->kernel.addr_busy,
						 .open = holds_any(a, now) && !fence_settled(a), .gate = a->gates.gate != NULL,
						 .routed = a->routed.on, .late = mono_reached(now, a->stop_by) };
		enum drain_next next = drain_removed(&r);

		if (next == DRAIN_WAIT)
			return a->stop_by;
		if (r.up > 0)
			log_event(LOG_WARN, "withdrawal_failed", "addresses could not be removed; they will expire",
				  log_int("addresses", (int64_t)r.up));
		if (next == DRAIN_KEEP) {
			stop_released(a);
			return stop_step(a, now);
		}
		a->stop = STOP_DRAINING;
		a->stop_by = drain_ends(a, now);
		release(a, now);
	}
	if (a->stop == STOP_DRAINING) {
		mono_t wake = a->stop_by;

		if (!routed_drained(a, now, &wake) && !mono_reached(now, a->stop_by))
			return wake;
		a->stop = STOP_RELEASING;
		a->stop_by = mono_add_ms(now, STOP_RELEASE_MS);
		if (is_released(a))
			stop_released(a);
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
