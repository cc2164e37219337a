/* SPDX-License-Identifier: Apache-2.0 */
/* plan.h: from what the store holds to what this node is to do: decisions on addresses and groups, the wanted state of the
 * kernel, the table of VIPs. */
#pragma once

#include "agent/agent.h"

/* Plans if anything has changed.  Returns when to call again (MONO_NEVER: on the next change). */
mono_t plan_step(struct agent *a, mono_t now);
