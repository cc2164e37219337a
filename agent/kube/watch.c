/* SPDX-License-Identifier: Apache-2.0 */
/* watch.c: the life of a view: list (or watch-list), watch, resume, list again.
 *
 *	phase		ends by
 *	WAITING		its timer -> a stream
 *	LISTING		last page -> WATCHING; error -> WAITING
 *	STREAMING_ALL	bookmark initial-events-end -> WATCHING; refused -> LISTING; error -> WAITING
 *	WATCHING	end of stream -> resume at once; 410 -> list again; error or silence -> resume, then WAITING */
#include "agent/kube/watch.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/prng.h"
#include "agent/base/text.h"
#include "agent/kube/client_private.h"
#include "agent/kube/span.h"
#include "agent/kube/splitter.h"
#include "agent/kube/status_json.h"

#define VERSION_MAX 64
#define CONTINUE_MAX 2048
#define BACKOFF_FIRST_MS 800
#define BACKOFF_LEASE_MAX_MS 1000   /* an election cannot wait half a minute for its view */
#define BACKOFF_GENERAL_MAX_MS 5000 /* servers that cannot be reached */
#define BACKOFF_REFUSED_MAX_MS 30000 /* servers that say no */
#define DOUBT_MS 200		    /* a resume may take this long before the view is in doubt */
#define INITIAL_SILENCE_MS 10000    /* etcd before 3.4.31 never ends a watch-list */
#define INITIAL_MAX_MS 60000	    /* the same, in a collection that never rests */
#define SHORT_STREAM_MS 1000	    /* a stream that ended sooner counts as a failure */
#define HEALTHY_MS 120000	    /* a stream that lasted this long makes up for the failures before it */
#define RELIST_MS 5000		    /* complete views that are needed more often than this are paused between */
#define REFUSALS_MAX 2		    /* so many in a row, and our version is given up */

enum phase {
	PHASE_WAITING,
	PHASE_LISTING,
	PHASE_STREAMING_ALL,
	PHASE_WATCHING,
};

struct kube_watch {
	struct kube_client *client;
	struct kube_watch_config cfg;
	char *path, *field_selector, *label_selector;
	const struct kube_watch_ops *ops;
	void *ctx;
	enum phase phase;
	struct kube_call *stream;
	struct splitter splitter;
	bool splitter_open;
	char version[VERSION_MAX]; /* resume from here; "" = a complete view is needed */
	char next_page[CONTINUE_MAX];
	bool no_watch_list; /* the server lacks it */
	bool synced, live, begun; /* begun: the complete view under way was announced */
	bool relist;		  /* the present stream told us that our version is too old */
	bool failed;		  /* the present stream told us of another error */
	unsigned int failures;
	unsigned int refusals; /* to resume from the present version */
	mono_t relisted;       /* when a version was last too old */
	mono_t started; /* of the present stream */
	struct prng prng;
	struct kube_timer retry, silence, doubt;
};

static void start(struct kube_watch *w);

static void problem(struct kube_watch *w, const char *what)
{
	struct err_info err = ERR_INFO_INIT;

	IGNORE(err_set(&err, 0, "%s: %s", w->path, what)); /* returns 0 */
	w->ops->problem(w->ctx, &err);
}

static void set_live(struct kube_watch *w, bool live, const char *why)
{
	kube_timer_set(w->client, &w->doubt, MONO_NEVER);
	if (live == w->live)
		return;
	w->live = live;
	w->ops->live(w->ctx, live, why);
}

static void arm_silence(struct kube_watch *w)
{
	int64_t ms = w->cfg.silence_ms;

	if (w->phase != PHASE_WATCHING && ms > INITIAL_SILENCE_MS)
		ms = INITIAL_SILENCE_MS;
	kube_timer_set(w->client, &w->silence, mono_add_ms(mono_now(), ms));
}

/* The stream is over: what it leaves behind. */
static void drop_stream(struct kube_watch *w)
{
	kube_timer_set(w->client, &w->silence, MONO_NEVER);
	w->stream = NULL;
	if (w->splitter_open)
		splitter_fini(&w->splitter);
	w->splitter_open = false;
	if (w->live && mono_is_never(w->doubt.at))
		kube_timer_set(w->client, &w->doubt, mono_add_ms(mono_now(), DOUBT_MS));
}

