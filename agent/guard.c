/* SPDX-License-Identifier: Apache-2.0 */
/* guard.c: places of VIPs to a job for the worker. */
#include "agent/guard.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define RETRY_MS 1000

static void guard_run(struct worker_job *job)
{
	struct guard_job *j = (struct guard_job *)job;

	j->err = (struct err_info)ERR_INFO_INIT;
	j->result = j->sock ? 0 : nlsock_new(NETLINK_NETFILTER, &j->sock, &j->err);
	if (j->result == 0)
		j->result = arp_guard_if_put(j->sock, j->homes, j->n_homes, &j->err);
	if (j->result < 0) {
		nlsock_free(j->sock);
		j->sock = NULL;
	}
}

/* What was handed over is what the kernel has now; the former list is where the next one goes. */
static void take_put(struct guard *g)
{
	struct guard_job *j = &g->job;
	struct arp_home *spare = g->put;
	size_t cap = g->cap_put;

	g->put = j->homes;
	g->n_put = j->n_homes;
	g->cap_put = j->cap_homes;
	j->homes = spare;
	j->cap_homes = cap;
	j->n_homes = 0;
	g->is_put = true;
}

/* A kernel without nftables for ARP leaves the rest to arp_ignore; everything else is tried again. */
static void guard_done(struct worker_job *job)
{
	struct guard_job *j = (struct guard_job *)job;
	struct guard *g = j->g;

	g->busy = false;
	g->jobs++;
	if (j->result < 0 && !text_eq(g->problem, j->err.text))
		log_event(j->result == -EOPNOTSUPP ? LOG_WARN : LOG_ERROR, "guard_not_set",
			  "other interfaces of this node may answer ARP for VIPs; set net.ipv4.conf.all.arp_ignore=1",
			  log_str("error", j->err.text));
	IGNORE(text_copy(g->problem, sizeof(g->problem), j->result < 0 ? j->err.text : "")); /* same size */
	g->without = j->result == -EOPNOTSUPP;
	if (j->result == 0) {
		take_put(g);
	} else if (!g->without) {
		g->dirty = true;
		g->retry_at = mono_add_ms(mono_now(), RETRY_MS);
	}
}

static bool homes_differ(const struct guard *g, const struct kernel_addr *addrs, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (addrs[i].ip.family != IP_V4)
			continue;
		if (k == g->n_put || g->put[k].ifindex != addrs[i].ifindex || !ip_eq(&g->put[k].ip, &addrs[i].ip))
			return true;
		k++;
	}
	return k != g->n_put;
}

static int homes_take(struct guard_job *j, const struct kernel_addr *addrs, size_t n)
{
	struct arp_home *homes = j->homes;

	if (n > j->cap_homes) {
		homes = reallocarray(homes, n, sizeof(*homes));
		if (!homes)
			return -ENOMEM;
		j->homes = homes;
		j->cap_homes = n;
	}
	j->n_homes = 0;
	for (size_t i = 0; i < n; i++)
		if (addrs[i].ip.family == IP_V4)
			homes[j->n_homes++] = (struct arp_home){ addrs[i].ip, addrs[i].ifindex };
	return 0;
}

mono_t guard_sync(struct guard *g, mono_t now, const struct kernel_addr *addrs, size_t n)
{
	if (g->busy)
		return MONO_NEVER;
	g->dirty |= !g->is_put || homes_differ(g, addrs, n);
	if (!g->dirty || g->without)
		return MONO_NEVER;
	if (mono_before(now, g->retry_at))
		return g->retry_at;
	if (homes_take(&g->job, addrs, n) < 0)
		return mono_add_ms(now, RETRY_MS);
	g->dirty = false;
	g->busy = true;
	g->job.g = g;
	g->job.job = (struct worker_job){ .run = guard_run, .done = guard_done };
	worker_submit(g->worker, &g->job.job);
	return MONO_NEVER;
}

bool guard_stands(const struct guard *g, const struct kernel_addr *a)
{
	size_t lo = 0, hi = g->n_put;

	if (g->without || a->ip.family != IP_V4)
		return true;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&g->put[mid].ip, &a->ip);

		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < g->n_put && ip_eq(&g->put[lo].ip, &a->ip); lo++) /* one entry an interface */
		if (g->put[lo].ifindex == a->ifindex)
			return true;
	return false;
}

const char *guard_problem(const struct guard *g)
{
	return g->without ? "" : g->problem;
}

bool guard_is_put(const struct guard *g)
{
	return g->is_put && !g->busy;
}

void guard_again(struct guard *g)
{
	g->dirty = true;
}

void guard_init(struct guard *g, struct worker *worker)
{
	*g = (struct guard){ .worker = worker, .dirty = true };
}

void guard_fini(struct guard *g)
{
	free(g->job.homes);
	free(g->put);
	nlsock_free(g->job.sock);
	*g = (struct guard){ .worker = NULL };
}
