/* SPDX-License-Identifier: Apache-2.0 */
/* leader.c: the election's hands.  Replies and what the view shows become election events; actions become requests. */
#include "agent/leader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define LEASE_BODY_MAX (2 * 1024 * 1024) /* others may keep what they like in it */
#define LOOK_MS 1000			 /* one reading of a Lease that the view cannot tell of; and the next */
#define LEASE_BODY_ROOM 4096		 /* what ours take, with room for others'; asked for at the start */
#define LEASE_PATH_MAX 1024

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

/* ---- what is learnt ---- */

static void note_holder(struct leader *l, const char *to)
{
	if (!l->seen_any || !text_eq(l->seen.holder, to))
		l->ops->holder(l->ctx, l->seen_any ? l->seen.holder : "", to);
}

/* Takes over a Lease as read, and what others keep in it. */
static void take(struct leader *l, const struct kube_lease *seen, struct lease_keep *keep)
{
	const struct lease_keep old = l->keep;

	l->keep = *keep;
	*keep = old;
	note_holder(l, seen->holder);
	l->seen = *seen;
	l->seen_any = true;
}

static enum lease_stage stage_of(enum kube_lease_stage stage)
{
	switch (stage) {
	case KUBE_LEASE_PREPARE:
		return LEASE_STAGE_PREPARE;
	case KUBE_LEASE_CLAIM:
		return LEASE_STAGE_CLAIM;
	case KUBE_LEASE_STAYS:
		break;
	}
	return LEASE_STAGE_NONE;
}

/* A request for a move goes to the owner once, after the step that made it known. */
static void pass_request_on(struct leader *l)
{
	const struct kube_lease_request *q = &l->seen.request;

	if (q->number == 0 || q->number == l->asked || q->number == l->seen.result.number || q->number == l->result.number)
		return;
	l->asked = q->number;
	l->ops->asked(l->ctx, q->number, q->node);
}

/* A view that lags may show what was before our own last write: of no use for the next one. */
static bool lags(const struct leader *l, const struct kube_lease *seen)
{
	return l->elect.state == ELECT_LEADING && text_eq(seen->uid, l->seen.uid) &&
	       lease_version_older(seen->version, l->seen.version);
}

void leader_see(struct leader *l, const struct kube_lease *seen, struct lease_keep *keep)
{
	static struct log_limit limit;
	struct elect_event ev = { .kind = ELECT_EV_SEEN, .now = mono_now() };

	if (!*seen->version) {
		/* None to act on: a PUT without a version would be unconditional, and two could win. */
		warn(l, &limit, "lease_unreadable", "the Lease could not be read", NULL, "metadata.resourceVersion: missing");
		return;
	}
	if (!lags(l, seen))
		take(l, seen, keep);
	IGNORE(text_copy(ev.record.holder, sizeof(ev.record.holder), seen->holder)); /* same size in the codec */
	IGNORE(text_copy(ev.version, sizeof(ev.version), seen->version)); /* likewise */
	ev.record.duration_ms = lease_duration_ms(seen->seconds, seen->annotation_ms);
	ev.record.transitions = seen->transitions;
	ev.record.policy = seen->hold ? LEASE_HOLD : LEASE_FENCE;
	ev.record.stage = stage_of(seen->move.stage);
	if (ev.record.stage != LEASE_STAGE_NONE) {
		ev.record.handover = seen->move.number;
		IGNORE(text_copy(ev.record.successor, sizeof(ev.record.successor), seen->move.successor)); /* likewise */
	}
	leader_step(l, &ev);
	pass_request_on(l);
}

void leader_absent(struct leader *l)
{
	struct elect_event ev = { .kind = ELECT_EV_ABSENT, .now = mono_now() };

	lease_keep_reset(&l->keep);
	note_holder(l, "");
	memset(&l->seen, 0, sizeof(l->seen));
	l->seen_any = true;
	leader_step(l, &ev);
}

void leader_view(struct leader *l)
{
	struct elect_event ev = { .kind = ELECT_EV_VIEW, .now = mono_now(), .fresh = l->view_live && l->synced };

	if (ev.fresh != l->elect.fresh)
		leader_step(l, &ev);
}