/* Tries again after a pause: exponential with full jitter, or what the server asked for. */
static void back_off(struct kube_watch *w, int64_t max_ms, int64_t at_least_ms)
{
	int64_t ms = BACKOFF_FIRST_MS << (w->failures < 6 ? w->failures : 6);

	if (w->cfg.channel == KUBE_CHANNEL_LEASE && max_ms > BACKOFF_LEASE_MAX_MS)
		max_ms = BACKOFF_LEASE_MAX_MS;
	if (ms > max_ms)
		ms = max_ms;
	ms = prng_range(&w->prng, 1, ms);
	if (ms < at_least_ms) /* not all clients at the same moment */
		ms = at_least_ms + prng_range(&w->prng, 0, at_least_ms / 4);
	w->failures++;
	w->phase = PHASE_WAITING;
	kube_timer_set(w->client, &w->retry, mono_add_ms(mono_now(), ms));
}

/* ---- what streams bring ---- */

static void list_object(void *ctx, const char *json, size_t len)
{
	struct kube_watch *w = ctx;

	w->ops->put(w->ctx, json, len);
}

static void oversized(void *ctx)
{
	problem(ctx, "an object larger than 2 MiB was skipped");
}

static void view_complete(struct kube_watch *w)
{
	w->begun = false;
	w->synced = true;
	w->failures = 0;
	w->ops->synced(w->ctx);
}

static void watch_error(struct kube_watch *w, struct span object)
{
	struct kube_status st;

	status_decode(object.p, object.len, &st);
	w->relist = st.code == 410 || text_eq(st.reason, "Expired") || text_eq(st.reason, "Gone");
	w->failed = !w->relist;
	if (w->failed)
		problem(w, *st.message ? st.message : "the server ended the watch with an error");
}

static void watch_object(void *ctx, const char *json, size_t len)
{
	struct kube_watch *w = ctx;
	const struct span event = { json, len };
	struct span type = span_member(event, "type"), object = span_member(event, "object");
	struct span meta = span_member(object, "metadata");
	char version[VERSION_MAX];
	bool initial_end;

	if (w->relist || w->failed)
		return; /* an ERROR is the last word of a stream; what stands behind it in the same piece is not read */
	if (!object.p) {
		problem(w, "a watch event without an object was skipped");
		return;
	}
	if (span_is(type, "ERROR")) {
		watch_error(w, object);
		return;
	}
	initial_end = span_is(span_member(span_member(meta, "annotations"), "k8s.io/initial-events-end"), "true");
	if (span_is(type, "ADDED") || span_is(type, "MODIFIED"))
		w->ops->put(w->ctx, object.p, object.len);
	else if (span_is(type, "DELETED"))
		w->ops->gone(w->ctx, object.p, object.len);
	else if (!span_is(type, "BOOKMARK"))
		problem(w, "a watch event of an unknown type was skipped");
	/* During the initial events versions are not in order: only the closing bookmark's counts. */
	if (w->phase == PHASE_STREAMING_ALL && !initial_end)
		return;
	if (span_text(span_member(meta, "resourceVersion"), version, sizeof(version)) && *version) {
		memcpy(w->version, version, sizeof(version));
		w->refusals = 0;
	}
	if (w->phase == PHASE_STREAMING_ALL) {
		w->phase = PHASE_WATCHING;
		view_complete(w);
		set_live(w, true, "the complete view has arrived");
	}
}

static void on_begin(void *ctx, int status)
{
	struct kube_watch *w = ctx;

	if (status != 200)
		return;
	arm_silence(w);
	if (w->phase == PHASE_WATCHING) {
		set_live(w, true, "the watch was resumed");
	} else if (!w->begun) {
		w->begun = true;
		w->ops->begin(w->ctx);
	}
}

static bool on_data(void *ctx, const char *data, size_t len)
{
	struct kube_watch *w = ctx;
	int r;

	arm_silence(w);
	if (w->phase == PHASE_STREAMING_ALL && mono_diff_ms(mono_now(), w->started) > INITIAL_MAX_MS) {
		w->no_watch_list = true;
		return false;
	}
	r = splitter_feed(&w->splitter, data, len);
	if (r < 0 && !w->relist && !w->failed)
		problem(w, "the stream is not the JSON it should be");
	return r == 0 && !w->relist && !w->failed;
}

/* ---- how streams end ---- */

/* The rest of a list: where to go on. */
static void page_done(struct kube_watch *w)
{
	const struct span rest = { buf_text(&w->splitter.rest), w->splitter.rest.len };
	struct span meta = span_member(rest, "metadata");
	bool good = splitter_at_boundary(&w->splitter) && span_member(rest, "items").p &&
		    span_text(span_member(meta, "resourceVersion"), w->version, sizeof(w->version)) && *w->version;

	if (!span_text(span_member(meta, "continue"), w->next_page, sizeof(w->next_page)))
		w->next_page[0] = '\0'; /* absent: the last page */
	drop_stream(w);
	if (!good) {
		w->version[0] = w->next_page[0] = '\0';
		problem(w, "the list is cut off, or has no items or no resourceVersion");
		back_off(w, BACKOFF_REFUSED_MAX_MS, 0);
		return;
	}
	if (!*w->next_page) {
		view_complete(w);
		w->phase = PHASE_WATCHING;
	}
	start(w);
}

