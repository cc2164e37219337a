/* SPDX-License-Identifier: Apache-2.0 */
/* client.h: requests to one of several API servers, over libcurl's multi interface in the caller's loop.
 *
 * The client owns an epoll descriptor that holds curl's sockets and timer: watch client_fd() for reading and call
 * kube_client_dispatch().  Callbacks run inside dispatch, never inside kube_request().  HTTP/1.1, one connection a
 * watch, one kept for Leases (KUBE_CHANNEL_LEASE), others shared; TCP_USER_TIMEOUT and keepalive bound dead peers.
 * A request that cannot reach its server goes to the next one at the next try; each channel remembers the server that
 * worked.  Requests that name their server (KUBE_CHANNEL_PROBE) have connections of their own and move nobody. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/kube/auth.h"

#define KUBE_SERVERS_MAX 8
#define KUBE_REPLY_MAX (4 * 1024 * 1024) /* bytes of one reply (not of a list or watch stream) */
#define KUBE_PROBE_REPLY_MAX (16 * 1024) /* of one on KUBE_CHANNEL_PROBE */

struct kube_client;

enum kube_method { KUBE_GET, KUBE_POST, KUBE_PUT, KUBE_PATCH, KUBE_DELETE };
enum kube_channel { KUBE_CHANNEL_LEASE, KUBE_CHANNEL_GENERAL, KUBE_CHANNEL_PROBE };

/* Why there was no answer. */
enum kube_failure {
	KUBE_FAILURE_NONE,    /* there was one */
	KUBE_FAILURE_REFUSED, /* the server's node says that nobody listens */
	KUBE_FAILURE_SILENT,  /* nothing came back in time: neither an answer nor, on a new connection, a TLS handshake */
	KUBE_FAILURE_OTHER,   /* somebody is there, but is late, broke off, or has no good certificate; or it is this process
			       * that is late, or could not send */
};

struct kube_request {
	enum kube_method method;
	enum kube_channel channel;
	const char *path;	  /* "/apis/..." with query; copied */
	const char *content_type; /* NULL with no body; for PATCH e.g. "application/merge-patch+json" */
	const char *body;	  /* copied; NULL = none */
	int64_t timeout_ms;	  /* whole request, > 0 */
	const char *server;	  /* KUBE_CHANNEL_PROBE: the server's base URL, whose host its certificate must name, whatever the
				   * credentials say; copied.  Else NULL */
};

struct kube_reply {
	int status;	     /* HTTP status; 0 = no answer (err says why) */
	enum kube_failure failure;
	const char *body;    /* NUL-terminated; borrowed for the call */
	size_t len;
	int64_t retry_after_ms; /* from Retry-After; -1 = absent */
	int64_t date_s;	     /* the server's wall clock in seconds since 1970, from Date; 0 = absent */
	mono_t sent;	     /* when the request was handed to the connection */
	const char *server;  /* base URL used */
	struct err_info err; /* status 0: transport error; 4xx/5xx: the Status object's message */
	const char *reason;  /* the Status object's reason ("Conflict", "AlreadyExists", "Expired"...), "" if none */
};

typedef void kube_reply_fn(void *ctx, const struct kube_reply *reply);

struct kube_client_config {
	const char *const *servers; /* base URLs; n_servers = 0: the auth's own */
	size_t n_servers;
	const char *user_agent;
	/* Called for each finished request but probes, for metrics: verb "GET", "PUT", "WATCH"...; code 0 = no answer. */
	void (*on_done)(void *ctx, const char *verb, int code, int64_t ms);
	void *ctx;
};

/* Takes 'auth' over on success. */
MUST_USE int kube_client_new(struct kube_auth *auth, const struct kube_client_config *cfg, struct kube_client **ret,
			     struct err_info *err);
void kube_client_free(struct kube_client *c);
int kube_client_fd(const struct kube_client *c);
MUST_USE int kube_client_dispatch(struct kube_client *c, struct err_info *err);

/* Prepares for 'n' requests under way at once on KUBE_CHANNEL_LEASE; the largest 'n' counts.  From then on, once each has
 * been used, such a request needs no memory of this client: what libcurl needs and does not get is a failed
 * attempt (status 0, or -ENOMEM from kube_request()), and the next one is as good as any.  -ENOMEM. */
MUST_USE int kube_client_reserve(struct kube_client *c, unsigned int n, struct err_info *err);

/* Starts a request; fn is called exactly once, also for failures, but not after kube_client_free().
 * -ENOMEM, -EMSGSIZE. */
MUST_USE int kube_request(struct kube_client *c, const struct kube_request *rq, kube_reply_fn *fn, void *ctx,
			  struct err_info *err);
