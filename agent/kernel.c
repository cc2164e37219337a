/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c: plans to jobs, outcomes to observed state.  What to want is decided elsewhere, and the table of nftables is
 * dataplane.c's. */
#include "agent/kernel.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/lifetime.h"
#include "netlink/addr_if.h"
#include "netlink/ct_if.h"

#define RETRY_MS 1000	  /* after a failure; doubles */
#define RETRY_MAX_MS 8000
#define RETRY_DEL_MS 250  /* an address that must go: no doubling */
#define REFUSAL_KEPT_MS 60000 /* after its retry was due: nobody wants it any more */

static void note_problem(struct kernel *k, const char *what, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	k->netlink_errors++;
	if (!text_eq(k->problem, err->text) && log_limit(&limit, mono_now().ns, 1000, &left_out)) /* once, until it changes */
		log_event(LOG_ERROR, "kernel_refused", what, log_str("error", err->text), log_int("left_out", left_out));
	IGNORE(text_copy(k->problem, sizeof(k->problem), err->text)); /* same size */
}

static mono_t retry_time(unsigned int tries)
{
	int64_t ms = (int64_t)RETRY_MS << (tries < 3 ? tries : 3);

	return mono_add_ms(mono_now(), ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS);
}

/* ---- addresses ---- */

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

/* Connections of VIPs that have left end here: when a VIP comes back, what conntrack remembers would be wrong. */
static void addr_flush(struct addr_job *j, struct ip *vips, size_t n)
{
	size_t flushed = 0;

	if (n == 0 || !j->with_nat)
		return; /* 'vips' may be NULL, which qsort() may not be given */
	qsort(vips, n, sizeof(*vips), ip_order);
	if (ct_if_flush(vips, n, &flushed, &j->flush_err) == 0)
		j->flushed += flushed;
}

static size_t addr_gone(struct addr_job *j)
{
	size_t n = 0;

	for (size_t i = 0; i < j->n_ops; i++)
		if (j->ops[i].kind == ADDR_OP_DEL && j->ops[i].result == 0 && !j->ops[i].stays)
			j->gone[n++] = j->ops[i].addr.ip;
	return n;
}

/* Of ops[0..n) those that need no look, in one exchange.  Their results, and the error of the first that failed. */
static int change_several(struct addr_job *j, struct addr_op *ops, size_t n, struct err_info *err)
{
	static const enum addr_if_verb verbs[] = {
		[ADDR_OP_DEL] = ADDR_IF_DROP, [ADDR_OP_ADD] = ADDR_IF_ADD, [ADDR_OP_REFRESH] = ADDR_IF_REFRESH,
	};
	struct addr_if_change c[ADDR_IF_CHANGES_MAX];
	struct addr_op *of[ADDR_IF_CHANGES_MAX];
	size_t n_c = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (ops[i].kind == ADDR_OP_ADD && ops[i].seen) {
			ops[i].result = -EEXIST;
			continue;
		}
		of[n_c] = &ops[i];
		c[n_c++] = (struct addr_if_change){ verbs[ops[i].kind], ops[i].addr.ifindex, ops[i].addr.ip, 0 };
	}
	if (n_c == 0)
		return 0;
	r = addr_if_change(j->sock, c, n_c, j->valid_s, err);
	for (size_t i = 0; i < n_c; i++)
		of[i]->result = c[i].result;
	return r;
}

/* Whether somebody else has put it there must be looked for where an address of the kind was seen, or has turned up.
 * down: why that is not tried any more, 0 = it is. */
static int put_seen(struct addr_job *j, struct addr_op *op, int down, struct err_info *err)
{
	if (op->kind == ADDR_OP_ADD && op->result == -EEXIST)
		op->result = down < 0 ? down : addr_if_put(j->sock, op->addr.ifindex, &op->addr.ip, j->valid_s, err);
	return op->result;
}

/* Takes down the first that failed. */
static void note_failed(struct addr_job *j, const struct addr_op *op, const struct err_info *err)
{
	if (j->failed.family != IP_NONE)
		return;
	j->failed = op->addr.ip;
	j->err = *err;
}

/* The next n operations; down: why none is tried any more, 0 = they are.  Returns that for the next. */
static int addr_run_some(struct addr_job *j, struct addr_op *ops, size_t n, int down)
{
	struct err_info several = ERR_INFO_INIT;
	int r = down;

	if (down == 0)
		IGNORE(change_several(j, ops, n, &several)); /* the operations have it */
	for (size_t i = 0; i < n; i++) {
		struct err_info err = several;

		if (down < 0)
			ops[i].result = down;
		else if (put_seen(j, &ops[i], r, &err) < 0)
			note_failed(j, &ops[i], &err);
		if (ops[i].result == -ETIMEDOUT)
			r = ops[i].result; /* the others would wait as long, each */
	}
	return r;
}