/* Our version is of no use any more: there is a gap in the view, and a list under way begins again. */
static void want_complete_view(struct kube_watch *w)
{
	w->version[0] = w->next_page[0] = '\0';
	w->relist = w->begun = false;
	w->refusals = 0;
	set_live(w, false, "the server has forgotten our version of the collection");
}

static void relist(struct kube_watch *w, int64_t wait_ms)
{
	mono_t now = mono_now();
	bool often = mono_diff_ms(now, w->relisted) < RELIST_MS;

	/* A Lease's view is one object, and an election waits for it. */
	if (often && w->cfg.channel == KUBE_CHANNEL_GENERAL && wait_ms < RELIST_MS / 2)
		wait_ms = RELIST_MS / 2;
	w->relisted = now;
	want_complete_view(w);
	if (often || wait_ms > 0)
		back_off(w, BACKOFF_GENERAL_MAX_MS, wait_ms);
	else
		start(w);
}

/* A status other than 200. */
static void refused(struct kube_watch *w, const struct kube_reply *rp)
{
	int64_t wait = rp->retry_after_ms > 0 ? rp->retry_after_ms : 0;

	if (w->phase == PHASE_STREAMING_ALL && (rp->status == 400 || rp->status == 422 || rp->status == 415)) {
		w->no_watch_list = true;
		start(w);
		return;
	}
	if (rp->status == 410) {
		relist(w, wait);
		return;
	}
	if (rp->status == 504 && !wait)
		wait = MS_PER_S; /* "Too large resource version": the server's cache is behind */
	set_live(w, false, rp->err.text);
	problem(w, rp->err.text);
	/* A version that stays too large (etcd was restored from a backup), or that the server does not understand. */
	if ((rp->status == 504 || rp->status == 400 || rp->status == 422) && ++w->refusals >= REFUSALS_MAX)
		want_complete_view(w);
	back_off(w, rp->status >= 500 ? BACKOFF_GENERAL_MAX_MS : BACKOFF_REFUSED_MAX_MS, wait);
}

static void on_end(void *ctx, const struct kube_reply *rp)
{
	struct kube_watch *w = ctx;
	int64_t lasted_ms = mono_diff_ms(mono_now(), w->started);
	bool was_short = lasted_ms < SHORT_STREAM_MS;

	if (lasted_ms >= HEALTHY_MS)
		w->failures = 0;
	if (rp->status == 200 && w->phase == PHASE_LISTING) {
		page_done(w);
		return;
	}
	drop_stream(w);
	if (w->relist) {
		relist(w, 0);
	} else if (w->failed) {
		set_live(w, false, "the server ended the watch with an error");
		if (++w->refusals >= REFUSALS_MAX)
			want_complete_view(w);
		back_off(w, BACKOFF_REFUSED_MAX_MS, 0);
	} else if (rp->status == 0 && was_short) {
		set_live(w, false, rp->err.text);
		if (w->failures > 0)
			problem(w, rp->err.text);
		back_off(w, BACKOFF_GENERAL_MAX_MS, 0);
	} else if (rp->status == 200 && was_short) {
		back_off(w, BACKOFF_FIRST_MS, 0); /* a server that ends each watch at once */
	} else if (rp->status == 200 || rp->status == 0) {
		if (w->phase != PHASE_WATCHING)
			w->version[0] = '\0';
		start(w); /* resume; the doubt timer runs */
	} else {
		refused(w, rp);
	}
}

/* ---- starting ---- */

static void append_escaped(struct buf *b, const char *text)
{
	for (const char *p = text; *p; p++) {
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~", *p))
			buf_append(b, p, 1);
		else
			buf_printf(b, "%%%02X", (unsigned char)*p);
	}
}

static void append_param(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, "%s%s=", strchr(buf_text(b), '?') ? "&" : "?", name);
	append_escaped(b, value);
}

static void make_path(struct kube_watch *w, struct buf *b)
{
	char seconds[16];

	buf_puts(b, w->path);
	if (w->field_selector)
		append_param(b, "fieldSelector", w->field_selector);
	if (w->label_selector)
		append_param(b, "labelSelector", w->label_selector);
	if (w->phase == PHASE_LISTING) {
		append_param(b, "limit", "500");
		if (*w->next_page)
			append_param(b, "continue", w->next_page);
		return;
	}
	IGNORE(snprintf(seconds, sizeof(seconds), "%d", (int)prng_range(&w->prng, 300, 600))); /* fits */
	append_param(b, "watch", "true");
	append_param(b, "allowWatchBookmarks", "true");
	append_param(b, "timeoutSeconds", seconds);
	if (w->phase == PHASE_WATCHING) {
		append_param(b, "resourceVersion", w->version);
	} else {
		append_param(b, "sendInitialEvents", "true");
		append_param(b, "resourceVersionMatch", "NotOlderThan");
	}
}

