/* SPDX-License-Identifier: Apache-2.0 */
/* groups.c: the groups that this agent takes part in: found, joined, dropped. */
#include <string.h>

#include "agent/agent.h"

struct group *agent_group(const struct agent *a, unsigned int number, const struct ip *ip)
{
	const struct vip *vip;

	if (number < GROUPS_MAX)
		return a->numbered[number];
	vip = vips_find(&a->vips, ip); /* mostly it is there, and known */
	if (vip && vip->group < a->n_groups && a->groups[vip->group]->number == GROUPS_OWN && ip_eq(&a->groups[vip->group]->ip, ip))
		return a->groups[vip->group];
	for (unsigned int i = 0; i < a->n_groups; i++)
		if (a->groups[i]->number == GROUPS_OWN && ip_eq(&a->groups[i]->ip, ip))
			return a->groups[i];
	return NULL;
}

struct group *agent_need_group(struct agent *a, unsigned int number, const struct ip *ip)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	struct group *g = agent_group(a, number, ip);
	uint32_t left_out;

	if (g)
		return g;
	if (a->n_groups == ARRAY_LEN(a->groups))
		IGNORE(err_set(&err, 0, "more than %d Leases of VIPs of their own", GROUPS_OWN_MAX)); /* returns 0 */
	else if (group_new(a, number, ip, &g, &err) < 0)
		g = NULL;
	if (!g) {
		if (log_limit(&limit, mono_now().ns, 5000, &left_out))
			log_event(LOG_ERROR, "group_left_out", "a group has no election on this node", log_str("error", err.text),
				  log_int("left_out", left_out));
		return NULL;
	}
	g->index = a->n_groups;
	a->groups[a->n_groups++] = g;
	if (number < GROUPS_MAX)
		a->numbered[number] = g;
	return g;
}

/* Probes on the wire name groups by their place. */
static void forget_probes(struct agent *a, unsigned int index)
{
	for (size_t i = 0; i < WIRE_PROBES_MAX; i++)
		if (a->wire.probes[i].group == index)
			a->wire.probes[i].id = 0;
}

/* The last group takes the place of the one that goes. */
static void drop_group(struct agent *a, unsigned int index)
{
	unsigned int last = a->n_groups - 1;

	forget_probes(a, index);
	forget_probes(a, last);
	gates_group_free(&a->gates, a->groups[index]->gate_group);
	group_free(a->groups[index]);
	if (index != last) {
		a->groups[index] = a->groups[last];
		a->groups[index]->index = index;
	}
	a->groups[last] = NULL;
	a->n_groups--;
	for (size_t i = 0; i < a->vips.n; i++) {
		struct vip *vip = &a->vips.v[i];

		vip->group = vip->group == index ? UINT32_MAX : vip->group == last ? index : vip->group;
	}
}

bool agent_drop_groups(struct agent *a)
{
	bool any = false;

	for (unsigned int i = a->n_groups; i-- > 0;) {
		if (!group_ended(a->groups[i]))
			continue;
		drop_group(a, i);
		any = true;
	}
	return any;
}
