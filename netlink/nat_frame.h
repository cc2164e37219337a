/* SPDX-License-Identifier: Apache-2.0 */
/* nat_frame.h: messages that make, read and remove the table, its sets, chains and rules.  Elements are
 * nat_elem's. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "netlink/batch.h"
#include "netlink/nat_layout.h"

/* Each appends one message (or, _rules, one a rule).  -ENOSPC: the batch is full and is as before; -ENOMEM. */
MUST_USE int nat_frame_add_table(struct batch *b);
MUST_USE int nat_frame_del_table(struct batch *b);
MUST_USE int nat_frame_add_counter(struct batch *b, enum nat_drop why);
MUST_USE int nat_frame_add_set(struct batch *b, const struct nat_set_shape *set);
MUST_USE int nat_frame_del_set(struct batch *b, const char *set);
MUST_USE int nat_frame_add_chain(struct batch *b, const struct nat_chain_shape *chain);
MUST_USE int nat_frame_del_chain(struct batch *b, const char *chain);
/* The rules that a chain of the frame has with these options: none, perhaps. */
MUST_USE int nat_frame_add_rules(struct batch *b, const struct nat_chain_shape *chain, const struct nat_options *options);
/* All rules of a chain, or the one with that handle when it is not 0. */
MUST_USE int nat_frame_del_rules(struct batch *b, const char *chain, uint64_t handle);

/* Chains that come and go (nat_layout.h).  Making one that is there already is no error but adds its rules once more:
 * the caller knows.  _balance: the chain of a frontend for which nat_balance_is_own(), and the chain that goes with it.
 * _firewall: chains, sets and rules; 'exists': its rules are deleted first, a set that is still needed stays.
 * _del_own: rules, chain, and what goes with it. */
MUST_USE int nat_frame_add_balance(struct batch *b, const struct frontend *f);
MUST_USE int nat_frame_add_firewall(struct batch *b, const struct nat_firewall *fw, bool exists);
MUST_USE int nat_frame_del_own(struct batch *b, const char *chain);
/* The rules of such a chain again, where they follow from its name: all but a firewall's.  -ENOENT: they do not. */
MUST_USE int nat_frame_add_own_rules(struct batch *b, const char *chain);

/* What to read. */
enum nat_read_what {
	NAT_READ_TABLE,	   /* one message, or the error -ENOENT */
	NAT_READ_SETS,	   /* dump: sets of our table */
	NAT_READ_CHAINS,   /* dump: chains of all tables of the inet family */
	NAT_READ_RULES,	   /* dump: rules of our table */
	NAT_READ_ELEMENTS, /* dump: elements of a set of ours */
	NAT_READ_COUNTERS, /* dump: named objects of our table, counters among them */
};

#define NAT_READ_MAX 128 /* bytes that a request takes at most */

/* A request, without sequence number, in 'buf' (aligned for any object); set: for NAT_READ_ELEMENTS, else NULL. */
struct nlmsghdr *nat_frame_read(unsigned char buf[static NAT_READ_MAX], enum nat_read_what what,
				const struct nat_set_shape *set);

/* Answers; texts are borrowed from the message.  -EBADMSG: not such a message, or cut.  -ENOENT: of another
 * table. */
struct nat_seen_set {
	const char *name;
	uint32_t key_type, key_len, data_type, data_len, flags; /* 0 where the message has none */
	bool counts; /* its elements have an expression: a counter in all sets of ours */
};
MUST_USE int nat_frame_parse_set(const void *data, size_t len, struct nat_seen_set *ret);

struct nat_seen_chain {
	const char *name;
	bool base, nat; /* hooked; of the type nat */
};
MUST_USE int nat_frame_parse_chain(const void *data, size_t len, struct nat_seen_chain *ret);

struct nat_seen_rule {
	const char *chain;
	uint64_t handle;
	const char *comment; /* "" = none */
};
MUST_USE int nat_frame_parse_rule(const void *data, size_t len, struct nat_seen_rule *ret);
