/* SPDX-License-Identifier: Apache-2.0 */
/* groups.c: a small world of its own: two Leases, a few VIPs, and a change of --groups from 1 to 2 that reaches one node
 * after the other.  Which Lease governs a VIP stands in a durable record in the API.  Only the holder of that Lease
 * changes it: it shuts its own gate for the VIP, writes, and opens again only when it has read that nothing came of it.
 * Who wins a Lease reads the records before it opens anything.
 *
 * Judged: one open gate per VIP, always; and in the end every VIP has one, by the Lease of the new setting.  Nodes are
 * cut off, and become unfit; watches are late; requests take up to 3 ms, so that none is applied after the right by which
 * it was sent. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

#define LEASES 2u
#define GROUP_NODES 3u
#define PLAN_MS 200	/* how often a node compares records and setting */
#define MOVE_MS 500	/* a write of a record without a reply: read what came of it */
#define WATCH_LATE_MS 1500
#define RIGHT_MS_MIN 50 /* a record is written by a right that lasts at least so much longer */

enum what {
	STEP,	 /* an event for a machine */
	WAKE,	 /* its timer */
	REQUEST, /* about a Lease, at the server */
	MOVE,	 /* a VIP's record is to change, at the server */
	LIST,	 /* the records are asked for, at the server */
	LISTED,	 /* the answer, at the node */
	SEEN,	 /* the records as the watch shows them, at the node */
	PLAN,
	CUT,
	HEAL,
	FIT, /* number: whether it is */
	SETTING,
	END,
};

struct member {
	unsigned int id, setting;
	struct clock clock;
	bool cut;
	struct elect elect[LEASES];
	int64_t wakes[LEASES];
	bool fresh[LEASES];	/* the records were read since the Lease was won */
	int64_t led_ns[LEASES]; /* true time at which it was */
	struct records view;
	int64_t moving_ns[RECORD_VIPS]; /* true time at which the change was sent; 0 = none under way */
};

struct groups {
	struct world *w;
	struct member members[GROUP_NODES];
	struct change leases[LEASES];
	struct records records;
	uint64_t revision;
};

static struct sim_event *later(struct groups *g, int64_t delay_ns, enum what what, unsigned int member,
			       unsigned int lease, int64_t number)
{
	struct sim_event *se = world_at(g->w, g->w->now_ns + delay_ns, SIM_GROUPS, member);

	se->tag = what;
	se->life = lease;
	se->stamp_ns = number;
	return se;
}

static int64_t latency_ns(struct groups *g)
{
	return world_between(g->w, 150, 3000) * 1000;
}

/* The watch of the records may be late. */
static int64_t watch_ns(struct groups *g)
{
	return latency_ns(g) + (world_chance(g->w, 20) ? world_between(g->w, 0, WATCH_LATE_MS) * NS_PER_MS : 0);
}

/* --- who answers for what ----------------------------------------------------------------------------------------- */

static bool has_bug(const struct groups *g, enum groups_bug bug)
{
	return g->w->opt.mutant && g->w->opt.mutant->groups == bug;
}

static unsigned int lease_of(const struct groups *g, const struct member *m, unsigned int vip)
{
	return has_bug(g, GROUPS_OWN_SETTING) ? vip % m->setting : m->view.group[vip];
}

static bool open_for(const struct groups *g, const struct member *m, unsigned int vip)
{
	unsigned int lease = lease_of(g, m, vip);
	struct elect_gate gate = elect_gate(&m->elect[lease]);

	return mono_before(clock_at(&m->clock, g->w->now_ns), gate.arp_until) &&
	       (m->fresh[lease] || has_bug(g, GROUPS_UNREAD)) &&
	       (m->moving_ns[vip] == 0 || has_bug(g, GROUPS_OPEN_MOVE));
}

static void judge_vips(struct groups *g, bool end)
{
	bool records = !has_bug(g, GROUPS_OWN_SETTING);

	for (unsigned int vip = 0; vip < RECORD_VIPS; vip++) {
		unsigned int n = 0;

		for (unsigned int i = 0; i < GROUP_NODES; i++)
			n += open_for(g, &g->members[i], vip);
		if (n > 1)
			judge_fail(g->w, "%u nodes answer for VIP %u", n, vip);
		if (end && (n != 1 || (records && g->records.group[vip] != vip % LEASES)))
			judge_fail(g->w, "in the end %u nodes answer for VIP %u, of lease %u", n, vip,
				   g->records.group[vip]);
	}
}

/* --- the server --------------------------------------------------------------------------------------------------- */

static struct elect_event lease_event(const struct change *c)
{
	struct elect_event ev = { .kind = c->exists ? ELECT_EV_SEEN : ELECT_EV_ABSENT, .record = c->record };

	snprintf(ev.version, sizeof(ev.version), "%" PRIu64, c->version);
	return ev;
}

static void deliver(struct groups *g, unsigned int member, unsigned int lease, const struct elect_event *ev)
{
	later(g, latency_ns(g), STEP, member, lease, 0)->ev = *ev;
}

