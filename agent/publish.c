/* SPDX-License-Identifier: Apache-2.0 */
/* publish.c: one Service after the other: what is missing in the API is written. */
#include "agent/publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/kube/write_json.h"

#define PUBLISH_LOOK_MS 5000
#define PUBLISH_IN_FLIGHT_MAX 16
#define PUBLISH_TIMEOUT_MS 5000
#define PUBLISH_RETRY_MS 500
#define PUBLISH_RETRY_MAX_MS 30000
#define EVENTS_PER_S 25.0
#define EVENTS_BURST 50.0
#define REPLY_BODY_MAX (64 * 1024)

#define PUBLISH_CONFLICT_MS 50
#define PUBLISH_UNDONE_MS 10000 /* the same write again within this: somebody undid it */
#define DOUBLINGS_MAX 6

enum write_kind {
	WRITE_ALLOCATION = 1,
	WRITE_STATUS,
	WRITE_CLEAR,
	WRITE_RECORD, /* of the group alone */
};

/* A write under way; freed by its reply, or with the publisher.  The Service may go meanwhile, so it is found again by name. */
struct publish_call {
	struct publish *p;
	struct publish_call *next;
	enum write_kind kind;
	bool first; /* the status showed no address before */
	char *ns, *name;
	char *version; /* what it is written over */
};

static void call_free(struct publish_call *c)
{
	if (!c)
		return;
	for (struct publish_call **k = &c->p->calls; *k; k = &(*k)->next) {
		if (*k == c) {
			*k = c->next;
			break;
		}
	}
	free(c->ns);
	free(c->name);
	free(c->version);
	free(c);
}

static char *ips_text(const struct ip *ips, size_t n, char *buf, size_t size)
{
	char one[IP_TEXT_MAX];
	size_t at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n && at < size; i++)
		at += (size_t)snprintf(buf + at, size - at, "%s%s", i ? ", " : "", ip_format(&ips[i], one));
	return buf;
}

/* ---- Events ---- */

static bool take_token(struct publish *p, mono_t now)
{
	p->event_tokens += EVENTS_PER_S * (double)mono_diff_ms(now, p->tokens_at) / (double)MS_PER_S;
	if (p->event_tokens > EVENTS_BURST)
		p->event_tokens = EVENTS_BURST;
	p->tokens_at = now;
	if (p->event_tokens < 1)
		return false;
	p->event_tokens -= 1;
	return true;
}

static void on_event_reply(void *ctx, const struct kube_reply *rp)
{
	static struct log_limit limit;
	struct publish *p = ctx;
	uint32_t left_out;

	if (rp->status == 201 || rp->status == 200) {
		p->metrics->events_sent++;
		return;
	}
	p->metrics->events_dropped++;
	if (log_limit(&limit, mono_now().ns, 10000, &left_out))
		log_event(LOG_WARN, "event_dropped", "an Event could not be sent", log_int("status", rp->status),
			  log_str("error", rp->err.text), log_int("left_out", left_out));
}

static void send_event(struct publish *p, const struct service *s, bool good, const char *reason, const char *note)
{
	struct event_body e = {
		.ns = s->meta.ns,
		.service = s->meta.name,
		.uid = s->meta.uid,
		.type = good ? "Normal" : "Warning",
		.reason = reason,
		.action = good ? "Announce" : "Allocate",
		.note = note,
		.instance = p->instance,
		.unique = p->unique++,
	};
	struct buf body = BUF_INIT(16 * 1024), path = BUF_INIT(1024);
	struct kube_request rq = { .method = KUBE_POST, .channel = KUBE_CHANNEL_GENERAL,
				   .content_type = "application/json", .timeout_ms = PUBLISH_TIMEOUT_MS };
	struct err_info err = ERR_INFO_INIT;
	struct timespec ts = { 0 };

	IGNORE(clock_gettime(CLOCK_REALTIME, &ts)); /* cannot fail for this clock */
	e.time_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
	buf_printf(&path, "/apis/events.k8s.io/v1/namespaces/%s/events", s->meta.ns);
	if (event_encode(&e, &body) < 0 || buf_failed(&body) || buf_failed(&path)) {
		p->metrics->events_dropped++;
	} else {
		rq.path = buf_text(&path);
		rq.body = buf_text(&body);
		if (kube_request(p->client, &rq, on_event_reply, p, &err) < 0)
			p->metrics->events_dropped++;
	}
	buf_fini(&body);
	buf_fini(&path);
}

