/* SPDX-License-Identifier: Apache-2.0 */
/* live_watch.c: the API client and its watches on a leash, for test_live.py: commands come on standard input, one a
 * line, and everything the client calls back is told on standard output, one JSON object a line, with the milliseconds
 * since the start.  It decides nothing and checks nothing.
 *
 *	live_watch --kubeconfig FILE | --in-cluster DIR HOST PORT  [--server URL]...
 *
 *	watch ID lease|general SILENCE_MS PATH [FIELD_SELECTOR]
 *	unwatch ID
 *	react ID PATH			from now on each object of watch ID starts a GET of PATH from inside its call-back
 *	request ID lease|general METHOD TIMEOUT_MS PATH [BODY]
 *	burst N lease|general TIMEOUT_MS PATH	N requests (GET) in one go, with the ids 0..N-1
 *	probe ID ADDRESS PORT TIMEOUT_MS	asks one server whether it is ready
 *	reserve N			prepares the Lease channel for N requests at once
 *	usage				memory, descriptors and the longest dispatch so far
 *
 * The end of standard input ends it in order, with everything freed. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/auto.h"
#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/kube/client.h"
#include "agent/kube/probe.h"
#include "agent/kube/watch.h"

#define WATCHES_MAX 8
#define WORDS_MAX 6
#define LINE_BYTES_MAX (64 * 1024)

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED false
#endif

struct live;

struct live_watch {
	struct live *live;
	struct kube_watch *watch;
	int id;
	char react[512]; /* path; "" = do not */
};

struct live {
	struct kube_client *client;
	struct live_watch watches[WATCHES_MAX];
	struct asked *asked; /* all under way */
	struct asked *spare; /* for use again: a test may let nothing more be allocated here */
	mono_t start;
	int64_t dispatch_us_max;
};

/* A request under way. */
struct asked {
	struct live *live;
	struct asked *next;
	int id;
	bool reaction;
};

/* ---- what is told ---- */

static void tell(struct live *l, json_t *what)
{
	char *text;

	json_object_set_new(what, "ms", json_integer(mono_diff_ms(mono_now(), l->start)));
	text = json_dumps(what, JSON_COMPACT);
	assert(text);
	puts(text);
	free(text);
	json_decref(what);
}

static void tell_watch(struct live_watch *w, const char *what)
{
	tell(w->live, json_pack("{s:s, s:i, s:b, s:b}", "what", what, "watch", w->id, "is_synced",
				w->watch && kube_watch_synced(w->watch), "is_live", w->watch && kube_watch_live(w->watch)));
}

static void tell_object(struct live_watch *w, const char *what, const char *text, size_t len)
{
	json_t *object = json_loadb(text, len, 0, NULL);
	json_t *meta = json_object_get(object, "metadata");
	const char *ns = json_string_value(json_object_get(meta, "namespace"));
	const char *name = json_string_value(json_object_get(meta, "name"));
	const char *version = json_string_value(json_object_get(meta, "resourceVersion"));

	tell(w->live, json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:O?}", "what", what, "watch", w->id, "ns", ns ? ns : "",
				"name", name ? name : "", "version", version ? version : "", "bytes", (json_int_t)len,
				"spec", json_object_get(object, "spec")));
	json_decref(object);
}

/* ---- requests ---- */

static void asked_free(struct asked *a)
{
	struct asked **p = &a->live->asked;

	while (*p != a)
		p = &(*p)->next;
	*p = a->next;
	a->next = a->live->spare;
	a->live->spare = a;
}

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	struct asked *a = ctx;
	mono_t now = mono_now();

	assert(strlen(rp->body) == rp->len);
	tell(a->live, json_pack("{s:s, s:i, s:b, s:i, s:s, s:s, s:s, s:I, s:I, s:I}", "what", "reply", "id", a->id, "reaction",
				a->reaction, "status", rp->status, "reason", rp->reason, "error", rp->err.text, "server",
				rp->server, "bytes", (json_int_t)rp->len, "retry_after_ms", (json_int_t)rp->retry_after_ms,
				"took_ms", (json_int_t)mono_diff_ms(now, rp->sent)));
	asked_free(a);
}

