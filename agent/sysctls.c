/* SPDX-License-Identifier: Apache-2.0 */
/* sysctls.c: which interfaces, what is read, and what is done about it.  What is right is core/sysctl_rules.c's. */
#include "agent/sysctls.h"

#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/uplinks.h"
#include "netlink/sysctl.h"

#define LOOK_MS 30000 /* the kernel tells of changes of a few of them alone (RTM_NEWNETCONF) */

void sysctls_again(struct sysctls *s)
{
	s->again = true;
}

void sysctls_routes(struct sysctl_facts *f, const struct link_state *s, int ifindex)
{
	const struct link *ra = s->default_v6_from_ra ? link_find(s, s->default_v6_ra) : NULL;

	f->default_v4_elsewhere = s->default_v4 != 0 && s->default_v4 != ifindex;
	f->default_v6_from_ra = s->default_v6_from_ra;
	f->ra_link[0] = '\0';
	if (ra)
		memcpy(f->ra_link, ra->name, sizeof(f->ra_link));
}

void sysctls_read(struct sysctl_facts *f)
{
	if (!*f->ra_link || sysctl_get(SYSCTL_ACCEPT_RA, f->ra_link, &f->ra_accept, NULL) < 0)
		f->ra_accept = SYSCTL_UNKNOWN;
	for (unsigned int key = 0; key < SYSCTL_KEY_N; key++) {
		f->own[key] = f->all[key] = SYSCTL_UNKNOWN;
		if (!sysctl_concerns((enum sysctl_key)key, f->v4, f->v6))
			continue;
		if (sysctl_get((enum sysctl_key)key, f->name, &f->own[key], NULL) < 0)
			f->own[key] = SYSCTL_UNKNOWN;
		if (sysctl_get((enum sysctl_key)key, "all", &f->all[key], NULL) < 0)
			f->all[key] = SYSCTL_UNKNOWN;
	}
}

bool sysctls_in_subnet(const struct link_state *s, int ifindex, const struct ip *ip)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].index == ifindex && !s->addrs[i].ours && s->addrs[i].prefix_len < ip_len(ip) * 8 &&
		    ip_in_prefix(ip, &s->addrs[i].ip, s->addrs[i].prefix_len))
			return true;
	return false;
}

/* ---- which interfaces ---- */

static struct sysctl_facts *take_link(struct agent *a, const struct link_state *s, int ifindex)
{
	struct sysctls *y = &a->sysctls;
	const struct link *l;
	struct sysctl_facts *f;

	for (size_t i = 0; i < y->n_links; i++)
		if (y->indexes[i] == ifindex)
			return &y->links[i];
	l = link_find(s, ifindex);
	if (!l || y->n_links == SYSCTLS_LINKS_MAX)
		return NULL;
	y->indexes[y->n_links] = ifindex;
	f = &y->links[y->n_links++];
	*f = (struct sysctl_facts){ .nft = a->dataplane.on, .gate = a->gates.gate != NULL, .subnet_v4 = true };
	memcpy(f->name, l->name, sizeof(f->name));
	return f;
}

/* By which of them packets for VIPs come in the routers know alone. */
static void find_ways_in(struct agent *a, const struct link_state *s)
{
	struct sysctls *y = &a->sysctls;
	bool v4 = false, v6 = false;

	for (size_t i = 0; i < a->vips.n; i++) {
		v4 |= a->vips.v[i].ip.family == IP_V4;
		v6 |= a->vips.v[i].ip.family == IP_V6;
	}
	for (size_t i = 0; i < s->n_links && (v4 || v6); i++)
		if (uplinks_is(s, &s->links[i]))
			IGNORE(take_link(a, s, s->links[i].index)); /* counted in y->n_links */
	for (size_t i = 0; i < y->n_links; i++) {
		struct sysctl_facts *f = &y->links[i];

		f->routed = f->guessed = f->watched = true;
		f->several = y->n_links > 1 && y->indexes[i] != s->default_v4;
		f->v4 = v4;
		f->v6 = v6;
	}
}

