/* SPDX-License-Identifier: Apache-2.0 */
/* ct_if.h: conntrack entries of VIPs (libnetfilter_conntrack, the one file that uses it).  Called on a worker thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/err.h"
#include "agent/base/ip.h"

/* Deletes the entries whose original destination or source is one of 'vips' (sorted), on demotion: another node goes on
 * with their connections, and when the VIP comes back, windows and states remembered here would be wrong.  (As source:
 * what this node forwarded to its pods for the holder before it was the holder itself.)
 * Those to a VIP that are masqueraded stay: no other node can have them, and connections of this node's own pods, which are
 * such, live on.  One pass over the table for each family among 'vips', entries deleted as they come by; entries of
 * any zone.  *ret_deleted = how many, set on failure too.  -EPERM; -EOPNOTSUPP: no conntrack; -ETIMEDOUT; -ENOMEM. */
MUST_USE int ct_if_flush(const struct ip *vips, size_t n, size_t *ret_deleted, struct err_info *err);
