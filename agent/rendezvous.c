/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous.c: records of nodes to tables, by a job for the worker. */
#include "agent/rendezvous.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/drain.h"

#define RETRY_MS 1000
#define RETRY_DOUBLINGS 6 /* about a minute */
#define WARN_EVERY_MS 60000

/* ---- who is leaving ---- */

static struct rendezvous_leaving *find(struct rendezvous_keeper *k, const char *node)
{
	for (size_t i = 0; i < k->n_leaving; i++)
		if (text_eq(k->leaving[i].node, node))
			return &k->leaving[i];
	return NULL;
}

static struct rendezvous_leaving *add(struct rendezvous_keeper *k, const char *node)
{
	struct rendezvous_leaving *l = &k->leaving[k->n_leaving++];

	*l = (struct rendezvous_leaving){ .drain = 0 };
	IGNORE(text_copy(l->node, sizeof(l->node), node)); /* same size */
	return l;
}

static void note_leaving(const struct agent *a, struct rendezvous_keeper *k, mono_t now)
{
	const struct candidate *c;

	for (size_t i = 0; i < k->n_leaving; i++)
		k->leaving[i].marked = true;
	for (size_t i = 0; (c = candidates_at(a->candidates, i)); i++) {
		struct rendezvous_leaving *l = c->leaving ? find(k, c->node) : NULL;

		if (c->leaving && !l && k->n_leaving < RENDEZVOUS_LEAVING_MAX)
			l = add(k, c->node);
		if (!l)
			continue;
		l->marked = false;
		if (l->drain == c->drain && text_eq(l->identity, c->identity))
			continue;
		l->drain = c->drain;
		IGNORE(text_copy(l->identity, sizeof(l->identity), c->identity)); /* same size */
		l->until = mono_add_ms(now, a->cfg->drain_ms + DRAIN_HEAD_START_MS);
	}
	for (size_t i = k->n_leaving; i-- > 0;)
		if (k->leaving[i].marked)
			k->leaving[i] = k->leaving[--k->n_leaving];
}

/* The first by name whose time is not over; NULL = none. */
static const struct rendezvous_leaving *pick(const struct rendezvous_keeper *k, mono_t now)
{
	const struct rendezvous_leaving *first = NULL;

	for (size_t i = 0; i < k->n_leaving; i++)
		if (mono_before(now, k->leaving[i].until) && (!first || strcmp(k->leaving[i].node, first->node) < 0))
			first = &k->leaving[i];
	return first;
}

/* ---- the plan ---- */

static bool is_own(const struct link_state *s, const struct ip *ip)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (ip_eq(&s->addrs[i].ip, ip))
			return true;
	return false;
}

/* The interface that has the address on its link, 0 = none: what a router had to forward would come back by its routes. */
static int link_to(const struct link_state *s, const struct ip *ip)
{
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *mine = &s->addrs[i];

		if (!mine->ours && mine->ip.family == ip->family && mine->prefix_len < ip_len(ip) * 8 &&
		    ip_in_prefix(ip, &mine->ip, mine->prefix_len))
			return mine->index;
	}
	return 0;
}

/* One address of each family. */
static void add_peer(const struct agent *a, const struct candidate *c, struct rendezvous *plan)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	bool has[2] = { false, false };

	/* Its MACs tell what it has handed on: without, packets would go round and round. */
	for (size_t i = 0; c->n_macs > 0 && i < c->n_addresses && plan->n_peers < RENDEZVOUS_PEERS_MAX; i++) {
		const struct ip *ip = &c->addresses[i];
		const bool six = ip->family == IP_V6;
		int ifindex = has[six] || is_own(s, ip) ? 0 : link_to(s, ip);

		if (ifindex == 0)
			continue;
		plan->peers[plan->n_peers++] = (struct rendezvous_peer){ *ip, ifindex };
		has[six] = true;
	}
}

/* macs: with room for those of all candidates. */
static void make_plan(const struct agent *a, const struct rendezvous_leaving *to, struct rendezvous *plan,
		      uint8_t (*macs)[LINK_MAC_LEN])
{
	const bool here = text_eq(to->node, a->cfg->node_name);
	const struct candidate *c;

	for (size_t i = 0; (c = candidates_at(a->candidates, i)); i++) {
		if (text_eq(c->node, a->cfg->node_name))
			continue;
		if (here || text_eq(c->node, to->node))
			add_peer(a, c, plan);
		/* Others may have chosen another node: whoever sent it, what is handed on here was not before. */
		if (here && !c->leaving)
			continue;
		memcpy(macs + plan->n_macs, c->macs, c->n_macs * sizeof(c->macs[0]));
		plan->n_macs += c->n_macs;
	}
	plan->macs = macs;
}

