/* SPDX-License-Identifier: Apache-2.0 */
/* claims.h: who has which address while pool_plan() decides: the used addresses, sharing, the next free one.
 * Internal to agent/core.  Pure; lives in the caller's arena.
 *
 * Nothing is ever given back: an address that a Service is about to leave stays its own until the annotation says
 * otherwise.  So the search for free addresses only moves forward, and all searches of one plan together visit an
 * address once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "agent/base/object.h"

#define CLAIMS_FAMILIES 2

/* One address that some Service has, had or asks for. */
struct claim {
	struct ip ip;
	const struct service *first; /* who has it (of sharers the first), NULL = free */
	uint32_t key;		     /* sharing key of those who have it, 0 = not shared */
	bool leaving;		     /* a Service is on its way out: not for newcomers who may choose */
	struct claim *next_of_key;   /* in the order of claiming */
};

/* Where the search for free addresses of one family stands. */
struct claims_cursor {
	size_t range;
	struct ip next;	       /* IP_NONE: begin with the range's first */
	struct claim *offered; /* the last result, NULL = none; free until it is taken */
};

struct claims {
	const struct ip_range *ranges;
	size_t n_ranges;
	struct claim *v;
	size_t n_sorted; /* v[0..n_sorted) was known from the start, sorted by ip */
	size_t n, cap;	 /* v[n_sorted..n) was found free on the way */
	struct claims_cursor cursors[CLAIMS_FAMILIES];
	struct claim **heads, **tails; /* [key * CLAIMS_FAMILIES + family]: shared addresses in the pool */
	uint64_t *taken;	       /* hash set of (claim, protocol, port) of sharers; 0 = empty */
	size_t taken_mask;	       /* its size - 1, a power of two */
};

struct claims_input {
	const struct ip_range *ranges;
	size_t n_ranges;
	const struct ip *known; /* every address that may be claimed by name; duplicates allowed */
	size_t n_known;
	size_t n_found; /* claims_next_free() results that will be taken, at most */
	size_t n_keys;	/* sharing keys are 1..n_keys */
	size_t n_ports; /* ports of claims with a key, at most */
};

/* 0 for v4, 1 for v6: an index of CLAIMS_FAMILIES. */
static inline size_t claims_family(uint8_t family)
{
	return family == IP_V6;
}

/* The ranges must outlive the book; 'known' is copied.  -ENOSPC. */
MUST_USE int claims_init(struct claims *c, const struct claims_input *in, struct arena *arena);

/* The pool has ranges of that family. */
bool claims_has_family(const struct claims *c, uint8_t family);

/* The address lies in a range and a host may have it. */
bool claims_in_pool(const struct claims *c, const struct ip *ip);

/* The claim of a known address; never NULL. */
struct claim *claims_known(const struct claims *c, const struct ip *ip);

/* Whether the Service may have it: nobody has, or only Services of the same key with other (protocol, port)s. */
bool claims_may_take(const struct claims *c, const struct claim *claim, const struct service *s, uint32_t key);

/* As claims_may_take(), and takes it. */
bool claims_take(struct claims *c, struct claim *claim, const struct service *s, uint32_t key);

/* An address of the family that Services of this key share and this one fits on, NULL = none.  Looks at the 64
 * oldest: a bound on the work where very many Services have one key. */
struct claim *claims_shared(const struct claims *c, const struct service *s, uint32_t key, uint8_t family);

/* A free address of the family, NULL when the pool is exhausted.  Not taken: asked again it is the same. */
struct claim *claims_next_free(struct claims *c, uint8_t family);
