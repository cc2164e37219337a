/* SPDX-License-Identifier: Apache-2.0 */
/* maglev.h: fills a frontend's slots from its backends.
 *
 * Maglev (Eisenbud et al., NSDI 2016, section 3.4): each backend has a permutation of the slots made from a
 * hash of its address and port; backends take turns claiming their next free slot.  A pure function of the
 * set of backends: the same table on every node whatever the order of events, and one backend more or less
 * moves few slots. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/ip.h"

/* The smallest member of NAT_CLASSES that is >= 5 * n_backends, or the largest; n_backends >= 1. */
uint16_t maglev_class(size_t n_backends);

/* Fills slots[0..n_slots) from backends[0..n), which must be sorted by ip_port_cmp() and distinct; n >= 1.
 * When n > n_slots, only some backends get a slot.  'scratch' serves during the call only (its use is undone).
 * -ENOSPC: scratch too small. */
MUST_USE int maglev_fill(const struct ip_port *backends, size_t n, struct ip_port *slots, uint16_t n_slots,
			 struct arena *scratch);
