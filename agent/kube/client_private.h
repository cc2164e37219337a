/* SPDX-License-Identifier: Apache-2.0 */
/* client_private.h: what the client offers to watch.c only: streamed replies and timers. */
#pragma once

#include "agent/kube/client.h"

struct kube_call;

struct kube_stream_ops {
	/* The reply has begun: its HTTP status. */
	void (*begin)(void *ctx, int status);
	/* A piece of a reply with status 200.  False: cut the stream. */
	bool (*data)(void *ctx, const char *data, size_t len);
	/* It ended: reply->status 0 with err set: it could not be had or broke; 200: it ended in the ordinary way.  body:
	 * of other statuses.  The stream is freed already. */
	void (*end)(void *ctx, const struct kube_reply *reply);
};

/* verb: for metrics, "LIST" or "WATCH".  No time limit of its own. */
MUST_USE int kube_stream_new(struct kube_client *c, enum kube_channel channel, const char *verb, const char *path,
			     const struct kube_stream_ops *ops, void *ctx, struct kube_call **ret, struct err_info *err);
/* Cuts it; no call-back after this. */
void kube_stream_free(struct kube_call *s);
/* Cuts it because its server fell silent: the channel goes on with the next server. */
void kube_stream_give_up(struct kube_call *s);

/* A timer of the client's loop; embedded in its user.  Fires once, inside dispatch. */
struct kube_timer {
	mono_t at; /* MONO_NEVER = off */
	void (*fn)(void *ctx);
	void *ctx;
	struct kube_timer *next; /* internal */
};

/* Adds the timer (off) to the client; remove it before it goes away. */
void kube_timer_add(struct kube_client *c, struct kube_timer *t);
void kube_timer_remove(struct kube_client *c, struct kube_timer *t);
/* Sets or turns off; may be called at any time. */
void kube_timer_set(struct kube_client *c, struct kube_timer *t, mono_t at);
