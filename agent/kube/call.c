/* SPDX-License-Identifier: Apache-2.0 */
/* call.c: sets up libcurl's handle for one request and takes its reply in. */
#include "agent/kube/call.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/base/text.h"

#define CONNECT_MS 2000L
#define TCP_DEAD_MS 4000 /* unacknowledged data for this long: the peer is gone */
#define RETRY_AFTER_MAX_S 3600
#define SPARE_ROOM 4096			    /* bytes: a Lease has 1-2 KiB, a token about 1 KiB */
#define SPARE_URL_ROOM 1024		    /* bytes of a URL or path of a Lease */
#define SPARE_TYPE_ROOM 64		    /* bytes of a content type */
#define SPARE_KEEP_MAX ((size_t)64 * 1024) /* bytes of a buffer; a call with a larger one is freed */

/* Dead peers are noticed in seconds instead of a quarter of an hour. */
static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	const unsigned int dead_ms = TCP_DEAD_MS;
	const int on = 1, idle_s = 3, every_s = 1, probes = 3;

	(void)ctx;
	(void)purpose;
	if (setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes)) < 0)
		return CURL_SOCKOPT_ERROR;
	return CURL_SOCKOPT_OK;
}

void kube_call_count(const struct kube_call *call, int status)
{
	const struct kube_client_config *cfg = &call->client->cfg;

	if (cfg->on_done && call->channel != KUBE_CHANNEL_PROBE)
		cfg->on_done(cfg->ctx, call->verb, status, mono_diff_ms(mono_now(), call->sent));
}

/* "Date: Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110, section 6.6.1) */
static void take_date(struct kube_call *call, const char *data, size_t len)
{
	static const char name[] = "date:";
	char value[64];

	if (len <= sizeof(name) || len >= sizeof(value) || strncasecmp(data, name, sizeof(name) - 1) != 0)
		return;
	memcpy(value, data + sizeof(name) - 1, len - sizeof(name) + 1);
	value[len - sizeof(name) + 1] = '\0';
	value[strcspn(value, "\r\n")] = '\0';
	call->date_s = curl_getdate(value, NULL);
	if (call->date_s < 0)
		call->date_s = 0;
}

/* Only the delta form of Retry-After (RFC 9110, section 10.2.3), which is what the API server sends. */
static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	static const char name[] = "retry-after:";
	struct kube_call *call = ctx;
	char value[16];
	size_t len = size * n, at = sizeof(name) - 1, end;
	uint64_t seconds;
	long status = 0;

	if (call->dropped)
		return 0;
	if (call->stream && !call->begun && len <= 2) { /* the empty line: headers are complete, data may take a minute */
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
		call->begun = status >= 200;
		if (call->begun) {
			kube_call_count(call, (int)status);
			call->ops->begin(call->ctx, (int)status);
		}
	}
	take_date(call, data, len);
	if (len <= at || strncasecmp(data, name, at) != 0)
		return len;
	while (at < len && data[at] == ' ')
		at++;
	for (end = at; end < len && data[end] >= '0' && data[end] <= '9';)
		end++;
	if (end == at || end - at >= sizeof(value))
		return len;
	memcpy(value, data + at, end - at);
	value[end - at] = '\0';
	if (text_to_u64(value, RETRY_AFTER_MAX_S, &seconds) == 0)
		call->retry_after_ms = (int64_t)seconds * MS_PER_S;
	return len;
}

/* Streams hand pieces on, all else is collected; a short count makes libcurl give up. */
static size_t on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_call *call = ctx;
	size_t len = size * n;
	long status = 0;

	if (call->dropped)
		return 0;
	curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	if (call->stream && status == 200) {
		call->cut = !call->ops->data(call->ctx, data, len);
		return call->cut ? 0 : len;
	}
	buf_append(&call->body, data, len);
	return buf_failed(&call->body) ? 0 : len;
}

/* ---- handles ---- */

/* Sets an option.  One that could not be set (libcurl copies strings) would be another request: not sent then. */
#define SET(good, easy, option, value) ((good) &= curl_easy_setopt(easy, option, value) == CURLE_OK)

static void destroy(struct kube_call *call)
{
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->connect_to);
	buf_fini(&call->url);
	buf_fini(&call->path);
	buf_fini(&call->own_server);
	buf_fini(&call->content_type);
	buf_fini(&call->send);
	buf_fini(&call->body);
	free(call);
}

static struct kube_call *make(struct kube_client *c)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	*call = (struct kube_call){ .client = c, .easy = curl_easy_init(), .url = BUF_INIT(KUBE_URL_MAX),
				    .path = BUF_INIT(KUBE_URL_MAX), .own_server = BUF_INIT(KUBE_URL_MAX),
				    .content_type = BUF_INIT(256), .send = BUF_INIT(KUBE_REPLY_MAX), .body = BUF_INIT(KUBE_REPLY_MAX) };
	if (!call->easy || curl_easy_setopt(call->easy, CURLOPT_SHARE, c->share) != CURLE_OK) {
		destroy(call);
		return NULL;
	}
	return call;
}

