/* SPDX-License-Identifier: Apache-2.0 */
/* maglev.c: the table population of the Maglev paper, nothing else.  Which backends there are is decided in wanted.c.
 *
 * The hash is FNV-1a (64 bit) over family, address bytes and the port in network order, each taken byte by byte so
 * that every machine gets the same value, followed by the finalizer of splitmix64, since FNV's upper bits are weak
 * for short input.  Two values are drawn from it: the first slot and the stride. */
#include "agent/core/maglev.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/base/nat.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)
#define SECOND_DRAW UINT64_C(0x9e3779b97f4a7c15) /* odd, no structure: 2^64 / golden ratio */
#define SLOTS_A_BACKEND 5

/* Where a backend stands in its permutation of the slots. */
struct turn {
	uint16_t at;	 /* the slot it will try next */
	uint16_t stride; /* 1..n_slots-1: coprime to n_slots, which is prime */
};

static uint64_t mix64(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static uint64_t fnv_byte(uint64_t h, unsigned int byte)
{
	return (h ^ (byte & 0xff)) * FNV_PRIME;
}

static uint64_t backend_hash(const struct ip_port *b)
{
	uint64_t h = fnv_byte(FNV_BASIS, b->ip.family);

	for (size_t i = 0; i < ip_len(&b->ip); i++)
		h = fnv_byte(h, b->ip.b[i]);
	h = fnv_byte(h, (unsigned int)b->port >> 8);
	h = fnv_byte(h, b->port);
	return h;
}

uint16_t maglev_class(size_t n_backends)
{
	static const uint16_t classes[NAT_CLASS_N] = NAT_CLASSES;

	assert(n_backends >= 1);
	for (size_t i = 0; i < NAT_CLASS_N; i++)
		if (classes[i] / SLOTS_A_BACKEND >= n_backends)
			return classes[i];
	return NAT_SLOTS_MAX;
}

/* Claims the backend's next free slot.  One exists: the caller counts. */
static void take_turn(struct turn *t, const struct ip_port *backend, struct ip_port *slots, uint16_t n_slots)
{
	while (slots[t->at].ip.family != IP_NONE)
		t->at = (uint16_t)((t->at + t->stride) % n_slots);
	slots[t->at] = *backend;
}

int maglev_fill(const struct ip_port *backends, size_t n, struct ip_port *slots, uint16_t n_slots,
		struct arena *scratch)
{
	const size_t mark = scratch->used;
	struct turn *turns = arena_take_array(scratch, n, sizeof(*turns));

	assert(n >= 1);
	assert(n_slots >= 2);
	if (!turns)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		uint64_t h = backend_hash(&backends[i]);

		assert(backends[i].ip.family != IP_NONE);
		assert(i == 0 || ip_port_cmp(&backends[i - 1], &backends[i]) < 0);
		turns[i].at = (uint16_t)(mix64(h) % n_slots);
		turns[i].stride = (uint16_t)(mix64(h + SECOND_DRAW) % (n_slots - 1u) + 1);
	}
	memset(slots, 0, n_slots * sizeof(*slots));
	for (size_t filled = 0; filled < n_slots; filled++)
		take_turn(&turns[filled % n], &backends[filled % n], slots, n_slots);
	scratch->used = mark;
	return 0;
}
