/* SPDX-License-Identifier: Apache-2.0 */
/* nat_private.h: what the files behind nat_if.h share: nat_if.c (the frame), nat_apply.c, nat_read.c and nat_verify.c (what
 * stands in it). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/nat.h"
#include "netlink/nat_if.h"
#include "netlink/nlsock.h"

/* ---- chains that come and go ---- */

/* A chain of a frontend's (nat_balance_is_own()) or of a firewall's. */
struct nat_own_chain {
	struct nat_own_chain *next; /* in its bucket */
	bool idle;     /* to be removed when nothing uses it */
	bool seen;     /* since nat_own_begin() */
	uint32_t uses; /* elements that go there, as far as is known */
	char name[];
};

/* Those that are known to be there, with all their rules: a hash table. */
struct nat_own {
	struct nat_own_chain **buckets;
	size_t n_buckets; /* a power of two, or 0 */
	size_t n, n_idle;
};

/* NULL: not known to be there. */
struct nat_own_chain *nat_own_find(const struct nat_own *o, const char *name);

/* The chain is there with its rules; one that was known keeps its uses.  -ENOMEM. */
MUST_USE int nat_own_add(struct nat_own *o, const char *name);
/* It is not there any more, or not whole. */
void nat_own_del(struct nat_own *o, const char *name);

/* A reading of all chains: begin, nat_own_add() for each that is there whole, end: forgets the others. */
void nat_own_begin(struct nat_own *o);
void nat_own_end(struct nat_own *o);

/* Whether the next nat_if_apply() removes it, unless something uses it by then. */
void nat_own_set_idle(struct nat_own *o, struct nat_own_chain *c, bool idle);

/* Calls 'each' for all, in no order; it may not add or delete any. */
void nat_own_walk(const struct nat_own *o, void (*each)(void *ctx, struct nat_own_chain *c), void *ctx);

void nat_own_fini(struct nat_own *o);

/* ---- the connection ---- */

struct nat_if {
	struct nlsock *sock;
	struct nat_options options; /* of the last nat_if_ensure() */
	/* Kept by nat_if_ensure() and nat_if_read(), which see all chains, and by nat_if_apply(), which makes and removes
	 * them. */
	struct nat_own own;
};

static inline void nat_if_freep(struct nat_if **n)
{
	nat_if_free(*n);
}
