/* SPDX-License-Identifier: Apache-2.0 */
/* call.h: one request's handle (private to the client).
 *
 * A handle is set up in full once, and again when the credentials change; from one request to the next only what differs
 * is set.  The Lease channel's calls are kept and used again, so that a request on it takes no memory of ours: what
 * libcurl and the TLS library take is theirs, and when they get none the attempt has failed and the next one is
 * as good as any. */
#pragma once

#include <curl/curl.h>

#include "agent/base/buf.h"
#include "agent/kube/auth_private.h"
#include "agent/kube/client_private.h"

#define KUBE_CHANNELS 3
#define KUBE_URL_MAX ((size_t)16 * 1024)
#define KUBE_LINE_MAX ((size_t)64 * 1024) /* a header; a token is the longest */

struct kube_channel_state {
	struct kube_client *client;
	CURLM *multi;
	mono_t timer_at;    /* libcurl's timer */
	size_t server;	    /* the one that worked last */
	unsigned int in_flight;
};

struct kube_client {
	struct kube_auth *auth;
	struct err_info auth_error; /* of the last look at the credentials' files, "" = well */
	struct kube_client_config cfg;
	char *servers[KUBE_SERVERS_MAX];
	size_t n_servers;
	int epoll_fd, timer_fd;
	mono_t armed;
	struct kube_channel_state channels[KUBE_CHANNELS];
	struct kube_call *calls; /* all, newest first */
	struct kube_call *spare; /* of the Lease channel, not in use */
	unsigned int n_spare, spare_max;
	struct buf url, line;	 /* being put together: a URL, a header */
	CURLSH *share;		 /* TLS sessions, so that a new connection is a cheap one */
	unsigned int n_queued, n_timed;
	mono_t first_due;	  /* when the time of the first of the calls is over */
	unsigned int credentials; /* counts their changes */
	bool in_curl;		  /* inside libcurl, which then takes no handle and gives none up */
	bool any_dropped;	  /* a call waits for the end of that to be freed */
	struct kube_timer *timers;
};

struct kube_call {
	struct kube_client *client;
	struct kube_call *next;
	CURL *easy;
	/* What the handle is set up with. */
	unsigned int credentials; /* kube_client.credentials; 0 = nothing */
	struct buf url;
	const char *method; /* static; NULL = libcurl's own, GET */
	struct curl_slist *headers, *connect_to;
	bool headers_old;
	/* The request. */
	enum kube_channel channel;
	const char *verb; /* static */
	struct buf path, content_type, send;
	bool has_body;
	int64_t timeout_ms; /* 0 = none */
	mono_t due;	    /* when that is over, the time in the queue included */
	size_t server;	/* of the client's */
	struct buf own_server; /* instead of it; empty = none */
	mono_t sent;
	bool active, queued, retried;
	bool stream, begun;
	bool dropped; /* freed by its user from inside libcurl: no call-back any more */
	bool cut;     /* its user wanted no more data: no failure of the server */
	/* outcome */
	struct buf body;
	int64_t retry_after_ms;
	int64_t date_s; /* kube_reply.date_s */
	char error[CURL_ERROR_SIZE];
	/* whose it is */
	kube_reply_fn *fn;
	const struct kube_stream_ops *ops;
	void *ctx;
};

/* stream: of a watch; it takes no spare call, for a Lease can be renewed without a view. */
MUST_USE int kube_call_new(struct kube_client *c, enum kube_channel channel, bool stream, const char *verb, const char *path,
			   struct kube_call **ret, struct err_info *err);
/* Frees it, or keeps it for the next request of the Lease channel. */
void kube_call_free(struct kube_call *call);
/* Makes the spare calls that are missing to client->spare_max, each with room for all that it will need.  -ENOMEM. */
MUST_USE int kube_call_spare(struct kube_client *c);
void kube_call_free_spare(struct kube_client *c);
MUST_USE int kube_call_set_body(struct kube_call *call, const char *content_type, const char *body, struct err_info *err);

/* NULL: the channel's. */
MUST_USE int kube_call_set_server(struct kube_call *call, const char *server, struct err_info *err);

/* The one this call goes to. */
const char *kube_call_server(const struct kube_call *call);

/* Sets the handle up for that server with the credentials of now; may be done again for another try. */
MUST_USE int kube_call_prepare(struct kube_call *call, struct kube_client *c, struct err_info *err);

MUST_USE enum kube_failure kube_call_failure(const struct kube_call *call, CURLcode result);

/* Tells the metrics of an answer: of a stream when it begins, of all else when it is done. */
void kube_call_count(const struct kube_call *call, int status);
