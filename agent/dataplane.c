/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane.c: who wants what, and what is to be done next.  The doing is dataplane_job.c's, on the worker's thread; what a
 * Service wants is agent/core's. */
#include "agent/dataplane.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/wanted.h"
#include "agent/memory.h"

#define RETRY_MS 1000 /* after a failure; doubles */
#define RETRY_MAX_MS 8000
#define REFUSED_MAX_MS 60000  /* when all but single elements is there */
#define LOST_MAX 5	    /* readings that fail in a row until the data plane counts as gone */
#define DRIFT_EVERY_MS 2000 /* between two looks at everything because of others' changes */
#define VERIFY_SERVICES 256 /* of one job, at most; */
#define VERIFY_SLOTS 20000  /* no further one beyond so many: changes wait meanwhile */

struct dataplane_entry {
	struct nat_service *now;    /* owned unless it is 'kernel' too; NULL = nothing */
	struct nat_service *kernel; /* owned; what the kernel has, or will have after the job under way; NULL = nothing */
	struct nat_service *before; /* owned; what the kernel had before the job under way */
	struct dataplane_entry *next; /* in the queue */
	bool queued;
	bool flying; /* part of the job under way */
	const char *ns, *name; /* in 'key' */
	char key[];
};

/* ---- entries ---- */

static int key_cmp(const struct dataplane_entry *e, const char *ns, const char *name)
{
	int c = strcmp(e->ns, ns);

	return c ? c : strcmp(e->name, name);
}

