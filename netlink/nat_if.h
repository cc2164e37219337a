/* SPDX-License-Identifier: Apache-2.0 */
/* nat_if.h: the table "inet leasehold" in the kernel: its frame, its elements, its removal (libnftnl).
 * Called on a worker thread; may wait for the namespace's nft commit mutex. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/nat.h"
#include "netlink/nlsock.h"

/* A connection to the kernel, with what is known of the chains it has made. */
struct nat_if;

MUST_USE int nat_if_new(struct nat_if **ret, struct err_info *err);
void nat_if_free(struct nat_if *n);

/* The sender of its transactions, as notifications name it (nlmsg_pid).  Constant. */
uint32_t nat_if_port(const struct nat_if *n);

/* Makes sure that table, sets, maps, chains and rules are there, of this layout's version and these options; adds only what
 * is missing, in one transaction, and never deletes the anchor chains (that would cut established flows).
 * Rules of another version or of other options of ours are replaced inside one transaction; chains of others and the chain
 * user-forward's rules stay.  A set of ours of an earlier layout's shape is removed with the rules that use it, and made anew.
 * Options are copied.  -EPERM; -EOPNOTSUPP (kernel without nf_tables or an expression we need); -EEXIST: a set of a
 * shape that is none of ours. */
MUST_USE int nat_if_ensure(struct nat_if *n, const struct nat_options *options, struct err_info *err);

/* With counters (the options of the last nat_if_ensure()) a member of NAT_GUARD stands for one each of NAT_BACKEND and
 * NAT_OPENED, too, and NAT_RECEIVED for NAT_SENT: they are added, deleted and read as one, and where one of them lacks
 * the member is partial.  Without, elements of the counted sets are read as members of their own kinds, so that they go.
 * An element that is there already keeps its counter.
 *
 * What the kernel holds, but for the contents of slots; freed by nat_read_free().  Time linear but for sets of more than some
 * 100,000 elements.  The sets of former backends and of clients that return to theirs are not read: they empty
 * themselves.  -ENOENT: the table is not there; -EINTR: changes interrupted 10 readings; -EBADMSG: an element of a form that
 * is not ours. */
MUST_USE int nat_if_read(struct nat_if *n, struct nat_read *ret, struct err_info *err);
void nat_read_free(struct nat_read *r);

/* Asks the kernel for every slot of v[0..n): ret_good[i] = all are there with their values.  Key by key (a dump's time is
 * quadratic), without the commit mutex.  An error concerns all.  -ENOENT: there is no table. */
MUST_USE int nat_if_verify(struct nat_if *n, const struct frontend *const *v, size_t n_v, bool *ret_good,
			   struct err_info *err);

/* Applies the plan in transactions that hold whole steps (a member, a firewall, a change), as many as fit a batch; *ret_done =
 * elements and chains changed (set on failure too).  EBUSY, ENOBUFS, EINTR are retried, at most 5 times with growing
 * pauses.  Deleting what is not there is no error; adding what is there with another value replaces it.  An element refused:
 * that step alone is left out, the rest is applied, and the first such error is returned with its element named in err.
 * Errors that concern all end it: -EPERM, -ETIMEDOUT, -ENOMEM, -ENOENT (the table has gone), -ECANCELED (so many in a row were
 * refused that it is not they that are wrong), those of the socket.
 * Chains that fell out of use are removed afterwards, or by a later call (before Linux 6.2 the reference of a deleted map
 * element goes late). */
MUST_USE int nat_if_apply(struct nat_if *n, const struct nat_plan *plan, size_t *ret_done, struct err_info *err);

/* Forgets the clients that return to a backend which has gone (BALANCE_SOURCE with sticky_s): those of the frontends that have
 * 'old' and a 'now' without it.  One pass over the clients, only when the plan has such a change. */
MUST_USE int nat_if_forget_clients(struct nat_if *n, const struct nat_plan *plan, struct err_info *err);

#define NAT_FORMER_MAX 4096 /* backends of one call */
/* Makes backends[0..n) the whole content of former4 and former6 (nat_layout.h), for timeout_ms milliseconds from now, in
 * one transaction; n = 0 empties them.  Retried like nat_if_apply().  -ENOENT: there is no table; -E2BIG: n >
 * NAT_FORMER_MAX; -EINVAL: no timeout, or an address of no family. */
MUST_USE int nat_if_former(struct nlsock *s, const struct ip *backends, size_t n, uint32_t timeout_ms,
			   struct err_info *err);

/* Removes the table; absent is success. */
MUST_USE int nat_if_remove(struct nlsock *s, struct err_info *err);

/* Whether the tables "inet leasehold" and "arp leasehold" are there; changes nothing. */
MUST_USE int nat_if_present(struct nlsock *s, bool *ret_inet, bool *ret_arp, struct err_info *err);
