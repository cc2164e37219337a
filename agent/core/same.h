/* SPDX-License-Identifier: Apache-2.0 */
/* same.h: whether two things of the data plane are the same in all they say, not by digest alone.  Pure. */
#pragma once

#include <stdbool.h>

#include "agent/base/nat.h"

/* Slots of both are set. */
bool same_frontend(const struct frontend *a, const struct frontend *b);

/* Either may be NULL: no firewall. */
bool same_firewall(const struct nat_firewall *a, const struct nat_firewall *b);
