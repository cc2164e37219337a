/* SPDX-License-Identifier: Apache-2.0 */
/* elect_cluster.h: three machines of elect.c, a small server and a wire between them, in virtual time: for stories.
 *
 * Requests take 5 ms each way and the watch 8 ms.  A test may lose a request or a reply by what it says, cut the whole
 * API, freeze or kill a machine, or let it be slow to get ready.  After each event no two kernels may answer ARP. */
#pragma once

#include "tests/unit/election/elect_states.h"

#define NODES 3
#define WAY_MS 5
#define WATCH_MS 8
#define PROBE_ANSWER_MS 30

struct cnode {
	struct elect e;
	mono_t wake;
	struct elect_gate gate; /* the kernel's: outlives the process */
	bool dead, frozen, refuses, mute;
	bool cut;  /* from the API */
	bool deaf; /* hears no announcement */
	unsigned int leads, follows, failures, prepares, unprepares, writes, probes, announces;
	const char *why; /* of the last LEAD, FOLLOW, UNPREPARE, HANDOVER_FAILED */
};

struct msg {
	int64_t at_ms;
	unsigned int node;
	bool request;
	struct elect_event ev;
	struct elect_action rq;
};

struct cluster {
	int64_t now_ms;
	struct cnode n[NODES];
	struct lease_record record;
	unsigned int version; /* 0: no object */
	struct msg q[256];
	size_t queued;
	/* Faults. */
	bool api_away;	    /* requests are lost, watches hang */
	bool no_quorum;	    /* writes fail at once, all else works */
	bool ignore_duplicates;
	unsigned int lose_requests, lose_replies; /* so many writes ... */
	enum lease_stage lose_stage;		  /* ... that say this ... */
	unsigned int lose_node;			  /* ... of this machine */
	int64_t open_until_ms, last_open_ms;
	int64_t dark_ms; /* the longest time without an open ARP gate */
};

static const char *const cnames[NODES] = { "a_b00t_1", "b_b00t_1", "c_b00t_1" };

static inline struct msg *post(struct cluster *c, int64_t delay_ms, unsigned int node)
{
	struct msg *m = &c->q[c->queued++];

	assert_true(c->queued < ARRAY_LEN(c->q));
	memset(m, 0, sizeof(*m));
	m->at_ms = c->now_ms + delay_ms;
	m->node = node;
	return m;
}

static inline void show(struct cluster *c, unsigned int node, int64_t delay_ms)
{
	struct elect_event *ev = &post(c, delay_ms, node)->ev;

	ev->kind = c->version ? ELECT_EV_SEEN : ELECT_EV_ABSENT;
	ev->record = c->record;
	IGNORE(snprintf(ev->version, sizeof(ev->version), "%u", c->version));
}

static inline bool arp_open(const struct cluster *c, unsigned int i)
{
	return mono_before(at(c->now_ms), c->n[i].gate.arp_until);
}

static inline bool others_answer(const struct cluster *c, unsigned int but)
{
	for (unsigned int i = 0; i < NODES; i++)
		if (i != but && arp_open(c, i))
			return true;
	return false;
}

static inline void announce(struct cluster *c, unsigned int from)
{
	for (unsigned int i = 0; i < NODES; i++) {
		if (i == from || c->n[i].deaf)
			continue;
		post(c, 1, i)->ev = (struct elect_event){ .kind = ELECT_EV_WIRE, .wire = ELECT_WIRE_CANDIDATE };
	}
}

static inline void answer_prepare(struct cluster *c, const struct cnode *n, uint32_t number)
{
	for (unsigned int i = 0; i < NODES; i++) {
		if (n->mute || strcmp(c->record.holder, cnames[i]) != 0)
			continue;
		post(c, 20, i)->ev = (struct elect_event){ .kind = n->refuses ? ELECT_EV_REFUSED : ELECT_EV_PREPARED,
							   .handover = number };
	}
}

static inline void act_on(struct cluster *c, unsigned int i, const struct elect_action *a)
{
	struct cnode *n = &c->n[i];
	struct msg *m;

	if (a->why)
		n->why = a->why;
	switch (a->kind) {
	case ELECT_DO_CREATE:
	case ELECT_DO_UPDATE:
	case ELECT_DO_GET:
		n->writes += a->kind != ELECT_DO_GET;
		m = post(c, WAY_MS, i);
		m->request = true;
		m->rq = *a;
		break;
	case ELECT_DO_LEAD:
		n->leads++;
		if (arp_open(c, i))
			announce(c, i);
		break;
	case ELECT_DO_FOLLOW:
		n->follows++;
		break;
	case ELECT_DO_PREPARE:
		n->prepares++;
		answer_prepare(c, n, a->handover);
		break;
	case ELECT_DO_UNPREPARE:
		n->unprepares++;
		break;
	case ELECT_DO_HANDOVER_FAILED:
		n->failures++;
		break;
	case ELECT_DO_PROBE:
		n->probes++;
		post(c, PROBE_ANSWER_MS, i)->ev = (struct elect_event){
			.kind = ELECT_EV_WIRE, .probe_id = a->probe_id,
			.wire = others_answer(c, i) ? ELECT_WIRE_CANDIDATE : ELECT_WIRE_SILENT };
		break;
	case ELECT_DO_ANNOUNCE:
		n->announces++;
		announce(c, i);
		break;
	case ELECT_DO_HOLD:
	case ELECT_DO_STOPPED:
		break;
	}
}