/* ---- requests ---- */

static void on_written(struct leader *l, uint32_t write_id, const struct kube_reply *rp)
{
	static struct log_limit unreadable, failed;
	struct elect_event ev = { .now = mono_now(), .write_id = write_id };
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease now;

	if (rp->status == 200 || rp->status == 201) {
		if (lease_decode(rp->body, rp->len, &now, &l->spare, &err) == 0 && *now.version) {
			ev.kind = ELECT_EV_WRITE_OK;
			IGNORE(text_copy(ev.version, sizeof(ev.version), now.version)); /* same size in the codec */
			l->renewed_at = rp->sent;
			take(l, &now, &l->spare);
			if (now.result.number == l->result.number)
				l->result.number = 0; /* it stands there */
			l->ops->renewed(l->ctx, mono_diff_ms(ev.now, rp->sent));
		} else {
			ev.kind = ELECT_EV_WRITE_FAILED;
			warn(l, &unreadable, "lease_unreadable", "the reply to a Lease write could not be read", rp,
			     *err.text ? err.text : "metadata.resourceVersion: missing");
		}
	} else if (rp->status == 409 || rp->status == 404) {
		ev.kind = ELECT_EV_WRITE_CONFLICT;
		log_event(LOG_INFO, "lease_conflict", "someone else wrote the Lease first", log_str("lease", l->name));
	} else {
		ev.kind = ELECT_EV_WRITE_FAILED;
		warn(l, &failed, "lease_write_failed", "writing the Lease failed", rp, rp->err.text);
	}
	leader_step(l, &ev);
	if (ev.kind == ELECT_EV_WRITE_OK)
		pass_request_on(l);
}

static void on_read(struct leader *l, const struct kube_reply *rp)
{
	static struct log_limit unreadable, failed;
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease seen;

	if (rp->status == 404) {
		leader_absent(l);
	} else if (rp->status != 200) {
		warn(l, &failed, "lease_read_failed", "reading the Lease failed", rp, rp->err.text);
		return;
	} else if (lease_decode(rp->body, rp->len, &seen, &l->spare, &err) < 0) {
		warn(l, &unreadable, "lease_unreadable", "the Lease could not be read", rp, err.text);
		return;
	} else {
		leader_see(l, &seen, &l->spare);
	}
	if (!mono_is_never(l->look_at)) {
		l->look_at = MONO_NEVER;
		l->synced = true;
		leader_view(l);
	}
}

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	struct leader_call *call = ctx;
	uint32_t write_id = call->write_id;

	call->busy = false;
	if (write_id)
		on_written(call->l, write_id, rp);
	else
		on_read(call->l, rp);
}

static struct leader_call *free_call(struct leader *l)
{
	for (size_t i = 0; i < LEADER_CALLS; i++)
		if (!l->calls[i].busy)
			return &l->calls[i];
	return NULL;
}

/* Starts a request of l->path and l->body; a failure to start is a failed write. */
static void start_call(struct leader *l, struct kube_request *rq, uint32_t write_id)
{
	static struct log_limit limit;
	struct elect_event ev = { .kind = ELECT_EV_WRITE_FAILED, .now = mono_now(), .write_id = write_id };
	struct leader_call *call = free_call(l);
	struct err_info err = ERR_INFO_INIT;
	int r = buf_failed(&l->path) < 0 ? buf_failed(&l->path) : write_id ? buf_failed(&l->body) : 0;

	rq->channel = KUBE_CHANNEL_LEASE;
	rq->path = buf_text(&l->path);
	if (r == 0 && !call)
		r = -EBUSY;
	if (r == 0)
		r = kube_request(l->client, rq, on_reply, call, &err);
	if (r == 0) {
		call->busy = true;
		call->write_id = write_id;
		return;
	}
	warn(l, &limit, "lease_request_failed", "a request for the Lease could not be started", NULL,
	     *err.text ? err.text : strerror(-r));
	if (write_id)
		leader_step(l, &ev);
}

static void put_path(struct leader *l, bool with_name)
{
	buf_reset(&l->path);
	buf_printf(&l->path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases%s%s", l->ns, with_name ? "/" : "",
		   with_name ? l->name : "");
}

