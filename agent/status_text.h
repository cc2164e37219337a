/* SPDX-License-Identifier: Apache-2.0 */
/* status_text.h: the status for people: what is wrong and what to do first, then tables. */
#pragma once

#include "agent/base/buf.h"
#include "agent/status_view.h"

/* Lines of view->ask->width columns at most, whatever the names are. */
void status_text(const struct status_view *view, struct buf *out);
