/* SPDX-License-Identifier: Apache-2.0 */
/* node.c: a machine and its agent.  The process steps the election and carries its actions out; the machine keeps
 * the clock and the gate, which outlive the process.  The watch here is the client's end of it. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/sim/sim.h"

static const struct {
	int64_t duration_ms, renew_ms;
} configs[] = {
	{ 3000, 750 },
	{ 400, 100 },
	{ 1000, 250 },
};

/* --- clocks ------------------------------------------------------------------------------------------------- */

mono_t node_clock(const struct node *n, int64_t t_ns)
{
	return (mono_t){ n->clock_offset_ns + t_ns + t_ns / 1000 * n->rate_ppm / 1000 };
}

/* The first true time at which the node's clock has reached 'local'. */
int64_t node_true_ns(const struct node *n, mono_t local)
{
	int64_t rate = 1000000 + n->rate_ppm, since_ns = local.ns - n->clock_offset_ns;
	int64_t t_ns = since_ns / rate * 1000000 + since_ns % rate * 1000000 / rate - 200;

	while (mono_before(node_clock(n, t_ns), local))
		t_ns++;
	return t_ns;
}

bool node_gate_open(const struct node *n, int64_t t_ns)
{
	return mono_before(node_clock(n, t_ns), n->gate);
}

static int64_t pick_rate_ppm(struct world *w)
{
	int64_t max = w->opt.mutant && w->opt.mutant->skew_ppm ? w->opt.mutant->skew_ppm : w->opt.skew_ppm;

	switch (prng_range(&w->prng, 0, 3)) {
	case 0:
		return max;
	case 1:
		return -max;
	default:
		return prng_range(&w->prng, -max, max);
	}
}

static void pick_config(struct world *w, struct node *n)
{
	unsigned int i = w->mixed ? (unsigned int)prng_range(&w->prng, 0, 2) : (unsigned int)(w->seed / 2 % 2);

	n->cfg.duration_ms = configs[i].duration_ms;
	n->cfg.renew_ms = configs[i].renew_ms;
}

void node_setup(struct world *w, struct node *n)
{
	n->rate_ppm = pick_rate_ppm(w);
	n->clock_offset_ns = prng_range(&w->prng, 1, INT64_C(1) << 50);
	n->wall_offset_ns = prng_range(&w->prng, -3000, 3000) * NS_PER_MS;
	n->gate = (mono_t){ 0 };
	pick_config(w, n);
}

/* --- events and actions ------------------------------------------------------------------------------------- */

/* "n1_b1_00000007": enough to tell nodes and processes apart. */
static const char *tail_of(const char *holder)
{
	return *holder ? holder : "nobody";
}

static void trace_step(struct world *w, struct node *n, const struct elect_event *ev,
		       const struct elect_actions *acts)
{
	static const char *const kinds[] = { "tick",	"seen",	  "absent", "view", "ok",
					     "conflict", "failed", "fit",    "stop" };
	static const char *const acts_names[] = { "CREATE", "UPDATE", "LEAD", "HOLD", "FOLLOW", "GET", "STOPPED" };
	char text[170];
	size_t len;

	if (!world_tracing(w))
		return;
	len = (size_t)snprintf(text, sizeof(text), "%s", kinds[ev->kind]);
	if (ev->kind == ELECT_EV_SEEN)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " v%s %s %" PRId64, ev->version,
					tail_of(ev->record.holder), ev->record.duration_ms);
	else if (ev->kind == ELECT_EV_VIEW || ev->kind == ELECT_EV_FIT)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %d",
					ev->kind == ELECT_EV_VIEW ? ev->fresh : ev->fit);
	else if (ev->kind != ELECT_EV_TICK && ev->kind != ELECT_EV_ABSENT && ev->kind != ELECT_EV_STOP)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " #%u v%s", ev->write_id, ev->version);
	len += (size_t)snprintf(text + len, sizeof(text) - len, " -> %s", elect_state_name(n->elect.state));
	for (unsigned int i = 0; i < acts->n && len < sizeof(text); i++) {
		const struct elect_action *a = &acts->v[i];

		len += (size_t)snprintf(text + len, sizeof(text) - len, " %s", acts_names[a->kind]);
		if (len < sizeof(text) && (a->kind == ELECT_DO_LEAD || a->kind == ELECT_DO_HOLD))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "(%+" PRId64 ")",
						mono_diff_ms(a->deadline, ev->now));
		else if (len < sizeof(text) && (a->kind == ELECT_DO_UPDATE || a->kind == ELECT_DO_CREATE))
			len += (size_t)snprintf(text + len, sizeof(text) - len, "(#%u v%s %s %" PRId64 ")",
						a->write_id, a->version, tail_of(a->record.holder),
						a->record.duration_ms);
	}
	world_trace(w, n, "%s", text);
}