/* First index that is not before (ns, name). */
static size_t entry_lower(const struct dataplane *d, const char *ns, const char *name)
{
	size_t lo = 0, hi = d->n_entries;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (key_cmp(d->entries[mid], ns, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct dataplane_entry *entry_find(const struct dataplane *d, const char *ns, const char *name)
{
	size_t i = entry_lower(d, ns, name);

	return i < d->n_entries && key_cmp(d->entries[i], ns, name) == 0 ? d->entries[i] : NULL;
}

static struct dataplane_entry *entry_need(struct dataplane *d, const char *ns, const char *name)
{
	size_t i = entry_lower(d, ns, name), cap = d->cap_entries ? d->cap_entries * 2 : 64;
	size_t ns_len = strlen(ns) + 1, name_len = strlen(name) + 1;
	struct dataplane_entry *e = entry_find(d, ns, name), **more;

	if (e)
		return e;
	if (d->n_entries == d->cap_entries) {
		more = reallocarray(d->entries, cap, sizeof(*more));
		if (!more)
			return NULL;
		d->entries = more;
		d->cap_entries = cap;
	}
	e = calloc(1, sizeof(*e) + ns_len + name_len);
	if (!e)
		return NULL;
	e->ns = memcpy(e->key, ns, ns_len);
	e->name = memcpy(e->key + ns_len, name, name_len);
	memmove(&d->entries[i + 1], &d->entries[i], (d->n_entries - i) * sizeof(*d->entries));
	d->entries[i] = e;
	d->audit_at += i < d->audit_at || d->audit_at == d->n_entries; /* the new one is written whole */
	d->n_entries++;
	return e;
}

static void entry_free(struct dataplane_entry *e)
{
	if (e->now != e->kernel)
		free(e->now);
	free(e->kernel);
	free(e->before);
	free(e);
}

/* Forgets entries that neither the kernel has nor anybody wants. */
static void entries_settle(struct dataplane *d)
{
	size_t n = 0, audit_at = d->audit_at;

	for (size_t i = 0; i < d->n_entries; i++) {
		struct dataplane_entry *e = d->entries[i];

		if (!e->now && !e->kernel && !e->before && !e->queued) {
			audit_at -= i < d->audit_at;
			entry_free(e);
		} else {
			d->entries[n++] = e;
		}
	}
	d->n_entries = n;
	d->audit_at = audit_at;
}

static void enqueue(struct dataplane *d, struct dataplane_entry *e)
{
	if (e->queued)
		return;
	e->queued = true;
	e->next = d->queue;
	d->queue = e;
	d->n_queued++;
}

static void want(struct dataplane *d, struct dataplane_entry *e, struct nat_service *now)
{
	if (e->now != e->kernel)
		free(e->now);
	e->now = now;
	d->n_changes++;
	enqueue(d, e);
}

int dataplane_put(struct dataplane *d, const char *ns, const char *name, const struct nat_service *s)
{
	struct dataplane_entry *e;
	void *mem;

	if (!d->on)
		return 0;
	e = entry_need(d, ns, name);
	if (!e)
		return -ENOMEM;
	if (e->now && wanted_eq(e->now, s))
		return 0;
	mem = malloc(wanted_size(s));
	if (!mem)
		return -ENOMEM;
	want(d, e, wanted_copy(s, mem));
	return 0;
}

void dataplane_remove(struct dataplane *d, const char *ns, const char *name)
{
	struct dataplane_entry *e = entry_find(d, ns, name);

	if (e && e->now)
		want(d, e, NULL);
}

void dataplane_sweep(struct dataplane *d, bool (*keep)(void *ctx, const char *ns, const char *name), void *ctx)
{
	for (size_t i = 0; i < d->n_entries; i++)
		if (d->entries[i]->now && !keep(ctx, d->entries[i]->ns, d->entries[i]->name))
			want(d, d->entries[i], NULL);
}

const struct nat_service *dataplane_wanted(const struct dataplane *d, const char *ns, const char *name)
{
	const struct dataplane_entry *e = entry_find(d, ns, name);

	return e ? e->now : NULL;
}

void dataplane_dead(struct dataplane *d, const struct ct_gone *gone, size_t n)
{
	for (size_t i = 0; d->on && i < n; i++) {
		if (d->n_dead == DATAPLANE_DEAD_MAX)
			memmove(d->dead, d->dead + 1, --d->n_dead * sizeof(*d->dead));
		d->dead[d->n_dead++] = gone[i];
	}
}

void dataplane_wait(struct dataplane *d, mono_t until)
{
	if (mono_is_never(d->wait_until)) /* passes that begin anew again and again do not put it off */
		d->wait_until = until;
}

void dataplane_complete(struct dataplane *d)
{
	d->complete = true;
	d->wait_until = MONO_NEVER;
}

bool dataplane_settled(const struct dataplane *d, const char *ns, const char *name)
{
	const struct dataplane_entry *e = entry_find(d, ns, name);

	return !d->on || (d->ready && e && e->now && e->now == e->kernel && !e->flying);
}

uint64_t dataplane_changes(const struct dataplane *d)
{
	return d->n_changes;
}

bool dataplane_has(const struct dataplane *d, uint64_t n)
{
	return !d->on || (d->ready && d->in_kernel >= n);
}

/* ---- what the kernel has ---- */

/* Counts the VIPs of a Service in or out; members stand in the order of their kinds, VIPs first. */
static int hold(struct dataplane *d, const struct nat_service *s, bool more)
{
	struct tally larger;
	size_t cap = d->held.cap ? d->held.cap * 2 : 64;
	void *mem;

	for (size_t i = 0; s && i < s->n_members && s->members[i].kind == NAT_VIP; i++) {
		if (!more) {
			if (tally_count(&d->held, &s->members[i]) > 0)
				tally_sub(&d->held, &s->members[i]);
			continue;
		}
		if (!d->held.cap || !tally_room(&d->held, 1)) {
			mem = calloc(cap, sizeof(struct tally_entry));
			if (!mem)
				return -ENOMEM;
			tally_init(&larger, mem, cap);
			if (d->held.cap)
				tally_move(&larger, &d->held);
			free(d->held.v);
			d->held = larger;
		}
		tally_add(&d->held, &s->members[i]);
	}
	return 0;
}

bool dataplane_holds(const struct dataplane *d, const struct ip *vip)
{
	const struct nat_member m = { .kind = NAT_VIP, .ip = *vip };

	return !d->on || (d->ready && d->held.cap && tally_count(&d->held, &m) > 0);
}

bool dataplane_as_wanted(const struct dataplane *d)
{
	const bool changing = d->busy && d->job.task != DATAPLANE_VERIFY;

	return !d->on || (d->ready && d->complete && !changing && d->n_queued == 0 && d->failures == 0);
}

void dataplane_reread(struct dataplane *d)
{
	d->ready = false;
	d->stale = true;
}

void dataplane_options(struct dataplane *d, const struct nat_options *options)
{
	if (memcmp(&d->options, options, sizeof(*options)) == 0)
		return;
	d->options = *options;
	dataplane_reread(d);
}

/* ---- jobs ---- */

static bool flight_room(struct dataplane *d, size_t n)
{
	struct dataplane_entry **flight;
	struct diff_pair *pairs;

	if (n > d->cap_flight) {
		flight = reallocarray(d->flight, n, sizeof(*flight));
		if (!flight)
			return false;
		d->flight = flight;
		d->cap_flight = n;
	}
	if (n > d->job.cap_pairs) {
		pairs = reallocarray(d->job.pairs, n, sizeof(*pairs));
		if (!pairs)
			return false;
		d->job.pairs = pairs;
		d->job.cap_pairs = n;
	}
	d->n_flight = d->job.n_pairs = d->job.n_dead = 0;
	return true;
}

static void board(struct dataplane *d, struct dataplane_entry *e, const struct nat_service *old)
{
	d->flight[d->n_flight++] = e;
	e->flying = old != e->now; /* else it is looked at only */
	d->job.pairs[d->job.n_pairs++] = (struct diff_pair){ .old = old, .now = e->now };
}

static void dequeue_all(struct dataplane *d)
{
	while (d->queue) {
		d->queue->queued = false;
		d->queue = d->queue->next;
	}
	d->n_queued = 0;
	d->in_flight = d->n_changes;
}

static void board_queue(struct dataplane *d)
{
	for (struct dataplane_entry *e = d->queue; e; e = e->next) {
		if (e->now == e->kernel)
			continue;
		board(d, e, e->kernel);
		e->before = e->kernel;
		e->kernel = e->now;
	}
	dequeue_all(d);
	memcpy(d->job.dead, d->dead, d->n_dead * sizeof(*d->dead));
	d->job.n_dead = d->n_dead;
	d->n_dead = 0;
	d->job.task = DATAPLANE_CHANGE;
}

/* Whatever the kernel has, it is to have this. */
static void board_all(struct dataplane *d)
{
	dequeue_all(d);
	for (size_t i = 0; i < d->n_entries; i++) {
		struct dataplane_entry *e = d->entries[i];

		if (e->kernel != e->now) {
			e->before = e->kernel;
			e->kernel = e->now;
		}
		if (e->now || e->before) /* of what it had, connections may be left */
			board(d, e, e->before);
	}
	d->job.task = DATAPLANE_READ;
	d->job.options = d->options;
	d->stale = d->drifted = false; /* what comes from here on may come too late for this reading */
}

static void board_some(struct dataplane *d)
{
	size_t end = d->audit_at + VERIFY_SERVICES, slots = 0;

	for (; d->audit_at < d->n_entries && d->audit_at < end && slots < VERIFY_SLOTS; d->audit_at++) {
		struct dataplane_entry *e = d->entries[d->audit_at];

		if (!e->now || e->queued)
			continue;
		board(d, e, e->now);
		for (size_t i = 0; i < e->now->n_frontends; i++)
			slots += e->now->frontends[i].n_slots;
	}
	d->job.task = DATAPLANE_VERIFY;
}

static mono_t retry_time(unsigned int tries, int64_t max_ms)
{
	int64_t ms = (int64_t)RETRY_MS << (tries < 6 ? tries : 6);

	return mono_add_ms(mono_now(), ms < max_ms ? ms : max_ms);
}

static void unwatch(struct dataplane *d)
{
	if (!d->watch)
		return;
	loop_remove(d->loop, &d->watch_source);
	nat_watch_free(d->watch);
	d->watch = NULL;
}

static void note_failure(struct dataplane *d)
{
	static struct log_limit limit;
	uint32_t left_out;

	d->errors++;
	if (!text_eq(d->problem, d->job.err.text) && log_limit(&limit, mono_now().ns, 1000, &left_out)) /* until it changes */
		log_event(LOG_ERROR, "kernel_refused", "the nftables table could not be brought up to date",
			  log_str("error", d->job.err.text), log_int("left_out", left_out));
	IGNORE(text_copy(d->problem, sizeof(d->problem), d->job.err.text)); /* same size */
	if (d->job.partly) {
		d->reread_at = retry_time(d->failures++, REFUSED_MAX_MS);
		return;
	}
	/* What was applied of it is not known: read what is there, plan anew. */
	d->reread_at = MONO_NEVER;
	unwatch(d);
	nat_if_free(d->job.kernel);
	d->job.kernel = NULL;
	if (d->job.task == DATAPLANE_READ && ++d->lost >= LOST_MAX)
		d->up = false;
	d->ready = false;
	d->retry_at = retry_time(d->failures++, RETRY_MAX_MS);
}

/* What is known of the VIPs after a reading: what the Services have, no more and no less. */
static int hold_all(struct dataplane *d)
{
	int r = 0;

	if (d->held.cap)
		tally_init(&d->held, d->held.v, d->held.cap);
	for (size_t i = 0; r == 0 && i < d->n_entries; i++)
		r = hold(d, d->entries[i]->kernel, true);
	return r;
}

/* All of it, or all but what was refused. */
static int note_done(struct dataplane *d)
{
	int r = 0;

	d->in_kernel = d->in_flight;
	switch (d->job.task) {
	case DATAPLANE_READ:
		if (!d->job.partly) {
			d->failures = 0;
			d->problem[0] = '\0';
			d->reread_at = MONO_NEVER;
		}
		d->lost = 0;
		d->up = true;
		d->ready = !d->stale;
		d->audit_at = 0;
		if (d->mending && d->job.done > 0)
			d->mended++;
		d->mending = false;
		r = hold_all(d);
		break;
	case DATAPLANE_CHANGE:
		for (size_t i = 0; r == 0 && i < d->n_flight; i++) {
			r = hold(d, d->job.pairs[i].now, true);
			if (r == 0)
				r = hold(d, d->job.pairs[i].old, false);
		}
		break;
	case DATAPLANE_VERIFY:
		if (d->job.bad > 0) {
			d->mended++;
			log_event(LOG_WARN, "slots_mended", "somebody had changed slots of ours; they are as wanted again",
				  log_int("frontends", (int64_t)d->job.bad));
		}
		break;
	}
	return r;
}

static void job_done(struct worker_job *job)
{
	struct dataplane *d = ((struct dataplane_job *)job)->owner;

	d->busy = false;
	d->elements += d->job.done;
	d->job_ms = d->job.ms;
	if (d->job.result < 0)
		note_failure(d);
	if ((d->job.result == 0 || d->job.partly) && note_done(d) < 0)
		d->ready = false; /* no memory for the list of VIPs: everything again */
	if (*d->job.flush_problem)
		log_event(LOG_WARN, "conntrack_not_flushed", "flows of backends that have gone are still remembered here",
			  log_str("error", d->job.flush_problem));
	for (size_t i = 0; i < d->n_flight; i++) {
		free(d->flight[i]->before);
		d->flight[i]->before = NULL;
		d->flight[i]->flying = false;
	}
	d->n_flight = 0;
	entries_settle(d);
	d->changed(d->ctx);
}

/* ---- others' changes ---- */

static void on_watch(void *ctx, uint32_t events)
{
	static struct log_limit limit;
	struct dataplane *d = ctx;
	struct err_info err = ERR_INFO_INIT;
	bool changed = false;
	uint32_t left_out;

	(void)events;
	if (!d->watch) /* a job that failed has closed it, in this very round of the loop */
		return;
	if (nat_watch_dispatch(d->watch, &changed, &err) < 0)
		changed = true;
	if (!changed)
		return;
	d->drifted = true;
	if (log_limit(&limit, mono_now().ns, 60000, &left_out))
		log_event(LOG_WARN, "table_changed", "somebody changed table inet leasehold; it is put right",
			  log_int("left_out", left_out));
}

/* Opens what jobs need, on the loop's thread: before the table is read, so that no change goes unheard. */
static int open_kernel(struct dataplane *d)
{
	struct err_info err = ERR_INFO_INIT;
	uint32_t port;
	int r = d->job.kernel ? 0 : nat_if_new(&d->job.kernel, &err);

	if (r < 0 || d->watch)
		return r;
	port = nat_if_port(d->job.kernel);
	if (nat_watch_new(&port, 1, &d->watch, &err) < 0)
		return 0; /* the looks once a second must do */
	d->watch_source = (struct loop_source){ nat_watch_fd(d->watch), on_watch, d };
	if (loop_add(d->loop, &d->watch_source, EPOLLIN, &err) < 0) {
		nat_watch_free(d->watch);
		d->watch = NULL;
	}
	return 0;
}

/* ---- what is next ---- */

static void submit(struct dataplane *d)
{
	d->busy = true;
	d->job.owner = d;
	d->job.job = (struct worker_job){ .run = dataplane_job_run, .done = job_done };
	worker_submit(d->worker, &d->job.job);
}

mono_t dataplane_sync(struct dataplane *d, mono_t now)
{
	if (!d->on || d->busy || !d->complete)
		return MONO_NEVER;
	if (mono_before(now, d->retry_at))
		return d->retry_at;
	if (!mono_is_never(d->wait_until) && mono_before(now, d->wait_until))
		return d->wait_until;
	if (mono_reached(now, d->reread_at))
		d->ready = false;
	if (d->drifted && mono_reached(now, d->drift_at)) {
		d->ready = false;
		d->mending = true;
		d->drift_at = mono_add_ms(now, DRIFT_EVERY_MS);
	}
	if (d->ready && d->n_queued + d->n_dead == 0 && d->audit_at == d->n_entries)
		return mono_min(d->reread_at, d->drifted ? d->drift_at : MONO_NEVER);
	if (open_kernel(d) < 0 || !flight_room(d, d->n_entries + 1)) {
		d->retry_at = mono_add_ms(now, RETRY_MS);
		return d->retry_at;
	}
	if (!d->ready)
		board_all(d);
	else if (d->n_queued + d->n_dead > 0)
		board_queue(d);
	else
		board_some(d);
	if (d->ready && d->n_flight + d->job.n_dead == 0) { /* changed and changed back */
		d->in_kernel = d->in_flight;
		return now;
	}
	submit(d);
	return MONO_NEVER; /* its end wakes the loop */
}

void dataplane_give_back(struct dataplane *d)
{
	if (!d->busy)
		arena_give_back(&d->job.arena);
}

/* ---- start and end ---- */

void dataplane_init(struct dataplane *d, struct worker *worker, struct loop *loop, void (*changed)(void *ctx), void *ctx)
{
	*d = (struct dataplane){ .worker = worker, .loop = loop, .on = true, .changed = changed, .ctx = ctx,
				  .reread_at = MONO_NEVER, .wait_until = MONO_NEVER };
}

void dataplane_fini(struct dataplane *d)
{
	unwatch(d);
	for (size_t i = 0; i < d->n_entries; i++)
		entry_free(d->entries[i]);
	free(d->entries);
	free(d->flight);
	free(d->held.v);
	dataplane_job_fini(&d->job);
	*d = (struct dataplane){ .on = false };
}
