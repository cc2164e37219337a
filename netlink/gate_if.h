/* SPDX-License-Identifier: Apache-2.0 */
/* gate_if.h: the gate in the kernel: a BPF program at tc ingress and egress (clsact) of each interface that carries VIPs
 * (libbpf, the one file that uses it).  What it lets through is in gate.h and netlink/bpf/gate.bpf.c.
 *
 * The filters outlive the process (no pins, no bpffs).  A restarted agent has no right to open the old maps again: it loads
 * a program and maps of its own, fills these, and then takes the old filter's place in one step.
 * Needs CAP_BPF and CAP_NET_ADMIN, kernel 5.8. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "netlink/gate.h"
#include "netlink/nlsock.h"

struct gate_if;

/* Loads program and maps; nothing is attached.  -EPERM: CAP_BPF or CAP_NET_ADMIN lacks, or RLIMIT_MEMLOCK before 5.11;
 * -EOPNOTSUPP: a kernel without the helpers; err holds the verifier's last line. */
MUST_USE int gate_if_new(struct gate_if **ret, struct err_info *err);
/* Attached filters stay, with their maps. */
void gate_if_free(struct gate_if *g);

/* Loads, attaches to the loopback interface, reads back, and takes away again; and runs a frame through the program
 * (BPF_PROG_TEST_RUN).  -EOPNOTSUPP, -EPERM ... with what lacks in err. */
MUST_USE int gate_if_self_test(struct gate_if *g, struct nlsock *s, struct err_info *err);

/* ---- worker thread: may wait for RTNL ('s' is NETLINK_ROUTE) ---- */

/* Makes sure that this gate's program stands first at ingress and egress of the interface: adds clsact, replaces an older
 * program of ours atomically, and reads back.  *ret_changed: it had to be put there.  -ENODEV; -EBUSY: a TCX program, or
 * a filter that cannot be passed, stands before ours (err names it); -EOPNOTSUPP: no Ethernet device, or filters that it
 * shares with other interfaces.  gate_watch does not tell of TCX programs: call this now and then all the same. */
MUST_USE int gate_if_attach(const struct gate_if *g, struct nlsock *s, int ifindex, bool *ret_changed, struct err_info *err);

/* Whether gate_if_attach() would find an Ethernet device with no TCX program before it; attaches nothing, needs no gate.
 * Errors as there; -EPERM: CAP_BPF or CAP_NET_ADMIN lacks. */
MUST_USE int gate_if_look(struct nlsock *s, int ifindex, struct err_info *err);

/* Takes our filters away, whichever run attached them, and clsact if nothing else uses it.  Absent is success. */
MUST_USE int gate_if_detach(struct nlsock *s, int ifindex, struct err_info *err);

/* ---- any thread; never waits ---- */

/* When the group's VIPs end to answer; zeros until set.  -E2BIG: no such row (GATE_GROUPS_MAX). */
MUST_USE int gate_if_set_group(const struct gate_if *g, uint32_t group, const struct gate_group *row, struct err_info *err);
/* -ENOENT: no such row. */
MUST_USE int gate_if_get_group(const struct gate_if *g, uint32_t group, struct gate_group *ret, struct err_info *err);

/* -E2BIG: more than GATE_VIPS_MAX VIPs; -ENOMEM: the former entry stands. */
MUST_USE int gate_if_set(const struct gate_if *g, const struct ip *vip, const struct gate_entry *e, struct err_info *err);
/* Absent is success. */
MUST_USE int gate_if_unset(const struct gate_if *g, const struct ip *vip, struct err_info *err);
/* -ENOENT. */
MUST_USE int gate_if_get(const struct gate_if *g, const struct ip *vip, struct gate_entry *ret, struct err_info *err);
MUST_USE int gate_if_counts(const struct gate_if *g, uint64_t ret[static GATE_COUNT_N], struct err_info *err);

/* ---- changes by others ---- */

/* Tells which interfaces had filters or qdiscs changed (RTNLGRP_TC), so that the gate is looked at again. */
struct gate_watch;
MUST_USE int gate_watch_new(struct gate_watch **ret, struct err_info *err);
void gate_watch_free(struct gate_watch *w);
int gate_watch_fd(const struct gate_watch *w);
/* Calls 'changed' once for each interface named since the last call; ifindex 0: messages were lost, look at all. */
MUST_USE int gate_watch_dispatch(struct gate_watch *w, void (*changed)(void *ctx, int ifindex), void *ctx,
				 struct err_info *err);
