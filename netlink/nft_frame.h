/* SPDX-License-Identifier: Apache-2.0 */
/* nft_frame.h: the messages that any table of ours needs: those of a transaction (batch.h) that make, fill and remove table,
 * chains and sets, and the heads of what is read.  Rules are nft_rule's.  What stands in a table, nat_frame,
 * arp_guard_frame and rendezvous_frame say. */
#pragma once

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "netlink/batch.h"
#include "netlink/nat_udata.h"

struct nftnl_set;

/* A table as its messages name it. */
struct nft_table {
	const char *name;
	uint8_t nfproto; /* NFPROTO_* */
	size_t room;	 /* bytes set aside for each message: libnftnl builds without a bound */
};

/* batch_message() of the table's family. */
struct nlmsghdr *nft_frame_message(struct batch *b, const struct nft_table *t, uint16_t type, uint16_t flags, size_t need);

/* These append one message each.  -ENOSPC: the batch is full and is as before. */
MUST_USE int nft_frame_add_table(struct batch *b, const struct nft_table *t);
MUST_USE int nft_frame_del_table(struct batch *b, const struct nft_table *t);
/* Two messages: absent is no error to the kernel.  After -ENOSPC the batch is of no use. */
MUST_USE int nft_frame_remove_table(struct batch *b, const struct nft_table *t);

struct nft_hook {
	const char *type; /* "filter", "nat" */
	uint32_t num;	  /* NF_INET_*, NF_ARP_* */
	int32_t priority;
};
/* hook NULL: not hooked. */
MUST_USE int nft_frame_add_chain(struct batch *b, const struct nft_table *t, const char *name, const struct nft_hook *hook);
MUST_USE int nft_frame_del_chain(struct batch *b, const struct nft_table *t, const char *name);

/* ---- sets ---- */

/* nft's numbers for data types, NAT_TYPE_BITS each in a concatenation. */
#define NFT_TYPE_IPV4 7u
#define NFT_TYPE_IPV6 8u
#define NFT_TYPE_ETHER 9u
#define NFT_TYPE_IFINDEX 20u

struct nft_set {
	const char *name;
	uint32_t key_type, key_len; /* NFT_TYPE_*; bytes */
};

/* A set for the batch's next message; the caller adds what else there is to say of it (NFTNL_SET_*).  note: what nft keeps
 * beside it; NULL = that of a set, not a map, whose key's type says all.  NULL: no memory. */
struct nftnl_set *nft_frame_new_set(const struct batch *b, const struct nft_table *t, const struct nft_set *set,
				    const struct nat_udata *note);
void nft_frame_free_setp(struct nftnl_set **s);
/* Also -ENOMEM: s is NULL. */
MUST_USE int nft_frame_add_set(struct batch *b, const struct nft_table *t, struct nftnl_set *s);
MUST_USE int nft_frame_del_set(struct batch *b, const struct nft_table *t, const char *name);
/* Deletes all elements. */
MUST_USE int nft_frame_empty_set(struct batch *b, const struct nft_table *t, const char *name);

/* Elements on their way into a set, in as many messages as they take. */
struct nft_elements {
	struct batch *b;
	const struct nft_table *table;
	const struct nft_set *set;
	uint32_t timeout_ms; /* 0 = they stay */
	uint32_t room;	     /* bytes that an element takes at most */
	/* The file's own. */
	struct nlmsghdr *open; /* NULL = none */
	struct nlattr *list;
	size_t n; /* in the open message */
};
/* key: of the set's length.  -ENOSPC: the batch is full and of no use. */
MUST_USE int nft_frame_put_element(struct nft_elements *e, const void *key);
/* After the last one. */
void nft_frame_end_elements(struct nft_elements *e);

/* Bytes that n elements of a set take at most in their messages. */
size_t nft_frame_elements_room(size_t n, uint32_t room);

/* ---- reading ---- */

/* A request without sequence number and attributes in 'buf' (aligned for any object) of 'size' bytes. */
struct nlmsghdr *nft_frame_request(void *buf, size_t size, const struct nft_table *t, uint16_t type, uint16_t flags);

/* The attributes of an answer NFT_MSG_* of which the first names the table, as attr_table() has them.  -EBADMSG: nlh is NULL
 * or not such a message, or cut.  -ENOENT: of another table (dumps of some kinds have those of all families). */
MUST_USE int nft_frame_open(const struct nlmsghdr *nlh, const struct nft_table *t, uint16_t type, const struct nlattr **tb,
			    uint16_t max);
