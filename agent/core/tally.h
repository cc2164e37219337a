/* SPDX-License-Identifier: Apache-2.0 */
/* tally.h: how many Services want each element of the plain sets.  Services share VIPs and backends: an element comes with
 * the first that wants it and goes with the last.  A hash table with open addressing in the caller's memory.  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/nat.h"

struct tally_entry {
	struct nat_member member;
	uint32_t count; /* 0 = free */
};

struct tally {
	struct tally_entry *v;
	size_t cap; /* a power of two */
	size_t n;   /* distinct members */
};

/* An empty tally in mem[0..cap * sizeof(struct tally_entry)), zeroed by this; cap a power of two. */
void tally_init(struct tally *t, void *mem, size_t cap);

/* Whether there is room for 'more' further members at a load of three quarters at most.  If not, the owner makes a larger
 * one and moves all there. */
bool tally_room(const struct tally *t, size_t more);
void tally_move(struct tally *to, const struct tally *from);

/* One Service more, or one less, wants the member.  True when it is the first, or was the last. */
bool tally_add(struct tally *t, const struct nat_member *m);
bool tally_sub(struct tally *t, const struct nat_member *m); /* it is there */

uint32_t tally_count(const struct tally *t, const struct nat_member *m);

/* Where in v[0..cap) the member stands until the tally changes; cap = it is not there. */
size_t tally_find(const struct tally *t, const struct nat_member *m);
