/* SPDX-License-Identifier: Apache-2.0 */
/* slots.h: fills the slots of a frontend that picks by a hash or at random.
 *
 * Rendezvous hashing with exact shares: each backend has a score for each slot, a hash of both; each backend has a number of
 * slots that is its share, neither more nor less; and the slots are given to backends so that no slot and no backend would
 * both rather have each other (the stable matching, which is unique).  A pure function of the set of backends and their
 * weights: the same table on every node whatever the order of events.  One backend more on ten moves 17 % of 61 slots in the
 * mean and 25 % at most, where Maglev's turns (NSDI 2016, section 3.4) move 20 % and up to 39 % (of many random sets); the
 * newcomer's own share is 9 %.
 *
 * Scoring everybody for every slot would take too long for many backends (1,000 in 5,003 slots: 15 ms): from more than
 * 131,072 scores on backends claim their slots by turns, as in Maglev, each until it has its share. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/ip.h"

/* A backend and its share of new connections, in proportion to the others' weights. */
struct backend {
	struct ip_port at;
	uint16_t weight;
};

/* The smallest member of NAT_CLASSES that is >= 5 * units and >= at_least, or the largest; units >= 1: the sum of
 * all weights, reduced by their greatest common divisor. */
uint16_t slots_class(size_t units, uint16_t at_least);

/* Fills slots[0..n_slots) with indices into backends[0..n), which must be sorted by ip_port_cmp() and distinct;
 * 1 <= n <= NAT_SLOTS_MAX, one weight at least >= 1.  Each backend's number of slots is its share rounded down, or up
 * for those with the largest remainders (of equals those of the highest hash); with fewer slots than units of weight, each of
 * weight >= 1 has one slot while there are enough, and the others go by weight.  n_slots is a prime.  Below a millisecond.
 * 'scratch' serves during the call only (its use is undone).  -ENOSPC: scratch too small. */
MUST_USE int slots_fill(const struct backend *backends, size_t n, uint16_t *slots, uint16_t n_slots,
			struct arena *scratch);
