/* SPDX-License-Identifier: Apache-2.0 */
/* http.c: three pages over libmicrohttpd. */
#include "agent/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/base/auto.h"
#include "agent/base/text.h"

#define CONNECTIONS_MAX 16
#define CONNECTION_S 10
#define PAGE_MAX ((size_t)8 * 1024 * 1024) /* metrics of 2,000 VIPs' ports and 5,000 backends with long names: 5 MB */

struct http {
	struct MHD_Daemon *daemon;
	struct loop *loop;
	struct loop_source source;
	const struct http_ops *ops;
	void *ctx;
};

/* Answers with the page's text; frees the page. */
static enum MHD_Result answer(struct MHD_Connection *c, unsigned int status, const char *type, struct buf *page)
{
	struct MHD_Response *r;
	enum MHD_Result ok;

	if (buf_failed(page)) {
		buf_reset(page);
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		buf_puts(page, "out of memory\n");
	}
	r = MHD_create_response_from_buffer(page->len, page->data, MHD_RESPMEM_MUST_COPY);
	buf_fini(page);
	if (!r)
		return MHD_NO;
	ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (ok == MHD_YES)
		ok = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ok;
}

/* The signature is the library's (MHD_AccessHandlerCallback). */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_len, void **state)
{
	static const char text[] = "text/plain; charset=utf-8";
	struct buf page = BUF_INIT(PAGE_MAX);
	struct http *h = ctx;
	bool ready;

	(void)version;
	(void)upload;
	(void)state;
	*upload_len = 0; /* a body is no use here */
	if (!text_eq(method, "GET") && !text_eq(method, "HEAD")) {
		buf_puts(&page, "only GET is served\n");
		return answer(c, MHD_HTTP_METHOD_NOT_ALLOWED, text, &page);
	}
	if (h->ops->only) {
		ready = h->ops->only(h->ctx, &page);
		return answer(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "application/json", &page);
	}
	if (text_eq(url, "/healthz")) {
		buf_puts(&page, "ok\n");
		return answer(c, MHD_HTTP_OK, text, &page);
	}
	if (text_eq(url, "/readyz")) {
		ready = h->ops->ready(h->ctx, &page);
		if (ready)
			buf_puts(&page, "ok\n");
		return answer(c, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, text, &page);
	}
	if (text_eq(url, "/metrics")) {
		h->ops->metrics(h->ctx, &page);
		return answer(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &page);
	}
	buf_puts(&page, "pages: /healthz /readyz /metrics\n");
	return answer(c, MHD_HTTP_NOT_FOUND, text, &page);
}

static void on_ready(void *ctx, uint32_t events)
{
	struct http *h = ctx;

	(void)events;
	IGNORE(MHD_run(h->daemon)); /* fails only for a daemon in another mode */
}

/* A kernel without IPv6 (ipv6.disable=1) has no sockets for both families. */
static bool knows_ipv6(void)
{
	AUTO(close_fdp) int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 || errno != EAFNOSUPPORT;
}

int http_new(struct loop *loop, const struct ip_port *listen, const struct http_ops *ops, void *ctx, struct http **ret,
	     struct err_info *err)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(listen->port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(listen->port) };
	const bool only_v4 = listen->ip.family == IP_V4 || (listen->ip.family == IP_NONE && !knows_ipv6());
	const union MHD_DaemonInfo *info;
	struct http *h = calloc(1, sizeof(*h));
	unsigned int flags = MHD_USE_EPOLL;
	char text[IP_TEXT_MAX];
	int r;

	if (!h)
		return err_errno(err, -ENOMEM, "HTTP");
	h->loop = loop;
	h->ops = ops;
	h->ctx = ctx;
	memcpy(&four.sin_addr, listen->ip.b, sizeof(four.sin_addr));
	memcpy(&six.sin6_addr, listen->ip.b, sizeof(six.sin6_addr));
	if (!only_v4)
		flags |= listen->ip.family == IP_NONE ? MHD_USE_DUAL_STACK : MHD_USE_IPv6;
	errno = 0;
	h->daemon = MHD_start_daemon(flags, listen->port, NULL, NULL, on_request, h, MHD_OPTION_SOCK_ADDR,
				     only_v4 ? (void *)&four : (void *)&six,
				     MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				     CONNECTION_S, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1, MHD_OPTION_END);
	if (!h->daemon) {
		r = err_errno(err, errno ? -errno : -EIO, "listening on %s port %u", ip_format(&listen->ip, text), listen->port);
		free(h);
		return r;
	}
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	h->source = (struct loop_source){ info->epoll_fd, on_ready, h };
	r = loop_add(loop, &h->source, EPOLLIN, err);
	if (r < 0) {
		h->source.fd = -1;
		http_free(h);
		return r;
	}
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	if (h->source.fd >= 0)
		loop_remove(h->loop, &h->source);
	MHD_stop_daemon(h->daemon);
	free(h);
}

mono_t http_tick(struct http *h, mono_t now)
{
	MHD_UNSIGNED_LONG_LONG ms;

	if (!h || MHD_get_timeout(h->daemon, &ms) != MHD_YES)
		return MONO_NEVER;
	if (ms == 0)
		IGNORE(MHD_run(h->daemon)); /* as in on_ready() */
	return mono_add_ms(now, ms ? (int64_t)ms : 1);
}
