/* SPDX-License-Identifier: Apache-2.0 */
/* nat_event.h: notifications of NFNLGRP_NFTABLES: whether one is about what the agent keeps in the table "inet leasehold".
 * Pure. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>

/* Whether a message tells of a change to the table itself, or to a chain, rule, set, element or counter of the agent's.  Not:
 * what others keep in the table, the rules of the user's chain, and the elements of sets that fill and empty themselves.
 * A message that cannot be read is about none. */
bool nat_event_is_ours(const void *data, size_t len);