static void start(struct kube_watch *w)
{
	static const struct kube_stream_ops stream_ops = { on_begin, on_data, on_end };
	static const struct splitter_ops list_ops = { list_object, oversized }, watch_ops = { watch_object, oversized };
	struct buf path = BUF_INIT(16 * 1024);
	struct err_info err = ERR_INFO_INIT;
	bool list;
	int r;

	if (*w->next_page)
		w->phase = PHASE_LISTING;
	else if (*w->version)
		w->phase = PHASE_WATCHING;
	else
		w->phase = w->no_watch_list ? PHASE_LISTING : PHASE_STREAMING_ALL;
	list = w->phase == PHASE_LISTING;
	if (!list && w->phase == PHASE_STREAMING_ALL)
		w->begun = false; /* each try gives the whole view anew */
	splitter_init(&w->splitter, list ? SPLITTER_LIST : SPLITTER_WATCH, KUBE_OBJECT_MAX, list ? &list_ops : &watch_ops, w);
	w->splitter_open = true;
	w->failed = false;
	w->started = mono_now();
	make_path(w, &path);
	r = buf_failed(&path);
	if (r == 0)
		r = kube_stream_new(w->client, w->cfg.channel, list ? "LIST" : "WATCH", buf_text(&path), &stream_ops, w,
				    &w->stream, &err);
	buf_fini(&path);
	if (r < 0) {
		drop_stream(w);
		problem(w, *err.text ? err.text : strerror(-r));
		back_off(w, BACKOFF_GENERAL_MAX_MS, 0);
		return;
	}
	kube_timer_set(w->client, &w->silence, mono_add_ms(mono_now(), INITIAL_SILENCE_MS)); /* for the reply to begin */
}

static void on_retry(void *ctx)
{
	start(ctx);
}

static void on_doubt(void *ctx)
{
	set_live(ctx, false, "the watch broke and is not back yet");
}

static void on_silence(void *ctx)
{
	struct kube_watch *w = ctx;

	kube_stream_give_up(w->stream);
	if (w->phase == PHASE_STREAMING_ALL)
		w->no_watch_list = true; /* begun but never ended: list instead */
	drop_stream(w);
	set_live(w, false, "the watch went silent");
	if (w->phase == PHASE_WATCHING)
		start(w);
	else
		back_off(w, BACKOFF_GENERAL_MAX_MS, 0);
}

int kube_watch_new(struct kube_client *c, const struct kube_watch_config *cfg, const struct kube_watch_ops *ops, void *ctx,
		   struct kube_watch **ret, struct err_info *err)
{
	struct kube_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return err_errno(err, -ENOMEM, "watch");
	w->client = c;
	w->cfg = *cfg;
	w->ops = ops;
	w->ctx = ctx;
	w->prng.state = cfg->seed;
	w->relisted = mono_add_ms(mono_now(), -RELIST_MS);
	w->path = strdup(cfg->path);
	w->field_selector = cfg->field_selector ? strdup(cfg->field_selector) : NULL;
	w->label_selector = cfg->label_selector ? strdup(cfg->label_selector) : NULL;
	w->retry = (struct kube_timer){ .fn = on_retry, .ctx = w };
	w->silence = (struct kube_timer){ .fn = on_silence, .ctx = w };
	w->doubt = (struct kube_timer){ .fn = on_doubt, .ctx = w };
	kube_timer_add(c, &w->retry);
	kube_timer_add(c, &w->silence);
	kube_timer_add(c, &w->doubt);
	if (!w->path || (cfg->field_selector && !w->field_selector) || (cfg->label_selector && !w->label_selector)) {
		kube_watch_free(w);
		return err_errno(err, -ENOMEM, "watch");
	}
	kube_timer_set(c, &w->retry, mono_now()); /* at once, but inside dispatch */
	*ret = w;
	return 0;
}

void kube_watch_free(struct kube_watch *w)
{
	if (!w)
		return;
	kube_stream_free(w->stream);
	if (w->splitter_open)
		splitter_fini(&w->splitter);
	kube_timer_remove(w->client, &w->retry);
	kube_timer_remove(w->client, &w->silence);
	kube_timer_remove(w->client, &w->doubt);
	free(w->path);
	free(w->field_selector);
	free(w->label_selector);
	free(w);
}

bool kube_watch_synced(const struct kube_watch *w)
{
	return w->synced;
}

bool kube_watch_live(const struct kube_watch *w)
{
	return w->live;
}
