/* SPDX-License-Identifier: Apache-2.0 */
/* wires.h: whether anything has changed that decides where VIPs belong.  The node's own VIPs come and go by the thousand at a
 * takeover, one notification each, and decide nothing.  Pure. */
#pragma once

#include <stdint.h>

#include "agent/base/link.h"

/* Of links, default routes and all addresses but ours: equal ones have equal digests, and others do not, but for one chance
 * in 2^64. */
uint64_t wires_digest(const struct link_state *s);
