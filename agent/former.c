/* SPDX-License-Identifier: Apache-2.0 */
/* former.c: whose backends, and for how long; a job for the worker.  What is lost of it is lost: the sets concern some
 * seconds, and without them connections wait as long. */
#include "agent/former.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/text.h"
#include "netlink/nat_if.h"
#include "netlink/nlsock.h"

#define SLACK_MS 2000 /* beyond the lifetime: of timers, and of a refresh that was under way */

static void drop(struct former *f, size_t i)
{
	memmove(f->nodes + i, f->nodes + i + 1, (f->n_nodes - i - 1) * sizeof(f->nodes[0]));
	f->n_nodes--;
}

void former_note(struct agent *a, const char *holder, mono_t now)
{
	struct former *f = &a->former;
	/* It refreshed its addresses last before it died, and its Lease has run out since. */
	int64_t lifetime_ms = (int64_t)kernel_lifetime_s(&a->kernel, a->vips.n * PLACE_MAX) * MS_PER_S; /* at most */
	int64_t left_ms = lifetime_ms - (a->cfg->lease_ms - a->cfg->renew_ms);
	struct former_node node = { .until = mono_add_ms(now, left_ms + SLACK_MS) };

	if (!a->dataplane.on || !lease_node(holder, node.name, sizeof(node.name)) ||
	    text_eq(node.name, a->cfg->node_name))
		return;
	for (size_t i = f->n_nodes; i-- > 0;)
		if (mono_reached(now, f->nodes[i].until) || text_eq(f->nodes[i].name, node.name))
			drop(f, i);
	if (f->n_nodes == FORMER_NODES_MAX)
		drop(f, 0);
	f->nodes[f->n_nodes++] = node;
	f->wanted = true;
}

/* ---- collecting ---- */

static bool is_former(const struct former *f, const char *node)
{
	for (size_t i = 0; i < f->n_nodes; i++)
		if (text_eq(f->nodes[i].name, node))
			return true;
	return false;
}

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

/* One more backend; false = out of memory. */
static bool add(struct former_job *j, size_t *cap, const struct ip *ip)
{
	struct ip *more;

	if (j->n_backends == *cap) {
		more = reallocarray(j->backends, *cap ? *cap * 2 : 64, sizeof(*more));
		if (!more)
			return false;
		j->backends = more;
		*cap = *cap ? *cap * 2 : 64;
	}
	j->backends[j->n_backends++] = *ip;
	return true;
}

/* Sorts, leaves each once, and no more than the data plane takes. */
static void settle(struct former_job *j)
{
	size_t n = 0;

	qsort(j->backends, j->n_backends, sizeof(j->backends[0]), ip_order);
	for (size_t i = 0; i < j->n_backends; i++)
		if (n == 0 || !ip_eq(&j->backends[n - 1], &j->backends[i]))
			j->backends[n++] = j->backends[i];
	j->n_backends = n < NAT_FORMER_MAX ? n : NAT_FORMER_MAX;
}

static int collect(const struct agent *a, struct former_job *j)
{
	size_t cap = 0;

	for (size_t i = 0; i < a->store.n_slices; i++) {
		const struct slice *s = a->store.slices[i].object;

		for (size_t k = 0; k < s->n_endpoints; k++)
			if (is_former(&a->former, s->endpoints[k].node) && !add(j, &cap, &s->endpoints[k].ip))
				return -ENOMEM;
	}
	if (j->n_backends > 0)
		settle(j);
	return 0;
}

/* ---- the job ---- */

static void clear(struct former_job *j)
{
	free(j->backends);
	*j = (struct former_job){ .f = NULL };
}

static void former_run(struct worker_job *job)
{
	struct former_job *j = (struct former_job *)job;
	AUTO(nlsock_freep) struct nlsock *sock = NULL;

	j->result = nlsock_new(NETLINK_NETFILTER, &sock, &j->err);
	if (j->result == 0)
		j->result = nat_if_former(sock, j->backends, j->n_backends, j->timeout_ms, &j->err);
}

static void former_done(struct worker_job *job)
{
	struct former_job *j = (struct former_job *)job;
	struct former *f = j->f;

	if (j->result < 0)
		log_event(LOG_WARN, "former_refused", "new connections to backends on the former holder's node may wait for "
			  "some seconds", log_str("error", j->err.text));
	else
		log_event(LOG_DEBUG, "former", "new connections to backends on former holders' nodes are masqueraded",
			  log_int("backends", (int64_t)j->n_backends), log_int("ms", j->timeout_ms));
	clear(j);
	f->busy = false;
}

void former_step(struct agent *a, mono_t now)
{
	struct former *f = &a->former;
	struct former_job *j = &f->job;

	if (!f->wanted || f->busy)
		return;
	f->wanted = false;
	for (size_t i = f->n_nodes; i-- > 0;)
		if (mono_reached(now, f->nodes[i].until))
			drop(f, i);
	if (f->n_nodes == 0)
		return;
	*j = (struct former_job){ .job = { .run = former_run, .done = former_done }, .f = f, .err = ERR_INFO_INIT };
	/* The last one's time is the longest. */
	j->timeout_ms = (uint32_t)mono_diff_ms(f->nodes[f->n_nodes - 1].until, now);
	if (collect(a, j) < 0 || j->n_backends == 0) {
		clear(j);
		return;
	}
	f->busy = true;
	worker_submit(a->nat_worker, &j->job);
}

void former_fini(struct former *f)
{
	clear(&f->job);
}
