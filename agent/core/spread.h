/* SPDX-License-Identifier: Apache-2.0 */
/* spread.h: groups spread over the nodes: whether a holder of many hands one over, to whom, and when.  Pure.
 *
 * Slowly, for each move costs something and a node that comes and goes must not draw groups each time: only when the
 * candidates have been the same for SPREAD_STABLE_MS, and not more often than every SPREAD_EVERY_MS; twice as long with
 * each move that came to nothing (a record does not prove that its agent lives). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/mono.h"

#define SPREAD_STABLE_MS (INT64_C(300) * 1000)
#define SPREAD_EVERY_MS (INT64_C(60) * 1000)
#define SPREAD_EVERY_MAX_MS (INT64_C(3600) * 1000)

struct spread_node {
	unsigned int rank;
	bool leaving;
	unsigned int held; /* groups whose Lease names it */
};

struct spread {
	uint64_t world;	   /* what the candidates were when last looked at */
	mono_t since;	   /* when they became so */
	mono_t next;	   /* no move before this */
	int64_t pause_ms;  /* after the last one; 0 = there was none */
	unsigned int held; /* groups that we held before it */
};

/* Whether nodes[self] should hand a group over, and to which node.  Only to one of its own rank (a rank is no reason to
 * take a group from its holder) that holds at least two fewer: moving one more would not make it more even. */
MUST_USE bool spread_pick(const struct spread_node *nodes, size_t n, size_t self, size_t *ret_to);

/* world: differs when the candidates do.  Whether a move may begin now; *ret_wake = when to ask again. */
MUST_USE bool spread_due(struct spread *s, mono_t now, uint64_t world, mono_t *ret_wake);

/* A move begins now, while we hold so many. */
void spread_begun(struct spread *s, mono_t now, unsigned int held);