static void addr_run(struct worker_job *job)
{
	struct addr_job *j = (struct addr_job *)job;
	int r = 0;

	j->err = j->flush_err = (struct err_info)ERR_INFO_INIT;
	j->flushed = 0;
	addr_flush(j, j->stale, j->n_stale); /* before an address comes back */
	if (!j->sock)
		r = nlsock_new(NETLINK_ROUTE, &j->sock, &j->err);
	if (r < 0 && j->n_ops > 0)
		j->failed = j->ops[0].addr.ip;
	for (size_t i = 0, n; i < j->n_ops; i += n) {
		n = j->n_ops - i < ADDR_IF_CHANGES_MAX ? j->n_ops - i : ADDR_IF_CHANGES_MAX;
		r = addr_run_some(j, &j->ops[i], n, r);
	}
	j->n_gone = addr_gone(j);
	addr_flush(j, j->gone, j->n_gone);
}

static struct addr_refusal *refusal_of(const struct kernel *k, const struct kernel_addr *a, bool del)
{
	for (size_t i = 0; i < k->n_refusals; i++) {
		struct addr_refusal *f = &k->refusals[i];

		if (f->del == del && f->addr.ifindex == a->ifindex && ip_eq(&f->addr.ip, &a->ip))
			return f;
	}
	return NULL;
}

int kernel_refuses_addr(const struct kernel *k, const struct kernel_addr *a)
{
	const struct addr_refusal *f = refusal_of(k, a, false);

	return f ? f->error : 0;
}

/* Takes down how one operation went. */
static void note_outcome(struct kernel *k, const struct addr_op *op)
{
	bool del = op->kind == ADDR_OP_DEL;
	struct addr_refusal *f = refusal_of(k, &op->addr, del), *more;

	if (op->kind == ADDR_OP_REFRESH) {
		if (op->result < 0) /* soon again: half of its lifetime is over */
			k->addr_refresh_at = mono_min(k->addr_refresh_at, mono_add_ms(mono_now(), RETRY_MS));
		return;
	}
	if (op->result == 0) {
		if (f)
			*f = k->refusals[--k->n_refusals];
		return;
	}
	if (!f) {
		more = reallocarray(k->refusals, k->n_refusals + 1, sizeof(*more));
		if (!more)
			return; /* tried again without a pause */
		k->refusals = more;
		f = &more[k->n_refusals++];
		*f = (struct addr_refusal){ .addr = op->addr, .del = del };
	}
	f->error = op->result;
	f->retry_at = del ? mono_add_ms(mono_now(), RETRY_DEL_MS) : retry_time(f->tries++);
}

static void addr_done(struct worker_job *job)
{
	struct addr_job *j = (struct addr_job *)job;
	struct kernel *k = j->k;
	mono_t long_ago = mono_add_ms(mono_now(), -REFUSAL_KEPT_MS);
	bool more = false;

	k->addr_busy = false;
	for (size_t i = 0; i < j->n_ops; i++) {
		k->addr_ops_applied += j->ops[i].result == 0;
		more |= j->ops[i].kind != ADDR_OP_REFRESH || j->ops[i].result < 0;
		note_outcome(k, &j->ops[i]);
	}
	for (size_t i = k->n_refusals; i-- > 0;)
		if (mono_before(k->refusals[i].retry_at, long_ago))
			k->refusals[i] = k->refusals[--k->n_refusals];
	k->flushed += j->flushed;
	if (*j->flush_err.text)
		log_event(LOG_WARN, "conntrack_not_flushed", "connections of VIPs that left are still remembered here",
			  log_str("error", j->flush_err.text));
	if (j->failed.family != IP_NONE) {
		note_problem(k, "an address could not be set or removed", &j->err);
		nlsock_free(j->sock);
		j->sock = NULL;
	} else if (k->n_refusals == 0) {
		k->problem[0] = '\0';
	}
	if (more)
		k->changed(k->ctx);
}

