/* SPDX-License-Identifier: Apache-2.0 */
/* client.c: requests over libcurl's multi interface.  One multi a channel, so that Leases have connections of their own
 * and never wait behind other requests.  The handle of one request is set up in call.c; here they are driven. */
#include "agent/kube/client.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "agent/base/text.h"
#include "agent/kube/call.h"
#include "agent/kube/status_json.h"

#define IN_FLIGHT_MAX 16 /* requests of the general channel; streams do not count */
#define QUEUE_MAX 4096
#define GENERAL_CONNECTIONS (IN_FLIGHT_MAX + 4L) /* with fewer libcurl closes one after each request of a burst */
#define PROBE_CONNECTIONS 16L
#define LEASE_CONNECTIONS 4 /* kept at least: watch and writes of one Lease, and one more of each after a failure */
#define LEASE_CONNECTIONS_MAX 256L
#define EVENTS_A_DISPATCH 32
#define OVERDUE_MS 100 /* libcurl ends a request itself at its time, but on a clock that stands still during suspend */

/* ---- timers ---- */

static void rearm(struct kube_client *c)
{
	struct itimerspec t = { 0 };
	mono_t at = MONO_NEVER;

	for (size_t i = 0; i < KUBE_CHANNELS; i++)
		at = mono_min(at, c->channels[i].timer_at);
	for (const struct kube_timer *k = c->timers; k; k = k->next)
		at = mono_min(at, k->at);
	at = mono_min(at, c->first_due);
	if (at.ns == c->armed.ns)
		return;
	c->armed = at;
	if (!mono_is_never(at)) {
		int64_t ns = at.ns < 1 ? 1 : at.ns; /* zero would disarm it */

		t.it_value.tv_sec = ns / (MS_PER_S * NS_PER_MS);
		t.it_value.tv_nsec = ns % (MS_PER_S * NS_PER_MS);
	}
	IGNORE(timerfd_settime(c->timer_fd, TFD_TIMER_ABSTIME, &t, NULL)); /* arguments are valid by construction */
}

void kube_timer_add(struct kube_client *c, struct kube_timer *t)
{
	t->at = MONO_NEVER;
	t->next = c->timers;
	c->timers = t;
}

void kube_timer_remove(struct kube_client *c, struct kube_timer *t)
{
	for (struct kube_timer **p = &c->timers; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			return;
		}
	}
}

void kube_timer_set(struct kube_client *c, struct kube_timer *t, mono_t at)
{
	t->at = at;
	rearm(c);
}

/* A timer's function may set or remove timers: begin again after each. */
static void run_timers(struct kube_client *c, mono_t now)
{
	bool again = true;

	while (again) {
		again = false;
		for (struct kube_timer *t = c->timers; t && !again; t = t->next) {
			if (mono_reached(now, t->at)) {
				t->at = MONO_NEVER;
				t->fn(t->ctx);
				again = true;
			}
		}
	}
}

/* ---- libcurl's sockets and timer ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
	struct kube_channel_state *ch = ctx;
	struct epoll_event ev = { .data = { .u64 = ((uint64_t)(uintptr_t)(ch - ch->client->channels) << 32) | (uint32_t)fd } };
	int op = known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, other = known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		IGNORE(epoll_ctl(ch->client->epoll_fd, EPOLL_CTL_DEL, fd, NULL)); /* closed already is fine */
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		ev.events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(ch->client->epoll_fd, op, fd, &ev) < 0 && epoll_ctl(ch->client->epoll_fd, other, fd, &ev) < 0)
		return -1; /* the second: a number that was closed and given out again unseen */
	curl_multi_assign(ch->multi, fd, ch); /* marks it as known */
	return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx)
{
	struct kube_channel_state *ch = ctx;

	(void)multi;
	ch->timer_at = ms < 0 ? MONO_NEVER : mono_add_ms(mono_now(), ms);
	return 0; /* the timer is armed at the end of dispatch, or of the call that led here */
}

/* ---- calls ---- */

