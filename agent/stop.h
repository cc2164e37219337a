/* SPDX-License-Identifier: Apache-2.0 */
/* stop.h: an orderly end: hand over, withdraw, release the Lease, and leave nothing behind when Leasehold was uninstalled.
 *
 * A stop for an upgrade or a restart leaves the data plane to the next agent, so that established connections live on.
 * One for an uninstall must not; with --daemonset the agent asks whether its DaemonSet still exists. */
#pragma once

#include "agent/agent.h"

/* Asked to stop by this signal. */
void stop_begin(struct agent *a, int signal);

/* Goes on with a stop as far as it can; MONO_NEVER or when to call again. */
mono_t stop_step(struct agent *a, mono_t now);

/* The Lease is released (or was not ours). */
void stop_released(struct agent *a);

/* After everything was closed. */
void stop_finish(const struct agent *a);
