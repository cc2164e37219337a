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

	if (cfg->on_done)
		cfg->on_done(cfg->ctx, call->verb, status, mono_diff_ms(mono_now(), call->sent));
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

int kube_call_new(struct kube_client *c, enum kube_channel channel, const char *verb, const char *path,
		  struct kube_call **ret, struct err_info *err)
{
	struct kube_call *call = calloc(1, sizeof(*call));

	if (!call)
		return err_errno(err, -ENOMEM, "request");
	*call = (struct kube_call){ .client = c, .channel = channel, .verb = verb, .sent = mono_now(), .retry_after_ms = -1,
				    .body = BUF_INIT(KUBE_REPLY_MAX), .path = strdup(path), .easy = curl_easy_init() };
	if (!call->path || !call->easy) {
		kube_call_free(call);
		return err_errno(err, -ENOMEM, "request");
	}
	*ret = call;
	return 0;
}

void kube_call_free(struct kube_call *call)
{
	if (!call)
		return;
	curl_easy_cleanup(call->easy);
	curl_slist_free_all(call->headers);
	curl_slist_free_all(call->connect_to);
	free(call->path);
	free(call->content_type);
	free(call->send);
	buf_fini(&call->body);
	free(call);
}

int kube_call_set_body(struct kube_call *call, const char *content_type, const char *body, struct err_info *err)
{
	if (!body)
		return 0;
	call->send = strdup(body);
	call->content_type = strdup(content_type);
	return call->send && call->content_type ? 0 : err_errno(err, -ENOMEM, "request");
}

static bool add_header(struct kube_call *call, const char *fmt, const char *value)
{
	struct buf line = BUF_INIT(64 * 1024);
	struct curl_slist *more = NULL;

	buf_printf(&line, "%s%s", fmt, value);
	if (buf_failed(&line) == 0)
		more = curl_slist_append(call->headers, buf_text(&line));
	if (line.data)
		explicit_bzero(line.data, line.cap); /* it may hold a token */
	buf_fini(&line);
	if (more)
		call->headers = more;
	return more != NULL;
}

/* The URL; with tls-server-name that name stands in it and libcurl is told where to connect really. */
static int set_url(struct kube_call *call, const char *server, const char *tls_name, struct err_info *err)
{
	struct buf url = BUF_INIT(16 * 1024), to = BUF_INIT(1024);
	const char *host = strstr(server, "://");
	struct curl_slist *list = NULL;
	size_t n;
	int r = 0;

	host = host ? host + 3 : server;
	n = strcspn(host, "/");
	if (*tls_name) {
		const char *port = host[0] == '[' ? strstr(host, "]:") : memchr(host, ':', n);

		port = port && port < host + n ? port + (host[0] == '[' ? 2 : 1) : NULL;
		buf_printf(&url, "https://%s:%.*s%s%s", tls_name, port ? (int)(host + n - port) : 3, port ? port : "443", host + n,
			   call->path);
		buf_printf(&to, "::%.*s%s", (int)n, host, port ? "" : ":443");
		list = curl_slist_append(NULL, buf_text(&to));
		if (!list)
			r = -ENOMEM;
		curl_slist_free_all(call->connect_to);
		call->connect_to = list;
		curl_easy_setopt(call->easy, CURLOPT_CONNECT_TO, list);
	} else {
		buf_printf(&url, "%s%s", server, call->path);
	}
	if (r == 0)
		r = buf_failed(&url) < 0 ? buf_failed(&url) : buf_failed(&to);
	if (r == 0 && curl_easy_setopt(call->easy, CURLOPT_URL, buf_text(&url)) != CURLE_OK)
		r = -ENOMEM;
	buf_fini(&url);
	buf_fini(&to);
	return r < 0 ? err_errno(err, r, "request URL") : 0;
}

static void set_blob(CURL *easy, CURLoption option, const char *pem, size_t len)
{
	struct curl_blob blob = { .len = len, .flags = CURL_BLOB_COPY };

	if (len == 0)
		return;
	memcpy(&blob.data, &pem, sizeof(pem)); /* the member lacks a const; with COPY it is only read */
	curl_easy_setopt(easy, option, &blob);
}

static void set_credentials(struct kube_call *call, struct kube_auth *auth)
{
	const char *pem;
	size_t len;

	kube_auth_ca(auth, &pem, &len);
	if (len > 0) { /* instead of the system's: the blob replaces the built-in file, but not the built-in directory */
		curl_easy_setopt(call->easy, CURLOPT_CAINFO, NULL);
		curl_easy_setopt(call->easy, CURLOPT_CAPATH, NULL);
	}
	set_blob(call->easy, CURLOPT_CAINFO_BLOB, pem, len);
	kube_auth_client_cert(auth, &pem, &len);
	set_blob(call->easy, CURLOPT_SSLCERT_BLOB, pem, len);
	kube_auth_client_key(auth, &pem, &len);
	set_blob(call->easy, CURLOPT_SSLKEY_BLOB, pem, len);
	curl_easy_setopt(call->easy, CURLOPT_SSLCERTTYPE, "PEM");
	curl_easy_setopt(call->easy, CURLOPT_SSLKEYTYPE, "PEM");
}

static void set_common(struct kube_call *call, const char *user_agent)
{
	int64_t left_ms = call->timeout_ms ? mono_diff_ms(call->due, mono_now()) : 0;
	CURL *e = call->easy;

	if (call->timeout_ms && left_ms < 1)
		left_ms = 1; /* 0 would mean no limit */
	curl_easy_setopt(e, CURLOPT_PRIVATE, call);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L); /* else the end of a request waits for its resolver thread */
	curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "https");
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, user_agent);
	curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, call);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 16384L);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS,
			 left_ms && left_ms < CONNECT_MS ? (long)left_ms : CONNECT_MS);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)left_ms);
}

int kube_call_prepare(struct kube_call *call, struct kube_client *c, struct err_info *err)
{
	CURL *e = call->easy;
	const char *token = kube_auth_token(c->auth);
	bool good;
	int r;

	curl_slist_free_all(call->headers);
	call->headers = NULL;
	call->error[0] = '\0';
	set_common(call, c->cfg.user_agent);
	set_credentials(call, c->auth);
	r = set_url(call, c->servers[call->server], kube_auth_tls_server_name(c->auth), err);
	if (r < 0)
		return r;
	good = add_header(call, "Accept: ", "application/json");
	if (*token)
		good = good && add_header(call, "Authorization: Bearer ", token);
	if (!call->stream && !text_eq(call->verb, "GET"))
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, call->verb);
	if (call->send) {
		good = good && add_header(call, "Content-Type: ", call->content_type) && add_header(call, "Expect:", "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, call->send);
	}
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, call->headers);
	return good ? 0 : err_errno(err, -ENOMEM, "request");
}
