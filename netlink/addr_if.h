/* SPDX-License-Identifier: Apache-2.0 */
/* addr_if.h: VIPs as addresses of an interface (rtnetlink).  Called on a worker thread; may wait for RTNL.
 *
 * A VIP is /32 or /128, IFA_F_NOPREFIXROUTE (and IFA_F_NODAD for v6), preferred_lft 0 for v6 so that it is never
 * chosen as a source, with finite lifetimes: should the agent die, the kernel removes it.  Lifetimes are always
 * sent (IFA_CACHEINFO): a refresh without them would make the address permanent (net/ipv4/devinet.c).
 * Marked with IFA_PROTO and, for kernels before 5.18, with a metric of ours (addr_msg.h). */
#pragma once

#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "netlink/nlsock.h"

/* Adds the address, or refreshes its lifetime when it is there and ours; looks first, which for v4 costs reading
 * the interface's addresses.  valid_s >= 1.  -ENODEV: no such interface; -EEXIST: the interface has the address
 * but not from us (no mark); -EPERM: CAP_NET_ADMIN lacks; -EACCES: IPv6 is off on the interface. */
MUST_USE int addr_if_put(struct nlsock *s, int ifindex, const struct ip *ip, uint32_t valid_s, struct err_info *err);

/* Adds an address that was not seen there, without looking, in one message: a look costs reading all the interface's IPv4
 * addresses, and with a thousand to add their square.  -EEXIST: it has come meanwhile, whoever from; else as above. */
MUST_USE int addr_if_add(struct nlsock *s, int ifindex, const struct ip *ip, uint32_t valid_s, struct err_info *err);

/* Refreshes the lifetime without looking, in one message: for an address that was seen with our mark (a v6
 * address of another's would be taken over).  One that has gone meanwhile is added.  Errors as above. */
MUST_USE int addr_if_refresh(struct nlsock *s, int ifindex, const struct ip *ip, uint32_t valid_s,
			     struct err_info *err);

/* Removes the address when it carries our mark; absent (or the interface gone) is success, and so is an
 * address that is not ours: it stays. */
MUST_USE int addr_if_del(struct nlsock *s, int ifindex, const struct ip *ip, struct err_info *err);

/* Removes an address that was seen with our mark, without looking, in one message.  An interface has an address as /32 or /128
 * once, so nobody else's can stand in its place unless it came in this very moment. */
MUST_USE int addr_if_drop(struct nlsock *s, int ifindex, const struct ip *ip, struct err_info *err);

/* Calls 'each' for every address of the namespace.  A dump that the kernel says was interrupted
 * (NLM_F_DUMP_INTR) is started again, at most 10 times, then -EINTR; 'restart' tells the caller to forget. */
struct addr_if_dump_ops {
	void (*restart)(void *ctx);
	void (*each)(void *ctx, const struct link_addr *a);
};
MUST_USE int addr_if_dump(struct nlsock *s, const struct addr_if_dump_ops *ops, void *ctx, struct err_info *err);