static void find_links(struct agent *a, const struct link_state *s)
{
	a->sysctls.n_links = 0;
	if (a->routed.on) {
		find_ways_in(a, s);
		return;
	}
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *v = &a->vips.v[i];

		for (size_t k = 0; k < v->n_at; k++) {
			struct sysctl_facts *f = take_link(a, s, v->at[k].ifindex);

			if (f && v->ip.family == IP_V4) {
				f->v4 = true;
				f->subnet_v4 = f->subnet_v4 && sysctls_in_subnet(s, v->at[k].ifindex, &v->ip);
			} else if (f) {
				f->v6 = true;
			}
		}
	}
}

/* ---- what to do ---- */

static bool is_known(const struct sysctl_problem *v, size_t n, const struct sysctl_problem *p)
{
	for (size_t i = 0; i < n; i++)
		if (text_eq(v[i].name, p->name) && v[i].value == p->value)
			return true;
	return false;
}

static struct sysctl_problem problem_of(const struct sysctl_facts *f, const struct sysctl_advice *a)
{
	struct sysctl_problem p = { .value = a->value, .wanted = a->wanted, .error = a->error, .why = a->why };
	char accept_ra[64];

	sysctl_name(a->key, a->interface, p.name, sizeof(p.name));
	if (a->accept_ra_first && *f->ra_link)
		IGNORE(snprintf(p.command, sizeof(p.command), "sysctl -w %s=2 %s=%d",
				sysctl_name(SYSCTL_ACCEPT_RA, f->ra_link, accept_ra, sizeof(accept_ra)), p.name, p.wanted)); /* fits */
	else if (!a->accept_ra_first)
		IGNORE(snprintf(p.command, sizeof(p.command), "sysctl -w %s=%d", p.name, p.wanted)); /* fits */
	return p;
}

/* True when it is right now. */
static bool mend(const struct agent *a, const struct sysctl_advice *advice, const struct sysctl_problem *p, struct err_info *err)
{
	if (a->cfg->sysctl != SYSCTL_MANAGE || !advice->manageable)
		return false;
	if (sysctl_set(advice->key, advice->interface, advice->wanted, err) < 0)
		return false;
	log_event(LOG_INFO, "sysctl_set", p->why, log_str("sysctl", p->name), log_int("from", p->value), log_int("to", p->wanted));
	return true;
}

static void tell(const struct sysctl_problem *p, const struct err_info *err)
{
	log_event(LOG_WARN, "sysctl_wrong", p->why, log_str("sysctl", p->name), log_int("value", p->value),
		  log_str("command", p->command), log_str("error", err->text));
}

static void judge(struct agent *a)
{
	struct sysctls *y = &a->sysctls;
	struct sysctl_problem before[SYSCTLS_PROBLEMS_MAX];
	struct sysctl_advice advice[SYSCTL_ADVICE_MAX];
	size_t n_before = y->n_problems;

	memcpy(before, y->problems, sizeof(before));
	y->n_problems = 0;
	for (size_t i = 0; i < y->n_links; i++) {
		size_t n = sysctl_judge(&y->links[i], advice);

		for (size_t k = 0; k < n && y->n_problems < SYSCTLS_PROBLEMS_MAX; k++) {
			const struct sysctl_problem p = problem_of(&y->links[i], &advice[k]);
			struct err_info err = ERR_INFO_INIT;

			if (is_known(y->problems, y->n_problems, &p) || mend(a, &advice[k], &p, &err))
				continue; /* "all" is the same for all interfaces */
			y->problems[y->n_problems++] = p;
			if (!is_known(before, n_before, &p))
				tell(&p, &err);
		}
	}
}

mono_t sysctls_step(struct agent *a, mono_t now)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	struct sysctls *y = &a->sysctls;

	if (!y->again && y->routes == a->routed.changes && mono_before(now, y->look_at))
		return y->look_at;
	y->routes = a->routed.changes;
	y->look_at = mono_add_ms(now, LOOK_MS);
	y->again = false;
	find_links(a, s);
	for (size_t i = 0; i < y->n_links; i++) {
		sysctls_routes(&y->links[i], s, y->indexes[i]);
		sysctls_read(&y->links[i]);
	}
	judge(a);
	return y->look_at;
}
