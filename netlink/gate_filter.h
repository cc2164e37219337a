/* SPDX-License-Identifier: Apache-2.0 */
/* gate_filter.h: keeps two programs first among the filters of an interface (clsact, over netlink).  It does not know what
 * the programs are: gate_if loads them, and is the one that calls this.
 *
 * For worker threads: each call may wait for RTNL ('s' is NETLINK_ROUTE). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "netlink/filter_msg.h"
#include "netlink/nlsock.h"

struct gate_program {
	int fd;
	uint32_t id; /* as filters show it */
};

/* -ENODEV; -EOPNOTSUPP: no Ethernet device. */
MUST_USE int gate_filter_check_ethernet(struct nlsock *s, int ifindex, struct err_info *err);

/* Whether the interface has an ingress qdisc of any kind. */
MUST_USE int gate_filter_has_qdisc(struct nlsock *s, int ifindex, bool *ret, struct err_info *err);

/* Adds clsact where it lacks, makes the program of each hook the first filter there, takes away what earlier runs left,
 * and reads back.  At no moment does an interface that had a filter of ours have none.  *changed is set when something had
 * to be done, and untouched otherwise.  -EBUSY: a filter or a qdisc that cannot be passed (err names it); -EOPNOTSUPP: the
 * kernel has no clsact or no BPF filters, or the filters are shared with other interfaces. */
MUST_USE int gate_filter_put(struct nlsock *s, int ifindex, const struct gate_program programs[static FILTER_HOOK_N],
			     bool *changed, struct err_info *err);

/* Takes the filters of ours away, whichever run put them there, and, if 'clsact', the qdisc when no filter of anybody's
 * is left.  Absent is success, an interface that is gone, too. */
MUST_USE int gate_filter_remove(struct nlsock *s, int ifindex, bool clsact, struct err_info *err);