/* The move, as record and last reading have it.  A request that has its answer goes. */
static void put_move(const struct leader *l, const struct lease_record *record, struct kube_lease *out)
{
	if (record->stage != LEASE_STAGE_NONE) {
		out->move.stage = record->stage == LEASE_STAGE_CLAIM ? KUBE_LEASE_CLAIM : KUBE_LEASE_PREPARE;
		out->move.number = record->handover;
		IGNORE(text_copy(out->move.successor, sizeof(out->move.successor), record->successor)); /* same size */
	}
	out->result = l->result.number ? l->result : l->seen.result;
	/* Whoever takes over has granted what was asked of another. */
	if (l->seen.request.number != out->result.number && text_eq(record->holder, l->seen.holder))
		out->request = l->seen.request;
}

static void leader_write(struct leader *l, const struct elect_action *a)
{
	struct kube_lease out = { .transitions = a->record.transitions, .annotation_ms = a->record.duration_ms,
				  .hold = a->record.policy == LEASE_HOLD };
	struct kube_request rq = { .content_type = "application/json", .timeout_ms = a->timeout_ms };
	bool create = a->kind == ELECT_DO_CREATE;
	struct lease_times times;

	out.seconds = lease_seconds(a->record.duration_ms);
	IGNORE(text_copy(out.name, sizeof(out.name), l->name));		     /* bounded by leader_init() */
	IGNORE(text_copy(out.holder, sizeof(out.holder), a->record.holder)); /* same size in the codec */
	if (!create) {
		IGNORE(text_copy(out.version, sizeof(out.version), a->version)); /* likewise */
		/* Without the uid a PUT would make a deleted Lease again, whatever its version says. */
		IGNORE(text_copy(out.uid, sizeof(out.uid), l->seen.uid)); /* likewise */
	}
	put_move(l, &a->record, &out);
	if (!text_eq(l->seen.holder, a->record.holder))
		l->acquire_us = wall_us();
	times = (struct lease_times){ l->acquire_us, wall_us() };
	buf_reset(&l->body);
	IGNORE(lease_encode(&out, l->ns, &times, create ? NULL : &l->keep, &l->body)); /* the buffer remembers */
	put_path(l, !create);
	rq.method = create ? KUBE_POST : KUBE_PUT;
	rq.body = buf_text(&l->body);
	start_call(l, &rq, a->write_id);
}

static void leader_get(struct leader *l, int64_t timeout_ms)
{
	struct kube_request rq = { .method = KUBE_GET, .timeout_ms = timeout_ms };

	put_path(l, true);
	start_call(l, &rq, 0);
}

/* ---- the machine ---- */

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
		break; /* the deadline is in the machine's state, where leader_holds() and the gate read it */
	case ELECT_DO_FOLLOW:
		l->ops->follow(l->ctx, a->why);
		break;
	case ELECT_DO_STOPPED:
		l->stopped = true;
		l->ops->stopped(l->ctx);
		break;
	case ELECT_DO_PREPARE:
		l->ops->prepare(l->ctx, a->handover);
		break;
	case ELECT_DO_UNPREPARE:
		l->ops->unprepare(l->ctx, a->why);
		break;
	case ELECT_DO_HANDOVER_FAILED:
		l->ops->handover_failed(l->ctx, a->handover, a->why);
		break;
	case ELECT_DO_PROBE:
		l->ops->probe(l->ctx, a->probe_id);
		break;
	case ELECT_DO_ANNOUNCE:
		l->ops->announce(l->ctx);
		break;
	}
}

static void leader_step(struct leader *l, const struct elect_event *ev)
{
	enum elect_state before = l->elect.state;
	struct elect_actions acts;
	struct elect_gate gate;

	elect_step(&l->elect, ev, &acts);
	l->wake_at = mono_min(acts.wake_at, l->look_at);
	gate = elect_gate(&l->elect);
	l->ops->gate(l->ctx, &gate);
	if (l->elect.state != before)
		log_event(LOG_DEBUG, "election", "the election's state changed", log_str("lease", l->name),
			  log_str("from", elect_state_name(before)), log_str("to", elect_state_name(l->elect.state)));
	for (unsigned int i = 0; i < acts.n; i++)
		leader_act(l, &acts.v[i]);
}

