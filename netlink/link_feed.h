/* SPDX-License-Identifier: Apache-2.0 */
/* link_feed.h: works rtnetlink messages, dumped ones and notifications, into a link_table, and says what must be read anew
 * because the kernel tells some changes to nobody.  No I/O: link_watch brings the messages. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "netlink/link_table.h"

struct link_feed {
	struct link_table now; /* as the kernel says */
	bool changed;	       /* 'now' may differ from what it was when the caller cleared this */
	bool matters;	       /* and not only by links that lead to containers and have no address; the caller clears it */
	bool stale_routes;     /* default routes must be dumped; the caller clears it */
	bool dead_default;     /* a default route has a next hop whose interface is down */
	bool out_of_memory;    /* a message was lost: everything must be dumped; the caller clears it */
};

void link_feed_fini(struct link_feed *f); /* frees */

/* Before a dump of everything (links, then addresses, then routes), or of the routes alone. */
void link_feed_restart(struct link_feed *f);
void link_feed_restart_routes(struct link_feed *f);

/* A message of a dump, or a notification, in data[0..len).  What cannot be read, or is about nothing that is kept, changes
 * nothing. */
void link_feed_dumped(struct link_feed *f, const void *data, size_t len);
void link_feed_notified(struct link_feed *f, const void *data, size_t len);
