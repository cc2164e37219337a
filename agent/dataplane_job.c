/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane_job.c: runs on the worker's thread.  What to do is agent/core's decision (diff), how is netlink's. */
#include "agent/dataplane_job.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "agent/memory.h"

#define TALLY_FIRST 256

/* ---- memory ---- */

static int tally_fit(struct tally *t, size_t more)
{
	struct tally larger;
	size_t cap = t->cap ? t->cap : TALLY_FIRST;
	void *mem;

	if (t->cap && tally_room(t, more))
		return 0;
	while (cap / 4 * 3 < t->n + more)
		cap *= 2;
	if (cap == t->cap)
		cap *= 2;
	mem = calloc(cap, sizeof(struct tally_entry));
	if (!mem)
		return -ENOMEM;
	tally_init(&larger, mem, cap);
	if (t->cap)
		tally_move(&larger, t);
	free(t->v);
	*t = larger;
	return 0;
}

static size_t members_of_all(const struct dataplane_job *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n_pairs; i++)
		n += j->pairs[i].now ? j->pairs[i].now->n_members : 0;
	return n;
}

/* ---- connections of backends that have gone ---- */

static int backend_order(const void *a, const void *b)
{
	return ip_port_cmp(a, b);
}

static bool has_backend(const struct frontend *f, const struct ip_port *b)
{
	return f && bsearch(b, f->backends, f->n_backends, sizeof(*b), backend_order);
}

/* One that terminates has its guard still: its flows end by themselves. */
static bool has_guard(const struct nat_service *s, uint8_t proto, const struct ip_port *b)
{
	const struct nat_member guard = { .kind = NAT_GUARD, .ip = b->ip, .proto = proto, .port = b->port };
	size_t lo = 0, hi = s ? s->n_members : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = nat_member_cmp(&s->members[mid], &guard);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

static const struct frontend *frontend_of(const struct nat_service *s, const struct frontend *key)
{
	for (size_t i = 0; s && i < s->n_frontends; i++)
		if (frontend_cmp(&s->frontends[i], key) == 0)
			return &s->frontends[i];
	return NULL;
}

/* UDP has no end of a connection: a flow would go to where its backend was for as long as the client sends. */
static size_t find_gone(const struct dataplane_job *j, size_t skip, struct ct_gone *gone, size_t max)
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < j->n_pairs; i++) {
		const struct nat_service *old = j->pairs[i].old, *now = j->pairs[i].now;

		for (size_t k = 0; old && k < old->n_frontends; k++) {
			const struct frontend *f = &old->frontends[k], *g = frontend_of(now, f);

			for (size_t m = 0; f->proto == IPPROTO_UDP && m < f->n_backends && n < max; m++)
				if (!has_backend(g, &f->backends[m]) && !has_guard(now, f->proto, &f->backends[m]) && at++ >= skip)
					gone[n++] = (struct ct_gone){ .vip = f->vip, .backend = f->backends[m], .proto = f->proto,
								      .port = f->port };
		}
	}
	return n;
}

/* Without success the flows go on as they did; no reason to call the table bad. */
static void flush_gone(struct dataplane_job *j)
{
	AUTO(freep) struct ct_gone *gone = malloc(CT_GONE_MAX * sizeof(*gone));
	struct err_info err = ERR_INFO_INIT;
	size_t n = j->n_dead, skip = 0, flushed = 0;
	int r = gone ? 0 : -ENOMEM;

	if (r == 0)
		memcpy(gone, j->dead, n * sizeof(*gone));
	if (r == 0 && n > 0)
		r = ct_if_flush_gone(gone, n, &j->flushed, &err);
	for (n = CT_GONE_MAX; r == 0 && n == CT_GONE_MAX; skip += n) {
		n = find_gone(j, skip, gone, CT_GONE_MAX);
		if (n > 0)
			r = ct_if_flush_gone(gone, n, &flushed, &err);
		j->flushed += flushed;
	}
	if (*err.text)
		IGNORE(text_copy(j->flush_problem, sizeof(j->flush_problem), err.text)); /* same size */
}

/* ---- tasks ---- */

static int apply(struct dataplane_job *j, const struct nat_plan *plan)
{
	size_t done = 0;
	int r;

	if (nat_plan_empty(plan))
		return 0;
	r = nat_if_apply(j->kernel, plan, &done, &j->err);
	j->done += done;
	/* nat_if.h: the first three concern all; the others are of the socket, and nobody knows what was done. */
	j->partly = r < 0 && r != -EPERM && r != -ETIMEDOUT && r != -ENOMEM && r != -ENOBUFS && r != -EAGAIN && r != -EINTR &&
		    r != -ENOENT && r != -ECANCELED;
	return r;
}

