/* SPDX-License-Identifier: Apache-2.0 */
/* build.h: what each Service wants of the data plane, built for those alone that something has changed for, some at a time
 * between two turns of the loop. */
#pragma once

#include "agent/agent.h"

/* Takes in what is the same for all Services.  True when it differs from the last time: all are to be built anew. */
bool build_take_common(struct agent *a);

/* From the first Service on; 'places': addresses or interfaces may have changed, not only what was touched. */
void build_start(struct agent *a, bool places);

/* Goes on with the Services from where it stopped.  True when it got to the end. */
bool build_step(struct agent *a, mono_t now);
