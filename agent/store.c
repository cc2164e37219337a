/* SPDX-License-Identifier: Apache-2.0 */
/* store.c: sorted arrays fed by watches. */
#include "agent/store.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/pool.h"
#include "agent/kube/object_json.h"

/* Bookmarks come about every 60 s: twice that without a byte is a dead stream. */
#define STORE_SILENCE_MS (INT64_C(120) * 1000)

static int name_cmp(const char *ns_a, const char *name_a, const char *ns_b, const char *name_b)
{
	int c = strcmp(ns_a, ns_b);

	return c ? c : strcmp(name_a, name_b);
}

static int slice_cmp(const struct slice *a, const struct slice *b)
{
	int c = name_cmp(a->meta.ns, a->service, b->meta.ns, b->service);

	return c ? c : strcmp(a->meta.name, b->meta.name);
}

size_t store_lower(const struct store *s, const char *ns, const char *name)
{
	size_t lo = 0, hi = s->n_services;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct object_meta *m = &s->services[mid]->object->meta;

		if (name_cmp(m->ns, m->name, ns, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static size_t slice_lower(const struct store *s, const struct slice *key)
{
	size_t lo = 0, hi = s->n_slices;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (slice_cmp(s->slices[mid].object, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Makes room for one more element of 'size' bytes; the array doubles. */
static bool grow(void **array, size_t n, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 64;
	void *p;

	if (n < *cap)
		return true;
	p = reallocarray(*array, more, size);
	if (!p)
		return false;
	*array = p;
	*cap = more;
	return true;
}

struct store_service *store_find(const struct store *s, const char *ns, const char *name)
{
	size_t i = store_lower(s, ns, name);

	if (i == s->n_services || name_cmp(s->services[i]->object->meta.ns, s->services[i]->object->meta.name, ns, name))
		return NULL;
	return s->services[i];
}

const struct store_slice *store_slices(const struct store *s, const char *ns, const char *service, size_t *ret_n)
{
	const struct slice key = { .meta = { .ns = ns, .name = "" }, .service = service };
	size_t first = slice_lower(s, &key), n = first;

	while (n < s->n_slices && text_eq(s->slices[n].object->meta.ns, ns) && text_eq(s->slices[n].object->service, service))
		n++;
	*ret_n = n - first;
	return s->slices + first;
}

static void report_bad(struct store *s, const char *kind, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	s->bad_objects++;
	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "object_unreadable", "an object could not be read; its last good version stays",
			  log_str("kind", kind), log_str("error", err->text), log_int("left_out", left_out));
}

/* A bad object in a complete view is there all the same: its last good version is not swept. */
static void keep_last_good(struct store *s, bool service, const char *json, size_t len)
{
	struct object_key *k;
	struct store_service *e;

	if (object_key_decode(json, len, &k, NULL) < 0)
		return;
	e = service ? store_find(s, k->ns, k->name) : NULL;
	if (e)
		e->marked = false;
	for (size_t i = 0; i < s->n_slices && !service; i++)
		if (text_eq(s->slices[i].object->meta.ns, k->ns) && text_eq(s->slices[i].object->meta.name, k->name))
			s->slices[i].marked = false;
	object_key_free(k);
}

/* A slice of the Service came, changed or went. */
static void touch(struct store *s, const struct slice *slice)
{
	struct store_service *e = store_find(s, slice->meta.ns, slice->service);

	if (!e)
		return;
	e->touched = true;
	s->touched = true;
	s->dirty |= e->object->policy_local; /* who may hold its VIP depends on where its endpoints are */
}

static void service_remove(struct store *s, size_t i)
{
	service_free(s->services[i]->object);
	free(s->services[i]);
	memmove(&s->services[i], &s->services[i + 1], (s->n_services - i - 1) * sizeof(*s->services));
	s->n_services--;
	s->dirty = true;
}

static void slice_remove(struct store *s, size_t i)
{
	touch(s, s->slices[i].object);
	slice_free(s->slices[i].object);
	memmove(&s->slices[i], &s->slices[i + 1], (s->n_slices - i - 1) * sizeof(*s->slices));
	s->n_slices--;
}

static void service_put(struct store *s, struct service *object)
{
	size_t i = store_lower(s, object->meta.ns, object->meta.name);
	struct store_service *e = store_find(s, object->meta.ns, object->meta.name);

	if (e) {
		e->marked = false;
		if (text_eq(e->object->meta.resource_version, object->meta.resource_version)) {
			service_free(object); /* seen already, by a reply or before a relist */
			return;
		}
		if (service_keep_good(&object, e->object) < 0) {
			service_free(object);
			log_event(LOG_ERROR, "out_of_memory", "a Service stays as it was until its next change");
			return;
		}
		if (!text_eq(e->object->meta.uid, object->meta.uid)) /* deleted and made again */
			e->publish = (struct publish_state){ .busy = e->publish.busy };
		if (!e->publish.busy)
			e->publish.n_pending = 0; /* the object tells */
		if (pool_same_ask(e->object, object))
			e->recorded = s->recorded = true;
		else
			s->dirty = true;
		service_free(e->object);
		e->object = object;
		e->touched = s->touched = true;
		return;
	}
	e = calloc(1, sizeof(*e));
	if (!e || !grow((void **)&s->services, s->n_services, &s->cap_services, sizeof(*s->services))) {
		free(e);
		service_free(object);
		log_event(LOG_ERROR, "out_of_memory", "a Service is left out until the next complete view");
		return;
	}
	e->object = object;
	e->touched = true;
	memmove(&s->services[i + 1], &s->services[i], (s->n_services - i) * sizeof(*s->services));
	s->services[i] = e;
	s->n_services++;
	s->dirty = true;
}

void store_put_service(struct store *s, const char *json, size_t len)
{
	struct err_info err = ERR_INFO_INIT;
	struct service *object;

	if (service_decode(json, len, &object, &err) < 0) {
		report_bad(s, "Service", &err);
		keep_last_good(s, true, json, len);
	} else {
		service_put(s, object);
	}
}

static void slice_put(struct store *s, struct slice *object)
{
	size_t i = slice_lower(s, object);

	if (i < s->n_slices && slice_cmp(s->slices[i].object, object) == 0) {
		bool same = text_eq(s->slices[i].object->meta.resource_version, object->meta.resource_version);

		slice_free(s->slices[i].object);
		s->slices[i] = (struct store_slice){ .object = object };
		if (!same)
			touch(s, object);
		return;
	}
	if (!grow((void **)&s->slices, s->n_slices, &s->cap_slices, sizeof(*s->slices))) {
		slice_free(object);
		log_event(LOG_ERROR, "out_of_memory", "an EndpointSlice is left out until the next complete view");
		return;
	}
	memmove(&s->slices[i + 1], &s->slices[i], (s->n_slices - i) * sizeof(*s->slices));
	s->slices[i] = (struct store_slice){ .object = object };
	s->n_slices++;
	touch(s, object);
}

/* A slice whose service label changed would stay under its old place: its name is looked for everywhere.  Rare, and
 * only on deletion or a changed label. */
static void slice_forget(struct store *s, const char *ns, const char *name, const char *but_service)
{
	for (size_t i = s->n_slices; i-- > 0;) {
		const struct slice *o = s->slices[i].object;

		if (text_eq(o->meta.ns, ns) && text_eq(o->meta.name, name) &&
		    !(but_service && text_eq(o->service, but_service)))
			slice_remove(s, i);
	}
}

static void on_service_begin(void *ctx)
{
	struct store *s = ctx;

	for (size_t i = 0; i < s->n_services; i++)
		s->services[i]->marked = true;
}

static void on_service_put(void *ctx, const char *json, size_t len)
{
	store_put_service(ctx, json, len);
}

static void on_service_gone(void *ctx, const char *json, size_t len)
{
	struct store *s = ctx;
	struct err_info err = ERR_INFO_INIT;
	struct object_key *k;
	size_t i;

	if (object_key_decode(json, len, &k, &err) < 0) {
		report_bad(s, "Service", &err);
		return;
	}
	i = store_lower(s, k->ns, k->name);
	if (store_find(s, k->ns, k->name))
		service_remove(s, i);
	object_key_free(k);
}

static void on_service_synced(void *ctx)
{
	struct store *s = ctx;

	for (size_t i = s->n_services; i-- > 0;)
		if (s->services[i]->marked)
			service_remove(s, i);
	s->dirty |= !s->services_synced;
	s->services_synced = true;
}

static void on_slice_begin(void *ctx)
{
	struct store *s = ctx;

	for (size_t i = 0; i < s->n_slices; i++)
		s->slices[i].marked = true;
}

static void on_slice_put(void *ctx, const char *json, size_t len)
{
	struct store *s = ctx;
	struct err_info err = ERR_INFO_INIT;
	struct slice *object = NULL;

	if (slice_decode(json, len, &object, &err) < 0) {
		report_bad(s, "EndpointSlice", &err);
		keep_last_good(s, false, json, len);
	} else if (object) {
		size_t i = slice_lower(s, object);

		if (s->slices_synced && (i == s->n_slices || slice_cmp(s->slices[i].object, object) != 0))
			slice_forget(s, object->meta.ns, object->meta.name, object->service);
		slice_put(s, object);
	}
}

static void on_slice_gone(void *ctx, const char *json, size_t len)
{
	struct store *s = ctx;
	struct err_info err = ERR_INFO_INIT;
	struct object_key *k;

	if (object_key_decode(json, len, &k, &err) < 0) {
		report_bad(s, "EndpointSlice", &err);
		return;
	}
	slice_forget(s, k->ns, k->name, NULL);
	object_key_free(k);
}

static void on_slice_synced(void *ctx)
{
	struct store *s = ctx;

	for (size_t i = s->n_slices; i-- > 0;)
		if (s->slices[i].marked)
			slice_remove(s, i);
	s->dirty |= !s->slices_synced;
	s->slices_synced = true;
}

static void on_live(void *ctx, bool live, const char *why)
{
	(void)ctx;
	log_event(LOG_DEBUG, "view", live ? "a watch is alive" : "a watch is in doubt", log_str("why", why));
}

static void on_problem(void *ctx, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	(void)ctx;
	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "watch_problem", "a list or watch failed; trying again", log_str("error", err->text),
			  log_int("left_out", left_out));
}

int store_init(struct store *s, struct kube_client *client, uint64_t seed, struct err_info *err)
{
	static const struct kube_watch_ops service_ops = { on_service_begin, on_service_put, on_service_gone,
							   on_service_synced, on_live, on_problem };
	static const struct kube_watch_ops slice_ops = { on_slice_begin, on_slice_put, on_slice_gone, on_slice_synced,
							 on_live, on_problem };
	struct kube_watch_config cfg = {
		.path = "/api/v1/services",
		.channel = KUBE_CHANNEL_GENERAL,
		.silence_ms = STORE_SILENCE_MS,
		.seed = seed,
	};
	int r;

	memset(s, 0, sizeof(*s));
	r = kube_watch_new(client, &cfg, &service_ops, s, &s->services_watch, err);
	if (r < 0)
		return r;
	cfg.path = "/apis/discovery.k8s.io/v1/endpointslices";
	cfg.seed = seed + 1;
	return kube_watch_new(client, &cfg, &slice_ops, s, &s->slices_watch, err);
}

void store_fini(struct store *s)
{
	kube_watch_free(s->services_watch);
	kube_watch_free(s->slices_watch);
	for (size_t i = 0; i < s->n_services; i++) {
		service_free(s->services[i]->object);
		free(s->services[i]);
	}
	for (size_t i = 0; i < s->n_slices; i++)
		slice_free(s->slices[i].object);
	free(s->services);
	free(s->slices);
	memset(s, 0, sizeof(*s));
}
