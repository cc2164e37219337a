/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_watch.c: the life of a view (agent/kube/watch.c) under replies that nobody checked.  Connection, timers and clock are this
 * file's; the watch is the real one.
 *
 * The input is how the pieces are cut (a byte), and then replies with \x1e between, each a letter and its bytes:
 *	d, D	a stream that ends in the ordinary way; D: after a while
 *	b, B	one that breaks
 *	s	one that falls silent
 *	r	three digits: a refusal with that status; then the Status object's reason
 * Beyond not crashing: what the watch tells and asks for does not depend on how the replies are cut, objects come within a
 * view only, and it always goes on: there is a stream or a timer. */
#include <errno.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/base/text.h"
#include "agent/kube/client_private.h"
#include "agent/kube/watch.h"
#include "tests/fuzz/fuzz.h"

#define REPLIES_MAX 64
#define LONG_MS 130000 /* more than any backoff, and than a stream has to last to count as healthy */

struct kube_call {
	const struct kube_stream_ops *ops;
	void *ctx;
};

struct kube_client {
	struct kube_timer *timers;
	struct kube_call *stream; /* the one there is, NULL = none */
	unsigned int n_streams;	  /* so far */
	mono_t now;
};

/* What the watch did, in its order. */
struct told {
	struct buf log;
	bool begun;
};

static struct kube_client client;
static struct told *telling;

mono_t mono_now(void)
{
	return client.now;
}

void kube_timer_add(struct kube_client *c, struct kube_timer *t)
{
	t->at = MONO_NEVER;
	t->next = c->timers;
	c->timers = t;
}

void kube_timer_remove(struct kube_client *c, struct kube_timer *t)
{
	for (struct kube_timer **k = &c->timers; *k; k = &(*k)->next) {
		if (*k == t) {
			*k = t->next;
			return;
		}
	}
}

void kube_timer_set(struct kube_client *c, struct kube_timer *t, mono_t at)
{
	(void)c;
	t->at = at;
}

int kube_stream_new(struct kube_client *c, enum kube_channel channel, const char *verb, const char *path,
		    const struct kube_stream_ops *ops, void *ctx, struct kube_call **ret, struct err_info *err)
{
	(void)channel;
	(void)err;
	assert(!c->stream); /* one at a time */
	c->n_streams++;
	buf_printf(&telling->log, "%s %s\n", verb, path);
	c->stream = calloc(1, sizeof(*c->stream));
	assert(c->stream);
	*c->stream = (struct kube_call){ ops, ctx };
	*ret = c->stream;
	return 0;
}

void kube_stream_free(struct kube_call *s)
{
	if (!s)
		return;
	assert(s == client.stream);
	client.stream = NULL;
	free(s);
}

void kube_stream_give_up(struct kube_call *s)
{
	kube_stream_free(s);
}

/* ---- what it tells ---- */

static void on_begin(void *ctx)
{
	struct told *t = ctx;

	t->begun = true;
	buf_puts(&t->log, "begin\n");
}

static void on_put(void *ctx, const char *json, size_t len)
{
	struct told *t = ctx;

	assert(t->begun && len > 0);
	buf_puts(&t->log, "put ");
	buf_append(&t->log, json, len);
	buf_puts(&t->log, "\n");
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	struct told *t = ctx;

	assert(t->begun && len > 0);
	buf_puts(&t->log, "gone ");
	buf_append(&t->log, json, len);
	buf_puts(&t->log, "\n");
}

static void on_synced(void *ctx)
{
	struct told *t = ctx;

	assert(t->begun);
	buf_puts(&t->log, "synced\n");
}

static void on_live(void *ctx, bool live, const char *why)
{
	struct told *t = ctx;

	assert(*why);
	buf_printf(&t->log, "live %d %s\n", live, why);
}

static void on_problem(void *ctx, const struct err_info *err)
{
	struct told *t = ctx;

	assert(*err->text);
	buf_printf(&t->log, "problem %s\n", err->text);
}

/* ---- what happens to it ---- */

/* Fires the timer that is due first. */
static void next_timer(void)
{
	struct kube_timer *first = NULL;

	for (struct kube_timer *t = client.timers; t; t = t->next)
		if (!mono_is_never(t->at) && (!first || mono_before(t->at, first->at)))
			first = t;
	assert(first); /* else it would never go on */
	if (mono_before(client.now, first->at))
		client.now = first->at;
	first->at = MONO_NEVER;
	first->fn(first->ctx);
}

