/* SPDX-License-Identifier: Apache-2.0 */
/* servers.h: the control plane as a Service: the API servers found in the EndpointSlices of default/kubernetes, and what the
 * planner is told of those that are well.  Pure.
 *
 * The Service does not exist in the API.  Its name is none that the API allows (RFC 1123 label), so it cannot be
 * mistaken for one that does. */
#pragma once

#include "agent/base/object.h"
#include "agent/core/health.h"

#define SERVERS_NAMESPACE "default"
#define SERVERS_SERVICE "kubernetes"			/* whose slices name the servers */
#define SERVERS_NAME "kubernetes (control plane)"	/* of the Service that is presented */
#define SERVERS_PORT_NAME "https"			/* as the API server writes it */

struct servers_found {
	struct ip_port v[HEALTH_SERVERS_MAX]; /* sorted, distinct: the lowest of them, if there are more */
	size_t n;
	size_t left_out; /* more than HEALTH_SERVERS_MAX */
	bool itself;	 /* a server is listed at the VIP itself; it is left out, too: traffic would go in a circle */
};

/* Adds a slice's ready endpoints of the VIP's family on the TCP port "https".  'f' is all zero before the first. */
void servers_find(struct servers_found *f, const struct slice *s, const struct ip *vip);

/* A Service with one TCP port, balanced by hash, and a slice for each server that gets connections.  Points into itself:
 * it must not be moved or copied. */
struct servers_view {
	struct service service;
	struct service_port port;
	struct slice slices[HEALTH_SERVERS_MAX];
	struct endpoint endpoints[HEALTH_SERVERS_MAX];
	struct slice_port ports[HEALTH_SERVERS_MAX];
	const struct slice *list[HEALTH_SERVERS_MAX]; /* sorted by name */
	size_t n;
};

void servers_view_init(struct servers_view *w, const struct ip *vip, uint16_t port);

/* Takes in who gets connections now.  True: that has changed. */
bool servers_view_update(struct servers_view *w, const struct health *h);
