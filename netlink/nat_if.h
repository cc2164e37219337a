/* SPDX-License-Identifier: Apache-2.0 */
/* nat_if.h: the table "inet leasehold" in the kernel: its frame, its elements, its removal (libnftnl).
 * Called on a worker thread; may wait for the namespace's nft commit mutex. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/nat.h"
#include "netlink/nlsock.h"

/* Makes sure that table, sets, maps, chains and rules are there and of this layout's version; adds only what
 * is missing, in one transaction, and never deletes the anchor chains (that would cut established flows).
 * Rules of another version of ours are replaced inside one transaction; chains of others stay.  -EPERM;
 * -EOPNOTSUPP (kernel without nf_tables or an expression we need); -EEXIST: a set of another shape. */
MUST_USE int nat_if_ensure(struct nlsock *s, struct err_info *err);

/* Applies ops[0..n) in transactions that hold whole groups (ends as in nat_plan), as many as fit a batch;
 * *ret_done = ops applied (all on success; set on failure too).  EBUSY, ENOBUFS, EINTR are retried, at most 5
 * times with growing pauses.  Deleting what is not there is no error.  An element refused: that group alone is
 * left out, the rest is applied, and the first such error is returned with its element named in err.  Errors
 * that concern all (-EPERM, -ETIMEDOUT, -ENOMEM) end it. */
MUST_USE int nat_if_apply(struct nlsock *s, const struct nat_op *ops, const size_t *ends, size_t n_groups,
			  size_t *ret_done, struct err_info *err);

#define NAT_FORMER_MAX 4096 /* backends of one call */
/* Makes backends[0..n) the whole content of former4 and former6 (nat_layout.h), for timeout_ms milliseconds from now, in
 * one transaction; n = 0 empties them.  Retried like nat_if_apply().  -ENOENT: there is no table; -E2BIG: n >
 * NAT_FORMER_MAX; -EINVAL: no timeout, or an address of no family. */
MUST_USE int nat_if_former(struct nlsock *s, const struct ip *backends, size_t n, uint32_t timeout_ms,
			   struct err_info *err);

/* What the kernel holds, freed by nat_dump_free(). */
struct nat_dump {
	struct ip *vips; /* sorted, distinct */
	size_t n_vips;
	struct frontend *frontends; /* sorted, distinct; slots that are missing in the kernel have family IP_NONE */
	size_t n_frontends;
	struct nat_guard *guards; /* sorted, distinct, as are locals and homes */
	size_t n_guards;
	struct ip *locals;
	size_t n_locals;
	struct nat_home *homes;
	size_t n_homes;
	/* Elements that belong to no frontend (nothing of ours leaves any behind; somebody else's hand may): ops that
	 * delete them.  Apply them before adding frontends, or an addition may be refused. */
	struct nat_op *orphans;
	size_t n_orphans;
	struct ip_port *storage; /* all frontends' slots */
};

/* former4 and former6 are not read: they empty themselves.  -ENOENT: the table is not there; -EINTR: changes interrupted 10 readings; -EBADMSG: an element of a form that
 * is not ours. */
MUST_USE int nat_if_dump(struct nlsock *s, struct nat_dump *ret, struct err_info *err);
void nat_dump_free(struct nat_dump *d);

/* Removes the table; absent is success. */
MUST_USE int nat_if_remove(struct nlsock *s, struct err_info *err);

/* Whether the tables "inet leasehold" and "arp leasehold" are there; changes nothing. */
MUST_USE int nat_if_present(struct nlsock *s, bool *ret_inet, bool *ret_arp, struct err_info *err);