bool publish_conflict(struct publish *p, mono_t now, const struct service *s, const char *note)
{
	if (!take_token(p, now))
		return false;
	send_event(p, s, false, "AddressConflict", note);
	return true;
}

/* FNV-1a, never 0: to know a problem that was told already. */
static uint64_t problem_hash(const char *a, const char *b)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *p = a; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	for (const char *p = b; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return h | 1;
}

/* An Event for each problem that is another than the last one ('*told'); reason NULL: none.  True when it is due but has to
 * wait for a token. */
static bool tell(struct publish *p, mono_t now, const struct service *s, uint64_t *told, const char *reason,
		 const char *message)
{
	uint64_t hash = reason ? problem_hash(reason, message) : 0;

	if (hash == *told)
		return false;
	if (hash && !take_token(p, now))
		return true;
	*told = hash;
	if (!hash)
		return false;
	log_event(LOG_WARN, "service_problem", message, log_str("namespace", s->meta.ns), log_str("service", s->meta.name),
		  log_str("reason", reason));
	send_event(p, s, false, reason, message);
	return false;
}

static bool tell_problem(struct publish *p, mono_t now, struct store_service *e, const struct pool_decision *d,
			 const struct publish_view *view)
{
	const struct service *s = e->object;
	const char *reason = view->allocator ? d->reason : NULL, *message = d->message ? d->message : "";
	char text[256], ip[IP_TEXT_MAX];
	bool waits;

	for (size_t i = 0; i < d->n_ips && !reason; i++) {
		bool held = view->holds(view->ctx, groups_of_ip(s, &d->ips[i]), &d->ips[i]);
		const char *why = held ? view->refused(view->ctx, &d->ips[i]) : NULL;

		if (!why)
			continue;
		IGNORE(snprintf(text, sizeof(text), "%s on node %s: %s", ip_format(&d->ips[i], ip), p->node, why)); /* cut is fine */
		reason = "AddressRefused";
		message = text;
	}
	waits = tell(p, now, s, &e->publish.reported, reason, message);
	/* Of itself, whatever else is wrong: it stands until somebody mends the Service. */
	return tell(p, now, s, &e->publish.misread, view->allocator && *s->problem ? "BadAnnotation" : NULL, s->problem) || waits;
}

static bool tell_move(struct publish *p, mono_t now, struct store_service *e, const struct pool_decision *d)
{
	char note[256], ips[128];

	if (!e->publish.move_pending)
		return false;
	if (!take_token(p, now))
		return true;
	e->publish.move_pending = false;
	IGNORE(snprintf(note, sizeof(note), "%s now answered by node %s", ips_text(d->ips, d->n_ips, ips, sizeof(ips)),
			p->node)); /* cut is fine */
	send_event(p, e->object, true, "Moved", note);
	return false;
}

/* ---- status and allocation ---- */

/* Doubles from 'first_ms' with each call. */
static int64_t pause_ms(struct store_service *e, int64_t first_ms)
{
	int64_t ms = first_ms << (e->publish.failures < DOUBLINGS_MAX ? e->publish.failures : DOUBLINGS_MAX);

	e->publish.failures++;
	return ms < PUBLISH_RETRY_MAX_MS ? ms : PUBLISH_RETRY_MAX_MS;
}

static void write_failed(struct store_service *e, const struct publish_call *c, const struct kube_reply *rp)
{
	static struct log_limit limit;
	bool behind = rp->status == 409 || rp->status == 404; /* our view is: the watch brings it up to date */
	int64_t ms = pause_ms(e, behind ? PUBLISH_CONFLICT_MS : PUBLISH_RETRY_MS);
	uint32_t left_out;

	if (rp->retry_after_ms > ms)
		ms = rp->retry_after_ms < PUBLISH_RETRY_MAX_MS ? rp->retry_after_ms : PUBLISH_RETRY_MAX_MS;
	e->publish.retry_at = mono_add_ms(mono_now(), ms);
	if (!behind && log_limit(&limit, mono_now().ns, 1000, &left_out))
		log_event(LOG_WARN, "service_write_failed", "writing a Service's status failed; trying again",
			  log_str("namespace", c->ns), log_str("service", c->name), log_int("status", rp->status),
			  log_str("error", rp->err.text), log_int("retry_ms", ms), log_int("left_out", left_out));
}

