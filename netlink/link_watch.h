/* SPDX-License-Identifier: Apache-2.0 */
/* link_watch.h: links, addresses and default routes of the namespace, kept current (libnl-3, the one file that
 * uses it).  Changes arrive as notifications and are worked in one by one; ENOBUFS means "assume everything
 * changed": all is read again.  Reading (at start, after ENOBUFS, and of routes when a default route changes)
 * may wait for RTNL. */
#pragma once

#include "agent/base/err.h"
#include "agent/base/link.h"

struct link_watch;

MUST_USE int link_watch_new(struct link_watch **ret, struct err_info *err);
void link_watch_free(struct link_watch *w);
/* For the caller's epoll (level-triggered, readable): notifications, or the time to try again after an error. */
int link_watch_fd(const struct link_watch *w);
/* Reads what is there within a budget; *ret_changed = the state differs from before; of links
 * that lead to containers (struct link: pair) and have no address that is told once a second at most, of all others at once.
 * An error leaves the former state and is tried again at the next dispatch, for which the fd becomes readable after a
 * second. */
MUST_USE int link_watch_dispatch(struct link_watch *w, bool *ret_changed, struct err_info *err);
/* Borrowed until the next dispatch.  An address that an interface has twice, with different prefix lengths, stands
 * there once, ours before others'. */
const struct link_state *link_watch_state(const struct link_watch *w);
