/* SPDX-License-Identifier: Apache-2.0 */
/* slots.c: who gets which slot, nothing else.  Which backends there are is decided in endpoints.c.
 *
 * A backend's hash is FNV-1a (64 bit) over family, address bytes and the port in network order, each taken byte by byte so
 * that every machine gets the same value, followed by the finalizer of splitmix64, since FNV's upper bits are weak
 * for short input.  Its score for a slot is splitmix64's value number slot + 1 from there.
 *
 * The matching is found by deferred acceptance (Gale and Shapley 1962): a slot asks the backends in the order of their scores
 * for it; one that has its share already keeps the slots that it scores highest, and sends the other away to ask on. */
#include "agent/core/slots.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "agent/base/nat.h"
#include "agent/core/hash.h"
#include "agent/core/sort.h"

#define FNV_BASIS UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)
#define STEP UINT64_C(0x9e3779b97f4a7c15) /* splitmix64's: 2^64 / golden ratio */
#define SLOTS_A_UNIT 5
#define SCORES_MAX 131072
#define SLOT_FREE UINT16_MAX /* no index: there are at most NAT_SLOTS_MAX backends */

/* A slot, as the backend sees it that has it. */
struct seat {
	uint64_t score;
	uint16_t slot;
};

struct owner {
	uint64_t hash;
	uint32_t remainder; /* of its share */
	uint16_t backend;
	uint16_t share, n;  /* slots that it is to have, and has */
	struct seat *seats; /* room for 'share'; a heap, the lowest score first */
};

/* Whom a slot asks next.  A look at all backends finds the next few at once, so that few slots need a second look. */
#define ASK_N 4
struct asked {
	uint64_t score[ASK_N]; /* descending */
	uint16_t owner[ASK_N];
	uint8_t n, at; /* those from 'at' on were not asked yet */
};

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
	return hash_mix(h);
}

uint16_t slots_class(size_t units, uint16_t at_least)
{
	static const uint16_t classes[NAT_CLASS_N] = NAT_CLASSES;

	assert(units >= 1);
	for (size_t i = 0; i < NAT_CLASS_N; i++)
		if (classes[i] / SLOTS_A_UNIT >= units && classes[i] >= at_least)
			return classes[i];
	return NAT_SLOTS_MAX;
}

/* ---- shares ---- */

static int remainder_order(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->remainder != y->remainder)
		return x->remainder > y->remainder ? -1 : 1;
	return x->hash != y->hash ? (x->hash > y->hash ? -1 : 1) : (x->backend > y->backend) - (x->backend < y->backend);
}

/* Divides the slots; owners come out in an order of their own. */
static int divide(const struct backend *backends, struct owner *owners, size_t n, uint16_t n_slots, struct arena *scratch)
{
	uint32_t sum = 0, each, left = n_slots;
	int r;

	for (size_t i = 0; i < n; i++)
		sum += backends[owners[i].backend].weight;
	each = n_slots < sum && n <= n_slots ? 1 : 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t part = (uint64_t)backends[owners[i].backend].weight * (n_slots - each * (uint32_t)n);

		owners[i].share = (uint16_t)(each + part / sum);
		owners[i].remainder = (uint32_t)(part % sum);
		left -= owners[i].share;
	}
	r = sort_array(owners, n, sizeof(*owners), remainder_order, scratch);
	for (size_t i = 0; r == 0 && left > 0; i++, left--)
		owners[i].share++;
	return r;
}

/* ---- seats ---- */

static bool seat_below(const struct seat *a, const struct seat *b)
{
	return a->score != b->score ? a->score < b->score : a->slot < b->slot;
}

static void swap(struct seat *a, struct seat *b)
{
	struct seat was = *a;

	*a = *b;
	*b = was;
}

static void sift_up(struct seat *heap, size_t i)
{
	for (; i > 0 && seat_below(&heap[i], &heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&heap[i], &heap[(i - 1) / 2]);
}

static void sift_down(struct seat *heap, size_t n)
{
	for (size_t i = 0, low; (low = 2 * i + 1) < n; i = low) {
		if (low + 1 < n && seat_below(&heap[low + 1], &heap[low]))
			low++;
		if (!seat_below(&heap[low], &heap[i]))
			return;
		swap(&heap[i], &heap[low]);
	}
}

/* ---- the matching ---- */

/* Puts a score into its place among the best ones, if it belongs there; of equals the one that came first goes first. */
static void rank(struct asked *a, uint64_t score, uint16_t owner)
{
	size_t i = a->n < ASK_N ? a->n : ASK_N - 1;

	if (a->n == ASK_N && score <= a->score[i])
		return;
	for (; i > 0 && score > a->score[i - 1]; i--) {
		a->score[i] = a->score[i - 1];
		a->owner[i] = a->owner[i - 1];
	}
	a->score[i] = score;
	a->owner[i] = owner;
	if (a->n < ASK_N)
		a->n++;
}

/* The best ones for the slot that come after the last that it asked. */
static void look(const struct owner *owners, size_t n, uint16_t slot, struct asked *a)
{
	const bool first = a->n == 0;
	const uint64_t last = first ? 0 : a->score[a->n - 1];
	const uint16_t by = first ? 0 : a->owner[a->n - 1];

	a->n = a->at = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t score = hash_mix(owners[i].hash + STEP * (slot + 1u));

		if (first || score < last || (score == last && i > by))
			rank(a, score, (uint16_t)i);
	}
}

