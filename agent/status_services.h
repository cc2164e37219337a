/* SPDX-License-Identifier: Apache-2.0 */
/* status_services.h: the Services with their traffic: in the status, and in the metrics. */
#pragma once

#include "agent/agent.h"

/* Members of the status object: "services", "traffic". */
void services_json(const struct agent *a, mono_t now, struct buf *out);

/* A table of the first VIPs' ports, and what was dropped. */
void services_text(const struct agent *a, struct buf *out);

/* Reads the kernel's counters when it is time.  Returns when to call again. */
mono_t services_step(struct agent *a, mono_t now);

/* What the kernel counts; for the page of metrics. */
void services_metrics(const struct agent *a, mono_t now, struct buf *out);

/* "NAME":"VALUE", and a comma unless it is the last member. */
void status_json_text(struct buf *out, const char *name, const char *value, bool last);
