/* SPDX-License-Identifier: Apache-2.0 */
/* own_record.h: what this node says of itself to the other candidates (candidates.h). */
#pragma once

#include "agent/agent.h"

/* Opens the table of candidates. */
MUST_USE int own_record_open(struct agent *a, struct err_info *err);

/* Says what has changed, and moves VIPs away from a node that is being drained or deleted while another candidate wants
 * them.  A node that is leaving stays the last resort: it claims after all others had the time to.  Returns when to call
 * again. */
mono_t own_record_step(struct agent *a, mono_t now);

/* Links or the places of VIPs have changed. */
void own_record_links(struct agent *a);
