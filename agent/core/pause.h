/* SPDX-License-Identifier: Apache-2.0 */
/* pause.h: whether this node stood still, or its clocks did, since the loop last looked.  Pure.
 *
 *	what happened			CLOCK_BOOTTIME	CLOCK_MONOTONIC	CLOCK_REALTIME	seen as
 *	suspend				goes on		stands still	goes on		BOOTTIME - MONOTONIC grew: JUMP
 *	VM paused, wall clock put right	stands still	stands still	jumps forward	REALTIME - BOOTTIME grew: JUMP
 *	process stopped, no CPU		goes on		goes on		goes on		woke late: LATE
 *
 * After a suspend the deadlines are right all the same (they are on CLOCK_BOOTTIME), but what the view of the Lease
 * showed is old.  A paused VM is worse: its own deadlines stood still with it, and others have taken over; the kernel's
 * gate, on the same clock, does not help.  A wall clock that jumps forward is the only sign of it, comes when the
 * hypervisor or NTP puts it right, and may as well be somebody setting the clock: a false alarm costs one round trip to the
 * Lease.  Backward it is no evidence: time that was lost is put right forward.  Between the VM's going on and its clock's
 * being put right nothing can be seen. */
#pragma once

#include <stdint.h>

#include "agent/base/mono.h"

/* Beyond what an operator's leap second (1 s) or slewing (at most 500 ppm) moves it between two looks. */
#define PAUSE_WALL_JUMP_MS 1000

enum pause_kind {
	PAUSE_NONE,
	PAUSE_JUMP, /* the clocks say that time has passed which nobody here lived through */
	PAUSE_LATE, /* the loop woke later than it had asked to by more than an interval */
};

struct pause {
	int64_t margin_ms;	 /* of the Lease (elect_margin_ms()); > 0 */
	int64_t renew_ms;	 /* > 0 */
	struct mono_clocks last; /* boot.ns 0: not looked yet */
};

void pause_init(struct pause *p, int64_t margin_ms, int64_t renew_ms);

/* Compares with the look before; the first one finds PAUSE_NONE or PAUSE_LATE.  now: mono_clocks_now() of this wake;
 * wake_was_due: what the loop was told to wake at, MONO_NEVER = when something happens.  JUMP comes before LATE. */
enum pause_kind pause_check(struct pause *p, const struct mono_clocks *now, mono_t wake_was_due);

/* "clock jump", "woke late" and "" for logs. */
const char *pause_name(enum pause_kind kind);
