/* SPDX-License-Identifier: Apache-2.0 */
/* health_port.h: answers on spec.healthCheckNodePort of Services with externalTrafficPolicy Local, as kube-proxy does: 200 where
 * the node has an endpoint, 503 where it has none, with the same JSON.  For clusters that have no kube-proxy. */
#pragma once

#include <stddef.h>

#include "agent/http.h"
#include "agent/loop.h"

#define HEALTH_PORTS_MAX 256

struct health_port {
	struct health_ports *all;
	uint16_t port;
	char *ns, *name; /* of the Service */
	struct http *http; /* NULL: the port is taken; tried again */
	bool marked;	 /* not wanted so far in the round under way */
};

struct health_ports {
	struct loop *loop;
	struct health_port *v[HEALTH_PORTS_MAX]; /* owned; they stay where they are, because listeners point to them */
	size_t n;
	mono_t retry_at; /* MONO_NEVER: all listen */
	/* How many endpoints of the Service are on this node. */
	unsigned int (*endpoints)(void *ctx, const char *ns, const char *name);
	void *ctx;
};

void health_ports_init(struct health_ports *h, struct loop *loop,
		       unsigned int (*endpoints)(void *ctx, const char *ns, const char *name), void *ctx);
void health_ports_fini(struct health_ports *h);

/* What is wanted: begin, put each, end: the others are closed.  A port that somebody else has is told of once in the log and
 * tried again; so is what exceeds HEALTH_PORTS_MAX, which is left out. */
void health_ports_begin(struct health_ports *h);
void health_ports_put(struct health_ports *h, const char *ns, const char *name, uint16_t port);
void health_ports_end(struct health_ports *h);

/* Lets idle connections time out, tries ports that were taken.  Returns when to call again. */
mono_t health_ports_step(struct health_ports *h, mono_t now);
