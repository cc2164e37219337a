/* SPDX-License-Identifier: Apache-2.0 */
/* leader.c: the election's hands.  Replies and watch events become election events; actions become requests. */
#include "agent/leader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define LEASE_SILENCE_MIN_MS (INT64_C(10) * 1000)
#define LEASE_BYTES_MAX KUBE_OBJECT_MAX /* others may keep what they like in it */

/* A write or read under way; freed by its reply, or with the leader. */
struct leader_call {
	struct leader *l;
	struct leader_call *next;
	uint32_t write_id; /* 0: a read */
};

static void leader_step(struct leader *l, const struct elect_event *ev);

/* What fails for as long as the API is away: a line in 5 s for each kind of trouble, which has its own 'limit'. */
static void warn(const struct leader *l, struct log_limit *limit, const char *event, const char *msg,
		 const struct kube_reply *rp, const char *error)
{
	uint32_t left_out;

	if (log_limit(limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, event, msg, log_str("lease", l->name), log_int("status", rp ? rp->status : 200),
			  log_str("error", error), log_str("server", rp ? rp->server : ""), log_int("left_out", left_out));
}

static int64_t wall_us(void)
{
	struct timespec ts = { 0 };

	IGNORE(clock_gettime(CLOCK_REALTIME, &ts)); /* cannot fail for this clock */
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void note_holder(struct leader *l, const char *to)
{
	if (!l->seen_any || !text_eq(l->seen.holder, to))
		l->ops->holder(l->ctx, l->seen_any ? l->seen.holder : "", to);
}

/* A Lease without a version is none to act on: a PUT without one would be unconditional, and two could win. */
static int leader_decode(const char *json, size_t len, struct kube_lease *ret, struct err_info *err)
{
	int r = lease_decode(json, len, ret, err);

	return r == 0 && !*ret->version ? err_set(err, -EINVAL, "metadata.resourceVersion: missing") : r;
}

/* The Lease as the API shows it now. */
static void leader_see(struct leader *l, const char *json, size_t len)
{
	static struct log_limit limit;
	struct elect_event ev = { .kind = ELECT_EV_SEEN, .now = mono_now() };
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease seen;

	if (leader_decode(json, len, &seen, &err) < 0) {
		warn(l, &limit, "lease_unreadable", "the Lease could not be read", NULL, err.text);
		return;
	}
	buf_reset(&l->keep);
	buf_append(&l->keep, json, len);
	note_holder(l, seen.holder);
	l->seen = seen;
	l->seen_any = true;
	IGNORE(text_copy(ev.record.holder, sizeof(ev.record.holder), seen.holder));  /* same size in the codec */
	IGNORE(text_copy(ev.version, sizeof(ev.version), seen.version)); /* likewise */
	ev.record.duration_ms = lease_duration_ms(seen.seconds, seen.annotation_ms);
	ev.record.transitions = seen.transitions;
	leader_step(l, &ev);
}

static void leader_absent(struct leader *l)
{
	struct elect_event ev = { .kind = ELECT_EV_ABSENT, .now = mono_now() };

	buf_reset(&l->keep);
	note_holder(l, "");
	memset(&l->seen, 0, sizeof(l->seen));
	l->seen_any = true;
	leader_step(l, &ev);
}

static void leader_view(struct leader *l)
{
	struct elect_event ev = { .kind = ELECT_EV_VIEW, .now = mono_now(), .fresh = l->view_live && l->synced };

	if (ev.fresh != l->elect.fresh)
		leader_step(l, &ev);
}

static void on_begin(void *ctx)
{
	struct leader *l = ctx;

	l->view_found = false;
}

static void on_put(void *ctx, const char *json, size_t len)
{
	struct leader *l = ctx;

	l->view_found = true;
	leader_see(l, json, len);
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	(void)json;
	(void)len;
	leader_absent(ctx);
}

static void on_synced(void *ctx)
{
	struct leader *l = ctx;

	l->synced = true;
	if (!l->view_found)
		leader_absent(l);
	leader_view(l);
}

static void on_live(void *ctx, bool live, const char *why)
{
	struct leader *l = ctx;

	log_event(LOG_DEBUG, "lease_view", live ? "the Lease is in view" : "the view of the Lease is in doubt",
		  log_str("lease", l->name), log_str("why", why));
	l->view_live = live;
	leader_view(l);
}

static void on_problem(void *ctx, const struct err_info *err)
{
	static struct log_limit limit;
	struct leader *l = ctx;
	uint32_t left_out;

	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "lease_watch_problem", "watching the Lease failed; trying again",
			  log_str("lease", l->name), log_str("error", err->text), log_int("left_out", left_out));
}

static void on_written(struct leader *l, uint32_t write_id, const struct kube_reply *rp)
{
	static struct log_limit unreadable, failed;
	struct elect_event ev = { .now = mono_now(), .write_id = write_id };
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease now;

	if (rp->status == 200 || rp->status == 201) {
		if (leader_decode(rp->body, rp->len, &now, &err) == 0) {
			ev.kind = ELECT_EV_WRITE_OK;
			IGNORE(text_copy(ev.version, sizeof(ev.version), now.version)); /* same size in the codec */
			l->renewed_at = rp->sent;
			note_holder(l, now.holder);
			l->seen = now;
			l->seen_any = true;
			buf_reset(&l->keep);
			buf_append(&l->keep, rp->body, rp->len);
			l->ops->renewed(l->ctx, mono_diff_ms(ev.now, rp->sent));
		} else {
			ev.kind = ELECT_EV_WRITE_FAILED;
			warn(l, &unreadable, "lease_unreadable", "the reply to a Lease write could not be read", rp, err.text);
		}
	} else if (rp->status == 409 || rp->status == 404) {
		ev.kind = ELECT_EV_WRITE_CONFLICT;
		log_event(LOG_INFO, "lease_conflict", "someone else wrote the Lease first", log_str("lease", l->name));
	} else {
		ev.kind = ELECT_EV_WRITE_FAILED;
		warn(l, &failed, "lease_write_failed", "writing the Lease failed", rp, rp->err.text);
	}
	leader_step(l, &ev);
}

static void forget_call(struct leader_call *call)
{
	for (struct leader_call **p = &call->l->calls; *p; p = &(*p)->next) {
		if (*p == call) {
			*p = call->next;
			break;
		}
	}
	free(call);
}

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	static struct log_limit limit;
	struct leader_call *call = ctx;
	struct leader *l = call->l;
	uint32_t write_id = call->write_id;

	forget_call(call);
	if (write_id)
		on_written(l, write_id, rp);
	else if (rp->status == 200)
		leader_see(l, rp->body, rp->len);
	else if (rp->status == 404)
		leader_absent(l);
	else
		warn(l, &limit, "lease_read_failed", "reading the Lease failed", rp, rp->err.text);
}

