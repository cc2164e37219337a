/* SPDX-License-Identifier: Apache-2.0 */
/* nat_watch.h: hears of changes to the table "inet leasehold" that this process did not make (NFNLGRP_NFTABLES), so that
 * they can be mended at once.  Our own transactions, which may have hundreds of thousands of elements, are left out by a
 * socket filter on nlmsg_pid.  The chain user-forward is its owner's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"

struct nat_watch;

#define NAT_WATCH_PORTS_MAX 4
/* ports[0..n): nlmsg_pid of the sockets of ours that change the table.  Negative errno of socket, bind, setsockopt. */
MUST_USE int nat_watch_new(const uint32_t *ports, unsigned int n, struct nat_watch **ret, struct err_info *err);
void nat_watch_free(struct nat_watch *w);

/* For epoll: readable when there is something to dispatch. */
int nat_watch_fd(const struct nat_watch *w);

/* Reads what has come, a bounded number of messages.  *ret_changed: somebody else changed an element, set, chain or rule of
 * ours, or notifications were lost (ENOBUFS): look at everything.  Returns 0 or the socket's error. */
MUST_USE int nat_watch_dispatch(struct nat_watch *w, bool *ret_changed, struct err_info *err);
