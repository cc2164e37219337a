/* SPDX-License-Identifier: Apache-2.0 */
/* forward_if.h: looks at what the packet filters of this node do with forwarded connections to backends: chains of
 * nf_tables at the forward hook (iptables-nft's FORWARD among them) and legacy iptables' table "filter".  An accept of
 * ours cannot help where another chain drops: every chain at a hook has to let a packet pass.
 *
 * Called on a worker thread; reads only, and does not wait for the commit mutex. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "netlink/forward_rule.h"
#include "netlink/nlsock.h"

#define FORWARD_PLACE_MAX 160
#define FORWARD_COMMAND_MAX 224

struct forward_family {
	uint8_t pass;	/* enum forward_pass: of the worst chain */
	uint32_t mark;	/* bits that let packets pass all chains that have a rule for it; 0 = none needed, or none does */
	char place[FORWARD_PLACE_MAX];	   /* the worst chain, as its owner knows it; "" = none drops */
	char command[FORWARD_COMMAND_MAX]; /* lets what was translated pass it */
};

struct forward_view {
	struct forward_family v4, v6;
	bool seen;	     /* false: nothing is known yet */
	uint32_t generation; /* of nf_tables (it counts commits in the namespace) when it was looked at */
};

/* Brings *v up to date; s: NETLINK_NETFILTER.  One short question when nothing can have changed since *v was made: the same
 * generation, and no legacy table (asked in /proc/net/ip_tables_names; where that cannot be read there is none).
 * *v is untouched on failure.  -EINTR: changes interrupted 10 readings; -ENOMEM; errors of the exchange. */
MUST_USE int forward_if_look(struct nlsock *s, struct forward_view *v, struct err_info *err);