void node_deliver(struct world *w, struct node *n, const struct elect_event *ev, int64_t delay_ns)
{
	struct sim_event *se = world_at(w, w->now_ns + delay_ns, SIM_DELIVER, n->id);

	se->life = n->life;
	se->ev = *ev;
}

static void send_request(struct world *w, struct node *n, const struct elect_action *a)
{
	struct elect_event late = { .kind = ELECT_EV_WRITE_FAILED, .write_id = a->write_id };
	struct sim_event *se;

	judge_request(w, n);
	/* The client gives up by itself, or leaves it to the machine. */
	if (a->kind != ELECT_DO_GET && world_chance(w, 50)) {
		mono_t until = mono_add_ms(node_clock(n, w->now_ns), a->timeout_ms);

		node_deliver(w, n, &late, node_true_ns(n, until) - w->now_ns);
	}
	if (n->cut || (w->server.flaky && world_chance(w, 20)))
		return;
	se = world_at(w, w->now_ns + net_latency_ns(w, n), SIM_ARRIVE, n->id);
	se->life = n->life;
	se->stamp_ns = w->now_ns + n->wall_offset_ns;
	memset(&se->rq, 0, sizeof(se->rq));
	se->rq.get = a->kind == ELECT_DO_GET;
	se->rq.create = a->kind == ELECT_DO_CREATE;
	se->rq.write_id = a->write_id;
	se->rq.record = a->record;
	memcpy(se->rq.version, a->version, sizeof(se->rq.version));
}

static void stopped(struct world *w, struct node *n)
{
	n->running = false;
	world_at(w, w->now_ns + prng_range(&w->prng, 1, 500) * NS_PER_MS, SIM_START, n->id);
}

static void execute(struct world *w, struct node *n, const struct elect_actions *acts)
{
	for (unsigned int i = 0; i < acts->n; i++) {
		const struct elect_action *a = &acts->v[i];

		switch (a->kind) {
		case ELECT_DO_CREATE:
		case ELECT_DO_UPDATE:
		case ELECT_DO_GET:
			send_request(w, n, a);
			break;
		case ELECT_DO_LEAD:
		case ELECT_DO_HOLD:
			n->gate = a->deadline;
			n->gate_life = n->life;
			break;
		case ELECT_DO_FOLLOW:
			n->gate = (mono_t){ 0 };
			n->gate_life = n->life;
			break;
		case ELECT_DO_STOPPED:
			stopped(w, n);
			break;
		}
	}
	judge_step(w, n, acts);
	n->wake_number++;
	if (n->running && !mono_is_never(acts->wake_at)) {
		struct sim_event *se = world_at(w, node_true_ns(n, acts->wake_at), SIM_WAKE, n->id);

		se->life = n->life;
		se->tag = n->wake_number;
	}
}

static void step(struct world *w, struct node *n, struct elect_event *ev)
{
	const struct mutant *m = w->opt.mutant;
	struct elect_actions acts;

	w->steps++;
	ev->now = node_clock(n, w->now_ns);
	if (m)
		n->before = n->elect;
	if (m && m->before)
		m->before(w, n, ev);
	elect_step(&n->elect, ev, &acts);
	if (m && m->after)
		m->after(w, n, ev, &acts);
	trace_step(w, n, ev, &acts);
	if (n->freeze_ns == 0) {
		execute(w, n, &acts);
		return;
	}
	n->frozen = acts;
	n->paused_until_ns = w->now_ns + n->freeze_ns;
	n->freeze_ns = 0;
	world_at(w, n->paused_until_ns, SIM_EXEC, n->id)->life = n->life;
	world_trace(w, n, "stands still in the step");
}

/* --- the process ----------------------------------------------------------------------------------------------- */

