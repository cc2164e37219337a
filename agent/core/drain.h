/* SPDX-License-Identifier: Apache-2.0 */
/* drain.h: how a node leaves off serving VIPs in order, and what an orderly stop waits for.  Pure.
 *
 *	stage		begins			what is so (announce: bgp)
 *	TOLD		when it is asked for	the node's record is to say that it is leaving; it advertises on while that gets
 *						written, and the others get ready for its connections
 *	UNDER_WAY	after the head start	it advertises nothing that another node serves; what routers bring of its
 *						connections to the others is handed back
 *	OVER		drain-time later	nothing is handed back any more
 *
 * A VIP that comes to be served by another node only later (its new endpoint there took its time, an agent came back) is not
 * withdrawn into a time that is over: it all begins anew, under another number, which the record says, too.  While the others
 * are ready anyway only the time does.  (Connections that routers move to that node as it joins, in the moment before the others
 * are ready once more, are refused: as whenever a node joins.)
 *
 * Whoever is not asked any more (uncordoned) is at NONE again at once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"

#define DRAIN_HEAD_START_MS 500 /* from when it is asked for until it withdraws, whether the record is written by then or not */
#define DRAIN_NUMBER_MAX UINT32_MAX
#define DRAIN_NOT_COUNTED SIZE_MAX

enum drain_stage {
	DRAIN_NONE,
	DRAIN_TOLD,
	DRAIN_UNDER_WAY,
	DRAIN_OVER,
	DRAIN_STAGE_N,
};

/* Zeroed memory is a good start. */
struct drain {
	enum drain_stage stage;
	uint32_t number; /* another one each time that it begins; 0 = it never has */
	mono_t since;	 /* when the head start began; of NONE it means nothing, like 'over': */
	mono_t over;	 /* when OVER begins */
	mono_t until;	 /* TOLD, UNDER_WAY: when the next stage begins; else MONO_NEVER */
};

struct drain_asks {
	bool asked;  /* the agent stops, or VIPs are to leave the node */
	bool more;   /* a VIP that is advertised is to be withdrawn for that (routes_turns()) */
	bool others; /* there is another node to get ready; without, and without a drain-time, there is no head start */
};

/* drain_ms: 0 = none. */
void drain_step(struct drain *d, const struct drain_asks *asks, int64_t drain_ms, mono_t now);

/* The head start is over. */
bool drain_withdraws(const struct drain *d);

/* How the removal of addresses stands that a stop has begun. */
struct drain_removal {
	size_t up;	 /* addresses that are still there */
	bool under_way; /* the kernel was asked, and has not answered */
	bool open;	 /* a Lease is held whose VIPs an earlier run's gate may let through, which this process cannot shut */
	bool gate;	 /* the gate keeps the node silent about what could not be removed */
	bool routed;	 /* announce: bgp: any number of nodes answer, whoever holds the Lease */
	bool late;	 /* the time for it is over */
};

enum drain_next {
	DRAIN_WAIT,    /* for the removal */
	DRAIN_RELEASE, /* the Leases, and then wait for connections */
	DRAIN_KEEP,    /* end without a word: nobody is told to take over what this node still answers for */
};

/* Whatever the kernel says, it is not DRAIN_WAIT once 'late' is set.  Addresses that are up then expire by themselves. */
enum drain_next drain_removed(const struct drain_removal *r);

/* A stop need not wait (any longer) for connections: n_vips are routed here, and conntrack knows of so many connections to
 * them; DRAIN_NOT_COUNTED.  How long it waits at most, drain-time, the caller sees to. */
bool drain_is_empty(size_t n_vips, size_t connections);
