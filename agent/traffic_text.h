/* SPDX-License-Identifier: Apache-2.0 */
/* traffic_text.h: traffic as texts: metrics and JSON, and what a table for people is made of. */
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

/* The members of an object: how many packets and so on, of which reading.  Without the backends, which are told where
 * traffic_tells_backends(). */
bool traffic_tells_backends(const struct traffic *t);
void traffic_json(const struct traffic *t, mono_t now, struct buf *out);
/* The members of an object. */
void traffic_row_members(const struct traffic_row *row, struct buf *out);
/* An object. */
void traffic_backend_json(const struct traffic_backend *b, struct buf *out);

/* ---- for a table for people ---- */

#define TRAFFIC_AMOUNT_MAX 24

/* "123456", "1.2 M"; of bytes "12 B", "34.0 GB": 8 characters at most. */
const char *traffic_amount(uint64_t v, bool bytes, char buf[static TRAFFIC_AMOUNT_MAX]);

/* "hash", "random", "source", "round-robin". */
const char *traffic_balance(uint8_t balance);