static void ask(struct live *l, int id, bool reaction, const struct kube_request *rq)
{
	struct err_info err = ERR_INFO_INIT;
	struct asked *a = l->spare ? l->spare : calloc(1, sizeof(*a));
	int r;

	assert(a);
	if (l->spare)
		l->spare = a->next;
	*a = (struct asked){ l, l->asked, id, reaction };
	l->asked = a;
	r = kube_request(l->client, rq, on_reply, a, &err);
	if (r == 0)
		return;
	asked_free(a);
	tell(l, json_pack("{s:s, s:i, s:b, s:s, s:s}", "what", "not_started", "id", id, "reaction", reaction, "error",
			  err.text, "errno", strerror(-r)));
}

static enum kube_channel channel_of(const char *word)
{
	return text_eq(word, "lease") ? KUBE_CHANNEL_LEASE : KUBE_CHANNEL_GENERAL;
}

static int64_t number(const char *word)
{
	uint64_t n = 0;
	int r = text_to_u64(word, INT32_MAX, &n);

	assert(r == 0);
	return (int64_t)n;
}

/* ---- watches ---- */

static void on_begin(void *ctx)
{
	tell_watch(ctx, "begin");
}

static void on_put(void *ctx, const char *json, size_t len)
{
	struct live_watch *w = ctx;
	struct kube_request rq = { .method = KUBE_GET, .channel = KUBE_CHANNEL_LEASE, .path = w->react, .timeout_ms = 5000 };

	tell_object(w, "put", json, len);
	if (*w->react)
		ask(w->live, w->id, true, &rq);
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	tell_object(ctx, "gone", json, len);
}

static void on_synced(void *ctx)
{
	tell_watch(ctx, "synced");
}

static void on_live(void *ctx, bool live, const char *why)
{
	struct live_watch *w = ctx;

	tell(w->live, json_pack("{s:s, s:i, s:b, s:s}", "what", "live", "watch", w->id, "live", live, "why", why));
}

static void on_problem(void *ctx, const struct err_info *err)
{
	struct live_watch *w = ctx;

	tell(w->live, json_pack("{s:s, s:i, s:s}", "what", "problem", "watch", w->id, "error", err->text));
}

static void start_watch(struct live *l, char *const *words, int n)
{
	static const struct kube_watch_ops ops = { on_begin, on_put, on_gone, on_synced, on_live, on_problem };
	struct err_info err = ERR_INFO_INIT;
	int64_t id = number(words[1]);
	struct live_watch *w = &l->watches[id];
	struct kube_watch_config cfg = {
		.path = words[4],
		.field_selector = n > 5 ? words[5] : NULL,
		.channel = channel_of(words[2]),
		.silence_ms = number(words[3]),
		.seed = (uint64_t)id + 1,
	};

	assert(id < WATCHES_MAX && !w->watch);
	*w = (struct live_watch){ .live = l, .id = (int)id };
	if (kube_watch_new(l->client, &cfg, &ops, w, &w->watch, &err) < 0)
		tell(l, json_pack("{s:s, s:i, s:s}", "what", "not_started", "watch", w->id, "error", err.text));
}

static void end_watch(struct live_watch *w)
{
	kube_watch_free(w->watch);
	w->watch = NULL;
}

/* ---- usage ---- */

/* The number behind 'name' in /proc/self/status, in kB. */
static int64_t status_kb(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	int64_t kb = -1;

	if (at)
		IGNORE(sscanf(at + strlen(name), " %" SCNd64, &kb)); /* stays -1 */
	return kb;
}

static int64_t count_sockets(void)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *e;
	int64_t n = 0;
	char to[64];

	assert(dir);
	while ((e = readdir(dir))) {
		ssize_t len = readlinkat(dirfd(dir), e->d_name, to, sizeof(to) - 1);

		to[len > 0 ? len : 0] = '\0';
		n += text_starts(to, "socket:");
	}
	IGNORE(closedir(dir)); /* read only */
	return n;
}