/* The slot finds its place, and so do those that it drives out. */
static void place(struct owner *owners, size_t n, struct asked *asked, uint16_t slot)
{
	for (;;) {
		struct owner *o;
		struct seat seat;

		if (asked[slot].at == asked[slot].n)
			look(owners, n, slot, &asked[slot]);
		/* The shares are as many as the slots: while one has no place, some backend has a seat free. */
		assert(asked[slot].n > 0);
		o = &owners[asked[slot].owner[asked[slot].at]];
		seat = (struct seat){ asked[slot].score[asked[slot].at++], slot };
		if (o->n < o->share) {
			o->seats[o->n] = seat;
			sift_up(o->seats, o->n++);
			return;
		}
		if (o->share == 0 || seat_below(&seat, &o->seats[0]))
			continue;
		slot = o->seats[0].slot;
		o->seats[0] = seat;
		sift_down(o->seats, o->n);
	}
}

/* ---- turns ---- */

/* Where a backend stands in its permutation of the slots. */
struct turn {
	uint16_t at;	 /* the slot it tries next */
	uint16_t stride; /* 1..n_slots-1: coprime to n_slots, which is prime */
};

static int take_turns(struct owner *owners, size_t n, uint16_t *slots, uint16_t n_slots, struct arena *scratch)
{
	struct turn *turns = arena_take_array(scratch, n, sizeof(*turns));

	if (!turns)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		turns[i].at = (uint16_t)(owners[i].hash % n_slots);
		turns[i].stride = (uint16_t)(hash_mix(owners[i].hash + STEP) % (n_slots - 1u) + 1);
	}
	for (size_t i = 0; i < n_slots; i++)
		slots[i] = SLOT_FREE;
	for (size_t i = 0, left = n_slots; left > 0; i = i + 1 < n ? i + 1 : 0) {
		if (owners[i].n == owners[i].share)
			continue;
		while (slots[turns[i].at] != SLOT_FREE)
			turns[i].at = (uint16_t)((turns[i].at + turns[i].stride) % n_slots);
		slots[turns[i].at] = owners[i].backend;
		owners[i].n++;
		left--;
	}
	return 0;
}

static int fill(const struct backend *backends, struct owner *owners, size_t n, uint16_t *slots, uint16_t n_slots,
		struct arena *scratch)
{
	struct seat *seats;
	struct asked *asked;
	int r = divide(backends, owners, n, n_slots, scratch);

	if (r < 0)
		return r;
	if (n * n_slots > SCORES_MAX)
		return take_turns(owners, n, slots, n_slots, scratch);
	seats = arena_take_array(scratch, n_slots, sizeof(*seats));
	asked = arena_take_array(scratch, n_slots, sizeof(*asked));
	if (!seats || !asked)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		owners[i].seats = seats;
		seats += owners[i].share;
	}
	for (uint16_t slot = 0; slot < n_slots; slot++)
		place(owners, n, asked, slot);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < owners[i].n; k++)
			slots[owners[i].seats[k].slot] = owners[i].backend;
	return 0;
}

int slots_fill(const struct backend *backends, size_t n, uint16_t *slots, uint16_t n_slots, struct arena *scratch)
{
	const size_t mark = scratch->used;
	struct owner *owners = arena_take_array(scratch, n, sizeof(*owners));
	size_t n_owners = 0;
	int r;

	assert(n >= 1 && n <= NAT_SLOTS_MAX);
	if (!owners)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		assert(i == 0 || ip_port_cmp(&backends[i - 1].at, &backends[i].at) < 0);
		if (backends[i].weight > 0)
			owners[n_owners++] = (struct owner){ .hash = backend_hash(&backends[i].at), .backend = (uint16_t)i };
	}
	assert(n_owners > 0);
	r = fill(backends, owners, n_owners, slots, n_slots, scratch);
	scratch->used = mark;
	return r;
}