static void unlink_call(struct kube_client *c, struct kube_call *call)
{
	for (struct kube_call **p = &c->calls; *p; p = &(*p)->next) {
		if (*p == call) {
			*p = call->next;
			break;
		}
	}
	c->n_queued -= call->queued;
	call->queued = false;
	c->n_timed -= call->timeout_ms > 0;
	if (c->n_timed == 0)
		c->first_due = MONO_NEVER;
	if (call->active) {
		curl_multi_remove_handle(c->channels[call->channel].multi, call->easy);
		call->active = false;
		if (!call->stream)
			c->channels[call->channel].in_flight--;
	}
}

/* Looks at the credentials' files.  After an error what was read last may still be good; a 401 will tell, and why. */
static void look_at_credentials(struct kube_client *c, bool now)
{
	bool changed = false;

	if (kube_auth_refresh(c->auth, mono_now(), now, &changed, &c->auth_error) == 0)
		c->auth_error.text[0] = '\0';
	c->credentials += changed;
}

static int start_call(struct kube_client *c, struct kube_call *call, struct err_info *err)
{
	struct kube_channel_state *ch = &c->channels[call->channel];
	int r;

	look_at_credentials(c, false);
	call->server = ch->server;
	r = kube_call_prepare(call, c, err);
	if (r < 0)
		return r;
	if (curl_multi_add_handle(ch->multi, call->easy) != CURLM_OK)
		return err_set(err, -ENOMEM, "libcurl took no more requests");
	call->active = true;
	if (!call->stream)
		ch->in_flight++;
	return 0;
}

static bool may_start(const struct kube_client *c, const struct kube_call *call)
{
	return call->stream || call->channel != KUBE_CHANNEL_GENERAL || c->channels[call->channel].in_flight < IN_FLIGHT_MAX;
}

/* Hands the outcome over and frees the call. */
static void finish(struct kube_client *c, struct kube_call *call, struct kube_reply *rp)
{
	struct kube_status st = { 0 };
	struct kube_call done = *call;

	if (rp->status >= 400) {
		status_decode(buf_text(&call->body), call->body.len, &st);
		IGNORE(err_set(&rp->err, 0, "HTTP %d: %s", rp->status, *st.message ? st.message : "no reason given")); /* returns 0 */
		if (rp->status == 401 && *c->auth_error.text)
			IGNORE(err_wrap(&rp->err, 0, "%s", c->auth_error.text)); /* returns 0 */
		if (rp->retry_after_ms < 0 && st.retry_after_s > 0)
			rp->retry_after_ms = st.retry_after_s * MS_PER_S;
	}
	rp->reason = st.reason;
	rp->body = buf_text(&call->body);
	rp->len = call->body.len;
	rp->server = kube_call_server(call);
	if (!call->begun)
		kube_call_count(call, rp->status);
	unlink_call(c, call);
	if (done.stream)
		call->ops->end(call->ctx, rp);
	else
		call->fn(call->ctx, rp);
	kube_call_free(call);
}

/* A server that cannot be reached or is ill: the next one, at the next try. */
static void move_on(struct kube_client *c, const struct kube_call *call, int status)
{
	struct kube_channel_state *ch = &c->channels[call->channel];

	if (call->own_server.len)
		return;
	if (((status == 0 && !call->cut) || status >= 500) && ch->server == call->server)
		ch->server = (ch->server + 1) % c->n_servers;
}

/* After a 401: true when there are other credentials by now, and the call is under way again with them. */
static bool retry_call(struct kube_client *c, struct kube_call *call)
{
	struct err_info err = ERR_INFO_INIT;

	if (call->retried)
		return false;
	look_at_credentials(c, true);
	if (call->credentials == c->credentials) /* else this look found the change, or that of another call did */
		return false;
	curl_multi_remove_handle(c->channels[call->channel].multi, call->easy);
	call->active = false;
	c->channels[call->channel].in_flight -= !call->stream;
	call->retried = true;
	call->begun = false;
	call->retry_after_ms = -1;
	buf_reset(&call->body);
	return start_call(c, call, &err) == 0;
}

