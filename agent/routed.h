/* SPDX-License-Identifier: Apache-2.0 */
/* routed.h: VIPs that routers send here because the node's own BIRD or FRR says so (announce: bgp).
 *
 * A VIP is /32 or /128 on 'lo' of every node that can serve it.  That address is what the routing daemon exports, and all
 * that it gets from us.  Its lifetime is finite, as of all our addresses: what a dead or frozen agent announces is
 * withdrawn by the kernel, which both daemons hear.  (A route of our own would not do: Linux keeps no lifetime of an IPv6
 * route by way of lo (fib6_is_reject(), net/ipv6/route.c), and FRR prefers the address to the route.)
 *
 * Order up: maps, ARP guard, address.  Down: address; the maps stay for what is still on its way, and conntrack for
 * connections that other nodes hand back (rendezvous.h); an orderly stop waits for these (drain-time).
 *
 * Which VIPs, and when they are withdrawn, is decided in core/routes.h and core/drain.h; here is what they are told, and what
 * becomes of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/mono.h"
#include "agent/core/drain.h"
#include "agent/core/routes.h"
#include "agent/kernel.h"
#include "agent/worker.h"

struct agent;

struct routed_vip {
	struct ip ip;
	struct route route; /* what is to be */
	bool there;	    /* what is: the address was seen, so it is exported */
};

/* Counts what conntrack knows of VIPs, on the worker. */
struct routed_job {
	struct worker_job job; /* first: the worker hands this back */
	struct routed *routed;
	struct ip *vips; /* malloc; sorted */
	size_t n_vips;
	size_t connections;
	int result;
	struct err_info err;
};

struct routed {
	bool on;
	struct routed_vip *v; /* malloc; sorted by ip; the VIPs of all Services */
	struct kernel_addr *homes; /* malloc; likewise, with their place, 'lo' */
	size_t n;
	uint64_t changes; /* of the list of VIPs */
	int lo;		 /* ifindex, 0 = not seen yet */
	struct routes_node node;
	struct drain drain;
	bool again;	 /* what the Services want is to be looked at again */
	uint64_t candidates; /* candidates_changes(), when last looked at */
	size_t n_there;	 /* VIPs */
	bool busy;
	mono_t count_at;
	size_t connections; /* when last counted; DRAIN_NOT_COUNTED */
	struct routed_job job;
};

void routed_init(struct routed *r, bool on);
/* After the worker's end. */
void routed_fini(struct routed *r);

/* Where routed VIPs are: the index of 'lo', 0 = it is not in view. */
int routed_loopback(const struct link_state *s);

/* Follows VIPs, Services and what the node is about to do.  Returns when to call again. */
mono_t routed_step(struct agent *a, mono_t now);

/* The addresses that are to be there, sorted by ip, into out[0..a->vips.n); returns how many. */
size_t routed_addrs(const struct agent *a, struct kernel_addr *out);

/* The VIP, NULL = there is none such. */
const struct routed_vip *routed_find(const struct routed *r, const struct ip *ip);

/* How the VIP's advertisement stands, for people. */
struct route_report routed_report(const struct agent *a, const struct routed_vip *v, mono_t now);

/* A stop need not wait for connections (any longer), as far as can be told; false until they were counted.  *wake is brought
 * forward to when to ask again. */
bool routed_drained(struct agent *a, mono_t now, mono_t *wake);
