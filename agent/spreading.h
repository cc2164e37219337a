/* SPDX-License-Identifier: Apache-2.0 */
/* spreading.h: hands groups over to nodes that hold fewer (core/spread.h). */
#pragma once

#include "agent/agent.h"

/* Returns when to call again at the latest. */
mono_t spreading_step(struct agent *a, mono_t now);