/* A second write of a kind so soon after the first is well; from the third on something undoes them. */
static void note_success(struct store_service *e, enum write_kind kind)
{
	struct publish_state *s = &e->publish;
	mono_t now = mono_now();
	bool again = s->wrote == kind && mono_diff_ms(now, s->wrote_at) < PUBLISH_UNDONE_MS + PUBLISH_RETRY_MAX_MS;

	if (again)
		s->retry_at = mono_add_ms(now, pause_ms(e, PUBLISH_RETRY_MS));
	else
		s->failures = 0;
	s->wrote = kind;
	s->wrote_at = now;
}

static void write_succeeded(struct publish *p, struct store_service *e, const struct publish_call *c)
{
	const struct service *s = e->object;
	char note[256], ips[128];

	ips_text(s->ingress, s->n_ingress, ips, sizeof(ips));
	note_success(e, c->kind);
	if (c->kind == WRITE_ALLOCATION) {
		ips_text(s->allocated, s->n_allocated, ips, sizeof(ips));
		log_event(LOG_INFO, "allocated", "addresses were allocated", log_str("namespace", c->ns),
			  log_str("service", c->name), log_str("addresses", ips));
		return;
	}
	if (c->kind == WRITE_RECORD) {
		log_event(LOG_INFO, "group_changed", "the Service's addresses have another Lease", log_str("namespace", c->ns),
			  log_str("service", c->name), log_str("lease", s->lease));
		return;
	}
	log_event(LOG_INFO, c->kind == WRITE_STATUS ? "published" : "cleared",
		  c->kind == WRITE_STATUS ? "the Service's status shows its addresses" : "the Service's status was cleared",
		  log_str("namespace", c->ns), log_str("service", c->name), log_str("addresses", ips));
	if (c->kind == WRITE_STATUS && c->first) {
		IGNORE(snprintf(note, sizeof(note), "%s answered by node %s", ips, p->node)); /* cut is fine */
		e->publish.move_pending = false;
		send_event(p, s, true, "Assigned", note);
	}
}

static void on_write_reply(void *ctx, const struct kube_reply *rp)
{
	struct publish_call *c = ctx;
	struct publish *p = c->p;
	struct store_service *e;

	p->in_flight--;
	p->again = true;
	e = store_find(p->store, c->ns, c->name);
	if (e && rp->status == 200 && text_eq(e->object->meta.resource_version, c->version))
		store_put_service(p->store, rp->body, rp->len);
	if (e) {
		e->publish.busy = false;
		if (rp->status >= 200 && rp->status < 500)
			e->publish.n_pending = 0; /* the object tells; without an answer it may have been written */
		if (rp->status == 200)
			write_succeeded(p, e, c);
		else
			write_failed(e, c, rp);
	}
	call_free(c);
}

