/* SPDX-License-Identifier: Apache-2.0 */
/* api.c: the API server as far as one Lease needs it: optimistic locking, quorum reads, watches that deliver in
 * order but late, the node records in which successors answer, and the ways in which its answers fail.  Versions are a
 * revision shared with the rest of the cluster, so they grow by more than one. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

void api_init(struct world *w)
{
	w->api.now.version = (uint64_t)world_between(w, 5, 2000);
	w->api.deleted_ns = -CYCLE_NS;
	w->api.history[0] = w->api.now;
	w->api.n_history = 1;
}

/* One way. */
static int64_t latency_ns(struct world *w, const struct node *n)
{
	int64_t us = world_between(w, 150, 3000);

	if (w->api.slow && world_chance(w, 40))
		us += world_between(w, 0, n->cfg.renew_ms * 2000);
	return us * 1000;
}

/* --- watches ---------------------------------------------------------------------------------------------------- */

static void push_event(struct world *w, struct node *n, const struct elect_event *ev, const struct change *c)
{
	int64_t end_ns = w->now_ns - w->now_ns % CYCLE_NS + FAULTS_END_NS;
	int64_t now_ns = w->now_ns + latency_ns(w, n), t_ns = now_ns + n->lag_ns;
	struct sim_event *se;

	/* A lag ends with the faults: in peace everybody is up to date. */
	if (t_ns > end_ns)
		t_ns = now_ns > end_ns ? now_ns : end_ns;
	if (t_ns < n->watch.last_ns)
		t_ns = n->watch.last_ns;
	n->watch.last_ns = t_ns;
	se = world_at(w, t_ns, SIM_DELIVER, n->id);
	se->life = n->life;
	se->tag = n->watch.connection;
	se->ev = *ev;
	if (c) {
		se->stamp_ns = c->stamp_ns;
		se->ev.now.ns = (int64_t)c->version; /* node.c notes it; the step sets the time */
	}
}

static void push_answer(struct world *w, struct node *n, unsigned int from)
{
	const struct answer *a = &w->api.answers[from];
	struct elect_event ev = { .kind = a->ready ? ELECT_EV_PREPARED : ELECT_EV_REFUSED, .handover = a->handover };

	if (a->handover && n->watch.connected && !n->cut && !w->api.down && n->id != from)
		push_event(w, n, &ev, NULL);
}

void api_push_answers(struct world *w, struct node *n)
{
	for (unsigned int i = 0; i < w->n_nodes; i++)
		push_answer(w, n, i);
}

static struct elect_event event_of(const struct change *c)
{
	struct elect_event ev = { .kind = c->exists ? ELECT_EV_SEEN : ELECT_EV_ABSENT };

	if (c->exists) {
		ev.record = c->record;
		snprintf(ev.version, sizeof(ev.version), "%" PRIu64, c->version);
	}
	return ev;
}

static void push_change(struct world *w, struct node *n, const struct change *c)
{
	struct elect_event ev = event_of(c);

	push_event(w, n, &ev, c);
	n->watch.pushed = c->version;
}

void api_push(struct world *w, struct node *n)
{
	const struct api *s = &w->api;
	unsigned int first = s->n_history > HISTORY_MAX ? s->n_history - HISTORY_MAX : 0;

	if (!n->watch.connected || n->cut || s->down)
		return;
	for (unsigned int i = first; i < s->n_history; i++)
		if (s->history[i % HISTORY_MAX].version > n->watch.pushed)
			push_change(w, n, &s->history[i % HISTORY_MAX]);
}

void api_open_watch(struct world *w, struct node *n)
{
	struct elect_event view = { .kind = ELECT_EV_VIEW, .fresh = true };
	bool resume = n->watch.delivered > 0 && world_chance(w, 50), early = resume && world_chance(w, 50);

	n->watch.connected = true;
	n->watch.connection++;
	n->watch.last_ns = 0;
	if (early)
		push_event(w, n, &view, NULL);
	if (resume) {
		n->watch.pushed = n->watch.delivered;
		api_push(w, n);
	} else {
		push_change(w, n, &w->api.now);
	}
	api_push_answers(w, n);
	if (!early)
		push_event(w, n, &view, NULL);
}

void api_resend_watch(struct world *w, struct node *n)
{
	struct elect_event view = { .kind = ELECT_EV_VIEW, .fresh = true };

	if (!n->watch.connected)
		return;
	n->watch.connection++; /* drops what is still on its way */
	n->watch.pushed = n->watch.delivered;
	api_push(w, n);
	api_push_answers(w, n);
	push_event(w, n, &view, NULL);
}

/* --- writes and reads --------------------------------------------------------------------------------------------- */

