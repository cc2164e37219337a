/* SPDX-License-Identifier: Apache-2.0 */
/* forward_msg.h: the node's filter chains in nf_tables' messages: requests, and what chains and rules say about new
 * connections to backends (forward_rule.h).  Rules of iptables-nft are such messages, too; their matches are xtables' own
 * structs inside.  Pure: forward_if talks to the kernel. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "netlink/forward_rule.h"

#define FORWARD_MSG_MAX 640 /* bytes of a request: two names of 256 at most */
#define FORWARD_NAME_MAX 256 /* NFT_NAME_MAXLEN, NUL included */

/* Requests without sequence number, in 'buf' (aligned for any object).  _generation: one answer.  _chains: dump, all
 * families and tables.  _rules, _elements: dump of one chain, of one set; names shorter than FORWARD_NAME_MAX. */
struct nlmsghdr *forward_msg_generation(unsigned char buf[static FORWARD_MSG_MAX]);
struct nlmsghdr *forward_msg_chains(unsigned char buf[static FORWARD_MSG_MAX]);
struct nlmsghdr *forward_msg_rules(unsigned char buf[static FORWARD_MSG_MAX], uint8_t family, const char *table,
				   const char *chain);
struct nlmsghdr *forward_msg_elements(unsigned char buf[static FORWARD_MSG_MAX], uint8_t family, const char *table,
				      const char *set);

/* Answers; texts are borrowed from the message.  -EBADMSG: not such a message, or cut. */
MUST_USE int forward_msg_parse_generation(const void *data, size_t len, uint32_t *ret);

struct forward_seen_chain {
	uint8_t family; /* NFPROTO_* */
	const char *table, *name;
	bool forward; /* a filter chain at the forward hook of IP */
	bool policy_drop;
};
MUST_USE int forward_msg_parse_chain(const void *data, size_t len, struct forward_seen_chain *ret);

/* What a rule names, NULL = nothing. */
struct forward_names {
	const char *target; /* FORWARD_JUMPS, FORWARD_GOES_TO: the chain; the rule's 'target' is the caller's to set */
	const char *set;    /* it looks up conntrack's state there: see forward_msg_parse_elements() */
};

/* family: of the packet, NFPROTO_IPV4 or _IPV6.  A rule with a set is taken for one that concerns some packets. */
MUST_USE int forward_msg_parse_rule(const void *data, size_t len, uint8_t family, struct forward_rule *ret,
				    struct forward_names *ret_names);

/* What the elements of such a set make of a rule: when one of them is the state of a new connection, *ret_new = true, and
 * when the set is a verdict map, *r has its verdict (*ret_target as above).  Untouched otherwise; a set comes in several
 * messages. */
MUST_USE int forward_msg_parse_elements(const void *data, size_t len, bool *ret_new, struct forward_rule *r,
					const char **ret_target);

/* ---- xtables, which legacy iptables' tables have as well ---- */

/* What a match makes of 'when' and 'mark' of a rule; info[0..len): the match's own struct. */
void forward_xt_match(struct forward_rule *r, const char *name, unsigned int revision, const void *info, size_t len);
/* What a target but the standard one does: enum forward_what. */
uint8_t forward_xt_target(const char *name);
/* Whether Services have ports of that protocol: rules for others do not concern us. */
bool forward_is_service(uint32_t protocol);
/* One more condition of a rule: all of them have to hold. */
void forward_and(struct forward_rule *r, enum forward_when when, uint32_t mark);
