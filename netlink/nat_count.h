/* SPDX-License-Identifier: Apache-2.0 */
/* nat_count.h: reads the counters of the table "inet leasehold".  They count from when their element was made; an agent's
 * restart changes nothing.  Called on a worker thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/nat.h"
#include "netlink/nat_layout.h"
#include "netlink/nlsock.h"

/* Name for metrics and status: "invalid", "source-range", "rate", "connections", "unmatched", "router". */
const char *nat_drop_name(enum nat_drop why);

struct nat_tick {
	uint64_t packets, bytes;
};

struct nat_count {
	struct nat_member member; /* NAT_RECEIVED, NAT_SENT, NAT_BACKEND, NAT_OPENED */
	struct nat_tick tick;	  /* NAT_OPENED: packets = connections */
};

struct nat_counts {
	struct nat_count *v; /* sorted by nat_member_cmp() */
	size_t n;
	struct frontend_count {
		struct ip vip;
		uint8_t proto;
		uint16_t port;
		uint64_t connections;
	} *frontends; /* sorted by vip, proto, port */
	size_t n_frontends;
	struct nat_tick drops[NAT_DROP_N];
};

/* max: members of each of the two lists at most, the rest is left out (bounded memory).  -ENOENT: there is no table.  Freed by nat_counts_free(). */
MUST_USE int nat_count_read(struct nlsock *s, size_t max, struct nat_counts *ret, struct err_info *err);
/* The same without backends: their sets may be so large that a dump, whose time is quadratic, takes seconds. */
MUST_USE int nat_count_read_frontends(struct nlsock *s, size_t max, struct nat_counts *ret, struct err_info *err);
void nat_counts_free(struct nat_counts *c);
