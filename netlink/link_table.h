/* SPDX-License-Identifier: Apache-2.0 */
/* link_table.h: links, addresses and default routes in sorted arrays: what link_watch keeps.  No I/O. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/link.h"

struct link_default {
	int index; /* 0 = none */
	uint32_t metric;
};

struct link_table {
	struct link *links; /* sorted by index */
	size_t n_links, cap_links;
	struct link_addr *addrs; /* sorted by index, ip, prefix length */
	size_t n_addrs, cap_addrs;
	struct link_default v4, v6;
	bool v6_from_ra;
	int v6_ra_index; /* struct link_state: default_v6_ra */
	/* Since the beginning; survive a reset, so that no former value comes back. */
	uint32_t births, announcements;
};

enum link_table_result {
	LINK_TABLE_SAME,
	LINK_TABLE_CHANGED,
	LINK_TABLE_NO_MEMORY, /* nothing was changed */
};

void link_table_fini(struct link_table *t); /* frees; empty after */
void link_table_reset(struct link_table *t);
void link_table_reset_defaults(struct link_table *t);

/* 'born' and 'announcements' are the table's to set. */
enum link_table_result link_table_put_link(struct link_table *t, const struct link *link);
/* The kernel asked for announcements on the link (none: no matter), so they are due on everything above it, too. */
void link_table_announce(struct link_table *t, int index);
/* Its addresses go too: their own notifications may be lost. */
enum link_table_result link_table_del_link(struct link_table *t, int index);
/* NULL = not there; borrowed until the next change. */
const struct link *link_table_find(const struct link_table *t, int index);
/* Whether the link has an address other than those that 'but' tells. */
bool link_table_has_addr(const struct link_table *t, int index, bool (*but)(const struct ip *ip));
enum link_table_result link_table_put_addr(struct link_table *t, const struct link_addr *addr);
enum link_table_result link_table_del_addr(struct link_table *t, const struct link_addr *addr);
/* A default route; the one with the lowest metric stays. */
void link_table_put_default(struct link_table *t, enum ip_family family, int index, uint32_t metric, bool from_ra);

/* Makes 'to' like 'from', but with one entry for an address that an interface has twice (ours, if one is);
 * *ret_changed = it was different.  -ENOMEM: 'to' is as before. */
MUST_USE int link_table_copy(struct link_table *to, const struct link_table *from, bool *ret_changed);

/* Borrows from 't'. */
struct link_state link_table_state(const struct link_table *t);
