/* SPDX-License-Identifier: Apache-2.0 */
/* http.h: /healthz, /readyz and /metrics, or a single page (libmicrohttpd, driven by the loop).  Answers come from the loop's own
 * thread, so that an answer to /healthz proves that the loop turns. */
#pragma once

#include <stdbool.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/loop.h"

struct http_ops {
	/* Not NULL: the one page, JSON under every path; true = 200, false = 503.  Then the others are not asked. */
	bool (*only)(void *ctx, struct buf *out);
	/* True when ready; else the reasons, a line each, in 'why'. */
	bool (*ready)(void *ctx, struct buf *why);
	void (*metrics)(void *ctx, struct buf *out);
};

struct http;

/* listen.ip.family IP_NONE: all addresses.  -EADDRINUSE and the like. */
MUST_USE int http_new(struct loop *loop, const struct ip_port *listen, const struct http_ops *ops, void *ctx,
		      struct http **ret, struct err_info *err);
void http_free(struct http *h);

/* Lets idle connections time out; call now and then.  Returns when to call again. */
mono_t http_tick(struct http *h, mono_t now);