/* From the first request on: the one that renews a Lease may be the first of its handle. */
static int make_room(struct kube_call *call)
{
	struct kube_client *c = call->client;

	return buf_reserve(&call->send, SPARE_ROOM) < 0 || buf_reserve(&call->body, SPARE_ROOM) < 0 ||
	       buf_reserve(&call->path, SPARE_URL_ROOM) < 0 || buf_reserve(&call->url, SPARE_URL_ROOM) < 0 ||
	       buf_reserve(&call->content_type, SPARE_TYPE_ROOM) < 0 || buf_reserve(&c->url, SPARE_URL_ROOM) < 0 ||
	       buf_reserve(&c->line, SPARE_ROOM) < 0 ? -ENOMEM : 0;
}

static void keep(struct kube_client *c, struct kube_call *call)
{
	call->next = c->spare;
	c->spare = call;
	c->n_spare++;
}

int kube_call_spare(struct kube_client *c)
{
	while (c->n_spare < c->spare_max) {
		struct kube_call *call = make(c);

		if (!call)
			return -ENOMEM;
		if (make_room(call) < 0) {
			destroy(call);
			return -ENOMEM;
		}
		keep(c, call);
	}
	return 0;
}

/* The one that was for the same path, if there is one: its handle needs the least.  NULL: none left. */
static struct kube_call *take_spare(struct kube_client *c, const char *path)
{
	struct kube_call **at = &c->spare, *call;

	for (struct kube_call **p = &c->spare; *p; p = &(*p)->next)
		if (text_eq(buf_text(&(*p)->path), path))
			at = p;
	call = *at;
	if (call) {
		*at = call->next;
		c->n_spare--;
	}
	return call;
}

/* Forgets the last request, but not how the handle is set up. */
static void clear_request(struct kube_call *call)
{
	call->next = NULL;
	call->has_body = call->active = call->queued = call->retried = false;
	call->stream = call->begun = call->dropped = call->cut = false;
	call->timeout_ms = 0;
	call->retry_after_ms = -1;
	call->date_s = 0;
	call->fn = NULL;
	call->ops = NULL;
	call->ctx = NULL;
	buf_reset(&call->path);
	buf_reset(&call->send);
	buf_reset(&call->body);
}

int kube_call_new(struct kube_client *c, enum kube_channel channel, bool stream, const char *verb, const char *path,
		  struct kube_call **ret, struct err_info *err)
{
	bool spare = channel == KUBE_CHANNEL_LEASE && !stream;
	struct kube_call *call = spare ? take_spare(c, path) : NULL;
	int r;

	if (!call)
		call = make(c);
	if (!call)
		return err_errno(err, -ENOMEM, "request");
	clear_request(call);
	call->channel = channel;
	call->stream = stream;
	call->verb = verb;
	call->body.max = channel == KUBE_CHANNEL_PROBE ? KUBE_PROBE_REPLY_MAX : KUBE_REPLY_MAX;
	call->sent = mono_now();
	buf_puts(&call->path, path);
	r = buf_failed(&call->path);
	if (r < 0) {
		kube_call_free(call);
		return err_errno(err, r, "request");
	}
	*ret = call;
	return 0;
}

void kube_call_free(struct kube_call *call)
{
	struct kube_client *c = call ? call->client : NULL;

	if (!call)
		return;
	if (call->channel != KUBE_CHANNEL_LEASE || call->stream || c->n_spare >= c->spare_max ||
	    call->send.cap > SPARE_KEEP_MAX || call->body.cap > SPARE_KEEP_MAX)
		destroy(call);
	else
		keep(c, call);
}

void kube_call_free_spare(struct kube_client *c)
{
	while (c->spare) {
		struct kube_call *call = c->spare;

		c->spare = call->next;
		destroy(call);
	}
	c->n_spare = 0;
}

int kube_call_set_body(struct kube_call *call, const char *content_type, const char *body, struct err_info *err)
{
	int r;

	call->has_body = body != NULL;
	if (!body)
		return 0;
	if (!text_eq(buf_text(&call->content_type), content_type)) {
		buf_reset(&call->content_type);
		buf_puts(&call->content_type, content_type);
		call->headers_old = true;
	}
	buf_puts(&call->send, body);
	r = buf_failed(&call->send) < 0 ? buf_failed(&call->send) : buf_failed(&call->content_type);
	return r < 0 ? err_errno(err, r, "request") : 0;
}

/* ---- setting up ---- */