static void serve_lease(struct groups *g, const struct sim_event *se)
{
	struct change *c = &g->leases[se->life];
	struct elect_event ev = lease_event(c);
	bool update = se->rq.kind == RQ_UPDATE;

	if (se->rq.kind != RQ_GET) {
		if (c->exists == update && (!update || strcmp(se->rq.version, ev.version) == 0)) {
			c->exists = true;
			c->version = ++g->revision;
			c->record = se->rq.record;
			ev = lease_event(c);
			for (unsigned int i = 0; i < GROUP_NODES; i++)
				deliver(g, i, se->life, &ev);
			ev.kind = ELECT_EV_WRITE_OK;
		} else {
			ev.kind = ELECT_EV_WRITE_CONFLICT;
		}
		ev.write_id = se->rq.write_id;
	}
	deliver(g, se->node, se->life, &ev);
}

static void serve_move(struct groups *g, const struct sim_event *se)
{
	unsigned int vip = (unsigned int)se->stamp_ns;

	if (se->records.revision != g->records.revision)
		return; /* a conflict: the node reads what there is */
	g->records.group[vip] = se->records.group[vip];
	g->records.revision = ++g->revision;
	world_trace(g->w, NULL, "VIP %u is of lease %u", vip, g->records.group[vip]);
	for (unsigned int i = 0; i < GROUP_NODES; i++)
		later(g, watch_ns(g), SEEN, i, 0, 0)->records = g->records;
}

/* --- a node -------------------------------------------------------------------------------------------------------- */

static void ask(struct groups *g, struct member *m, const struct elect_action *a, unsigned int lease)
{
	struct sim_event *se = later(g, latency_ns(g), REQUEST, m->id, lease, 0);

	se->rq = (struct request){ .kind = a->kind == ELECT_DO_GET	  ? RQ_GET :
					   a->kind == ELECT_DO_CREATE ? RQ_CREATE :
									RQ_UPDATE,
				   .write_id = a->write_id,
				   .record = a->record };
	memcpy(se->rq.version, a->version, sizeof(se->rq.version));
}

static void step(struct groups *g, struct member *m, unsigned int lease, struct elect_event *ev)
{
	struct elect *e = &m->elect[lease];
	struct elect_actions acts;

	ev->now = clock_at(&m->clock, g->w->now_ns);
	elect_step(e, ev, &acts);
	for (unsigned int i = 0; i < acts.n; i++) {
		const struct elect_action *a = &acts.v[i];

		if (a->kind == ELECT_DO_GET || a->kind == ELECT_DO_CREATE || a->kind == ELECT_DO_UPDATE)
			ask(g, m, a, lease);
		if (a->kind != ELECT_DO_LEAD && a->kind != ELECT_DO_FOLLOW)
			continue;
		world_trace(g->w, NULL, "n%u %s lease %u", m->id, a->kind == ELECT_DO_LEAD ? "leads" : "follows", lease);
		m->fresh[lease] = false;
		m->led_ns[lease] = g->w->now_ns;
		if (a->kind == ELECT_DO_LEAD)
			later(g, latency_ns(g), LIST, m->id, 0, g->w->now_ns);
	}
	m->wakes[lease]++;
	if (!mono_is_never(acts.wake_at))
		later(g, clock_true_ns(&m->clock, acts.wake_at) - g->w->now_ns, WAKE, m->id, lease, m->wakes[lease]);
}

static void seen(struct member *m, const struct records *r)
{
	if (r->revision > m->view.revision)
		m->view = *r;
}

/* The answer to a list that was sent at 'sent_ns': Leases won before that are served by it, and of changes sent long
 * before it is known what came of them. */
static void listed(struct member *m, const struct records *r, int64_t sent_ns)
{
	seen(m, r);
	for (unsigned int lease = 0; lease < LEASES; lease++)
		m->fresh[lease] |= m->elect[lease].state == ELECT_LEADING && sent_ns >= m->led_ns[lease];
	for (unsigned int vip = 0; vip < RECORD_VIPS; vip++)
		if (m->moving_ns[vip] && sent_ns - m->moving_ns[vip] >= MOVE_MS * NS_PER_MS)
			m->moving_ns[vip] = 0;
}

/* Asks again for what did not come, and moves at most one VIP whose Lease is another than the setting says, if it is
 * ours to move. */
static void plan(struct groups *g, struct member *m)
{
	mono_t soon = mono_add_ms(clock_at(&m->clock, g->w->now_ns), RIGHT_MS_MIN);
	bool busy = has_bug(g, GROUPS_OWN_SETTING);

	for (unsigned int lease = 0; lease < LEASES; lease++)
		if (m->elect[lease].state == ELECT_LEADING && !m->fresh[lease])
			later(g, latency_ns(g), LIST, m->id, 0, g->w->now_ns);
	for (unsigned int vip = 0; vip < RECORD_VIPS; vip++)
		if (m->moving_ns[vip]) {
			busy = true;
			if (g->w->now_ns - m->moving_ns[vip] >= MOVE_MS * NS_PER_MS)
				later(g, latency_ns(g), LIST, m->id, 0, g->w->now_ns);
		}
	for (unsigned int vip = 0; vip < RECORD_VIPS && !busy; vip++) {
		unsigned int lease = m->view.group[vip], want = vip % m->setting;
		struct sim_event *se;

		if (lease == want || !m->fresh[lease] || !elect_holds(&m->elect[lease], soon))
			continue;
		m->moving_ns[vip] = g->w->now_ns;
		se = later(g, latency_ns(g), MOVE, m->id, 0, vip);
		se->records = m->view;
		se->records.group[vip] = (uint8_t)want;
		busy = true;
	}
	later(g, PLAN_MS * NS_PER_MS, PLAN, m->id, 0, 0);
}