static void tell_usage(struct live *l)
{
	struct buf status = BUF_INIT(64 * 1024);
	int r = file_read("/proc/self/status", &status, NULL);

	assert(r == 0);
	tell(l, json_pack("{s:s, s:b, s:I, s:I, s:I}", "what", "usage", "sanitized", SANITIZED, "rss_anon_kb",
			  (json_int_t)status_kb(buf_text(&status), "RssAnon:"), "sockets", (json_int_t)count_sockets(),
			  "dispatch_us_max", (json_int_t)l->dispatch_us_max));
	l->dispatch_us_max = 0;
	buf_fini(&status);
}

/* ---- commands ---- */

static void request(struct live *l, char *const *words, char *body)
{
	static const char *const names[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
	struct kube_request rq = {
		.channel = channel_of(words[2]),
		.timeout_ms = number(words[4]),
		.path = words[5],
		.body = body,
	};

	while (!text_eq(names[rq.method], words[3]))
		rq.method++;
	if (body)
		rq.content_type = rq.method == KUBE_PATCH ? "application/merge-patch+json" : "application/json";
	ask(l, (int)number(words[1]), false, &rq);
}

static void burst(struct live *l, char *const *words)
{
	struct kube_request rq = {
		.method = KUBE_GET,
		.channel = channel_of(words[2]),
		.timeout_ms = number(words[3]),
		.path = words[4],
	};

	for (int i = 0; i < number(words[1]); i++)
		ask(l, i, false, &rq);
}

struct live_probe {
	struct kube_probe probe; /* first */
	int id;
};

static void on_verdict(struct kube_probe *p, enum verdict v, const char *why)
{
	static const char *const names[] = { [VERDICT_GOOD] = "good", [VERDICT_BAD] = "bad", [VERDICT_REFUSED] = "refused",
					     [VERDICT_SILENT] = "silent" };
	struct live_probe *lp = (struct live_probe *)p;

	tell(p->ctx, json_pack("{s:s, s:i, s:s, s:s}", "what", "verdict", "id", lp->id, "verdict", names[v], "why", why));
	free(lp);
}

static void probe(struct live *l, char *const *words)
{
	struct live_probe *lp = calloc(1, sizeof(*lp));
	struct err_info err = ERR_INFO_INIT;
	int r;

	assert(lp);
	*lp = (struct live_probe){ { .at = { .port = (uint16_t)number(words[3]) }, .fn = on_verdict, .ctx = l },
				   (int)number(words[1]) };
	r = ip_parse(words[2], &lp->probe.at.ip);
	assert(r == 0);
	r = kube_probe(l->client, &lp->probe, number(words[4]), &err);
	assert(r == 0);
}

static void reserve(struct live *l, unsigned int n)
{
	struct err_info err = ERR_INFO_INIT;
	int r = kube_client_reserve(l->client, n, &err);

	tell(l, json_pack("{s:s, s:b, s:s}", "what", "reserved", "good", r == 0, "error", err.text));
}

static void command(struct live *l, char *line)
{
	char *words[WORDS_MAX] = { line }, *rest = line;
	int n = 0;

	while (n < WORDS_MAX && rest)
		words[n++] = strsep(&rest, " ");
	if (text_eq(words[0], "watch") && n >= 5)
		start_watch(l, words, n);
	else if (text_eq(words[0], "unwatch") && n == 2)
		end_watch(&l->watches[number(words[1])]);
	else if (text_eq(words[0], "react") && n == 3)
		IGNORE(text_copy(l->watches[number(words[1])].react, sizeof(l->watches[0].react), words[2])); /* fits */
	else if (text_eq(words[0], "request") && n == 6)
		request(l, words, rest);
	else if (text_eq(words[0], "burst") && n == 5)
		burst(l, words);
	else if (text_eq(words[0], "probe") && n == 5)
		probe(l, words);
	else if (text_eq(words[0], "reserve") && n == 2)
		reserve(l, (unsigned int)number(words[1]));
	else if (text_eq(words[0], "usage"))
		tell_usage(l);
	else
		tell(l, json_pack("{s:s, s:s}", "what", "bad_command", "line", words[0]));
}

/* Reads commands; false at the end. */
static bool read_commands(struct live *l, struct buf *in)
{
	char chunk[4096];
	ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
	char *end;

	if (n <= 0)
		return false;
	buf_append(in, chunk, (size_t)n);
	assert(buf_failed(in) == 0);
	while (in->len > 0 && (end = memchr(in->data, '\n', in->len))) {
		*end = '\0';
		command(l, in->data);
		buf_consume(in, (size_t)(end + 1 - in->data));
	}
	return true;
}

static void dispatch(struct live *l)
{
	struct err_info err = ERR_INFO_INIT;
	mono_t before = mono_now();
	int64_t us;

	if (kube_client_dispatch(l->client, &err) < 0)
		tell(l, json_pack("{s:s, s:s}", "what", "dispatch_failed", "error", err.text));
	us = (mono_now().ns - before.ns) / 1000;
	if (us > l->dispatch_us_max)
		l->dispatch_us_max = us;
}

static void run(struct live *l)
{
	struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
				 { .fd = kube_client_fd(l->client), .events = POLLIN } };
	struct buf in = BUF_INIT(LINE_BYTES_MAX);

	IGNORE(buf_reserve(&in, 16 * 1024)); /* commands are read in times of want, too */
	for (;;) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			dispatch(l);
		if (fds[0].revents && !read_commands(l, &in))
			break;
		fflush(stdout); /* not while a dispatch is timed: the reader may be slow */
	}
	buf_fini(&in);
}