/* lease: the record of the groups, with WRITE_ALLOCATION and WRITE_RECORD. */
static void start_write(struct publish *p, struct store_service *e, enum write_kind kind, const struct pool_decision *d,
			const char *lease)
{
	const struct service *s = e->object;
	struct publish_call *c = calloc(1, sizeof(*c));
	struct buf body = BUF_INIT(REPLY_BODY_MAX), path = BUF_INIT(2048);
	struct kube_request rq = { .method = KUBE_PATCH, .channel = KUBE_CHANNEL_GENERAL,
				   .content_type = "application/merge-patch+json", .timeout_ms = PUBLISH_TIMEOUT_MS };
	struct err_info err = ERR_INFO_INIT;
	static struct log_limit limit;
	uint32_t left_out;
	int r = c ? 0 : -1;

	if (c) {
		*c = (struct publish_call){ .p = p, .next = p->calls, .kind = kind, .first = s->n_ingress == 0,
					    .ns = strdup(s->meta.ns), .name = strdup(s->meta.name),
					    .version = strdup(s->meta.resource_version) };
		p->calls = c;
		r = c->ns && c->name && c->version ? service_status_path(s->meta.ns, s->meta.name, &path) : -1;
	}
	if (r == 0 && kind == WRITE_ALLOCATION)
		r = allocation_patch(d->ips, d->n_ips, lease, s->meta.resource_version, &body);
	else if (r == 0 && kind == WRITE_RECORD)
		r = record_patch(lease, s->meta.resource_version, &body);
	else if (r == 0)
		r = status_patch(d->ips, kind == WRITE_CLEAR ? 0 : d->n_ips, p->proxy, kind == WRITE_CLEAR,
				 s->meta.resource_version, &body);
	if (r == 0 && buf_failed(&body) == 0 && buf_failed(&path) == 0) {
		rq.path = buf_text(&path);
		rq.body = buf_text(&body);
		r = kube_request(p->client, &rq, on_write_reply, c, &err);
	}
	if (r == 0) {
		p->in_flight++;
		e->publish.busy = true;
		if (kind == WRITE_ALLOCATION) {
			memcpy(e->publish.pending, d->ips, sizeof(d->ips));
			e->publish.n_pending = d->n_ips;
			IGNORE(text_copy(e->publish.pending_lease, sizeof(e->publish.pending_lease), lease)); /* same size */
		}
	} else {
		e->publish.retry_at = mono_add_ms(mono_now(), PUBLISH_RETRY_MS);
		if (log_limit(&limit, mono_now().ns, 5000, &left_out))
			log_event(LOG_ERROR, "service_write_failed", "a write could not be started",
				  log_str("error", err.text), log_int("left_out", left_out));
		call_free(c);
	}
	buf_fini(&body);
	buf_fini(&path);
}

static bool same_ips(const struct service *s, const struct pool_decision *d, bool proxy)
{
	if (s->n_ingress != d->n_ips || s->ingress_foreign ||
	    !(proxy ? s->ingress_all_proxy_mode : s->ingress_all_vip_mode))
		return false;
	for (size_t i = 0; i < d->n_ips; i++)
		if (!ip_eq(&s->ingress[i], &d->ips[i]))
			return false;
	return true;
}

static bool has_allocated(const struct service *s, const struct pool_decision *d)
{
	if (s->n_allocated != d->n_ips)
		return false;
	for (size_t i = 0; i < d->n_ips; i++)
		if (!ip_eq(&s->allocated[i], &d->ips[i]))
			return false;
	return true;
}

/* An address of another holder's group is his to keep up. */
static bool all_live(const struct service *s, const struct pool_decision *d, const struct publish_view *view)
{
	if (d->n_ips > 0 && !view->settled(view->ctx, s->meta.ns, s->meta.name))
		return false;
	for (size_t i = 0; i < d->n_ips; i++)
		if (view->holds(view->ctx, groups_of_ip(s, &d->ips[i]), &d->ips[i]) && !view->live(view->ctx, &d->ips[i]))
			return false;
	return true;
}

/* Whose status is ours to write: where two groups govern a Service's addresses, the first one's holder writes.  The own
 * Lease of an address that nobody wants any more has no holder. */
static bool is_publisher(const struct service *s, const struct pool_decision *d, const struct publish_view *view)
{
	unsigned int group = s->n_allocated > 0 ? groups_recorded(s, 0) : 0;

	if (s->n_allocated == 0 || (group == GROUPS_OWN && d->state == POOL_RELEASE))
		return view->allocator;
	return view->holds(view->ctx, group, &s->allocated[0]);
}

/* What the Service lacks, if anything. */
static bool write_needed(const struct service *s, const struct pool_decision *d, bool up, bool proxy,
			 enum write_kind *ret)
{
	switch (d->state) {
	case POOL_FOREIGN:
		return false;
	case POOL_RELEASE:
		*ret = WRITE_CLEAR;
		return true;
	case POOL_KEEP:
	case POOL_ASSIGN:
	case POOL_FAILED:
		break;
	}
	if (!has_allocated(s, d)) {
		*ret = WRITE_ALLOCATION;
		return true;
	}
	*ret = WRITE_STATUS;
	return up && !same_ips(s, d, proxy);
}

/* A write that is due. */
struct publish_next {
	enum write_kind kind;
	bool up; /* the Service's VIPs are live here */
	char lease[GROUPS_RECORD_MAX];
};

