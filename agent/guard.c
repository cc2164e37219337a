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

/* A kernel without nftables for ARP leaves the rest to arp_ignore; everything else is tried again. */
static void guard_done(struct worker_job *job)
{
	struct guard_job *j = (struct guard_job *)job;
	struct guard *g = j->g;

	g->busy = false;
	if (j->result < 0 && !text_eq(g->problem, j->err.text))
		log_event(j->result == -EOPNOTSUPP ? LOG_WARN : LOG_ERROR, "guard_not_set",
			  "other interfaces of this node may answer ARP for VIPs; set net.ipv4.conf.all.arp_ignore=1",
			  log_str("error", j->err.text));
	IGNORE(text_copy(g->problem, sizeof(g->problem), j->result < 0 ? j->err.text : "")); /* same size */
	g->known = j->result == 0 || j->result == -EOPNOTSUPP;
	if (!g->known) {
		g->dirty = true;
		g->retry_at = mono_add_ms(mono_now(), RETRY_MS);
	}
	g->changed(g->ctx);
}

static bool homes_differ(const struct guard_job *j, const struct kernel_addr *addrs, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (addrs[i].ip.family != IP_V4)
			continue;
		if (k == j->n_homes || j->homes[k].ifindex != addrs[i].ifindex || !ip_eq(&j->homes[k].ip, &addrs[i].ip))
			return true;
		k++;
	}
	return k != j->n_homes;
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
	g->dirty |= homes_differ(&g->job, addrs, n);
	if (!g->dirty)
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

bool guard_stands(const struct guard *g)
{
	return g->known && !g->busy && !g->dirty;
}

void guard_init(struct guard *g, struct worker *worker, void (*changed)(void *ctx), void *ctx)
{
	*g = (struct guard){ .worker = worker, .dirty = true, .changed = changed, .ctx = ctx };
}

void guard_fini(struct guard *g)
{
	free(g->job.homes);
	nlsock_free(g->job.sock);
	*g = (struct guard){ .worker = NULL };
}
