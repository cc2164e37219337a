/* SPDX-License-Identifier: Apache-2.0 */
/* traffic_text.h: traffic and Services as texts: metrics, JSON, and a table for people of at most 100 columns. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/traffic.h"

/* One VIP's port of one Service. */
struct traffic_row {
	const char *ns, *name; /* of the Service */
	struct traffic_key key;
	bool balanced;	       /* this node's data plane sees to it */
	uint8_t balance;       /* enum balance */
	uint16_t n_backends;   /* that get connections; of balanced ones */
	const struct traffic_frontend *count; /* NULL = not counted, or not among the rows */
};

/* "TCP", "UDP", "SCTP". */
const char *traffic_proto(uint8_t proto);

/* The metrics of counters; counted: rows that have a 'count'. */
void traffic_metrics(const struct traffic *t, mono_t now, const struct traffic_row *counted, size_t n, struct buf *out);

/* The members of an object: how many packets and so on, of which reading. */
void traffic_json(const struct traffic *t, mono_t now, struct buf *out);
/* An object. */
void traffic_row_json(const struct traffic_row *row, struct buf *out);

/* Two lines of headings, and a line of a row, which stands below its Service's name. */
void traffic_text_head(struct buf *out);
void traffic_text_row(const struct traffic_row *row, struct buf *out);
/* What was dropped, a line a reason; nothing when nothing was. */
void traffic_text_drops(const struct traffic *t, struct buf *out);
