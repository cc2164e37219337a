/* SPDX-License-Identifier: Apache-2.0 */
/* queue.c: the simulation's future as a binary heap of small keys over a pool of events. */
#include <assert.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

#define EVENTS_MAX 8192u

struct key {
	int64_t t_ns;
	uint64_t order;
	uint32_t slot;
};

struct queue {
	struct key heap[EVENTS_MAX];
	uint32_t n;
	uint64_t order;
	uint32_t unused[EVENTS_MAX];
	uint32_t n_unused;
	struct sim_event pool[EVENTS_MAX];
};

struct queue *queue_new(void)
{
	struct queue *q = malloc(sizeof(*q));

	if (q)
		queue_clear(q);
	return q;
}

void queue_free(struct queue *q)
{
	free(q);
}

void queue_clear(struct queue *q)
{
	q->n = 0;
	q->order = 0;
	q->n_unused = EVENTS_MAX;
	for (uint32_t i = 0; i < EVENTS_MAX; i++)
		q->unused[i] = EVENTS_MAX - 1 - i;
}

static bool earlier(const struct key *a, const struct key *b)
{
	return a->t_ns != b->t_ns ? a->t_ns < b->t_ns : a->order < b->order;
}

struct sim_event *queue_add(struct queue *q, int64_t t_ns)
{
	uint32_t i = q->n, slot;
	struct key k;

	assert(q->n_unused > 0); /* a world that needs more events at once has run wild */
	slot = q->unused[--q->n_unused];
	k = (struct key){ t_ns, q->order++, slot };
	q->n++;
	for (; i > 0 && earlier(&k, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
		q->heap[i] = q->heap[(i - 1) / 2];
	q->heap[i] = k;
	return &q->pool[slot];
}

bool queue_take(struct queue *q, int64_t *ret_t_ns, struct sim_event *ret)
{
	struct key first, last;
	uint32_t i = 0, child;

	if (q->n == 0)
		return false;
	first = q->heap[0];
	last = q->heap[--q->n];
	for (; (child = 2 * i + 1) < q->n; i = child) {
		if (child + 1 < q->n && earlier(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!earlier(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
	}
	q->heap[i] = last;
	*ret_t_ns = first.t_ns;
	*ret = q->pool[first.slot];
	q->unused[q->n_unused++] = first.slot;
	return true;
}
