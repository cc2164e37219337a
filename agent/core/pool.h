/* SPDX-License-Identifier: Apache-2.0 */
/* pool.h: which Services are ours, and which address each gets.  Pure; works in the caller's arena.
 *
 * The allocation is durable in the Services themselves (annotation leasehold.io/allocated); only the holder
 * of group 0's Lease writes it.  pool_plan() looks at all Services at once, so it needs no memory of its own:
 * the same Services give the same answer on every node. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/ip.h"
#include "agent/base/object.h"

struct pool_config {
	const struct ip_range *ranges; /* in the order given: earlier ones are used first */
	size_t n_ranges;
	const char *class_name; /* leasehold.io/vip */
	bool default_class;	/* serve Services without a class, too */
};

enum pool_state {
	POOL_FOREIGN,	/* not ours and never was: do not touch */
	POOL_RELEASE,	/* not ours (any more) but carries our allocation: clear annotation and status */
	POOL_KEEP,	/* allocated, nothing to change */
	POOL_ASSIGN,	/* 'ips' is new or differs from the annotation: write it */
	POOL_FAILED,	/* cannot be served as asked.  'ips' is what it has or gets all the same, maybe nothing */
};

struct pool_decision {
	enum pool_state state;
	struct ip ips[OBJECT_ADDRESSES_MAX]; /* to serve now, whatever the state; primary family first */
	size_t n_ips;
	/* What is to be told by an Event, else both NULL.  Always set with FAILED, with KEEP and ASSIGN where something
	 * deserves a note (served in one family of two, moved off an address that belongs to another, ...).
	 *	PoolExhausted		no free address of a family
	 *	NoPoolForFamily		the pool has no range of a family
	 *	AddressInUse		requested, or allocated twice: another Service has it
	 *	AddressOutsidePool	requested, or allocated and no longer in the pool
	 *	FamilyMismatch		requested in a family that the Service does not have */
	const char *reason;
	const char *message; /* a sentence, in the arena */
};

/* True when the Service is type LoadBalancer, of our class, and not being deleted. */
bool pool_is_ours(const struct pool_config *cfg, const struct service *s);

/* Whether both ask for the same addresses in the same groups: they differ in nothing that pool_plan() and groups_plan()
 * look at but in what is recorded: 'allocated', 'lease', 'ingress'. */
bool pool_same_ask(const struct service *a, const struct service *b);

/* Decides for services[0..n), which must be sorted by namespace, name; ret[i] belongs to services[i].
 *
 * Families: SingleStack has one address, of the primary family; PreferDualStack one of each family that the Service and
 * the pool have; RequireDualStack both, or nothing new and FAILED.  Without spec.ipFamilies: the family requested, else
 * the one allocated, else IPv4 if the pool has it.
 *
 * Rights, best first: allocated and shown in status; allocated; requested; free, in the order of the ranges.  Within one
 * right the order of Services decides.  So an allocation is stable whatever other Services come and go.
 *  - Two Services with one address and without a common sharing key, one externalTrafficPolicy and disjoint (protocol, port)s: the one with the
 *    better right keeps it, the other gets another address and a note.
 *  - A request that differs from the allocation moves the Service.  An address that somebody else has: FAILED, with the
 *    present address or a free one.  One that can never be granted (not in the pool, wrong family): FAILED, with the
 *    present addresses and nothing new.
 *  - A sharing key without a request: the first address of that key where the ports are free, else a free address.
 *  - An allocation that left the pool is kept while the Service lives (moving it would cut its clients), with a note;
 *    only if status shows it: an annotation can be written by whoever may edit the Service.
 *  - The address that a Service moves away from is free for others in the next call, when the annotation no longer
 *    names it; that of a Service that is ours no more, or of a family it no longer has, at once.
 * Time and memory O((services + ports) * log); independent of the size of the pool.
 * -ENOSPC: the arena is too small, call again with a larger one. */
MUST_USE int pool_plan(const struct pool_config *cfg, const struct service *const *services, size_t n,
		       struct arena *arena, struct pool_decision **ret);