static void view(struct groups *g, struct member *m, bool fresh)
{
	for (unsigned int lease = 0; lease < LEASES; lease++) {
		struct elect_event ev = lease_event(&g->leases[lease]), alive = { .kind = ELECT_EV_VIEW, .fresh = fresh };

		if (fresh)
			step(g, m, lease, &ev);
		step(g, m, lease, &alive);
	}
	if (fresh)
		seen(m, &g->records);
}

/* --- the world ----------------------------------------------------------------------------------------------------- */

static void fit(struct groups *g, struct member *m, bool on)
{
	for (unsigned int lease = 0; lease < LEASES; lease++) {
		struct elect_event ev = { .kind = ELECT_EV_FIT, .fit = on };

		step(g, m, lease, &ev);
	}
}

static void reach(struct groups *g, struct sim_event *se)
{
	struct member *m = &g->members[se->node];
	struct elect_event tick = { .kind = ELECT_EV_TICK };
	enum what what = (enum what)se->tag;

	switch (what) {
	case STEP:
		if (!m->cut)
			step(g, m, se->life, &se->ev);
		break;
	case WAKE:
		if (se->stamp_ns == m->wakes[se->life])
			step(g, m, se->life, &tick);
		break;
	case REQUEST:
		if (!m->cut)
			serve_lease(g, se);
		break;
	case MOVE:
		if (!m->cut)
			serve_move(g, se);
		break;
	case LIST:
		if (!m->cut)
			later(g, latency_ns(g), LISTED, se->node, 0, se->stamp_ns)->records = g->records;
		break;
	case LISTED:
		if (!m->cut)
			listed(m, &se->records, se->stamp_ns);
		break;
	case SEEN:
		if (!m->cut)
			seen(m, &se->records);
		break;
	case PLAN:
		plan(g, m);
		break;
	case CUT:
	case HEAL:
		m->cut = what == CUT;
		view(g, m, !m->cut);
		break;
	case FIT:
		fit(g, m, se->stamp_ns);
		break;
	case SETTING:
		m->setting = LEASES;
		break;
	case END:
		break;
	}
	judge_vips(g, what == END);
}

static void set_up(struct groups *g)
{
	struct world *w = g->w;

	for (unsigned int i = 0; i < GROUP_NODES; i++) {
		struct member *m = &g->members[i];

		m->id = i;
		m->setting = 1;
		clock_setup(w, &m->clock);
		for (unsigned int lease = 0; lease < LEASES; lease++) {
			/* Each Lease has a node that it prefers, so that they are not always together. */
			struct elect_config cfg = { .duration_ms = 1000,
						    .renew_ms = 250,
						    .delay_ms = i == lease ? 0 : 100,
						    .seed = prng_next(&w->prng) };

			snprintf(cfg.identity, sizeof(cfg.identity), "n%u_b%u_1", i, i);
			elect_init(&m->elect[lease], &cfg);
		}
		later(g, world_between(w, 0, 200) * NS_PER_MS, FIT, i, 0, true);
		later(g, world_between(w, 0, 200) * NS_PER_MS, HEAL, i, 0, 0);
		later(g, world_between(w, 300, 500) * NS_PER_MS, PLAN, i, 0, 0);
		later(g, world_between(w, 5, w->opt.length_ns / NS_PER_S / 2) * NS_PER_S, SETTING, i, 0, 0);
		/* One trouble after the other, a pause between them, and peace in the last quarter. */
		for (int64_t t_ns = (1 + i) * NS_PER_S; t_ns < w->opt.length_ns * 3 / 4; t_ns += 4 * NS_PER_S) {
			bool cut = world_chance(w, 50);
			int64_t end_ns = t_ns + world_between(w, 10, 3500) * NS_PER_MS;

			later(g, t_ns, cut ? CUT : FIT, i, 0, false);
			later(g, end_ns, cut ? HEAL : FIT, i, 0, true);
			t_ns += world_between(w, 0, 2000) * NS_PER_MS;
		}
	}
	later(g, w->opt.length_ns - NS_PER_S, END, 0, 0, 0);
}

void groups_run(struct world *w)
{
	struct groups g = { .w = w, .revision = 1 };
	struct sim_event se;

	set_up(&g);
	while (!w->judge.failed && queue_take(w->queue, &w->now_ns, &se)) {
		if (w->now_ns >= w->opt.length_ns)
			break;
		w->steps++;
		reach(&g, &se);
	}
}