void node_start(struct world *w, struct node *n)
{
	struct elect_event fit = { .kind = ELECT_EV_FIT, .fit = true };

	assert(!n->running);
	if (n->down)
		return;
	n->life++;
	n->running = true;
	n->paused_until_ns = n->freeze_ns = 0;
	if (w->mixed && n->life > 1)
		pick_config(w, n);
	n->cfg.seed = prng_next(&w->prng);
	memset(n->cfg.identity, 0, sizeof(n->cfg.identity));
	snprintf(n->cfg.identity, sizeof(n->cfg.identity), "n%u_b%u_%u", n->id, n->id, n->life);
	elect_init(&n->elect, &n->cfg);
	world_trace(w, n, "starts as %s, %" PRId64 "/%" PRId64 " ms", n->cfg.identity, n->cfg.duration_ms,
		    n->cfg.renew_ms);
	n->watch = (struct watch){ .connection = n->watch.connection + 1 };
	node_deliver(w, n, &fit, prng_range(&w->prng, 0, 30) * NS_PER_MS);
	world_at(w, w->now_ns + prng_range(&w->prng, 0, 10) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

void node_kill(struct world *w, struct node *n)
{
	world_trace(w, n, "is killed");
	n->running = false;
	n->watch.connected = false;
}

/* --- the watch, client's end ------------------------------------------------------------------------------------ */

void node_watch_try(struct world *w, struct node *n)
{
	if (n->watch.connected)
		return;
	if (!n->cut && !w->server.down && !(w->server.flaky && world_chance(w, 30))) {
		server_open_watch(w, n);
		return;
	}
	world_at(w, w->now_ns + prng_range(&w->prng, 50, 800) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

void node_watch_break(struct world *w, struct node *n)
{
	struct elect_event ev = { .kind = ELECT_EV_VIEW };

	if (!n->watch.connected)
		return;
	n->watch.connected = false;
	n->watch.connection++;
	node_deliver(w, n, &ev, 0);
	world_at(w, w->now_ns + prng_range(&w->prng, 5, 800) * NS_PER_MS, SIM_WATCH_TRY, n->id)->life = n->life;
}

/* The node will notice within so long that its watch is dead, unless it is alive again by then. */
void node_watch_break_in(struct world *w, struct node *n, int64_t lo_ms, int64_t hi_ms)
{
	struct sim_event *se =
		world_at(w, w->now_ns + prng_range(&w->prng, lo_ms, hi_ms) * NS_PER_MS, SIM_WATCH_BREAK, n->id);

	se->life = n->life;
	se->tag = n->watch.connection;
	se->stamp_ns = (int64_t)(n->cut_epoch + w->server.epoch);
}

static void deliver(struct world *w, struct node *n, struct sim_event *se)
{
	bool record = se->ev.kind == ELECT_EV_SEEN || se->ev.kind == ELECT_EV_ABSENT;
	bool reply = record || se->ev.kind == ELECT_EV_WRITE_OK || se->ev.kind == ELECT_EV_WRITE_CONFLICT;

	/* What a cut swallows of a watch is sent again when it heals (TCP), or lost with the connection. */
	if (se->tag ? se->tag != n->watch.connection || !n->watch.connected || n->cut : reply && n->cut)
		return;
	if (se->tag && record)
		n->watch.delivered = (uint64_t)se->ev.now.ns; /* see push_event() */
	n->stamp_ns = se->stamp_ns;
	step(w, n, &se->ev);
}

void node_dispatch(struct world *w, struct sim_event *se)
{
	struct node *n = &w->nodes[se->node];
	struct elect_event tick = { .kind = ELECT_EV_TICK };

	if (se->kind == SIM_START) {
		if (!n->running)
			node_start(w, n);
		return;
	}
	if (!n->running || se->life != n->life)
		return;
	if (w->now_ns < n->paused_until_ns) {
		*world_at(w, n->paused_until_ns, se->kind, se->node) = *se;
		return;
	}
	if (se->kind == SIM_DELIVER)
		deliver(w, n, se);
	else if (se->kind == SIM_WAKE && se->tag == n->wake_number)
		step(w, n, &tick);
	else if (se->kind == SIM_EXEC)
		execute(w, n, &n->frozen);
	else if (se->kind == SIM_WATCH_TRY)
		node_watch_try(w, n);
	else if (se->kind == SIM_WATCH_BREAK && se->tag == n->watch.connection &&
		 se->stamp_ns == (int64_t)(n->cut_epoch + w->server.epoch) && (n->cut || w->server.down))
		node_watch_break(w, n);
}
