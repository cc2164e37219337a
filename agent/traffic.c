/* SPDX-License-Identifier: Apache-2.0 */
/* traffic.c: a reading each some seconds, and from elements of sets to rows.  How rows are shown is traffic_text.c's. */
#include "agent/traffic.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/base/log.h"
#include "agent/busiest.h"

#define EVERY_MS 10000
#define ABSENT_MS 1000 /* the table is not there yet */
#define SHARE 50 /* of the time */
#define WARN_EVERY_MS 60000
#define ELEMENTS_MAX 131072 /* 6 MiB while they are read: 40,000 VIPs' ports with all their backends */

/* ---- rows ---- */

static int key_cmp(const struct traffic_key *a, const struct traffic_key *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	if (c == 0)
		c = (a->proto > b->proto) - (a->proto < b->proto);
	return c ? c : (a->port > b->port) - (a->port < b->port);
}

/* The elements of one kind. */
struct run {
	const struct nat_count *v;
	size_t n;
};

static struct run run_of(const struct nat_counts *c, enum nat_member_kind kind)
{
	struct run run = { c->v, 0 };

	while (run.v < c->v + c->n && run.v->member.kind < kind)
		run.v++;
	while (run.v + run.n < c->v + c->n && run.v[run.n].member.kind == kind)
		run.n++;
	return run;
}

static struct traffic_key key_of(const struct nat_member *m)
{
	return (struct traffic_key){ m->ip, m->proto, m->port };
}

/* The lower of both; either may be missing. */
static void take_lower(const struct traffic_key *candidate, bool there, struct traffic_key *lowest, bool *any)
{
	if (there && (!*any || key_cmp(candidate, lowest) < 0))
		*lowest = *candidate;
	*any |= there;
}

/* Whether the run's next element has this key; then it is taken. */
static bool take_element(struct run *run, const struct traffic_key *key, struct nat_tick *ret)
{
	struct traffic_key here;

	if (run->n == 0)
		return false;
	here = key_of(&run->v->member);
	if (key_cmp(&here, key) != 0)
		return false;
	*ret = run->v->tick;
	run->v++;
	run->n--;
	return true;
}

/* The lowest key at the heads of all lists; false = all are empty. */
static bool next_key(const struct run *runs, const struct frontend_count *f, size_t n_f, struct traffic_key *ret)
{
	bool any = false;

	for (size_t i = 0; i < 2; i++) {
		struct traffic_key k = { .port = 0 };

		if (runs[i].n > 0)
			k = key_of(&runs[i].v->member);
		take_lower(&k, runs[i].n > 0, ret, &any);
	}
	if (n_f > 0) {
		const struct traffic_key k = { f->vip, f->proto, f->port };

		take_lower(&k, true, ret, &any);
	}
	return any;
}

static void add(struct nat_tick *sum, const struct nat_tick *t)
{
	sum->packets += t->packets;
	sum->bytes += t->bytes;
}

static void reduce_frontends(const struct nat_counts *c, struct traffic_view *v)
{
	struct run runs[2] = { run_of(c, NAT_RECEIVED), run_of(c, NAT_SENT) };
	const struct frontend_count *f = c->frontends;
	size_t n_f = c->n_frontends;
	struct traffic_frontend row = { .connections = 0 };

	for (; next_key(runs, f, n_f, &row.key); row = (struct traffic_frontend){ .connections = 0 }) {
		const struct traffic_key *k = &row.key;

		IGNORE(take_element(&runs[0], k, &row.received)); /* zero without */
		IGNORE(take_element(&runs[1], k, &row.sent));	  /* likewise */
		if (n_f > 0 && ip_eq(&f->vip, &k->ip) && f->proto == k->proto && f->port == k->port) {
			row.connections = f->connections;
			f++;
			n_f--;
		}
		v->sums.connections += row.connections;
		add(&v->sums.received, &row.received);
		add(&v->sums.sent, &row.sent);
		if (v->n_frontends < TRAFFIC_FRONTENDS_MAX)
			v->frontends[v->n_frontends++] = row;
		else
			v->frontends_out++;
	}
}

