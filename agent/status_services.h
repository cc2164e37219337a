/* SPDX-License-Identifier: Apache-2.0 */
/* status_services.h: the Services with their traffic: in the status, and in the metrics. */
#pragma once

#include "agent/agent.h"
#include "agent/status_view.h"

#define STATUS_SLICE_MS 1	 /* of the loop's time that a piece of an answer may take */
#define STATUS_BACKENDS_MAX 1000 /* of one Service, which was asked for by name */

/* How far a list of Services has been told. */
struct services_cursor {
	char ns[64], name[64]; /* the next one, or what has come to stand behind it */
	bool told;	       /* at least one was */
};

/* Objects of the next Services, for STATUS_SLICE_MS.  name: of one alone ("namespace/name"), with its backends; "" = all.
 * True: there are more. */
bool services_json(const struct agent *a, const char *name, struct services_cursor *at, struct buf *out);

/* Likewise for people: the first rows into v[0..max); returns how many.  *ret_left_out: Services that are not among them. */
size_t services_rows(const struct agent *a, const char *name, struct status_row *v, size_t max, size_t *ret_left_out);

/* The addresses of the Service of that name; returns how many. */
size_t services_vips(const struct agent *a, const char *name, struct ip ret[static OBJECT_ADDRESSES_MAX]);

/* Reads the kernel's counters when it is time.  Returns when to call again. */
mono_t services_step(struct agent *a, mono_t now);

/* What the kernel counts; for the page of metrics. */
void services_metrics(const struct agent *a, mono_t now, struct buf *out);
