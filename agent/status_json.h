/* SPDX-License-Identifier: Apache-2.0 */
/* status_json.h: the status for programs.  Its names are a promise: docs/configuration.md lists them all. */
#pragma once

#include "agent/base/buf.h"
#include "agent/status_view.h"

/* Grows when a name goes or changes its meaning; new names come without. */
#define STATUS_SCHEMA 1

/* "NAME":"VALUE", and a comma. */
void status_json_text(struct buf *out, const char *name, const char *value);

/* Members, with a comma behind the last. */
void status_json_head(const struct status_head *h, struct buf *out);
void status_json_problems(const struct status_problems *p, struct buf *out);

/* Objects. */
void status_json_lease(const struct status_lease *l, struct buf *out);
void status_json_vip(const struct status_vip *v, struct buf *out);
/* A VIP's port of a Service; backends[0..n): of it alone, NULL = not asked for.  left_out: how many more there are. */
void status_json_port(const struct traffic_row *port, const struct status_row *backends, size_t n, size_t left_out,
		      struct buf *out);
