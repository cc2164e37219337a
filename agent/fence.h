/* SPDX-License-Identifier: Apache-2.0 */
/* fence.h: from elections to the kernel: what each VIP's gate is to be. */
#pragma once

#include <stdbool.h>

#include "agent/base/mono.h"
#include "agent/kernel.h"
#include "agent/vips.h"

struct agent;
struct group;

/* Gate, guard and wire of this node.  Errors: as gates_init() and wire_init(). */
MUST_USE int fence_open(struct agent *a, struct err_info *err);
void fence_close(struct agent *a);

/* Until when the group's VIPs may answer, as its election has it: one map update for all.  On the renewal path, as the next:
 * never waits, never allocates. */
void fence_deadlines(struct agent *a, const struct group *g);

/* Brings all that the gate knows of the group's VIPs in line. */
void fence_group(struct agent *a, const struct group *g);

/* Interfaces, rows and guard follow VIPs and links.  adopting: leave alone what an earlier run of this node has attached,
 * until it is known who holds.  Returns when to call again. */
mono_t fence_step(struct agent *a, mono_t now, bool adopting);

/* The VIP's address is to be on its interface now. */
bool fence_wants_addr(const struct agent *a, const struct vip *vip, mono_t now);

/* Everything but the address is there: data plane, gate and guard. */
bool fence_ready_for(const struct agent *a, const struct vip *vip);

/* For kernel_config.may_add. */
bool fence_may_add(void *ctx, const struct kernel_addr *addr);

/* What an earlier run of this node allowed is no longer in force: only from now on this node may give a Lease away, for only
 * now is its gate what its election says. */
bool fence_settled(const struct agent *a);

/* Nothing of this node answers for the VIP any more. */
bool fence_shut(const struct agent *a, const struct vip *vip);

/* For vips_refresh_live(). */
bool fence_answers(void *ctx, const struct vip *vip);