/* ---- the job ---- */

static void run(struct worker_job *job)
{
	struct rendezvous_job *j = (struct rendezvous_job *)job;
	AUTO(nlsock_freep) struct nlsock *sock = NULL;

	j->err = (struct err_info)ERR_INFO_INIT;
	j->result = nlsock_new(NETLINK_NETFILTER, &sock, &j->err);
	if (j->result == 0)
		j->result = rendezvous_if_put(sock, &j->plan, &j->err);
}

static void clear(struct rendezvous_job *j)
{
	free(j->vips);
	free(j->macs);
	j->vips = NULL;
	j->macs = NULL;
}

static void done(struct worker_job *job)
{
	static struct log_limit limit;
	struct rendezvous_job *j = (struct rendezvous_job *)job;
	struct rendezvous_keeper *k = j->keeper;
	uint32_t left_out;

	k->busy = false;
	clear(j);
	k->without = j->result == -EOPNOTSUPP;
	if (j->result == 0) {
		k->put = true;
		k->failures = 0;
		return;
	}
	if (log_limit(&limit, mono_now().ns, WARN_EVERY_MS, &left_out))
		log_event(LOG_WARN, "rendezvous_refused", "connections to a node that is being drained are cut when routers "
			  "move them", log_str("error", j->err.text), log_int("left_out", left_out));
	k->node[0] = '\0'; /* whatever stands expires */
	k->put = false;
	k->retry_at = mono_add_ms(mono_now(), (int64_t)RETRY_MS << k->failures);
	k->failures += k->failures < RETRY_DOUBLINGS;
}

static bool as_wanted(const struct agent *a, const struct rendezvous_leaving *to)
{
	const struct rendezvous_keeper *k = &a->rendezvous;

	if (!k->put || !text_eq(k->node, to ? to->node : ""))
		return false;
	return !to || (k->until.ns == to->until.ns && k->candidates == candidates_reach_changes(a->candidates) && k->vips == a->routed.changes);
}

static void start(struct agent *a, const struct rendezvous_leaving *to, mono_t now)
{
	struct rendezvous_keeper *k = &a->rendezvous;
	struct rendezvous_job *j = &k->job;
	size_t n = 0;

	while (candidates_at(a->candidates, n))
		n++;
	j->vips = calloc(a->routed.n + 1, sizeof(*j->vips));
	j->macs = calloc(n * CANDIDATE_MACS_MAX + 1, sizeof(*j->macs));
	if (!j->vips || !j->macs) {
		clear(j);
		return; /* with the next step */
	}
	for (size_t i = 0; i < a->routed.n; i++)
		j->vips[i] = a->routed.v[i].ip;
	memset(&j->plan, 0, sizeof(j->plan));
	j->plan.vips = j->vips;
	j->plan.n_vips = a->routed.n;
	if (to) {
		make_plan(a, to, &j->plan, j->macs);
		j->plan.timeout_ms = (uint32_t)mono_diff_ms(to->until, now) + 1;
		log_event(LOG_INFO, "rendezvous", "strays of connections to VIPs are handed on while a node is drained",
			  log_str("node", to->node), log_int("peers", (int64_t)j->plan.n_peers));
	}
	IGNORE(text_copy(k->node, sizeof(k->node), to ? to->node : "")); /* same size */
	k->until = to ? to->until : MONO_NEVER;
	k->candidates = candidates_reach_changes(a->candidates);
	k->vips = a->routed.changes;
	j->keeper = k;
	j->job = (struct worker_job){ .run = run, .done = done };
	k->busy = true;
	worker_submit(a->nat_worker, &j->job);
}

mono_t rendezvous_step(struct agent *a, mono_t now)
{
	struct rendezvous_keeper *k = &a->rendezvous;
	const struct rendezvous_leaving *to;

	if (!a->routed.on || !a->planned || k->without || a->cfg->drain_ms == 0)
		return MONO_NEVER;
	note_leaving(a, k, now);
	to = pick(k, now);
	if (!k->busy && !as_wanted(a, to)) {
		if (mono_before(now, k->retry_at))
			return k->retry_at;
		start(a, to, now);
	}
	return to ? to->until : MONO_NEVER;
}

void rendezvous_fini(struct rendezvous_keeper *k)
{
	clear(&k->job);
}