static void call_done(struct kube_client *c, struct kube_call *call, CURLcode result)
{
	struct kube_reply rp = { .retry_after_ms = call->retry_after_ms, .date_s = call->date_s, .sent = call->sent };
	long status = 0;

	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	/* A broken transfer is no answer, whatever its first line said. */
	rp.status = result == CURLE_OK ? (int)status : 0;
	rp.failure = kube_call_failure(call, result);
	if (rp.status == 0)
		IGNORE(err_set(&rp.err, 0, "%s: %s", kube_call_server(call),
			       *call->error ? call->error : curl_easy_strerror(result))); /* returns 0 */
	move_on(c, call, rp.status);
	if (rp.status != 401 || !retry_call(c, call))
		finish(c, call, &rp);
}

static void read_messages(struct kube_client *c, struct kube_channel_state *ch)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(ch->multi, &left))) {
		struct kube_call *call = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&call);
		call_done(c, call, msg->data.result);
	}
}

/* Lets libcurl act on a socket.  It calls us back from in there and takes no handles meanwhile (CURLM_RECURSIVE_API_CALL):
 * calls that our users start then are queued, and those they end are ended here. */
static void act(struct kube_client *c, struct kube_channel_state *ch, curl_socket_t fd, int mask)
{
	int running;

	c->in_curl = true;
	curl_multi_socket_action(ch->multi, fd, mask, &running);
	c->in_curl = false;
	while (c->any_dropped) {
		struct kube_call *call = c->calls;

		while (call && !call->dropped)
			call = call->next;
		c->any_dropped = call != NULL;
		if (call)
			unlink_call(c, call);
		kube_call_free(call);
	}
}

static mono_t over_at(const struct kube_call *call)
{
	return call->active ? mono_add_ms(call->due, OVERDUE_MS) : call->due;
}

/* Ends the calls whose time is over. */
static void expire_calls(struct kube_client *c, mono_t now)
{
	bool again = mono_reached(now, c->first_due);

	while (again) {
		again = false;
		c->first_due = MONO_NEVER;
		for (struct kube_call *k = c->calls; k && !again; k = k->next) {
			struct kube_reply rp = { .retry_after_ms = -1, .sent = k->sent, .failure = KUBE_FAILURE_OTHER };

			if (!mono_reached(now, over_at(k))) {
				c->first_due = mono_min(c->first_due, over_at(k));
				continue;
			}
			if (k->active)
				move_on(c, k, 0);
			IGNORE(err_set(&rp.err, 0, k->active ? "no answer within %lld ms" :
				       "not sent: others before it took longer than %lld ms", (long long)k->timeout_ms)); /* returns 0 */
			finish(c, k, &rp);
			again = true; /* the list may be another one now */
		}
	}
}

/* Oldest first: calls are kept newest first. */
static void start_queued(struct kube_client *c)
{
	for (;;) {
		struct kube_call *oldest = NULL;
		struct kube_reply rp = { .retry_after_ms = -1, .failure = KUBE_FAILURE_OTHER };

		for (struct kube_call *k = c->calls; k && c->n_queued; k = k->next)
			if (k->queued && may_start(c, k))
				oldest = k;
		if (!oldest)
			return;
		oldest->queued = false;
		c->n_queued--;
		oldest->sent = mono_now();
		rp.sent = oldest->sent;
		if (start_call(c, oldest, &rp.err) < 0)
			finish(c, oldest, &rp);
	}
}

/* ---- interface ---- */