int leader_init(struct leader *l, struct kube_client *client, const struct elect_config *cfg, const char *ns,
		const char *name, const struct leader_ops *ops, void *ctx, struct err_info *err)
{
	memset(l, 0, sizeof(*l));
	l->client = client;
	l->ops = ops;
	l->ctx = ctx;
	l->keep = l->spare = (struct lease_keep)LEASE_KEEP_INIT;
	l->body = (struct buf)BUF_INIT(LEASE_BODY_MAX);
	l->path = (struct buf)BUF_INIT(LEASE_PATH_MAX);
	for (size_t i = 0; i < LEADER_CALLS; i++)
		l->calls[i].l = l;
	l->ns = strdup(ns);
	l->name = strdup(name);
	if (!l->ns || !l->name || buf_reserve(&l->body, LEASE_BODY_ROOM) < 0 || buf_reserve(&l->path, LEASE_PATH_MAX) < 0 ||
	    lease_keep_reserve(&l->keep) < 0 || lease_keep_reserve(&l->spare) < 0)
		return err_errno(err, -ENOMEM, "lease");
	elect_init(&l->elect, cfg);
	l->wake_at = l->look_at = MONO_NEVER;
	return 0;
}

void leader_fini(struct leader *l)
{
	lease_keep_fini(&l->keep);
	lease_keep_fini(&l->spare);
	buf_fini(&l->body);
	buf_fini(&l->path);
	free(l->ns);
	free(l->name);
	memset(l, 0, sizeof(*l));
}

bool leader_idle(const struct leader *l)
{
	for (size_t i = 0; i < LEADER_CALLS; i++)
		if (l->calls[i].busy)
			return false;
	return true;
}

void leader_look(struct leader *l, mono_t now)
{
	l->look_at = l->wake_at = now;
}

/* ---- events from the owner ---- */

void leader_tick(struct leader *l, mono_t now)
{
	struct elect_event ev = { .kind = ELECT_EV_TICK, .now = now };

	if (mono_reached(now, l->look_at)) {
		l->look_at = mono_add_ms(now, LOOK_MS);
		leader_get(l, LOOK_MS);
	}
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

void leader_handover(struct leader *l, mono_t now, const char *successor, uint32_t number)
{
	struct elect_event ev = { .kind = ELECT_EV_HANDOVER, .now = now, .handover = number };

	IGNORE(text_copy(ev.successor, sizeof(ev.successor), successor)); /* an identity fits */
	leader_step(l, &ev);
}

void leader_prepared(struct leader *l, mono_t now, uint32_t number)
{
	struct elect_event ev = { .kind = ELECT_EV_PREPARED, .now = now, .handover = number };

	leader_step(l, &ev);
}

void leader_refused(struct leader *l, mono_t now, uint32_t number)
{
	struct elect_event ev = { .kind = ELECT_EV_REFUSED, .now = now, .handover = number };

	leader_step(l, &ev);
}

void leader_wire(struct leader *l, mono_t now, enum elect_wire wire, uint32_t probe_id)
{
	struct elect_event ev = { .kind = ELECT_EV_WIRE, .now = now, .wire = wire, .probe_id = probe_id };

	leader_step(l, &ev);
}

void leader_introduced(struct leader *l, mono_t now, bool introduced)
{
	struct elect_event ev = { .kind = ELECT_EV_INTRODUCED, .now = now, .introduced = introduced };

	if (introduced == l->elect.over.unknown)
		leader_step(l, &ev);
}

void leader_doubt(struct leader *l, mono_t now)
{
	struct elect_event ev = { .kind = ELECT_EV_DOUBT, .now = now };

	leader_step(l, &ev);
}

void leader_result(struct leader *l, uint32_t number, bool ok, const char *text)
{
	l->result.number = number;
	l->result.ok = ok;
	IGNORE(text_copy(l->result.text, sizeof(l->result.text), text)); /* cut is fine */
}
