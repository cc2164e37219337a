/* SPDX-License-Identifier: Apache-2.0 */
/* world.c: sets a world up from its seed, turns it, and keeps its trace. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define TAIL_LINES 120u
#define TAIL_WIDTH 200u

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->queue = queue_new();
	w->tail = calloc(TAIL_LINES, TAIL_WIDTH);
	if (w->queue && w->tail)
		return w;
	world_free(w);
	return NULL;
}

void world_free(struct world *w)
{
	if (!w)
		return;
	queue_free(w->queue);
	free(w->tail);
	free(w);
}

struct sim_event *world_at(struct world *w, int64_t t_ns, enum sim_event_kind kind, unsigned int node)
{
	struct sim_event *se = queue_add(w->queue, t_ns < w->now_ns ? w->now_ns : t_ns);

	se->kind = kind;
	se->node = node;
	se->life = 0;
	se->tag = 0;
	se->stamp_ns = 0;
	return se;
}

bool world_chance(struct world *w, unsigned int percent)
{
	return world_between(w, 0, 99) < (int64_t)percent;
}

int64_t world_between(struct world *w, int64_t lo, int64_t hi)
{
	return prng_range(&w->prng, lo, hi);
}

bool world_tracing(const struct world *w)
{
	return w->opt.trace || w->opt.keep_trace;
}

void world_trace(struct world *w, const struct node *n, const char *fmt, ...)
{
	char text[TAIL_WIDTH - 24], *line;
	va_list ap;

	if (!world_tracing(w))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	line = w->tail + (size_t)(w->n_tail++ % TAIL_LINES) * TAIL_WIDTH;
	snprintf(line, TAIL_WIDTH, "%11.6f %s%c  %s", (double)w->now_ns / (double)NS_PER_S, n ? "n" : " ",
		 n ? (char)('0' + n->id) : ' ', text);
	if (w->opt.trace)
		puts(line);
}

void world_print_tail(const struct world *w)
{
	unsigned int first = w->n_tail > TAIL_LINES ? w->n_tail - TAIL_LINES : 0;

	for (unsigned int i = first; i < w->n_tail; i++)
		puts(w->tail + (size_t)(i % TAIL_LINES) * TAIL_WIDTH);
}

static void world_dispatch(struct world *w, struct sim_event *se)
{
	switch (se->kind) {
	case SIM_DELIVER:
	case SIM_WAKE:
	case SIM_EXEC:
	case SIM_RESUME:
	case SIM_PROBE_END:
	case SIM_ANNOUNCE:
	case SIM_ADDRESS:
	case SIM_ANSWER:
	case SIM_STOP_NOW:
	case SIM_WATCH_TRY:
	case SIM_WATCH_BREAK:
	case SIM_START:
		node_dispatch(w, se);
		break;
	case SIM_FRAME:
		lan_arrive(w, se);
		break;
	case SIM_ARRIVE:
		api_arrive(w, se);
		break;
	case SIM_FAULT_ON:
		fault_on(w, &se->fault);
		break;
	case SIM_FAULT_OFF:
		fault_off(w, &se->fault);
		break;
	case SIM_CHECK:
		judge_check(w);
		break;
	case SIM_MOVE:
		judge_move(w);
		break;
	case SIM_GROUPS:
		break;
	}
}

/* Which kind of world the seed makes. */
static void set_up(struct world *w)
{
	static const enum policies policies[] = { POLICIES_FENCE, POLICIES_HOLD, POLICIES_FENCE, POLICIES_MIXED };

	w->n_nodes = 3 + (unsigned int)(w->seed % 5 % 3);
	w->only_outages = w->seed % 8 == 0;
	w->restarts = w->seed % 8 == 2;
	/* A deletion is safe among equal durations only. */
	w->mixed = w->restarts || (w->seed % 3 == 0 && w->seed % 8 != 1);
	w->holds = w->seed % 8 == 4;
	w->policies = w->holds ? POLICIES_HOLD : policies[w->seed / 8 % 4];
	for (unsigned int i = 0; i < w->n_nodes; i++) {
		w->nodes[i].id = i;
		node_setup(w, &w->nodes[i]);
		world_at(w, world_between(w, 0, 200) * NS_PER_MS, SIM_START, i);
	}
	api_init(w);
	fault_plan(w);
	judge_plan(w);
}

bool world_run(struct world *w, uint64_t seed, const struct world_options *opt)
{
	struct queue *queue = w->queue;
	char *tail = w->tail;
	struct sim_event se;

	memset(w, 0, sizeof(*w));
	w->queue = queue;
	w->tail = tail;
	w->opt = *opt;
	w->seed = seed;
	w->prng.state = seed * UINT64_C(0xd1342543de82ef95);
	queue_clear(queue);
	if (seed % 16 == 15) {
		groups_run(w);
		return !w->judge.failed;
	}
	set_up(w);
	while (!w->judge.failed && queue_take(queue, &w->now_ns, &se)) {
		if (w->now_ns >= opt->length_ns)
			break;
		judge_until_now(w);
		world_dispatch(w, &se);
	}
	return !w->judge.failed;
}