static void commit(struct world *w, bool exists, const struct lease_record *r, int64_t stamp_ns)
{
	struct api *s = &w->api;

	s->now.version += (uint64_t)world_between(w, 1, 5);
	s->now.exists = exists;
	s->now.stamp_ns = stamp_ns;
	if (r)
		s->now.record = *r;
	s->history[s->n_history++ % HISTORY_MAX] = s->now;
	world_trace(w, NULL, "lease v%" PRIu64 " %s", s->now.version,
		    !exists ? "deleted" : *s->now.record.holder ? s->now.record.holder : "nobody");
	for (unsigned int i = 0; i < w->n_nodes; i++)
		api_push(w, &w->nodes[i]);
}

void api_delete(struct world *w)
{
	if (!w->api.now.exists)
		return;
	w->api.deleted_ns = w->now_ns;
	commit(w, false, NULL, 0);
}

static enum elect_event_kind apply(struct world *w, const struct sim_event *se)
{
	const struct request *rq = &se->rq;
	const struct node *n = &w->nodes[se->node];
	bool create = rq->kind == RQ_CREATE;
	char version[LEASE_VERSION_MAX];

	snprintf(version, sizeof(version), "%" PRIu64, w->api.now.version);
	if (create ? w->api.now.exists : !w->api.now.exists)
		return ELECT_EV_WRITE_CONFLICT;
	/* "*" is what a mutant sends for "no version": an unconditional PUT. */
	if (!create && strcmp(rq->version, "*") != 0 && strcmp(rq->version, version) != 0)
		return ELECT_EV_WRITE_CONFLICT;
	if (*rq->record.holder)
		w->api.rights[n->id] =
			(struct right){ se->sent_ns + rq->record.duration_ms * NS_PER_MS, rq->record.policy };
	commit(w, true, &rq->record, se->stamp_ns);
	return ELECT_EV_WRITE_OK;
}

static void apply_answer(struct world *w, unsigned int from, const struct answer *a)
{
	w->api.answers[from] = *a;
	for (unsigned int i = 0; i < w->n_nodes; i++)
		push_answer(w, &w->nodes[i], from);
}

static void answer(struct world *w, const struct sim_event *se, const struct elect_event *ev)
{
	struct node *n = &w->nodes[se->node];
	struct sim_event *reply;

	if (w->api.flaky && world_chance(w, 20))
		return;
	reply = world_at(w, w->now_ns + latency_ns(w, n), SIM_DELIVER, n->id);
	reply->life = se->life;
	reply->ev = *ev;
	reply->stamp_ns = w->api.now.stamp_ns;
}

/* Whether the request fails without an effect; *ret_silent: nothing is answered either. */
static bool fails(struct world *w, const struct request *rq, bool *ret_silent)
{
	const struct api *s = &w->api;

	*ret_silent = s->down && s->down_mode == DOWN_HANGS;
	if (s->down)
		return true;
	if (rq->kind == RQ_GET ? s->no_quorum : s->read_only) {
		*ret_silent = world_chance(w, 50);
		return true;
	}
	return s->flaky && world_chance(w, 20); /* 429, 503 */
}

void api_send(struct world *w, struct node *n, const struct request *rq)
{
	struct sim_event *se;

	if (n->cut || (w->api.flaky && world_chance(w, 20)))
		return;
	se = world_at(w, w->now_ns + latency_ns(w, n), SIM_ARRIVE, n->id);
	se->life = n->life;
	se->stamp_ns = w->now_ns + n->clock.wall_offset_ns;
	se->sent_ns = w->now_ns;
	se->rq = *rq;
}

void api_arrive(struct world *w, const struct sim_event *se)
{
	struct elect_event ev = { .kind = ELECT_EV_WRITE_FAILED, .write_id = se->rq.write_id };
	bool silent, writes = se->rq.kind == RQ_CREATE || se->rq.kind == RQ_UPDATE;

	if (w->nodes[se->node].cut)
		return;
	if (fails(w, &se->rq, &silent)) {
		if (!silent && writes)
			answer(w, se, &ev);
		return;
	}
	if (se->rq.kind == RQ_ANSWER) {
		apply_answer(w, se->node, &se->rq.answer);
		return;
	}
	if (writes) {
		ev.kind = apply(w, se);
		if (ev.kind == ELECT_EV_WRITE_OK) {
			snprintf(ev.version, sizeof(ev.version), "%" PRIu64, w->api.now.version);
			if (w->api.flaky && world_chance(w, 10))
				ev.kind = ELECT_EV_WRITE_FAILED; /* 504: applied, but etcd answered too late */
		}
	} else {
		ev = event_of(&w->api.now);
	}
	answer(w, se, &ev);
}
