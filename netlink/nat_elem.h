/* SPDX-License-Identifier: Apache-2.0 */
/* nat_elem.h: elements of the table's sets and maps as bytes.  A key is daddr . l4proto . dport [. slot | . client] or part
 * of it, daddr . interface, or an address twice, each padded to 4 bytes, in network order but for slot and interface, which
 * the kernel computes and thus has in the host's. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/nat.h"
#include "netlink/batch.h"
#include "netlink/nat_layout.h"

/* What a kind of set has no use for is 0. */
struct nat_elem {
	const struct nat_set_shape *set;
	struct ip ip;
	uint8_t proto;
	uint16_t port; /* host byte order, as all below */
	uint16_t slot;
	uint32_t ifindex;
	struct ip client;
	struct ip_port backend; /* value of slots and clients */
	const char *chain;	/* value of dispatch and firewalls: goto; borrowed.  NULL (read): another verdict */
	uint64_t digest;	/* of dispatch: its comment; 0 = none */
	uint64_t packets, bytes; /* read: of its counter */
};

struct nat_elem nat_elem_of_member(const struct nat_member *m);

/* ---- writing ---- */

enum nat_elem_verb {
	NAT_ELEM_ADD, /* the same element there already is no error */
	NAT_ELEM_NEW, /* it is: -EEXIST (a comment alone does not make another element for the kernel) */
	NAT_ELEM_DEL,
	NAT_ELEM_GET,
};

/* Appends elements to a batch: neighbours of one set and verb share a message, which stays open for the next one. */
struct nat_elem_writer {
	struct batch *b;
	struct nlmsghdr *open; /* NULL = none */
	struct nlattr *list;
	const struct nat_set_shape *set;
	enum nat_elem_verb verb;
};

void nat_elem_begin(struct nat_elem_writer *w, struct batch *b);
/* -ENOSPC: it does not fit; -EINVAL: an element that cannot be (a family, a value that lacks).  Nothing was appended. */
MUST_USE int nat_elem_put(struct nat_elem_writer *w, const struct nat_elem *e, enum nat_elem_verb verb);
/* Ends the open message.  Before other messages are appended, and at the end. */
void nat_elem_close(struct nat_elem_writer *w);

/* Where a writer stands; going back there takes all away that came after. */
struct nat_elem_mark {
	struct nat_elem_writer w;
	struct batch b;
	uint32_t open_len;
};
struct nat_elem_mark nat_elem_mark(const struct nat_elem_writer *w);
void nat_elem_rewind(struct nat_elem_writer *w, const struct nat_elem_mark *mark);

/* Appends what makes ips[0..n) the whole content of former4 and former6, for timeout_ms > 0 milliseconds.  They are emptied
 * first: up to Linux 6.11 an element that is there already keeps its old timeout (nf_tables_newsetelem()).  -ENOSPC: the
 * batch is as before; -EINVAL: also without a timeout: the elements would stay for ever. */
MUST_USE int nat_elem_put_former(struct batch *b, const struct ip *ips, size_t n, uint32_t timeout_ms);

/* ---- reading ---- */

/* Calls 'each' for every element of a NEWSETELEM message of our table until it returns a negative errno, which is returned.
 * -EBADMSG: not such a message, or cut, or elements of another shape, or of former4 or former6 (those before were reported);
 * -ENOENT: of another table or set. */
MUST_USE int nat_elem_parse(const void *data, size_t len, int (*each)(void *ctx, const struct nat_elem *e), void *ctx);

/* A named counter (NEWOBJ).  The name is borrowed.  -EBADMSG; -ENOENT: of another table, or no counter. */
struct nat_seen_counter {
	const char *name;
	uint64_t packets, bytes;
};
MUST_USE int nat_elem_parse_counter(const void *data, size_t len, struct nat_seen_counter *ret);

/* ---- for people ---- */

/* "192.0.2.1 . tcp . 80 . 7 : 198.51.100.1 . 8080 (map slots4)"; returns buf. */
#define NAT_ELEM_TEXT_MAX 416
char *nat_elem_text(const struct nat_elem *e, char buf[static NAT_ELEM_TEXT_MAX]);

/* A digest as it stands in comments, of elements and rules alike: "digest 0123456789abcdef". */
#define NAT_DIGEST_MAX 24
char *nat_digest_text(uint64_t digest, char buf[static NAT_DIGEST_MAX]);
/* The digest that a comment has anywhere; 0 = none. */
uint64_t nat_digest_find(const char *comment);

/* In comments of rules: how many there are, "rules 12". */
#define NAT_RULES_WORD "rules "
/* That number, anywhere in a comment; 0 = none, or more than 65535. */
unsigned int nat_rules_find(const char *comment);
