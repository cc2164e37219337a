/* SPDX-License-Identifier: Apache-2.0 */
/* lifetime.h: how long the kernel keeps the VIPs' addresses when nobody refreshes them any more.  Pure.
 *
 * They are refreshed at half of it.  With thousands of addresses that alone would keep a node busy (the kernel looks through the
 * interface's list for each): where the gate stands, which ends what a VIP may answer by itself, they live longer, the more
 * there are. */
#pragma once

#include <stdint.h>

#define LIFETIME_RATE 100 /* refreshed a second at most */

/* In whole seconds, for n addresses.  least_s: what they have in any case.  left_ms: until all are refreshed next, 0 = that is
 * now; an address that is added meanwhile must outlive it by half of least_s. */
uint32_t lifetime_s(uint32_t least_s, uint32_t n, int64_t left_ms);