static inline void check_wire(struct cluster *c)
{
	int64_t open_ms = c->now_ms < c->open_until_ms ? c->now_ms : c->open_until_ms;
	unsigned int open = 0;

	if (open_ms > c->last_open_ms)
		c->last_open_ms = open_ms;
	if (c->now_ms - c->last_open_ms > c->dark_ms)
		c->dark_ms = c->now_ms - c->last_open_ms;
	c->open_until_ms = 0;
	for (unsigned int i = 0; i < NODES; i++) {
		if (!arp_open(c, i))
			continue;
		open++;
		c->last_open_ms = c->now_ms;
		if (ms_of(c->n[i].gate.arp_until) > c->open_until_ms)
			c->open_until_ms = ms_of(c->n[i].gate.arp_until);
	}
	if (open > 1 && !c->ignore_duplicates)
		fail_msg("two answer at %" PRId64, c->now_ms);
}

static inline void give(struct cluster *c, unsigned int i, struct elect_event ev)
{
	struct cnode *n = &c->n[i];
	struct elect_actions acts;

	if (n->dead || n->frozen)
		return;
	ev.now = at(c->now_ms);
	elect_step(&n->e, &ev, &acts);
	n->wake = acts.wake_at;
	n->gate = elect_gate(&n->e); /* before the actions */
	for (unsigned int k = 0; k < acts.n; k++)
		act_on(c, i, &acts.v[k]);
	check_wire(c);
}

static inline bool lost(unsigned int *left, const struct cluster *c, const struct msg *m)
{
	if (*left == 0 || m->node != c->lose_node || m->rq.kind == ELECT_DO_GET || m->rq.record.stage != c->lose_stage)
		return false;
	(*left)--;
	return true;
}

static inline void serve(struct cluster *c, const struct msg *m)
{
	struct elect_event reply = { .kind = ELECT_EV_WRITE_OK, .write_id = m->rq.write_id };
	char version[16];

	if (c->api_away || c->n[m->node].cut || lost(&c->lose_requests, c, m))
		return;
	if (m->rq.kind == ELECT_DO_GET) {
		show(c, m->node, WAY_MS);
		return;
	}
	IGNORE(snprintf(version, sizeof(version), "%u", c->version));
	if (c->no_quorum) {
		reply.kind = ELECT_EV_WRITE_FAILED;
	} else if (m->rq.kind == ELECT_DO_CREATE ? c->version != 0 : strcmp(m->rq.version, version) != 0) {
		reply.kind = ELECT_EV_WRITE_CONFLICT;
	} else {
		c->record = m->rq.record;
		c->version++;
		IGNORE(snprintf(reply.version, sizeof(reply.version), "%u", c->version));
		for (unsigned int i = 0; i < NODES; i++)
			show(c, i, WATCH_MS);
	}
	if (!lost(&c->lose_replies, c, m))
		post(c, WAY_MS, m->node)->ev = reply;
}

/* All that happens until then. */
static inline void run_until(struct cluster *c, int64_t until_ms)
{
	for (;;) {
		int64_t next_ms = until_ms;
		size_t msg = c->queued;
		unsigned int who = NODES;
		struct msg m;

		for (size_t i = 0; i < c->queued; i++) {
			if (c->q[i].at_ms < next_ms) {
				next_ms = c->q[i].at_ms;
				msg = i;
			}
		}
		for (unsigned int i = 0; i < NODES; i++) {
			struct cnode *n = &c->n[i];

			if (!n->dead && !n->frozen && mono_before(n->wake, at(next_ms))) {
				next_ms = ms_of(n->wake) > c->now_ms ? ms_of(n->wake) : c->now_ms;
				who = i;
			}
		}
		c->now_ms = next_ms;
		check_wire(c);
		if (who < NODES) {
			give(c, who, (struct elect_event){ .kind = ELECT_EV_TICK });
		} else if (msg < c->queued) {
			m = c->q[msg];
			memmove(&c->q[msg], &c->q[msg + 1], (c->queued - msg - 1) * sizeof(m));
			c->queued--;
			if (m.request)
				serve(c, &m);
			else if (!(c->api_away || c->n[m.node].cut) || m.ev.kind == ELECT_EV_WIRE)
				give(c, m.node, m.ev);
		} else {
			return;
		}
	}
}

static inline void view(struct cluster *c, bool fresh)
{
	for (unsigned int i = 0; i < NODES; i++) {
		if (fresh)
			show(c, i, 0);
		post(c, 0, i)->ev = (struct elect_event){ .kind = ELECT_EV_VIEW, .fresh = fresh };
	}
}

/* A leads since about 1000 ms; the clock stands at 2000. */
static inline void cluster_init(struct cluster *c, enum lease_policy policy)
{
	memset(c, 0, sizeof(*c));
	for (unsigned int i = 0; i < NODES; i++) {
		struct elect_config cfg = { .duration_ms = 3000, .renew_ms = 750, .seed = i, .policy = policy };

		set(cfg.identity, sizeof(cfg.identity), cnames[i]);
		elect_init(&c->n[i].e, &cfg);
		c->n[i].wake = MONO_NEVER;
	}
	give(c, 0, (struct elect_event){ .kind = ELECT_EV_FIT, .fit = true });
	view(c, true);
	run_until(c, 1000);
	give(c, 1, (struct elect_event){ .kind = ELECT_EV_FIT, .fit = true });
	give(c, 2, (struct elect_event){ .kind = ELECT_EV_FIT, .fit = true });
	run_until(c, 2000);
	assert_true(arp_open(c, 0));
	c->dark_ms = 0;
}

static inline void hand_over(struct cluster *c, unsigned int from, unsigned int to, uint32_t number)
{
	struct elect_event ev = { .kind = ELECT_EV_HANDOVER, .handover = number };

	set(ev.successor, sizeof(ev.successor), cnames[to]);
	give(c, from, ev);
}
