/* SPDX-License-Identifier: Apache-2.0 */
/* forward_rule.h: what the node's packet filter does with new connections to backends: the rules of its chains at the
 * forward hook, reduced to what matters for a packet that our table has translated, and the judgement of a chain.  Pure;
 * forward_msg makes such rules of nf_tables' messages, forward_old of legacy iptables' tables.
 *
 * Packets of established connections are no question: every filter that keeps state lets them pass. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether a rule concerns the first packet of a connection to a VIP: new, destination translated, of one family. */
enum forward_when {
	FORWARD_NEVER,	   /* states or families that it has not */
	FORWARD_SOMETIMES, /* by addresses, interfaces, protocols or what else is not looked at */
	FORWARD_MARKED,	   /* when it carries the mark bits, whatever else it is */
	FORWARD_ALWAYS,
};

enum forward_what {
	FORWARD_GOES_ON,
	FORWARD_ACCEPTS,
	FORWARD_DROPS, /* or rejects */
	FORWARD_JUMPS,
	FORWARD_GOES_TO,
	FORWARD_RETURNS,
	FORWARD_HIDDEN, /* accepts, drops or goes on: a verdict map, a queue */
};

#define FORWARD_UNREAD UINT16_MAX /* a chain that was not read */

struct forward_rule {
	uint8_t when, what; /* enum forward_when, forward_what */
	uint16_t target;    /* FORWARD_JUMPS, FORWARD_GOES_TO: index of the chain, or FORWARD_UNREAD */
	uint32_t mark;	    /* FORWARD_MARKED: bits that all have to be set */
};

struct forward_chain {
	const struct forward_rule *rules;
	size_t n;
};

/* How a hooked chain treats our connections; from best to worst. */
enum forward_pass {
	FORWARD_OPEN,	  /* nothing drops them as such */
	FORWARD_BY_MARK,  /* dropped in the end unless they carry a mark that is accepted */
	FORWARD_DOUBTFUL, /* dropped in the end, but rules before that accept some connections, perhaps ours */
	FORWARD_CLOSED,	  /* dropped in the end, and no new connection of any kind is accepted before */
};

struct forward_judgement {
	enum forward_pass pass;
	uint32_t mark; /* FORWARD_BY_MARK */
};

/* chains[0] is the hooked one; policy_drop: its policy.  What is not known is taken for doubt. */
struct forward_judgement forward_judge(const struct forward_chain *chains, size_t n_chains, bool policy_drop);