static void on_done(void *ctx, const char *verb, int code, int64_t ms)
{
	tell(ctx, json_pack("{s:s, s:s, s:i, s:I}", "what", "done", "verb", verb, "code", code, "took_ms", (json_int_t)ms));
}

static int open_client(struct live *l, int argc, char **argv, struct err_info *err)
{
	const char *servers[KUBE_SERVERS_MAX];
	struct kube_client_config cfg = { .servers = servers, .user_agent = "leasehold-test", .on_done = on_done, .ctx = l };
	struct kube_auth *auth = NULL;
	int r = -EINVAL;

	for (int i = 1; i < argc; i++) {
		if (text_eq(argv[i], "--kubeconfig") && i + 1 < argc) {
			r = kube_auth_from_kubeconfig(argv[++i], &auth, err);
		} else if (text_eq(argv[i], "--in-cluster") && i + 3 < argc) {
			r = kube_auth_in_cluster(argv[i + 1], argv[i + 2], argv[i + 3], &auth, err);
			i += 3;
		} else if (text_eq(argv[i], "--server") && i + 1 < argc && cfg.n_servers < KUBE_SERVERS_MAX) {
			servers[cfg.n_servers++] = argv[++i];
		} else {
			r = err_set(err, -EINVAL, "unknown argument: %s", argv[i]);
		}
		if (r < 0)
			break;
	}
	if (r == 0)
		r = kube_client_new(auth, &cfg, &l->client, err);
	if (r < 0)
		kube_auth_free(auth);
	return r;
}

int main(int argc, char **argv)
{
	struct err_info err = ERR_INFO_INIT;
	struct live l = { .start = mono_now() };

	if (open_client(&l, argc, argv, &err) < 0) {
		fprintf(stderr, "live_watch: %s\n", err.text);
		return 1;
	}
	setvbuf(stdout, NULL, _IOFBF, 256 * 1024);
	tell(&l, json_pack("{s:s}", "what", "ready"));
	fflush(stdout);
	run(&l);
	for (int i = 0; i < WATCHES_MAX; i++)
		end_watch(&l.watches[i]);
	kube_client_free(l.client);
	while (l.asked)
		asked_free(l.asked); /* never answered, as kube_client_free() promises */
	while (l.spare) {
		struct asked *a = l.spare;

		l.spare = a->next;
		free(a);
	}
	return 0;
}
