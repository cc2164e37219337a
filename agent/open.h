/* SPDX-License-Identifier: Apache-2.0 */
/* open.h: the start of the agent. */
#pragma once

#include "agent/agent.h"

/* Opens everything; a->cfg is set.  After an error what is open is closed by the caller, as at the end of a run. */
MUST_USE int open_agent(struct agent *a, int lock_fd, struct err_info *err);
