/* SPDX-License-Identifier: Apache-2.0 */
/* forward_old_if.h: the chain FORWARD of legacy iptables' table "filter", which nf_tables does not show. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "netlink/forward_rule.h"

/* Whether there is such a table in this namespace; none is made by asking. */
bool forward_old_there(uint8_t family);

/* family: NFPROTO_IPV4 or _IPV6.  No such table, or no right to look into it:
 * FORWARD_OPEN; one of more than 4 MiB: FORWARD_DOUBTFUL.  -ENOMEM; -EBADMSG; -EAGAIN: it changed all the time; errors of
 * socket() and getsockopt(). */
MUST_USE int forward_old_look(uint8_t family, struct forward_judgement *ret, struct err_info *err);
