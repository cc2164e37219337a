/* SPDX-License-Identifier: Apache-2.0 */
/* server.c: the API server as far as one Lease needs it: optimistic locking, quorum reads, watches that deliver in
 * order but late, and the ways in which its answers fail.  Versions are a revision shared with the rest of the
 * cluster, so they grow by more than one. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

void server_init(struct world *w)
{
	w->server.now.version = (uint64_t)prng_range(&w->prng, 5, 2000);
	w->server.deleted_ns = -CYCLE_NS;
	w->server.history[0] = w->server.now;
	w->server.n_history = 1;
}

/* One way. */
int64_t net_latency_ns(struct world *w, const struct node *n)
{
	int64_t us = prng_range(&w->prng, 150, 3000);

	if (w->server.slow && world_chance(w, 40))
		us += prng_range(&w->prng, 0, n->cfg.renew_ms * 2000);
	return us * 1000;
}

/* --- watches ---------------------------------------------------------------------------------------------------- */

static void push_event(struct world *w, struct node *n, const struct elect_event *ev, const struct change *c)
{
	int64_t t_ns = w->now_ns + net_latency_ns(w, n) + n->lag_ns;
	struct sim_event *se;

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

void server_push(struct world *w, struct node *n)
{
	const struct server *s = &w->server;
	unsigned int first = s->n_history > HISTORY_MAX ? s->n_history - HISTORY_MAX : 0;

	if (!n->watch.connected || n->cut || s->down)
		return;
	for (unsigned int i = first; i < s->n_history; i++)
		if (s->history[i % HISTORY_MAX].version > n->watch.pushed)
			push_change(w, n, &s->history[i % HISTORY_MAX]);
}

void server_open_watch(struct world *w, struct node *n)
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
		server_push(w, n);
	} else {
		push_change(w, n, &w->server.now);
	}
	if (!early)
		push_event(w, n, &view, NULL);
}

void server_resend_watch(struct world *w, struct node *n)
{
	struct elect_event view = { .kind = ELECT_EV_VIEW, .fresh = true };

	if (!n->watch.connected)
		return;
	n->watch.connection++; /* drops what is still on its way */
	n->watch.pushed = n->watch.delivered;
	server_push(w, n);
	push_event(w, n, &view, NULL);
}

/* --- writes and reads --------------------------------------------------------------------------------------------- */

static void commit(struct world *w, bool exists, const struct lease_record *r, int64_t stamp_ns)
{
	struct server *s = &w->server;

	s->now.version += (uint64_t)prng_range(&w->prng, 1, 5);
	s->now.exists = exists;
	s->now.stamp_ns = stamp_ns;
	if (r)
		s->now.record = *r;
	s->history[s->n_history++ % HISTORY_MAX] = s->now;
	world_trace(w, NULL, "lease v%" PRIu64 " %s", s->now.version,
		    !exists ? "deleted" : *s->now.record.holder ? s->now.record.holder : "nobody");
	for (unsigned int i = 0; i < NODES; i++)
		server_push(w, &w->nodes[i]);
}

void server_delete(struct world *w)
{
	if (!w->server.now.exists)
		return;
	w->server.deleted_ns = w->now_ns;
	commit(w, false, NULL, 0);
}

static enum elect_event_kind apply(struct world *w, const struct sim_event *se)
{
	const struct request *rq = &se->rq;
	char version[LEASE_VERSION_MAX];

	snprintf(version, sizeof(version), "%" PRIu64, w->server.now.version);
	if (rq->create ? w->server.now.exists : !w->server.now.exists)
		return ELECT_EV_WRITE_CONFLICT;
	/* "*" is what a mutant sends for "no version": an unconditional PUT. */
	if (!rq->create && strcmp(rq->version, "*") != 0 && strcmp(rq->version, version) != 0)
		return ELECT_EV_WRITE_CONFLICT;
	commit(w, true, &rq->record, se->stamp_ns);
	return ELECT_EV_WRITE_OK;
}

static void answer(struct world *w, const struct sim_event *se, const struct elect_event *ev)
{
	struct node *n = &w->nodes[se->node];
	struct sim_event *reply;

	if (w->server.flaky && world_chance(w, 20))
		return;
	reply = world_at(w, w->now_ns + net_latency_ns(w, n), SIM_DELIVER, n->id);
	reply->life = se->life;
	reply->ev = *ev;
	reply->stamp_ns = w->server.now.stamp_ns;
}

/* Whether the request fails without an effect; *ret_silent: nothing is answered either. */
static bool fails(struct world *w, const struct request *rq, bool *ret_silent)
{
	const struct server *s = &w->server;

	*ret_silent = s->down && s->down_mode == DOWN_HANGS;
	if (s->down)
		return true;
	if (s->read_only && !rq->get) {
		*ret_silent = world_chance(w, 50);
		return true;
	}
	return s->flaky && world_chance(w, 20); /* 429, 503 */
}

void server_arrive(struct world *w, const struct sim_event *se)
{
	struct elect_event ev = { .kind = ELECT_EV_WRITE_FAILED, .write_id = se->rq.write_id };
	bool silent;

	if (w->nodes[se->node].cut)
		return;
	if (fails(w, &se->rq, &silent)) {
		if (!silent && !se->rq.get)
			answer(w, se, &ev);
		return;
	}
	if (se->rq.get) {
		ev = event_of(&w->server.now);
	} else {
		ev.kind = apply(w, se);
		if (ev.kind == ELECT_EV_WRITE_OK) {
			snprintf(ev.version, sizeof(ev.version), "%" PRIu64, w->server.now.version);
			if (w->server.flaky && world_chance(w, 10))
				ev.kind = ELECT_EV_WRITE_FAILED; /* 504: applied, but etcd answered too late */
		}
	}
	answer(w, se, &ev);
}