/* The stream is freed before its end is told, as by the client. */
static void end_stream(int status, const char *reason)
{
	struct kube_call call = *client.stream;
	struct kube_reply rp = { .status = status, .retry_after_ms = status == 429 ? 1000 : -1, .body = "", .reason = reason,
				 .err = ERR_INFO_INIT };

	kube_stream_free(client.stream);
	if (status != 200)
		IGNORE(err_set(&rp.err, 0, "status %d", status)); /* returns 0 */
	call.ops->end(call.ctx, &rp);
}

/* False: the watch has cut the stream. */
static bool feed(const char *data, size_t len, struct prng *prng)
{
	for (size_t at = 0; at < len;) {
		size_t n = prng ? fuzz_piece(prng, len - at) : len - at;
		char *piece = fuzz_copy(data + at, n);
		bool more = client.stream->ops->data(client.stream->ctx, piece, n);

		free(piece);
		if (!more)
			return false;
		at += n;
	}
	return true;
}

static void reply(const char *text, size_t len, struct prng *prng)
{
	const char kind = len > 0 ? text[0] : 'd';
	const char *data = len > 0 ? text + 1 : text;
	size_t n = len > 0 ? len - 1 : 0;
	unsigned int n_streams;
	int status = 0;

	while (!client.stream)
		next_timer();
	if (kind == 'r') {
		char reason[16];

		for (size_t i = 0; i < 3 && i < n && data[i] >= '0' && data[i] <= '9'; i++)
			status = status * 10 + (data[i] - '0');
		snprintf(reason, sizeof(reason), "%.*s", (int)(n > 3 ? n - 3 : 0), n > 3 ? data + 3 : "");
		if (status == 200)
			status = 0;
		if (status)
			client.stream->ops->begin(client.stream->ctx, status);
		end_stream(status, reason);
		return;
	}
	client.stream->ops->begin(client.stream->ctx, 200);
	if (!feed(data, n, prng)) {
		end_stream(0, ""); /* libcurl's write error */
		return;
	}
	if (kind == 's') {
		n_streams = client.n_streams;
		while (client.stream && client.n_streams == n_streams)
			next_timer(); /* the silence, or a doubt before it */
		return;
	}
	if (kind == 'D' || kind == 'B')
		client.now = mono_add_ms(client.now, LONG_MS);
	end_stream(kind == 'b' || kind == 'B' ? 0 : 200, "");
}

static void run(const char *text, size_t len, struct prng *prng, struct told *told)
{
	static const struct kube_watch_ops ops = { on_begin, on_put, on_gone, on_synced, on_live, on_problem };
	const struct kube_watch_config cfg = { .path = "/api/v1/services", .channel = KUBE_CHANNEL_GENERAL, .silence_ms = 90000, .seed = 7 };
	struct err_info err = ERR_INFO_INIT;
	struct kube_watch *w = NULL;
	int r;

	*told = (struct told){ .log = BUF_INIT(64 * 1024 * 1024) };
	telling = told;
	client = (struct kube_client){ .now = { INT64_C(1000000000000) } };
	r = kube_watch_new(&client, &cfg, &ops, told, &w, &err);
	assert(r == 0);
	for (unsigned int i = 0; i < REPLIES_MAX && len > 0; i++) {
		const char *end = memchr(text, '\x1e', len);
		size_t n = end ? (size_t)(end - text) : len;

		reply(text, n, prng);
		text += n + (end != NULL);
		len -= n + (end != NULL);
	}
	while (!client.stream)
		next_timer();
	kube_watch_free(w);
	assert(!client.stream && !client.timers);
	assert(buf_failed(&told->log) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct prng prng = { .state = size > 0 ? data[0] : 0 };
	struct told whole, cut;
	char *text;

	if (size == 0)
		return 0;
	text = fuzz_copy(data + 1, size - 1);
	run(text, size - 1, NULL, &whole);
	run(text, size - 1, &prng, &cut);
	free(text);
	if (whole.log.len != cut.log.len || memcmp(whole.log.data, cut.log.data, whole.log.len) != 0) {
		fprintf(stderr, "in one piece:\n%s\ncut:\n%s\n", buf_text(&whole.log), buf_text(&cut.log));
		abort();
	}
	buf_fini(&whole.log);
	buf_fini(&cut.log);
	return 0;
}