/* The address on that interface as last seen, whoever put it there; NULL = none. */
static const struct link_addr *seen(const struct kernel *k, const struct kernel_addr *a)
{
	const struct link_state *s = link_watch_state(k->links);
	size_t lo = 0, hi = s->n_addrs;

	while (lo < hi) { /* sorted by index, ip */
		size_t mid = lo + (hi - lo) / 2;
		const struct link_addr *have = &s->addrs[mid];
		int c = have->index != a->ifindex ? (have->index < a->ifindex ? -1 : 1) : ip_cmp(&have->ip, &a->ip);

		if (c == 0)
			return have;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool kernel_has_addr(const struct kernel *k, const struct kernel_addr *a)
{
	const struct link_addr *have = seen(k, a);

	return have && have->ours;
}

static int addr_plan(struct kernel *k, const struct kernel_addr *a, enum addr_op_kind kind)
{
	struct addr_job *j = &k->addr;
	size_t cap = j->cap_ops ? j->cap_ops * 2 : 16;
	struct addr_op *ops;
	struct ip *gone;

	if (j->n_ops == j->cap_ops) {
		ops = reallocarray(j->ops, cap, sizeof(*ops));
		if (!ops)
			return -ENOMEM;
		j->ops = ops;
		gone = reallocarray(j->gone, cap, sizeof(*gone));
		if (!gone)
			return -ENOMEM;
		j->gone = gone;
		j->cap_ops = cap;
	}
	j->ops[j->n_ops++] = (struct addr_op){ .addr = *a, .kind = kind, .rank = k->rank(k->ctx, &a->ip),
					      .seen = seen(k, a) != NULL };
	return 0;
}

/* Sorted by ip: the first of that one, one entry an interface; n = it is not there. */
static size_t first_of(const struct kernel_addr *addrs, size_t n, const struct ip *ip)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ip_cmp(&addrs[mid].ip, ip) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < n && ip_eq(&addrs[lo].ip, ip) ? lo : n;
}

static bool addr_wanted(const struct kernel_addr *addrs, size_t n, const struct kernel_addr *a)
{
	for (size_t i = first_of(addrs, n, &a->ip); i < n && ip_eq(&addrs[i].ip, &a->ip); i++)
		if (addrs[i].ifindex == a->ifindex)
			return true;
	return false;
}

/* Whether the kernel refused this lately; *wake is brought forward to when to try again. */
static bool addr_waits(const struct kernel *k, const struct kernel_addr *a, bool del, mono_t now, mono_t *wake)
{
	const struct addr_refusal *f = k->n_refusals ? refusal_of(k, a, del) : NULL;

	if (!f || mono_reached(now, f->retry_at))
		return false;
	*wake = mono_min(*wake, f->retry_at);
	return true;
}

/* An address attracts traffic: what is to receive and to fence it comes first.  Packets that came before the data plane's
 * maps would be answered by this node itself, and conntrack would keep their flows from the backends for as long as they
 * last. */
static bool kernel_may_add(const struct kernel *k, const struct kernel_addr *a)
{
	return dataplane_holds(k->dataplane, &a->ip) && (!k->may_add || k->may_add(k->ctx, a));
}

/* Deletions first: nothing is more urgent than to stop answering.  Then what most clients wait for. */
static int by_urgency(const void *a, const void *b)
{
	const struct addr_op *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind < y->kind ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return ip_cmp(&x->addr.ip, &y->addr.ip);
}

/* Connections of a VIP that goes from one of several interfaces live on. */
static bool addr_stays(const struct kernel *k, const struct kernel_addr *addrs, size_t n, const struct kernel_addr *gone)
{
	for (size_t i = first_of(addrs, n, &gone->ip); i < n && ip_eq(&addrs[i].ip, &gone->ip); i++)
		if (addrs[i].ifindex != gone->ifindex && kernel_has_addr(k, &addrs[i]))
			return true;
	return false;
}

static int addr_plan_all(struct kernel *k, mono_t now, const struct kernel_addr *addrs, size_t n, mono_t *wake)
{
	const struct link_state *s = link_watch_state(k->links);
	bool refresh = mono_reached(now, k->addr_refresh_at);
	int r = 0;

	k->addr.n_ops = 0;
	for (size_t i = 0, n_ops = 0; i < s->n_addrs && r == 0; i++) {
		struct kernel_addr have = { s->addrs[i].ip, s->addrs[i].index };

		if (s->addrs[i].ours && !addr_wanted(addrs, n, &have) && !addr_waits(k, &have, true, now, wake))
			r = addr_plan(k, &have, ADDR_OP_DEL);
		if (r == 0 && k->addr.n_ops > n_ops)
			k->addr.ops[n_ops++].stays = addr_stays(k, addrs, n, &have);
	}
	for (size_t i = 0; i < n && r == 0; i++) {
		bool up = kernel_has_addr(k, &addrs[i]);

		if (up ? refresh : kernel_may_add(k, &addrs[i]) && !addr_waits(k, &addrs[i], false, now, wake))
			r = addr_plan(k, &addrs[i], up ? ADDR_OP_REFRESH : ADDR_OP_ADD);
	}
	if (k->addr.n_ops > 0)
		qsort(k->addr.ops, k->addr.n_ops, sizeof(k->addr.ops[0]), by_urgency);
	return r;
}

/* Whether the last job, or the one under way, is what removed the address: then the rest follows by itself. */
static bool removes(const struct kernel *k, const struct ip *vip)
{
	for (size_t i = 0; k->addr_busy && i < k->addr.n_ops; i++)
		if (k->addr.ops[i].kind == ADDR_OP_DEL && ip_eq(&k->addr.ops[i].addr.ip, vip))
			return true;
	for (size_t i = 0; !k->addr_busy && i < k->addr.n_gone; i++)
		if (ip_eq(&k->addr.gone[i], vip))
			return true;
	return false;
}

void kernel_forget(struct kernel *k, const struct ip *vip)
{
	size_t cap = k->cap_stale ? k->cap_stale * 2 : 16;
	struct ip *more;

	if (removes(k, vip))
		return;
	if (k->n_stale == k->cap_stale) {
		more = reallocarray(k->stale, cap, sizeof(*more));
		if (!more)
			return; /* they time out by themselves */
		k->stale = more;
		k->cap_stale = cap;
	}
	k->stale[k->n_stale++] = *vip;
}

uint32_t kernel_lifetime_s(const struct kernel *k, size_t n)
{
	return lifetime_s(k->valid_s, k->gate ? (uint32_t)n : 0, 0);
}

/* Of those that the next job adds or refreshes; all of n are refreshed again at addr_refresh_at. */
static uint32_t next_lifetime_s(const struct kernel *k, mono_t now, size_t n)
{
	int64_t left_ms = mono_is_never(k->addr_refresh_at) ? 0 : mono_diff_ms(k->addr_refresh_at, now);

	return lifetime_s(k->valid_s, k->gate ? (uint32_t)n : 0, left_ms);
}

mono_t kernel_sync_addrs(struct kernel *k, mono_t now, const struct kernel_addr *addrs, size_t n)
{
	static struct log_limit limit;
	mono_t wake = MONO_NEVER;
	uint32_t left_out;

	if (k->addr_busy)
		return MONO_NEVER;
	if (addr_plan_all(k, now, addrs, n, &wake) < 0) {
		wake = mono_min(wake, mono_add_ms(now, RETRY_MS));
		if (log_limit(&limit, now.ns, 5000, &left_out))
			log_event(LOG_ERROR, "out_of_memory", "the plan for addresses does not fit; part of it is done",
				  log_int("left_out", left_out));
	}
	k->addr.valid_s = next_lifetime_s(k, now, n);
	if (mono_reached(now, k->addr_refresh_at) || mono_is_never(k->addr_refresh_at))
		k->addr_refresh_at = mono_add_ms(now, (int64_t)kernel_lifetime_s(k, n) * MS_PER_S / 2);
	if (k->addr.n_ops > 0 || k->n_stale > 0) {
		free(k->addr.stale);
		k->addr.stale = k->stale;
		k->addr.n_stale = k->n_stale;
		k->stale = NULL;
		k->n_stale = k->cap_stale = 0;
		k->addr_busy = true;
		k->addr.k = k;
		k->addr.with_nat = k->dataplane->on;
		k->addr.failed = (struct ip){ 0 };
		k->addr.job = (struct worker_job){ .run = addr_run, .done = addr_done };
		worker_submit(k->addr_worker, &k->addr.job);
	}
	return n > 0 ? mono_min(wake, k->addr_refresh_at) : wake;
}

int kernel_init(struct kernel *k, const struct kernel_config *cfg, struct err_info *err)
{
	memset(k, 0, sizeof(*k));
	k->addr_worker = cfg->addr_worker;
	k->dataplane = cfg->dataplane;
	k->valid_s = cfg->valid_s;
	k->gate = cfg->gate;
	k->changed = cfg->changed;
	k->may_add = cfg->may_add;
	k->rank = cfg->rank;
	k->ctx = cfg->ctx;
	k->addr_refresh_at = MONO_NEVER;
	return link_watch_new(&k->links, err);
}

void kernel_fini(struct kernel *k)
{
	free(k->addr.ops);
	free(k->addr.gone);
	free(k->addr.stale);
	free(k->stale);
	free(k->refusals);
	nlsock_free(k->addr.sock);
	link_watch_free(k->links);
}
