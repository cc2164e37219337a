/* SPDX-License-Identifier: Apache-2.0 */
/* batch.h: an nf_tables transaction as bytes: BATCH_BEGIN, messages, BATCH_END (Documentation of nfnetlink's
 * batching: linux/netfilter/nfnetlink.h).  Storage is the caller's and fixed; what does not fit is refused, so
 * that the caller may send what it has or hand over more.  Pure. */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"


struct batch {
	unsigned char *data; /* aligned for any object */
	size_t len, cap;     /* bytes; 'cap' keeps room for the end */
	uint32_t first_seq;  /* of BATCH_BEGIN; messages count up from there */
	uint32_t seq;	     /* of the last message */
	struct nlmsghdr *last;
};

/* The bytes that begin and end take. */
#define BATCH_OVERHEAD 40

/* Starts a transaction in data[0..cap); cap >= BATCH_OVERHEAD. */
void batch_init(struct batch *b, void *data, size_t cap);

/* A new message NFT_MSG_* of the inet family with 'flags' (NLM_F_*) besides NLM_F_REQUEST, when 'need' bytes of
 * attributes would fit behind it; else NULL.  The caller puts attributes, then calls batch_commit(). */
struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags, size_t need);
void batch_commit(struct batch *b, const struct nlmsghdr *nlh);

/* Messages between begin and end. */
static inline uint32_t batch_count(const struct batch *b)
{
	return b->seq - b->first_seq;
}

/* Goes back to an earlier length: 'mark' is a copy of *b taken before. */
void batch_rewind(struct batch *b, const struct batch *mark);

/* Appends BATCH_END and asks for an acknowledgement of the last message: kernels before 6.10 do not acknowledge
 * the end itself, and without any a success is silence.  Call once, with at least one message. */
void batch_end(struct batch *b);

/* Numbers all messages anew from 'seq' on, before sending (again). */
void batch_renumber(struct batch *b, uint32_t seq);