static int change(struct dataplane_job *j)
{
	struct nat_plan plan;
	int r = tally_fit(&j->tally, members_of_all(j));

	while (r == 0) {
		arena_reset(&j->arena);
		r = j->arena.size ? diff_services(j->pairs, j->n_pairs, &j->tally, &j->arena, &plan) : -ENOSPC;
		if (r != -ENOSPC)
			break;
		r = arena_grow(&j->arena);
	}
	if (r < 0)
		return err_errno(&j->err, r, "the data plane's plan");
	r = apply(j, &plan);
	if (r == 0)
		r = nat_if_forget_clients(j->kernel, &plan, &j->err);
	flush_gone(j);
	return r;
}

static int count_all(struct dataplane_job *j)
{
	int r;

	if (j->tally.cap)
		tally_init(&j->tally, j->tally.v, j->tally.cap);
	r = tally_fit(&j->tally, members_of_all(j));
	for (size_t i = 0; r == 0 && i < j->n_pairs; i++)
		for (size_t k = 0; j->pairs[i].now && k < j->pairs[i].now->n_members; k++)
			tally_add(&j->tally, &j->pairs[i].now->members[k]);
	return r;
}

static int make_alike(struct dataplane_job *j, const struct nat_read *read)
{
	AUTO(freep) const struct nat_service **all = calloc(j->n_pairs + 1, sizeof(*all));
	struct nat_plan plan;
	size_t n = 0;
	int r = all ? count_all(j) : -ENOMEM;

	for (size_t i = 0; r == 0 && i < j->n_pairs; i++)
		if (j->pairs[i].now)
			all[n++] = j->pairs[i].now;
	while (r == 0) {
		arena_reset(&j->arena);
		r = j->arena.size ? diff_read(all, n, &j->tally, read, &j->arena, &plan) : -ENOSPC;
		if (r != -ENOSPC)
			break;
		r = arena_grow(&j->arena);
	}
	if (r < 0)
		return err_errno(&j->err, r, "the data plane's plan");
	r = apply(j, &plan);
	if (r == 0)
		r = nat_if_forget_clients(j->kernel, &plan, &j->err);
	flush_gone(j);
	return r;
}

static int read_again(struct dataplane_job *j)
{
	struct nat_read read = { 0 };
	int r = nat_if_ensure(j->kernel, &j->options, &j->err);

	if (r == 0)
		r = nat_if_read(j->kernel, &read, &j->err);
	if (r == 0)
		r = make_alike(j, &read);
	nat_read_free(&read);
	return r;
}

/* Frontends whose slots are not as believed are written anew, as if nothing were known of them. */
static int rewrite(struct dataplane_job *j, const struct frontend *const *v, const bool *good, size_t n)
{
	AUTO(freep) struct nat_change *changes = calloc(n + 1, sizeof(*changes));
	AUTO(freep) struct frontend *unknown = calloc(n + 1, sizeof(*unknown));
	struct nat_plan plan = { .changes = changes };

	if (!changes || !unknown)
		return err_set(&j->err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		if (good[i])
			continue;
		unknown[i] = *v[i];
		unknown[i].backends = NULL;
		unknown[i].slots = NULL;
		unknown[i].n_backends = 0;
		changes[plan.n_changes++] = (struct nat_change){ .old = &unknown[i], .now = v[i] };
	}
	j->bad = plan.n_changes;
	return apply(j, &plan);
}

static int verify(struct dataplane_job *j)
{
	AUTO(freep) const struct frontend **v = NULL;
	AUTO(freep) bool *good = NULL;
	size_t n = 0;
	int r;

	for (size_t i = 0; i < j->n_pairs; i++)
		n += j->pairs[i].now->n_frontends;
	v = calloc(n + 1, sizeof(*v));
	good = calloc(n + 1, sizeof(*good));
	if (!v || !good)
		return err_set(&j->err, -ENOMEM, "out of memory");
	n = 0;
	for (size_t i = 0; i < j->n_pairs; i++)
		for (size_t k = 0; k < j->pairs[i].now->n_frontends; k++)
			v[n++] = &j->pairs[i].now->frontends[k];
	r = nat_if_verify(j->kernel, v, n, good, &j->err);
	return r == 0 ? rewrite(j, v, good, n) : r;
}

void dataplane_job_run(struct worker_job *job)
{
	struct dataplane_job *j = (struct dataplane_job *)job;
	mono_t began = mono_now();

	j->result = 0;
	j->partly = false;
	j->done = j->flushed = j->bad = 0;
	j->err = (struct err_info)ERR_INFO_INIT;
	j->flush_problem[0] = '\0';
	if (!j->kernel)
		j->result = nat_if_new(&j->kernel, &j->err);
	if (j->result == 0) {
		switch (j->task) {
		case DATAPLANE_CHANGE:
			j->result = change(j);
			break;
		case DATAPLANE_READ:
			j->result = read_again(j);
			break;
		case DATAPLANE_VERIFY:
			j->result = verify(j);
			break;
		}
	}
	j->ms = mono_diff_ms(mono_now(), began);
}

void dataplane_job_fini(struct dataplane_job *j)
{
	nat_if_free(j->kernel);
	free(j->pairs);
	free(j->tally.v);
	free(j->arena.base);
	memset(j, 0, sizeof(*j));
}