/* The record of the Service's groups as this node may and should write it; false: as it is. */
static bool record_needed(const struct service *s, const struct pool_decision *d, const struct groups_choice *c,
			  const struct publish_view *view, char lease[static GROUPS_RECORD_MAX])
{
	uint8_t of[OBJECT_ADDRESSES_MAX] = { 0 };
	bool changed = false;

	for (size_t m = 0; m < s->n_allocated; m++) {
		const struct ip *ip = &s->allocated[m];
		size_t k = 0;

		of[m] = (uint8_t)groups_recorded(s, m);
		while (k < d->n_ips && !ip_eq(&d->ips[k], ip))
			k++;
		if (k == d->n_ips || of[m] == c->want[k] || !c->may[k] || !view->holds(view->ctx, c->of[k], ip) ||
		    (c->of[k] != c->want[k] && !view->shut(view->ctx, ip)))
			continue;
		of[m] = c->want[k];
		changed = true;
	}
	groups_record(of, s->allocated, s->n_allocated, lease);
	return changed;
}

/* What this node is to write, if anything. */
static bool next_write(const struct service *s, const struct pool_decision *d, const struct groups_choice *c,
		       const struct publish_view *view, struct publish_next *ret)
{
	bool needed = write_needed(s, d, ret->up, view->proxy, &ret->kind);

	if (needed && ret->kind == WRITE_ALLOCATION) {
		groups_record(c->of, d->ips, d->n_ips, ret->lease);
		return view->allocator;
	}
	if (d->state != POOL_RELEASE && record_needed(s, d, c, view, ret->lease)) {
		ret->kind = WRITE_RECORD;
		return true;
	}
	return needed && is_publisher(s, d, view);
}

const struct service *publish_expect(const struct store_service *e, struct arena *arena)
{
	const struct publish_state *s = &e->publish;
	struct service *copy;
	size_t kept = 0;

	for (size_t i = 0; i < e->object->n_allocated; i++)
		for (size_t k = 0; k < s->n_pending; k++)
			kept += ip_eq(&e->object->allocated[i], &s->pending[k]);
	if (s->n_pending == 0 || kept < e->object->n_allocated)
		return e->object; /* one that moves has its old address until the write is through */
	copy = arena_take(arena, sizeof(*copy));
	if (!copy)
		return NULL;
	*copy = *e->object;
	memcpy(copy->allocated, s->pending, sizeof(s->pending));
	copy->n_allocated = s->n_pending;
	copy->lease = s->pending_lease;
	return copy;
}

mono_t publish_run(struct publish *p, mono_t now, const struct publish_view *view)
{
	mono_t wake = mono_add_ms(now, PUBLISH_LOOK_MS);

	if (!p->again && mono_before(now, p->next_at))
		return p->next_at;
	p->again = false;
	p->proxy = view->proxy;
	for (size_t i = 0; i < p->store->n_services; i++) {
		struct store_service *e = p->store->services[i];
		const struct pool_decision *d = &view->decisions[i];
		struct publish_next next;

		if (d->state == POOL_FOREIGN || e->object->meta.deleting)
			continue;
		next.up = all_live(e->object, d, view);
		if (tell_problem(p, now, e, d, view) || (next.up && d->n_ips > 0 && tell_move(p, now, e, d)))
			wake = mono_min(wake, mono_add_ms(now, 100)); /* out of tokens */
		if (e->publish.busy || !next_write(e->object, d, &view->choices[i], view, &next))
			continue;
		if (!mono_before(now, e->publish.retry_at) && p->in_flight < PUBLISH_IN_FLIGHT_MAX)
			start_write(p, e, next.kind, d, next.lease);
		if (!e->publish.busy && !mono_reached(now, e->publish.retry_at)) /* waits, or could not be started */
			wake = mono_min(wake, e->publish.retry_at);
	}
	p->next_at = wake;
	return wake;
}

void publish_init(struct publish *p, struct kube_client *client, struct store *store, struct metrics *metrics,
		  const char *node, const char *instance)
{
	*p = (struct publish){ .client = client, .store = store, .metrics = metrics, .node = node, .instance = instance,
			       .event_tokens = EVENTS_BURST, .tokens_at = mono_now() };
	p->unique = (uint64_t)p->tokens_at.ns;
}

void publish_fini(struct publish *p)
{
	while (p->calls)
		call_free(p->calls);
}
