/* SPDX-License-Identifier: Apache-2.0 */
/* handover.h: planned moves of a group: who is to take over, and what a successor says.  The order of things is the
 * election's (election/elect.h, "Handover"); here are the choices and the hands.
 *
 * As the holder: a request in the Lease, a stop or a drain begins a move; the successor's answer is read from its node
 * record.  As the successor: when the data plane, gate and guard of all VIPs of the group stand, and the kernel has what
 * this node knew of Services by then, it says so in its own: a table that lags would send connections where they never were.
 * The addresses follow with the holder's CLAIM. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/link.h"
#include "agent/base/mono.h"
#include "election/lease.h"

#define HANDOVER_TRIES 3 /* candidates that are asked before a move to any of them has failed */

struct group;

struct handover {
	/* As the holder: */
	uint32_t number;  /* of the move under way; 0 = none */
	uint32_t request; /* whoever asked reads the result under this number; 0 = nobody did */
	bool any;	  /* the next best candidate will do, too */
	bool again;	  /* the last one failed: try the next */
	char tried[HANDOVER_TRIES][LEASE_HOLDER_MAX];
	unsigned int n_tried;
	uint8_t mac[LINK_MAC_LEN]; /* of the successor; kept while frames are redirected; zero = unknown */
	/* A request that no step has looked at yet. */
	uint32_t asked;
	char asked_to[254];
	/* As a successor: */
	uint32_t preparing; /* the move that this node gets ready for; 0 = none */
	bool built;	    /* what was known of Services when it was asked is wanted of the data plane by now */
	uint64_t changes;   /* then: how many changes of that there were */
	bool said;	    /* what there is to say about it */
};

/* The holder begins a move to 'node', or ("*") to the best candidate.  request: as above.  False: there is nobody to move
 * to, or a move is under way; a request has its result. */
bool handover_begin(struct group *g, mono_t now, const char *node, uint32_t request);

/* Goes on with whatever move the group is in. */
void handover_step(struct group *g, mono_t now);

/* A move by this node as the holder is under way. */
static inline bool handover_moving(const struct handover *h)
{
	return h->number != 0 || h->again;
}

/* ---- for the group's events ---- */

void handover_asked(struct handover *h, uint32_t number, const char *node);
void handover_failed(struct group *g, uint32_t number, const char *why);
/* This node leads, or follows, from now on: moves under way have ended. */
void handover_ended(struct handover *h);
void handover_prepare(struct handover *h, uint32_t number);
