/* SPDX-License-Identifier: Apache-2.0 */
/* turns.c: the order of turns in round robin.  Which backends there are is decided in endpoints.c. */
#include "agent/core/turns.h"

#include <assert.h>
#include <errno.h>

#include "agent/base/nat.h"

#define TURNS_MAX 131072 /* backends times slots */

static uint32_t sum_of(const struct backend *backends, size_t n)
{
	uint32_t sum = 0;

	assert(n >= 1 && n <= NAT_SLOTS_MAX);
	for (size_t i = 0; i < n; i++) {
		assert(backends[i].weight >= 1);
		sum += backends[i].weight;
	}
	return sum;
}

/* How many slots one of n backends gets, whose weights have that sum. */
static uint32_t share_of(const struct backend *b, size_t n, uint32_t sum)
{
	if (sum <= NAT_SLOTS_MAX)
		return b->weight;
	return 1 + (uint32_t)((uint64_t)b->weight * (NAT_SLOTS_MAX - n) / sum);
}

uint16_t turns_count(const struct backend *backends, size_t n)
{
	const uint32_t sum = sum_of(backends, n);
	uint32_t slots = 0;

	for (size_t i = 0; i < n; i++)
		slots += share_of(&backends[i], n, sum);
	assert(slots <= NAT_SLOTS_MAX);
	return (uint16_t)slots;
}

/* In as many rounds as the largest share. */
static void go_round(const struct backend *backends, size_t n, uint16_t *slots, int32_t *gained)
{
	const uint32_t sum = sum_of(backends, n);
	int32_t most = 0;
	size_t at = 0;

	for (size_t i = 0; i < n; i++)
		most = (int32_t)share_of(&backends[i], n, sum) > most ? (int32_t)share_of(&backends[i], n, sum) : most;
	for (int32_t round = 0; round < most; round++) {
		for (size_t i = 0; i < n; i++) {
			gained[i] += (int32_t)share_of(&backends[i], n, sum);
			if (gained[i] < most)
				continue;
			gained[i] -= most;
			slots[at++] = (uint16_t)i;
		}
	}
}

int turns_fill(const struct backend *backends, size_t n, uint16_t *slots, struct arena *scratch)
{
	const uint16_t n_slots = turns_count(backends, n);
	const uint32_t sum = sum_of(backends, n);
	const size_t mark = scratch->used;
	int32_t *gained = arena_take_array(scratch, n, sizeof(*gained));

	if (!gained)
		return -ENOSPC;
	for (size_t i = 0; n_slots == n && i < n; i++)
		slots[i] = (uint16_t)i;
	if (n_slots != n && n * n_slots > TURNS_MAX)
		go_round(backends, n, slots, gained);
	for (size_t i = 0; n_slots != n && n * n_slots <= TURNS_MAX && i < n_slots; i++) {
		size_t richest = 0;

		for (size_t k = 0; k < n; k++) {
			gained[k] += (int32_t)share_of(&backends[k], n, sum);
			if (gained[k] > gained[richest])
				richest = k;
		}
		gained[richest] -= n_slots;
		slots[i] = (uint16_t)richest;
	}
	scratch->used = mark;
	return 0;
}