static bool add_header(struct kube_call *call, const char *name, const char *value)
{
	struct buf *line = &call->client->line;
	struct curl_slist *more = NULL;

	buf_reset(line);
	buf_printf(line, "%s%s", name, value);
	if (buf_failed(line) == 0)
		more = curl_slist_append(call->headers, buf_text(line));
	if (line->data)
		explicit_bzero(line->data, line->cap); /* it may hold a token */
	if (more)
		call->headers = more;
	return more != NULL;
}

/* Those of a body are there once there was one, and do no harm without. */
static bool set_headers(struct kube_call *call, const char *token)
{
	const char *type = buf_text(&call->content_type);
	bool good = true;

	SET(good, call->easy, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(call->headers);
	call->headers = NULL;
	good = add_header(call, "Accept: ", "application/json");
	if (*token)
		good = good && add_header(call, "Authorization: Bearer ", token);
	if (*type)
		good = good && add_header(call, "Content-Type: ", type) && add_header(call, "Expect:", "");
	SET(good, call->easy, CURLOPT_HTTPHEADER, call->headers);
	call->headers_old = !good;
	return good;
}

/* Where libcurl is to connect really: "HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT", any host and port. */
static bool set_connect_to(struct kube_call *call, const char *host, int n, bool has_port)
{
	struct buf *to = &call->client->line;
	struct curl_slist *list = NULL;
	bool good = true;

	buf_reset(to);
	buf_printf(to, "::%.*s%s", n, host, has_port ? "" : ":443");
	if (buf_failed(to) == 0)
		list = curl_slist_append(NULL, buf_text(to));
	SET(good, call->easy, CURLOPT_CONNECT_TO, list);
	curl_slist_free_all(call->connect_to);
	call->connect_to = list;
	return good && list;
}

/* The URL; with tls-server-name that name stands in it and libcurl is told where to connect really. */
static int set_url(struct kube_call *call, const char *server, const char *tls_name, struct err_info *err)
{
	const char *host = strstr(server, "://"), *port, *path = buf_text(&call->path);
	struct buf *url = &call->client->url;
	bool good = true;
	size_t n;

	host = host ? host + 3 : server;
	n = strcspn(host, "/");
	port = host[0] == '[' ? strstr(host, "]:") : memchr(host, ':', n);
	port = port && port < host + n ? port + (host[0] == '[' ? 2 : 1) : NULL;
	buf_reset(url);
	if (*tls_name)
		buf_printf(url, "https://%s:%.*s%s%s", tls_name, port ? (int)(host + n - port) : 3, port ? port : "443", host + n,
			   path);
	else
		buf_printf(url, "%s%s", server, path);
	if (buf_failed(url))
		return err_errno(err, buf_failed(url), "request URL");
	/* With tls-server-name two servers may have the same URL. */
	if (text_eq(buf_text(&call->url), buf_text(url)) && !*tls_name)
		return 0;
	buf_reset(&call->url);
	if (*tls_name)
		good = set_connect_to(call, host, (int)n, port != NULL);
	SET(good, call->easy, CURLOPT_URL, buf_text(url));
	if (!good)
		return err_errno(err, -ENOMEM, "request URL");
	buf_append(&call->url, url->data, url->len);
	if (buf_failed(&call->url))
		buf_reset(&call->url); /* not known, so set again the next time */
	return 0;
}

static bool set_blob(CURL *easy, CURLoption option, const char *pem, size_t len)
{
	struct curl_blob blob = { .len = len, .flags = CURL_BLOB_COPY };

	if (len == 0)
		return true;
	memcpy(&blob.data, &pem, sizeof(pem)); /* the member lacks a const; with COPY it is only read */
	return curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool set_credentials(CURL *e, struct kube_auth *auth)
{
	bool good = true;
	const char *pem;
	size_t len;

	kube_auth_ca(auth, &pem, &len);
	if (len > 0) { /* instead of the system's: the blob replaces the built-in file, but not the built-in directory */
		SET(good, e, CURLOPT_CAINFO, NULL);
		SET(good, e, CURLOPT_CAPATH, NULL);
	}
	good &= set_blob(e, CURLOPT_CAINFO_BLOB, pem, len);
	kube_auth_client_cert(auth, &pem, &len);
	good &= set_blob(e, CURLOPT_SSLCERT_BLOB, pem, len);
	kube_auth_client_key(auth, &pem, &len);
	good &= set_blob(e, CURLOPT_SSLKEY_BLOB, pem, len);
	SET(good, e, CURLOPT_SSLCERTTYPE, "PEM");
	SET(good, e, CURLOPT_SSLKEYTYPE, "PEM");
	return good;
}

/* All that is the same for every request of this handle. */
static bool set_common(struct kube_call *call, struct kube_client *c)
{
	CURL *e = call->easy;
	bool good = true;

	curl_easy_reset(e); /* keeps the share */
	call->credentials = 0;
	call->method = NULL;
	call->headers_old = true;
	buf_reset(&call->url);
	SET(good, e, CURLOPT_PRIVATE, call);
	SET(good, e, CURLOPT_ERRORBUFFER, call->error);
	SET(good, e, CURLOPT_NOSIGNAL, 1L);
	SET(good, e, CURLOPT_QUICK_EXIT, 1L); /* else the end of a request waits for its resolver thread */
	SET(good, e, CURLOPT_NOPROXY, "*");
	SET(good, e, CURLOPT_PROTOCOLS_STR, "https");
	SET(good, e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(good, e, CURLOPT_USERAGENT, c->cfg.user_agent);
	SET(good, e, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
	SET(good, e, CURLOPT_HEADERFUNCTION, on_header);
	SET(good, e, CURLOPT_HEADERDATA, call);
	SET(good, e, CURLOPT_WRITEFUNCTION, on_data);
	SET(good, e, CURLOPT_WRITEDATA, call);
	SET(good, e, CURLOPT_BUFFERSIZE, 16384L);
	SET(good, e, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	good &= set_credentials(e, c->auth);
	if (good)
		call->credentials = c->credentials;
	return good;
}

static bool set_method(struct kube_call *call)
{
	const char *method = call->stream || text_eq(call->verb, "GET") ? NULL : call->verb;
	CURL *e = call->easy;
	bool good = true;

	if (call->has_body) {
		SET(good, e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->send.len);
		SET(good, e, CURLOPT_POSTFIELDS, buf_text(&call->send)); /* borrowed, not copied */
	} else {
		SET(good, e, CURLOPT_HTTPGET, 1L);
	}
	if (method != call->method) { /* both are of one table */
		SET(good, e, CURLOPT_CUSTOMREQUEST, method);
		call->method = good ? method : ""; /* which is none of it */
	}
	return good;
}

static bool set_times(struct kube_call *call)
{
	int64_t left_ms = call->timeout_ms ? mono_diff_ms(call->due, mono_now()) : 0;
	bool good = true;

	if (call->timeout_ms && left_ms < 1)
		left_ms = 1; /* 0 would mean no limit */
	SET(good, call->easy, CURLOPT_CONNECTTIMEOUT_MS, left_ms && left_ms < CONNECT_MS ? (long)left_ms : CONNECT_MS);
	SET(good, call->easy, CURLOPT_TIMEOUT_MS, (long)left_ms);
	return good;
}

int kube_call_set_server(struct kube_call *call, const char *server, struct err_info *err)
{
	int r;

	buf_reset(&call->own_server);
	if (server) /* no memory for those who name none: they renew Leases */
		buf_puts(&call->own_server, server);
	r = buf_failed(&call->own_server);
	return r < 0 ? err_errno(err, r, "request") : 0;
}

const char *kube_call_server(const struct kube_call *call)
{
	return call->own_server.len ? buf_text(&call->own_server) : call->client->servers[call->server];
}

int kube_call_prepare(struct kube_call *call, struct kube_client *c, struct err_info *err)
{
	const char *tls_name = call->own_server.len ? "" : kube_auth_tls_server_name(c->auth);
	int r;

	call->error[0] = '\0';
	if (call->credentials != c->credentials && !set_common(call, c))
		return err_errno(err, -ENOMEM, "request");
	r = set_url(call, kube_call_server(call), tls_name, err);
	if (r < 0)
		return r;
	if ((call->headers_old && !set_headers(call, kube_auth_token(c->auth))) || !set_method(call) || !set_times(call))
		return err_errno(err, -ENOMEM, "request");
	return 0;
}

/* After a time-out: a server that has just shaken hands is alive, and waits itself, e.g. for etcd. */
static bool has_shaken_hands(const struct kube_call *call)
{
	curl_off_t us = 0;
	long connections = 0;

	curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connections);
	curl_easy_getinfo(call->easy, CURLINFO_APPCONNECT_TIME_T, &us);
	return connections > 0 && us > 0;
}

enum kube_failure kube_call_failure(const struct kube_call *call, CURLcode result)
{
	long number = 0;

	if (result == CURLE_OK)
		return KUBE_FAILURE_NONE;
	if (result == CURLE_OPERATION_TIMEDOUT)
		return has_shaken_hands(call) ? KUBE_FAILURE_OTHER : KUBE_FAILURE_SILENT;
	if (result != CURLE_COULDNT_CONNECT)
		return KUBE_FAILURE_OTHER;
	curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &number);
	return number == ECONNREFUSED ? KUBE_FAILURE_REFUSED : KUBE_FAILURE_SILENT; /* no route, no such host */
}
