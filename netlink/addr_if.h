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

/* Removes the address when it carries our mark; absent (or the interface gone) is success, and so is an
 * address that is not ours: it stays. */
MUST_USE int addr_if_del(struct nlsock *s, int ifindex, const struct ip *ip, struct err_info *err);

/* Changes that do not look first, for a look costs reading all the interface's IPv4 addresses. */
enum addr_if_verb {
	ADDR_IF_ADD,	 /* was not seen there.  -EEXIST: it has come meanwhile, whoever from */
	ADDR_IF_REFRESH, /* was seen with our mark (a v6 address of another's would be taken over); one that has gone is added */
	/* Was seen with our mark.  An interface has an address as /32 or /128 once, so nobody else's can stand in its place
	 * unless it came in this very moment. */
	ADDR_IF_DROP,
};

struct addr_if_change {
	enum addr_if_verb verb;
	int ifindex;
	struct ip ip;
	int result; /* 0, or negative errno as above; gone with DROP is success */
};

#define ADDR_IF_CHANGES_MAX 64

/* Carries out c[0..n), n <= ADDR_IF_CHANGES_MAX, in one exchange with the kernel; each is for itself.  valid_s >= 1.  Returns the
 * first error of one, with err (-EEXIST of ADD does not count: look, then), or that of the exchange (-ETIMEDOUT ...), which then
 * is the result of all. */
MUST_USE int addr_if_change(struct nlsock *s, struct addr_if_change *c, size_t n, uint32_t valid_s, struct err_info *err);

/* Calls 'each' for every address of the namespace.  A dump that the kernel says was interrupted
 * (NLM_F_DUMP_INTR) is started again, at most 10 times, then -EINTR; 'restart' tells the caller to forget. */
struct addr_if_dump_ops {
	void (*restart)(void *ctx);
	void (*each)(void *ctx, const struct link_addr *a);
};
MUST_USE int addr_if_dump(struct nlsock *s, const struct addr_if_dump_ops *ops, void *ctx, struct err_info *err);
