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

/* Counts the TCP connections to 'vips' (sorted) that are open, and associations of SCTP; in zones other than 0, too.  One pass
 * over the table for each family among 'vips'.  Errors as above. */
MUST_USE int ct_if_count(const struct ip *vips, size_t n, size_t *ret, struct err_info *err);

/* A backend that a frontend has no more. */
struct ct_gone {
	struct ip vip;
	struct ip_port backend;
	uint8_t proto; /* IPPROTO_* */
	uint16_t port; /* of the VIP */
};

#define CT_GONE_MAX 4096
/* Deletes the entries from vip . proto . port to those backends, so that the flows find another: of UDP, which else would be
 * kept from it for as long as they last; of others only where the caller knows that the backend is dead, not terminating.
 * 'gone' is put into an order of its own.  One pass over the table, with the kernel's filter where there is one family alone.
 * Errors as above; -E2BIG: n > CT_GONE_MAX. */
MUST_USE int ct_if_flush_gone(struct ct_gone *gone, size_t n, size_t *ret_deleted, struct err_info *err);
