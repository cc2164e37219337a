/* SPDX-License-Identifier: Apache-2.0 */
/* pages.h: what the agent answers to those who ask how it is: metrics, readiness. */
#pragma once

#include "agent/agent.h"

/* For http.h; ctx is the struct agent. */
void pages_metrics(void *ctx, struct buf *out);
bool pages_ready(void *ctx, struct buf *why);