/* Starts a request; a failure to start is a failed write.  A request without a path could not be built. */
static void leader_call(struct leader *l, struct kube_request *rq, uint32_t write_id)
{
	static struct log_limit limit;
	struct elect_event ev = { .kind = ELECT_EV_WRITE_FAILED, .now = mono_now(), .write_id = write_id };
	struct leader_call *call = calloc(1, sizeof(*call));
	struct err_info err = ERR_INFO_INIT;
	int r = -ENOMEM;

	rq->channel = KUBE_CHANNEL_LEASE;
	if (call && rq->path) {
		*call = (struct leader_call){ .l = l, .next = l->calls, .write_id = write_id };
		l->calls = call;
		r = kube_request(l->client, rq, on_reply, call, &err);
	}
	if (r == 0)
		return;
	if (call && rq->path)
		forget_call(call);
	else
		free(call);
	warn(l, &limit, "lease_request_failed", "a request for the Lease could not be started", NULL,
	     *err.text ? err.text : strerror(-r));
	if (write_id)
		leader_step(l, &ev);
}

static void leader_write(struct leader *l, const struct elect_action *a)
{
	struct kube_lease out = { .transitions = a->record.transitions, .annotation_ms = a->record.duration_ms };
	struct kube_request rq = { .content_type = "application/json", .timeout_ms = a->timeout_ms };
	bool create = a->kind == ELECT_DO_CREATE;
	struct buf body = BUF_INIT(LEASE_BYTES_MAX), path = BUF_INIT(1024);
	int r;

	out.seconds = lease_seconds(a->record.duration_ms);
	IGNORE(text_copy(out.name, sizeof(out.name), l->name));		     /* bounded by leader_init() */
	IGNORE(text_copy(out.holder, sizeof(out.holder), a->record.holder)); /* same size in the codec */
	if (!create) {
		IGNORE(text_copy(out.version, sizeof(out.version), a->version)); /* likewise */
		/* Without the uid a PUT would make a deleted Lease again, whatever its version says. */
		IGNORE(text_copy(out.uid, sizeof(out.uid), l->seen.uid)); /* likewise */
	}
	if (!text_eq(l->seen.holder, a->record.holder))
		l->acquire_us = wall_us();
	r = lease_encode(&out, l->ns, l->acquire_us, wall_us(), l->keep.len && !create ? buf_text(&l->keep) : NULL, &body);
	buf_printf(&path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases", l->ns);
	if (!create)
		buf_printf(&path, "/%s", l->name);
	rq.method = create ? KUBE_POST : KUBE_PUT;
	rq.path = r < 0 || buf_failed(&body) || buf_failed(&path) ? NULL : buf_text(&path);
	rq.body = buf_text(&body);
	leader_call(l, &rq, a->write_id);
	buf_fini(&body);
	buf_fini(&path);
}

static void leader_get(struct leader *l, int64_t timeout_ms)
{
	struct kube_request rq = { .method = KUBE_GET, .timeout_ms = timeout_ms };
	struct buf path = BUF_INIT(1024);

	buf_printf(&path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", l->ns, l->name);
	rq.path = buf_text(&path);
	leader_call(l, &rq, 0);
	buf_fini(&path);
}

static void leader_act(struct leader *l, const struct elect_action *a)
{
	switch (a->kind) {
	case ELECT_DO_CREATE:
	case ELECT_DO_UPDATE:
		leader_write(l, a);
		break;
	case ELECT_DO_GET:
		leader_get(l, a->timeout_ms);
		break;
	case ELECT_DO_LEAD:
		l->ops->lead(l->ctx, a->why);
		break;
	case ELECT_DO_HOLD:
		break; /* the deadline is in the machine's state, where leader_holds() reads it */
	case ELECT_DO_FOLLOW:
		l->ops->follow(l->ctx, a->why);
		break;
	case ELECT_DO_STOPPED:
		l->ops->stopped(l->ctx);
		break;
	}
}

static void leader_step(struct leader *l, const struct elect_event *ev)
{
	enum elect_state before = l->elect.state;
	struct elect_actions acts;

	elect_step(&l->elect, ev, &acts);
	l->wake_at = acts.wake_at;
	if (l->elect.state != before)
		log_event(LOG_DEBUG, "election", "the election's state changed",
			  log_str("from", elect_state_name(before)), log_str("to", elect_state_name(l->elect.state)));
	for (unsigned int i = 0; i < acts.n; i++)
		leader_act(l, &acts.v[i]);
}

int leader_init(struct leader *l, struct kube_client *client, const struct elect_config *cfg, const char *ns,
		const char *name, const struct leader_ops *ops, void *ctx, struct err_info *err)
{
	static const struct kube_watch_ops watch_ops = { on_begin, on_put, on_gone, on_synced, on_live, on_problem };
	char selector[320];
	struct kube_watch_config watch = {
		.field_selector = selector,
		.channel = KUBE_CHANNEL_LEASE,
		.seed = cfg->seed,
		/* A live holder writes several times a duration.  Well above the duration: cutting a silent watch
		 * restarts the expiry of a dead holder's record. */
		.silence_ms = cfg->duration_ms * 3 > LEASE_SILENCE_MIN_MS ? cfg->duration_ms * 3 : LEASE_SILENCE_MIN_MS,
	};
	char path[320];

	memset(l, 0, sizeof(*l));
	l->client = client;
	l->ops = ops;
	l->ctx = ctx;
	l->keep = (struct buf)BUF_INIT(LEASE_BYTES_MAX);
	l->ns = strdup(ns);
	l->name = strdup(name);
	if (!l->ns || !l->name)
		return err_errno(err, -ENOMEM, "lease");
	elect_init(&l->elect, cfg);
	l->wake_at = MONO_NEVER;
	IGNORE(snprintf(selector, sizeof(selector), "metadata.name=%s", name));			       /* names are bounded */
	IGNORE(snprintf(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases", ns)); /* likewise */
	watch.path = path;
	return kube_watch_new(client, &watch, &watch_ops, l, &l->watch, err);
}

void leader_fini(struct leader *l)
{
	kube_watch_free(l->watch);
	while (l->calls)
		forget_call(l->calls);
	buf_fini(&l->keep);
	free(l->ns);
	free(l->name);
	memset(l, 0, sizeof(*l));
}

void leader_tick(struct leader *l, mono_t now)
{
	struct elect_event ev = { .kind = ELECT_EV_TICK, .now = now };

	leader_step(l, &ev);
}

void leader_fit(struct leader *l, mono_t now, bool fit)
{
	struct elect_event ev = { .kind = ELECT_EV_FIT, .now = now, .fit = fit };

	if (fit != l->elect.fit)
		leader_step(l, &ev);
}

void leader_stop(struct leader *l, mono_t now)
{
	struct elect_event ev = { .kind = ELECT_EV_STOP, .now = now };

	leader_step(l, &ev);
}