static void reduce_backends(const struct nat_counts *c, struct traffic_view *v)
{
	struct run runs[2] = { run_of(c, NAT_BACKEND), run_of(c, NAT_OPENED) };
	struct traffic_backend row = { .connections = 0 };

	for (; next_key(runs, NULL, 0, &row.key); row = (struct traffic_backend){ .connections = 0 }) {
		struct nat_tick opened = { 0, 0 };

		IGNORE(take_element(&runs[0], &row.key, &row.received)); /* zero without */
		IGNORE(take_element(&runs[1], &row.key, &opened));	 /* likewise */
		row.connections = opened.packets;
		if (v->n_backends < TRAFFIC_BACKENDS_MAX)
			v->backends[v->n_backends++] = row;
		else
			v->backends_out++;
	}
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

int traffic_reduce(const struct nat_counts *c, size_t max, struct traffic_view *ret)
{
	struct traffic_view v = { .incomplete = max > 0 && (c->n >= max || c->n_frontends >= max) };

	memcpy(v.drops, c->drops, sizeof(v.drops));
	/* Which elements were read depends on the order in the kernel's tables: some of them would be no figures at all. */
	if (max > 0 && !v.incomplete) {
		v.frontends = calloc(at_most(c->n + c->n_frontends, TRAFFIC_FRONTENDS_MAX) + 1, sizeof(*v.frontends));
		v.backends = calloc(at_most(c->n, TRAFFIC_BACKENDS_MAX) + 1, sizeof(*v.backends));
		if (!v.frontends || !v.backends) {
			traffic_view_fini(&v);
			return -ENOMEM;
		}
		reduce_frontends(c, &v);
		reduce_backends(c, &v);
	}
	*ret = v;
	return 0;
}

void traffic_view_fini(struct traffic_view *v)
{
	free(v->frontends);
	free(v->backends);
	*v = (struct traffic_view){ .frontends = NULL };
}

const struct traffic_frontend *traffic_find(const struct traffic_view *v, const struct traffic_key *key)
{
	size_t lo = 0, hi = v->n_frontends;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = key_cmp(&v->frontends[mid].key, key);

		if (c == 0)
			return &v->frontends[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

size_t traffic_backend_lower(const struct traffic_view *v, const struct traffic_key *key)
{
	size_t lo = 0, hi = v->n_backends;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (key_cmp(&v->backends[mid].key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct traffic_backend *traffic_find_backend(const struct traffic_view *v, const struct traffic_key *key)
{
	size_t i = traffic_backend_lower(v, key);

	return i < v->n_backends && key_cmp(&v->backends[i].key, key) == 0 ? &v->backends[i] : NULL;
}

/* ---- the job ---- */

static void traffic_run(struct worker_job *job)
{
	struct traffic_job *j = (struct traffic_job *)job;
	struct nat_counts counts = { .v = NULL };

	j->err = (struct err_info)ERR_INFO_INIT;
	j->result = j->sock ? 0 : nlsock_new(NETLINK_NETFILTER, &j->sock, &j->err);
	if (j->result == 0)
		j->result = j->with_backends ? nat_count_read(j->sock, j->max, &counts, &j->err) :
					       nat_count_read_frontends(j->sock, j->max, &counts, &j->err);
	if (j->result == 0) {
		j->result = traffic_reduce(&counts, j->max, &j->view);
		if (j->result < 0)
			IGNORE(err_errno(&j->err, j->result, "counters")); /* the code is known */
	} else if (j->result != -ENOENT) { /* a late answer would confuse the next question */
		nlsock_free(j->sock);
		j->sock = NULL;
	}
	nat_counts_free(&counts);
}

static uint64_t grown(uint64_t now, uint64_t was)
{
	return now > was ? now - was : 0;
}

/* With a Service its counters go: the sums may fall, the totals do not. */
static void add_growth(struct traffic_sums *total, const struct traffic_sums *now, const struct traffic_sums *was)
{
	total->connections += grown(now->connections, was->connections);
	total->received.packets += grown(now->received.packets, was->received.packets);
	total->received.bytes += grown(now->received.bytes, was->received.bytes);
	total->sent.packets += grown(now->sent.packets, was->sent.packets);
	total->sent.bytes += grown(now->sent.bytes, was->sent.bytes);
}

static void traffic_done(struct worker_job *job)
{
	static struct log_limit limit;
	struct traffic_job *j = (struct traffic_job *)job;
	struct traffic *t = j->t;
	mono_t now = mono_now();
	uint32_t left_out;
	int64_t pause_ms = mono_diff_ms(now, t->begun_at) * SHARE;

	t->busy = false;
	t->look_at = mono_add_ms(now, pause_ms > EVERY_MS ? pause_ms : EVERY_MS);
	if (j->result == -ENOENT) { /* not yet, or somebody removed it: it comes back */
		t->look_at = mono_add_ms(now, ABSENT_MS);
		return;
	}
	if (j->result < 0) {
		t->errors++;
		if (log_limit(&limit, now.ns, WARN_EVERY_MS, &left_out))
			log_event(LOG_WARN, "counters_unreadable", "the traffic counters could not be read; metrics and status show "
				  "the last ones", log_str("error", j->err.text), log_int("left_out", left_out));
		return;
	}
	if (!j->view.incomplete)
		add_growth(&t->total, &j->view.sums, &t->view.sums);
	else
		j->view.sums = t->view.sums;
	if (!j->with_backends && t->counting)
		j->view.backends_out = t->n_backends;
	if (t->read_at.ns > 0 && !j->view.incomplete && !t->view.incomplete)
		busiest_count(&t->busiest, &t->view, &j->view);
	traffic_view_fini(&t->view);
	t->view = j->view;
	j->view = (struct traffic_view){ .frontends = NULL };
	t->read_at = now;
}

bool traffic_due(const struct traffic *t, mono_t now)
{
	return t->on && !t->busy && mono_reached(now, t->look_at);
}

mono_t traffic_step(struct traffic *t, mono_t now, size_t n_backends)
{
	if (!traffic_due(t, now))
		return t->on && !t->busy ? t->look_at : MONO_NEVER;
	t->n_backends = n_backends;
	t->busy = true;
	t->begun_at = now;
	t->job.t = t;
	t->job.max = t->counting ? ELEMENTS_MAX : 0;
	t->job.with_backends = t->counting && n_backends <= TRAFFIC_BACKENDS_READ_MAX;
	t->job.job = (struct worker_job){ .run = traffic_run, .done = traffic_done };
	worker_submit(t->worker, &t->job.job);
	return MONO_NEVER;
}

/* ---- start and end ---- */

static void on_worker(void *ctx, uint32_t events)
{
	struct traffic *t = ctx;

	(void)events;
	worker_dispatch(t->worker);
}

int traffic_init(struct traffic *t, struct loop *loop, bool on, bool counting, struct err_info *err)
{
	int r;

	*t = (struct traffic){ .on = on, .counting = counting, .source = { .fd = -1 } };
	if (!on)
		return 0;
	r = worker_new(&t->worker, err);
	if (r < 0)
		return r;
	t->source = (struct loop_source){ worker_fd(t->worker), on_worker, t };
	return loop_add(loop, &t->source, EPOLLIN, err);
}

void traffic_fini(struct traffic *t)
{
	worker_free(t->worker); /* first: its job uses the socket */
	nlsock_free(t->job.sock);
	traffic_view_fini(&t->job.view);
	traffic_view_fini(&t->view);
	*t = (struct traffic){ .source = { .fd = -1 } };
}
