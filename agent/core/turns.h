/* SPDX-License-Identifier: Apache-2.0 */
/* turns.h: fills the slots of a frontend that gives new connections to its backends in turn.  A counter goes round the
 * slots, so the shares are exact, and a backend's turns are spread as evenly as they can be (smooth weighted round robin: in
 * each turn everybody gains his weight, the richest goes and pays the sum of all weights).  Where that would take long, in
 * rounds instead: in each everybody gains his weight, and who has as much as the heaviest has a turn.  Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/core/slots.h"

/* The number of slots: the sum of the weights of backends[0..n), 1 <= n <= NAT_SLOTS_MAX, each weight >= 1.  Above
 * NAT_SLOTS_MAX the shares are only about right: each has one slot, the others go by weight. */
uint16_t turns_count(const struct backend *backends, size_t n);

/* Fills slots[0..turns_count()) with indices into 'backends'.  Below a millisecond.
 * 'scratch' serves during the call only (its use is undone).  -ENOSPC: scratch too small. */
MUST_USE int turns_fill(const struct backend *backends, size_t n, uint16_t *slots, struct arena *scratch);
