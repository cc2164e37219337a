/* SPDX-License-Identifier: Apache-2.0 */
/* forward_old_msg.h: legacy iptables' table as the kernel hands it out (linux/netfilter_ipv4/ip_tables.h:
 * IPT_SO_GET_ENTRIES): entries one behind the other, each with matches and a target; a jump names the place of an entry.
 * Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "netlink/forward_rule.h"

/* entries[0..len): of a table of 'family' (NFPROTO_IPV4 or _IPV6); hook, underflow: where the chain FORWARD begins, and
 * where its last entry is, the policy.  -EBADMSG: the entries do not fit their lengths; -ENOMEM. */
MUST_USE int forward_old_msg_judge(uint8_t family, const void *entries, size_t len, uint32_t hook, uint32_t underflow,
				   struct forward_judgement *ret);