int kube_client_dispatch(struct kube_client *c, struct err_info *err)
{
	struct epoll_event ev[EVENTS_A_DISPATCH];
	int n = epoll_wait(c->epoll_fd, ev, EVENTS_A_DISPATCH, 0);
	uint64_t ticks;
	mono_t now;

	if (n < 0 && errno != EINTR)
		return err_errno(err, -errno, "epoll_wait");
	for (int i = 0; i < n; i++) {
		struct kube_channel_state *ch = &c->channels[ev[i].data.u64 >> 32 & 3];
		int mask = (ev[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (ev[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
			   (ev[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);

		if (ev[i].data.u64 == UINT64_MAX)
			IGNORE(read(c->timer_fd, &ticks, sizeof(ticks))); /* only to make it unreadable again */
		else
			act(c, ch, (curl_socket_t)(ev[i].data.u64 & UINT32_MAX), mask);
	}
	c->armed = MONO_NEVER;
	now = mono_now();
	for (size_t i = 0; i < KUBE_CHANNELS; i++) {
		if (mono_reached(now, c->channels[i].timer_at)) {
			c->channels[i].timer_at = MONO_NEVER;
			act(c, &c->channels[i], CURL_SOCKET_TIMEOUT, 0);
		}
		read_messages(c, &c->channels[i]);
	}
	run_timers(c, now);
	expire_calls(c, now);
	start_queued(c);
	rearm(c);
	return 0;
}

/* Links the call and starts or queues it; frees it on failure. */
static int launch(struct kube_client *c, struct kube_call *call, struct err_info *err)
{
	int r = 0;

	call->next = c->calls;
	c->calls = call;
	call->due = call->timeout_ms ? mono_add_ms(call->sent, call->timeout_ms) : MONO_NEVER;
	c->n_timed += call->timeout_ms > 0;
	c->first_due = mono_min(c->first_due, call->due);
	if (!c->in_curl && may_start(c, call)) {
		r = start_call(c, call, err);
	} else if (c->n_queued == QUEUE_MAX) {
		r = err_set(err, -ENOBUFS, "%d requests are waiting already", QUEUE_MAX);
	} else {
		call->queued = true;
		c->n_queued++;
	}
	if (r < 0) {
		unlink_call(c, call);
		kube_call_free(call);
	}
	rearm(c);
	return r;
}

static int open_channel(struct kube_client *c, struct kube_channel_state *ch, long connections)
{
	*ch = (struct kube_channel_state){ .client = c, .multi = curl_multi_init(), .timer_at = MONO_NEVER };
	if (!ch->multi)
		return -ENOMEM;
	curl_multi_setopt(ch->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(ch->multi, CURLMOPT_SOCKETDATA, ch);
	curl_multi_setopt(ch->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(ch->multi, CURLMOPT_TIMERDATA, ch);
	curl_multi_setopt(ch->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
	curl_multi_setopt(ch->multi, CURLMOPT_MAXCONNECTS, connections);
	return 0;
}

int kube_request(struct kube_client *c, const struct kube_request *rq, kube_reply_fn *fn, void *ctx, struct err_info *err)
{
	static const char *const verbs[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };
	struct kube_channel_state *ch = &c->channels[rq->channel];
	struct kube_call *call;
	int r;

	if (!ch->multi && open_channel(c, ch, PROBE_CONNECTIONS) < 0)
		return err_errno(err, -ENOMEM, "request");
	r = kube_call_new(c, rq->channel, false, verbs[rq->method], rq->path, &call, err);
	if (r < 0)
		return r;
	call->fn = fn;
	call->ctx = ctx;
	call->timeout_ms = rq->timeout_ms;
	r = kube_call_set_server(call, rq->server, err);
	if (r == 0)
		r = kube_call_set_body(call, rq->content_type, rq->body, err);
	if (r < 0) {
		kube_call_free(call);
		return r;
	}
	return launch(c, call, err);
}

int kube_stream_new(struct kube_client *c, enum kube_channel channel, const char *verb, const char *path,
		    const struct kube_stream_ops *ops, void *ctx, struct kube_call **ret, struct err_info *err)
{
	struct kube_call *call;
	int r = kube_call_new(c, channel, true, verb, path, &call, err);

	if (r < 0)
		return r;
	call->ops = ops;
	call->ctx = ctx;
	r = launch(c, call, err);
	if (r == 0)
		*ret = call;
	return r;
}

void kube_stream_free(struct kube_call *s)
{
	if (!s)
		return;
	if (s->client->in_curl) {
		s->dropped = s->client->any_dropped = true;
		return;
	}
	unlink_call(s->client, s);
	kube_call_free(s);
}

void kube_stream_give_up(struct kube_call *s)
{
	if (!s)
		return;
	move_on(s->client, s, 0);
	kube_stream_free(s);
}

int kube_client_reserve(struct kube_client *c, unsigned int n, struct err_info *err)
{
	long connections = LEASE_CONNECTIONS + 2L * n;
	int r;

	if (n + 1 > c->spare_max)
		c->spare_max = n + 1; /* a reply is handed over before its own call is spare again */
	if (connections > LEASE_CONNECTIONS_MAX)
		connections = LEASE_CONNECTIONS_MAX;
	r = kube_call_spare(c);
	if (r == 0 && curl_multi_setopt(c->channels[KUBE_CHANNEL_LEASE].multi, CURLMOPT_MAXCONNECTS, connections) != CURLM_OK)
		r = -EINVAL;
	return r < 0 ? err_errno(err, r, "API client: requests for Leases") : 0;
}

/* All handles share their TLS sessions: a connection that is made anew, after a request that came to its time limit, takes
 * up the last one, without certificates and signatures. */
static int open_share(struct kube_client *c)
{
	c->share = curl_share_init();
	if (!c->share || curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) != CURLSHE_OK)
		return -ENOMEM;
	return 0;
}

static int open_servers(struct kube_client *c, const struct kube_client_config *cfg, struct err_info *err)
{
	c->n_servers = cfg->n_servers ? cfg->n_servers : 1;
	if (c->n_servers > KUBE_SERVERS_MAX)
		return err_set(err, -EINVAL, "more than %d API servers", KUBE_SERVERS_MAX);
	for (size_t i = 0; i < c->n_servers; i++) {
		c->servers[i] = strdup(cfg->n_servers ? cfg->servers[i] : kube_auth_server(c->auth));
		if (!c->servers[i])
			return err_errno(err, -ENOMEM, "API servers");
		for (size_t n = strlen(c->servers[i]); n > 0 && c->servers[i][n - 1] == '/'; n--)
			c->servers[i][n - 1] = '\0';
	}
	return 0;
}

int kube_client_new(struct kube_auth *auth, const struct kube_client_config *cfg, struct kube_client **ret,
		    struct err_info *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data = { .u64 = UINT64_MAX } };
	struct kube_client *c = calloc(1, sizeof(*c));
	int r = c && curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? 0 : -ENOMEM;

	if (r < 0) {
		free(c);
		return err_errno(err, r, "API client");
	}
	c->auth = auth;
	c->cfg = *cfg;
	c->armed = c->first_due = MONO_NEVER;
	c->credentials = 1;
	c->channels[KUBE_CHANNEL_PROBE].timer_at = MONO_NEVER; /* opened when it is needed */
	c->url = (struct buf)BUF_INIT(KUBE_URL_MAX);
	c->line = (struct buf)BUF_INIT(KUBE_LINE_MAX);
	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (c->epoll_fd < 0 || c->timer_fd < 0 || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &ev) < 0)
		r = err_errno(err, -errno, "API client");
	if (r == 0)
		r = open_servers(c, cfg, err);
	if (r == 0 && (open_share(c) < 0 || open_channel(c, &c->channels[KUBE_CHANNEL_LEASE], LEASE_CONNECTIONS) < 0 ||
		       open_channel(c, &c->channels[KUBE_CHANNEL_GENERAL], GENERAL_CONNECTIONS) < 0))
		r = err_errno(err, -ENOMEM, "API client");
	if (r < 0) {
		c->auth = NULL; /* stays the caller's */
		kube_client_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	c->spare_max = 0;
	while (c->calls) {
		struct kube_call *call = c->calls;

		unlink_call(c, call);
		kube_call_free(call);
	}
	kube_call_free_spare(c);
	for (size_t i = 0; i < KUBE_CHANNELS; i++)
		if (c->channels[i].multi)
			curl_multi_cleanup(c->channels[i].multi);
	curl_share_cleanup(c->share); /* after all that used it */
	buf_fini(&c->url);
	buf_fini(&c->line);
	for (size_t i = 0; i < c->n_servers; i++)
		free(c->servers[i]);
	close_fdp(&c->timer_fd);
	close_fdp(&c->epoll_fd);
	kube_auth_free(c->auth);
	free(c);
	curl_global_cleanup();
}

int kube_client_fd(const struct kube_client *c)
{
	return c->epoll_fd;
}
