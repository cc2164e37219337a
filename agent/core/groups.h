/* SPDX-License-Identifier: Apache-2.0 */
/* groups.h: which Lease governs which VIP.  Pure; works in the caller's arena.
 *
 * Numbered groups ("leasehold-group-N") share VIPs out; the VIP of a Service with externalTrafficPolicy Local has a Lease of
 * its own ("leasehold-vip-<address>"), for the nodes with an endpoint.
 *
 * The record is durable beside the allocation: annotation leasehold.io/lease of the Service, a name for each of its
 * allocated addresses in their order, with commas between; fewer names than addresses: the last one goes for the rest;
 * none, or nonsense: group 0.  It is never derived from a local setting, or two agents with different settings would both
 * rightly answer.  An address has one group whoever shares it: the one that the first of its Services records.
 *
 * Where the record should be another (the policy has changed), nobody answers for the VIP: its present holder, once its
 * gate is shut, writes the new record, and the new holder goes on.  Of Services that share it the first one's record is
 * written last, for that is the one that counts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/object.h"
#include "agent/core/pool.h"

#define GROUPS_MAX 64
#define GROUPS_OWN GROUPS_MAX /* the address's own Lease */
#define GROUPS_OWN_MAX 256    /* each costs a node renewals of its own; further ones stay in numbered groups */
#define GROUPS_NAME_PREFIX "leasehold-group-"
#define GROUPS_OWN_PREFIX "leasehold-vip-"
#define GROUPS_NAME_MAX 64 /* NUL included */
#define GROUPS_RECORD_MAX (OBJECT_ADDRESSES_MAX * GROUPS_NAME_MAX) /* text of a record, NUL included */

/* The groups of a Service's addresses, in the order of its decision. */
struct groups_choice {
	uint8_t of[OBJECT_ADDRESSES_MAX];   /* the present one; of a new address the one to be recorded */
	uint8_t want[OBJECT_ADDRESSES_MAX]; /* differs: the VIP is to move there */
	bool may[OBJECT_ADDRESSES_MAX];	    /* and this Service's record may be written now */
};

/* The name of the Lease of group 0..GROUPS_MAX-1, or of the address's own. */
void groups_name(unsigned int group, const struct ip *ip, char name[static GROUPS_NAME_MAX]);

/* The group recorded for the Service's k-th allocated address. */
unsigned int groups_recorded(const struct service *s, size_t k);

/* The group recorded for the address, one of the Service's allocated ones (any other: group 0). */
unsigned int groups_of_ip(const struct service *s, const struct ip *ip);

/* The text of the record for n addresses. */
void groups_record(const uint8_t *of, const struct ip *ips, size_t n, char text[static GROUPS_RECORD_MAX]);

/* An address that was let go lately, and the group that governed it. */
struct groups_past {
	struct ip ip;
	uint8_t group;
};

struct groups_input {
	const struct service *const *services; /* sorted by namespace, name */
	const struct pool_decision *decisions; /* one a Service */
	size_t n_services;
	unsigned int n_groups;		       /* new addresses go to groups 0..n_groups-1; 1..GROUPS_MAX */
	const struct groups_past *past;	       /* goes to the same group again: its holder may not know yet that it is gone */
	size_t n_past;
};

/* (*ret)[i] belongs to decisions[i].  What is allocated stays where it is recorded, unless the policy says otherwise.  A new
 * address goes to the group with the fewest VIPs, the two of one Service together; so does one whose own Lease is not
 * wanted any more.  -ENOSPC: the arena is too small, call again with a larger one. */
MUST_USE int groups_plan(const struct groups_input *in, struct arena *arena, struct groups_choice **ret);
