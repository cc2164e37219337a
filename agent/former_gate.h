/* SPDX-License-Identifier: Apache-2.0 */
/* former_gate.h: where VIPs are routed there is no gate.  One that an earlier run, which announced, left behind would go on
 * dropping what comes for them; but it is also the fence of addresses that this run has left: it goes after they have. */
#pragma once

#include <stdbool.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/worker.h"

struct agent;

struct former_gate {
	struct worker_job job; /* first: the worker hands this back */
	bool busy, gone;
	mono_t retry_at;
	int result;
	struct err_info err;
};

/* Takes it away, on the worker, when its time has come.  Returns when to call again. */
mono_t former_gate_step(struct agent *a, mono_t now);
