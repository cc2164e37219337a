/* SPDX-License-Identifier: Apache-2.0 */
/* routes.h: which routed VIPs (announce: bgp) this node advertises, that is, has as an address that its routing daemon exports;
 * and how that is told.  When it withdraws as a whole is drain.h's.  Pure.
 *
 * A node advertises what it can serve: a VIP with a Service that has, with externalTrafficPolicy Local, a ready endpoint here;
 * with Cluster, any backend.  Once advertised, a data plane that is being read again is no reason to withdraw.  A node that
 * VIPs are to leave goes on with what nobody else serves; one that stops, with nothing. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/drain.h"

/* Why a VIP is not to be advertised.  Of several Services that share one the first in this order counts. */
enum route_why {
	ROUTE_OK,
	ROUTE_LEAVING,		 /* VIPs are to leave this node, and another one serves it */
	ROUTE_NO_LOCAL_ENDPOINT, /* externalTrafficPolicy Local, and no ready endpoint is here */
	ROUTE_NO_BACKEND,
	ROUTE_NO_SERVICE, /* that is served has it */
	/* Whatever the Services say: */
	ROUTE_UNKNOWN,	/* they have not been looked at since the start */
	ROUTE_NOT_READY, /* the data plane does not hold it yet */
	ROUTE_STOPPING,
	ROUTE_WHY_N,
};

/* The node as a whole.  Zeroed memory is a good start. */
struct routes_node {
	bool known;    /* what the Services want was looked at since the start */
	bool leaving;  /* VIPs are to leave it, or: */
	bool stopping; /* the agent ends */
	bool withdraws; /* leaving: the head start is over (drain_withdraws()) */
	bool others;   /* leaving: another node's agent lives, and stays (routes_others()) */
};

/* What a Service is to one of its VIPs. */
struct route_service {
	bool backends; /* some port of it has any */
	bool local;    /* externalTrafficPolicy Local; ready endpoints of the VIP's family then: */
	bool ready_here;
	bool ready_elsewhere; /* on a node that stays, by its record; matters while this one leaves */
};

/* One VIP. */
struct route {
	enum route_why why; /* what the Services say: up to ROUTE_NO_SERVICE */
	bool up;	    /* its address is to be there */
	bool drains;	    /* it was withdrawn because the node leaves: connections may go on */
};

/* Serving endpoints that terminate are backends, but no reason to draw new connections to them past others. */
enum route_why routes_judge(const struct route_service *s, const struct routes_node *n);

/* A Lease of the cluster as it was last seen. */
struct route_lease {
	bool held;   /* somebody holds it */
	bool stays;  /* on another node, which is not leaving */
	mono_t seen_at; /* when its record was last seen to change */
	int64_t duration_ms;
};

/* Another node that stays has renewed a Lease within its duration: its agent lives, which a record alone does not prove.
 * in_view: Leases can be seen; while they cannot it is as it was. */
bool routes_others(const struct route_lease *v, size_t n, bool in_view, bool before, mono_t now);

/* It is advertised, and to be withdrawn because the node leaves. */
bool routes_turns(const struct route *r, const struct routes_node *n);

/* Whether the VIP's address is to be there from now on.  held: the data plane has it. */
void routes_step(struct route *r, const struct routes_node *n, bool held);

/* ---- for people ---- */

enum route_state {
	ROUTE_ADVERTISED, /* the address is there; with a reason: it is being removed */
	ROUTE_COMING,	  /* it is to be there */
	ROUTE_DRAINING,	  /* withdrawn, and other nodes hand its connections back to this one */
	ROUTE_WITHDRAWN,
	ROUTE_STATE_N,
};

struct route_report {
	enum route_state state;
	enum route_why why;
	int64_t drains_ms; /* DRAINING: for so long yet */
};

/* there: the address is on its interface. */
struct route_report routes_report(const struct route *r, const struct routes_node *n, const struct drain *d, bool there, mono_t now);

/* "no ready endpoint on this node (externalTrafficPolicy: Local)"; "" for ROUTE_OK. */
const char *routes_why_text(enum route_why why);
