/* SPDX-License-Identifier: Apache-2.0 */
/* past.h: addresses let go lately, and the groups that governed them.  An address that is given out again soon goes to the
 * same group: the holder of another one could answer for it before the former has seen that it is gone. */
#pragma once

#include <stddef.h>

#include "agent/base/mono.h"
#include "agent/core/groups.h"
#include "agent/core/wanted.h"
#include "agent/vips.h"

#define PAST_MAX 1024 /* the oldest makes room */

struct past {
	struct groups_past v[PAST_MAX]; /* oldest first */
	mono_t at[PAST_MAX];
	size_t n;
};

/* Remembers the VIPs of the table that are not wanted any more, and forgets what is old. */
void past_update(struct past *p, const struct vips *now_known, const struct wanted_vip *wanted, size_t n, mono_t now);
