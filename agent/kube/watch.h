/* SPDX-License-Identifier: Apache-2.0 */
/* watch.h: keeps a collection in view: list + watch, or watch-list where the server has it.
 *
 * Handles bookmarks, resume, 410 (relist), 429 and Retry-After, too-large resource versions, torn streams, silence
 * (no byte for longer than silence_ms: bookmarks keep a good stream alive; the watch is cut and resumed), backoff
 * 0.8 s doubling to 30 s with full jitter.  Objects are handed over one by one as they arrive; nothing but the
 * current object is buffered (bounded by KUBE_OBJECT_MAX: a larger one is reported and skipped). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/kube/client.h"

#define KUBE_OBJECT_MAX (2 * 1024 * 1024) /* bytes of one object: etcd's own limit is 1.5 MiB */

struct kube_watch;

struct kube_watch_ops {
	/* A complete view is about to be given again: objects not seen until 'synced' are gone (mark and sweep). */
	void (*begin)(void *ctx);
	/* An object is new or changed; json[0..len) is the object alone, borrowed. */
	void (*put)(void *ctx, const char *json, size_t len);
	/* An object is gone. */
	void (*gone)(void *ctx, const char *json, size_t len);
	/* The view is complete. */
	void (*synced)(void *ctx);
	/* The view is alive (true), or in doubt since its stream broke (false).  Called on changes only.  A stream
	 * that ends in the ordinary way and is resumed at once is no doubt until the resume fails. */
	void (*live)(void *ctx, bool live, const char *why);
	/* Something to log: a refused list (403...), an oversized object.  Rate limiting is the caller's. */
	void (*problem)(void *ctx, const struct err_info *err);
};

struct kube_watch_config {
	const char *path;	    /* collection, e.g. "/api/v1/services" */
	const char *field_selector; /* NULL = none */
	const char *label_selector; /* NULL = none */
	enum kube_channel channel;
	int64_t silence_ms;	    /* > 0 */
	uint64_t seed;		    /* jitter */
};

/* Starts at once; events come inside kube_client_dispatch().  Strings are copied. */
MUST_USE int kube_watch_new(struct kube_client *c, const struct kube_watch_config *cfg, const struct kube_watch_ops *ops,
			    void *ctx, struct kube_watch **ret, struct err_info *err);
/* Ends it; no call-back after this.  Not from within its own call-backs. */
void kube_watch_free(struct kube_watch *w);
bool kube_watch_synced(const struct kube_watch *w);
bool kube_watch_live(const struct kube_watch *w);
