/* SPDX-License-Identifier: Apache-2.0 */
/* lease_view.c: the watch of all our Leases, and whose each is. */
#include "agent/lease_view.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/kube/object_json.h"

#define LEASE_SILENCE_MIN_MS (INT64_C(10) * 1000)
#define LABEL_SELECTOR "app.kubernetes.io/managed-by=leasehold"
#define NODE_PREFIX "leasehold-node-"

static struct leader *leader_of(const struct lease_view *v, const char *name)
{
	for (struct leader *l = v->leaders; l; l = l->next)
		if (text_eq(l->name, name))
			return l;
	return NULL;
}

static void on_begin(void *ctx)
{
	struct lease_view *v = ctx;

	for (struct leader *l = v->leaders; l; l = l->next)
		l->view_found = false;
	if (v->ops)
		v->ops->begin(v->ctx);
}

/* One that cannot be read is there all the same. */
static void report_bad(struct lease_view *v, const char *json, size_t len, const struct err_info *err)
{
	static struct log_limit limit;
	struct object_key *k = NULL;
	struct leader *l = NULL;
	uint32_t left_out;

	if (object_key_decode(json, len, &k, NULL) == 0) {
		l = leader_of(v, k->name);
		if (l)
			l->view_found = true;
	}
	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "lease_unreadable", "the Lease could not be read", log_str("lease", k ? k->name : ""),
			  log_str("error", err->text), log_int("left_out", left_out));
	object_key_free(k);
}

static void on_put(void *ctx, const char *json, size_t len)
{
	struct lease_view *v = ctx;
	struct err_info err = ERR_INFO_INIT;
	struct kube_lease seen;
	struct leader *l;

	if (lease_decode(json, len, &seen, &v->keep, &err) < 0) {
		report_bad(v, json, len, &err);
		return;
	}
	if (text_starts(seen.name, NODE_PREFIX)) {
		if (v->ops)
			v->ops->put(v->ctx, json, len);
		return;
	}
	l = leader_of(v, seen.name);
	if (!l)
		return; /* another agent's: one with more groups */
	l->view_found = true;
	leader_see(l, &seen, &v->keep);
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	struct lease_view *v = ctx;
	struct object_key *k;
	struct leader *l;

	if (object_key_decode(json, len, &k, NULL) < 0)
		return; /* the next complete view tells */
	l = leader_of(v, k->name);
	if (l)
		leader_look(l, mono_now()); /* deleted, or without our label now: out of view, and there */
	else if (v->ops && text_starts(k->name, NODE_PREFIX))
		v->ops->gone(v->ctx, json, len);
	object_key_free(k);
}

static void on_synced(void *ctx)
{
	struct lease_view *v = ctx;

	v->synced = true;
	for (struct leader *l = v->leaders; l; l = l->next) {
		l->synced = true;
		l->look_at = MONO_NEVER;
		if (!l->view_found)
			leader_absent(l);
		leader_view(l);
	}
	if (v->ops)
		v->ops->synced(v->ctx);
}

static void on_live(void *ctx, bool live, const char *why)
{
	struct lease_view *v = ctx;

	log_event(LOG_DEBUG, "lease_view", live ? "the Leases are in view" : "the view of the Leases is in doubt",
		  log_str("why", why));
	v->live = live;
	for (struct leader *l = v->leaders; l; l = l->next) {
		l->view_live = live;
		leader_view(l);
	}
}

static void on_problem(void *ctx, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	(void)ctx;
	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "lease_watch_problem", "watching the Leases failed; trying again",
			  log_str("error", err->text), log_int("left_out", left_out));
}

int lease_view_init(struct lease_view *v, struct kube_client *client, const struct lease_view_config *cfg,
		    struct err_info *err)
{
	static const struct kube_watch_ops ops = { on_begin, on_put, on_gone, on_synced, on_live, on_problem };
	int64_t silence_ms = cfg->duration_ms * 3;
	char path[320];
	struct kube_watch_config watch = {
		.path = path,
		.label_selector = LABEL_SELECTOR,
		.channel = KUBE_CHANNEL_LEASE,
		.seed = cfg->seed,
		/* A live holder writes several times a duration.  Well above the duration: cutting a silent watch
		 * restarts the expiry of a dead holder's record. */
		.silence_ms = silence_ms > LEASE_SILENCE_MIN_MS ? silence_ms : LEASE_SILENCE_MIN_MS,
	};

	memset(v, 0, sizeof(*v));
	v->keep = (struct lease_keep)LEASE_KEEP_INIT;
	if (lease_keep_reserve(&v->keep) < 0)
		return err_errno(err, -ENOMEM, "view of the Leases");
	v->ops = cfg->ops;
	v->ctx = cfg->ctx;
	IGNORE(snprintf(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases", cfg->ns)); /* bounded */
	return kube_watch_new(client, &watch, &ops, v, &v->watch, err);
}

void lease_view_fini(struct lease_view *v)
{
	kube_watch_free(v->watch);
	lease_keep_fini(&v->keep);
	memset(v, 0, sizeof(*v));
}

void lease_view_add(struct lease_view *v, struct leader *l)
{
	struct leader **at = &v->leaders;

	while (*at)
		at = &(*at)->next;
	l->next = NULL;
	*at = l;
	l->view_live = v->live;
	if (v->synced)
		leader_look(l, mono_now());
}

void lease_view_remove(struct lease_view *v, struct leader *l)
{
	for (struct leader **at = &v->leaders; *at; at = &(*at)->next) {
		if (*at == l) {
			*at = l->next;
			return;
		}
	}
}
