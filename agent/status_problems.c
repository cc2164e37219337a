/* SPDX-License-Identifier: Apache-2.0 */
/* status_problems.c: what is wrong on this node, in plain words, and what to do about it.
 *
 * One line a cause, not one a VIP: of many alike the first is named and the others are counted. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/conflicts.h"
#include "agent/status_gather.h"

#define SERVICES_MAX 5 /* that are named one by one */
#define NOBODY_MS 10000 /* a Lease without a holder for so long is worth a word: it is claimed at once by whoever can */

static void PRINTF_LIKE(4, 6) add(struct status_problems *p, enum status_level level, const char *code, const char *fmt,
				  const char *todo, ...);

/* The worse come first; those of one level in the order they are found. */
static void add(struct status_problems *p, enum status_level level, const char *code, const char *fmt, const char *todo, ...)
{
	size_t at = p->n;
	va_list args;

	if (p->n == STATUS_PROBLEMS_MAX) {
		if (p->v[p->n - 1].level >= level) {
			p->left_out++;
			return;
		}
		p->left_out++;
		p->n--;
	}
	while (at > 0 && p->v[at - 1].level < level)
		at--;
	if (at < p->n)
		memmove(&p->v[at + 1], &p->v[at], (p->n - at) * sizeof(p->v[0]));
	p->v[at] = (struct status_problem){ .level = level, .code = code, .todo = todo };
	p->n++;
	va_start(args, todo);
	IGNORE(vsnprintf(p->v[at].what, sizeof(p->v[at].what), fmt, args)); /* cut is fine */
	va_end(args);
}

/* Some of a kind: the first, and how many. */
struct some {
	size_t n;
	char first[STATUS_NAME_MAX];
};

static void note(struct some *s, const char *name)
{
	if (s->n++ == 0)
		IGNORE(text_copy(s->first, sizeof(s->first), name)); /* fits, or is cut */
}

/* ", and N more"; "" for one alone. */
static const char *others(const struct some *s, char buf[static 32])
{
	buf[0] = '\0';
	if (s->n > 1)
		IGNORE(snprintf(buf, 32, " and %zu more", s->n - 1)); /* fits */
	return buf;
}

/* ---- this node ---- */

static void of_fence(const struct agent *a, struct status_problems *p)
{
	if (*gates_problem(&a->gates))
		add(p, STATUS_ERROR, "gate_missing", "an interface for VIPs has no gate, so this node may hold nothing there: %s",
		    "see gate_not_attached in the log; leasehold doctor says what stands in the way", gates_problem(&a->gates));
	if (*guard_problem(&a->guard))
		add(p, STATUS_ERROR, "guard_missing", "other interfaces of this node may answer ARP for VIPs: %s",
		    "see whether nft works on this node (nft list tables)", guard_problem(&a->guard));
	if (!a->gates.gate && !a->vips.routed)
		add(p, STATUS_WARNING, "gate_off", "the gate is off: when this agent dies or stands still, its VIPs are answered until "
		    "their addresses expire, beside the next holder", "set gate: on");
}

static void of_kernel(const struct agent *a, struct status_problems *p)
{
	if (a->dataplane.on && !a->dataplane.up && !*a->dataplane.problem)
		add(p, store_synced(&a->store) ? STATUS_WARNING : STATUS_NOTE, "dataplane_starting",
		    "the data plane is not up yet: this node can hold nothing%s", "", "");
	if (*a->dataplane.problem)
		add(p, STATUS_ERROR, "dataplane_refused", "nftables does not take what the Services want: %s",
		    "the log has dataplane_refused with the element; all other Services are served", a->dataplane.problem);
	if (*a->kernel.problem)
		add(p, STATUS_ERROR, "address_failed", "addresses cannot be changed: %s", "it is tried again; see ip address show",
		    a->kernel.problem);
	if (*forwarding_problem(a))
		add(p, STATUS_ERROR, "forwarding", "connections to backends on other nodes do not pass this node: %s", "",
		    forwarding_problem(a));
	for (size_t i = 0; i < a->sysctls.n_problems; i++) {
		const struct sysctl_problem *y = &a->sysctls.problems[i];

		add(p, y->error ? STATUS_ERROR : STATUS_WARNING, "sysctl", "%s is %d: %s", y->command, y->name, y->value, y->why);
	}
}

static void of_node(const struct agent *a, struct status_problems *p)
{
	const char *leaving = own_node_leaving(&a->own_node);

	if (a->stop != STOP_NO)
		add(p, STATUS_NOTE, "stopping", "this agent is stopping%s", "", "");
	else if (a->draining)
		add(p, STATUS_NOTE, "leaving", "VIPs move to other nodes: %s", "", leaving ? leaving : "this node is to have none");
}

/* ---- the API and the Leases ---- */

static void of_view(const struct agent *a, struct status_problems *p)
{
	if (!store_synced(&a->store))
		add(p, STATUS_ERROR, "api_not_in_view", "no Services and EndpointSlices have been read since the start%s",
		    "is the API server reachable from this node, and has the agent its rights?  The log names the request that fails; "
		    "leasehold doctor tries them", "");
}

static void of_leases(const struct agent *a, mono_t now, struct status_problems *p)
{
	struct some unseen = { 0 }, stale = { 0 }, over = { 0 }, failing = { 0 }, nobody = { 0 };
	char more[32];

	for (size_t i = 0; i < a->n_groups; i++) {
		const struct leader *l = &a->groups[i]->leader;
		const struct elect *e = &l->elect;

		if (!e->known && !e->absent)
			note(&unseen, l->name);
		else if (e->over.on)
			note(&over, l->name);
		else if (e->state == ELECT_LEADING && e->failures > 0)
			note(&failing, l->name);
		else if (!e->fresh)
			note(&stale, l->name);
		else if (!*l->seen.holder && mono_diff_ms(now, e->seen_at) > NOBODY_MS)
			note(&nobody, l->name);
	}
	if (unseen.n > 0)
		add(p, STATUS_ERROR, "lease_not_in_view", "not read since the start: Lease %s%s",
		    "is the API server reachable from this node, and may the agent read Leases in its namespace?", unseen.first,
		    others(&unseen, more));
	if (over.n > 0)
		add(p, STATUS_WARNING, "overtime", "no renewal succeeds of Lease %s%s: this node answers on past the deadline, "
		    "while nobody else does",
		    "mend the API server; do not restart this agent until then, its VIPs would go dark", over.first,
		    others(&over, more));
	if (failing.n > 0)
		add(p, STATUS_WARNING, "renewals_fail", "the last renewal failed of Lease %s%s",
		    "the API server is away or slow: lease_write_failed in the log has its answer", failing.first, others(&failing, more));
	if (stale.n > 0)
		add(p, STATUS_WARNING, "lease_doubtful", "nothing is heard of Lease %s%s: this node takes over nothing meanwhile",
		    "the API server is away, or the connection to it hangs", stale.first, others(&stale, more));
	if (nobody.n > 0)
		add(p, STATUS_ERROR, "lease_without_holder", "nobody holds Lease %s%s: their VIPs are dark",
		    "see on each node why it is no candidate: leasehold status", nobody.first, others(&nobody, more));
}

static bool has(const struct status_problems *p, const char *code)
{
	for (size_t i = 0; i < p->n; i++)
		if (text_eq(p->v[i].code, code))
			return true;
	return false;
}

/* Why this node takes over nothing, where none of the above says it. */
static void of_fitness(const struct agent *a, mono_t now, struct status_problems *p)
{
	struct some placeless = { 0 }, without = { 0 };
	char more[32];
	bool told = *gates_problem(&a->gates) || *guard_problem(&a->guard) || !store_synced(&a->store) ||
		    (a->dataplane.on && !a->dataplane.up) || has(p, "no_carrier") || has(p, "no_interface");

	for (size_t i = 0; i < a->n_groups; i++) {
		const struct group *g = a->groups[i];

		if (g->leader.elect.fit || leader_holds(&g->leader, now))
			continue;
		if (!g->able)
			note(&without, g->leader.name);
		else
			note(&placeless, g->leader.name);
	}
	if (placeless.n > 0 && !told)
		add(p, STATUS_WARNING, "not_a_candidate", "this node cannot take over Lease %s%s: no interface for its VIPs is up with "
		    "carrier", "see ip link show, and the option interface", placeless.first, others(&placeless, more));
	if (without.n > 0)
		add(p, STATUS_NOTE, "no_local_endpoint", "this node takes no part in Lease %s%s: externalTrafficPolicy is Local, and no "
		    "endpoint is here", "", without.first, others(&without, more));
}

/* ---- VIPs ---- */

static void add_conflict(const struct vip *v, const struct conflict_row *row, struct status_problems *p)
{
	static const char *const todo[CONFLICT_KIND_N] = {
		[CONFLICT_HOST] = "take the address from that host: a switch's table of MACs says at which port it is",
		[CONFLICT_BALANCER] = "two load balancers or two clusters have the same pool: change one of them",
		[CONFLICT_NODE] = "look at that node: leasehold status, and leasehold doctor",
		[CONFLICT_ADDRESS] = "take it out of the pool, or remove it if it is not this node's own",
		[CONFLICT_PROBE] = "somebody is about to configure the address: find out who",
	};
	char ip[IP_TEXT_MAX], text[CONFLICT_TEXT_MAX];

	add(p, row->kind == CONFLICT_PROBE ? STATUS_WARNING : STATUS_ERROR, "conflict", "VIP %s: %s", todo[row->kind],
	    ip_format(&v->ip, ip), conflict_text(row, text, sizeof(text)));
}

static void of_vips(const struct agent *a, mono_t now, struct status_problems *p)
{
	struct some homeless = { 0 }, down = { 0 }, refused = { 0 }, failing = { 0 }, mute = { 0 };
	struct status_vip first_homeless, first_refused, v;
	const char *why = NULL;
	char ip[IP_TEXT_MAX], more[32];

	for (size_t i = 0; i < a->vips.n; i++) {
		const struct conflict_row *row = conflicts_of(a, &a->vips.v[i].ip);

		status_vip_of(a, &a->vips.v[i], now, &v);
		IGNORE(ip_format(&v.ip, ip)); /* returns ip */
		if (row)
			add_conflict(&a->vips.v[i], row, p);
		if (v.state == STATUS_VIP_NO_INTERFACE && homeless.n == 0)
			first_homeless = v;
		if (v.state == STATUS_VIP_REFUSED && refused.n == 0)
			first_refused = v;
		if (v.state == STATUS_VIP_NO_INTERFACE)
			note(&homeless, ip);
		else if (v.state == STATUS_VIP_NO_CARRIER)
			note(&down, ip);
		else if (v.state == STATUS_VIP_REFUSED)
			note(&refused, ip);
		for (size_t k = 0; k < v.n_at && v.live; k++)
			if (v.at[k].failing)
				note(&failing, ip);
		if (mute.n == 0)
			why = announcer_mute(&a->announcer, &a->vips.v[i]);
		if (announcer_mute(&a->announcer, &a->vips.v[i]))
			note(&mute, ip);
	}
	if (refused.n > 0)
		add(p, STATUS_ERROR, "address_refused", "this node cannot put up VIP %s%s: %s", "", refused.first, others(&refused, more),
		    first_refused.why);
	if (homeless.n > 0)
		add(p, STATUS_WARNING, "no_interface", "this node has no interface for VIP %s%s: %s",
		    "see the options interface, interface-for and interface-subnet", homeless.first, others(&homeless, more),
		    first_homeless.why);
	if (down.n > 0)
		add(p, STATUS_WARNING, "no_carrier", "no carrier for VIP %s%s: the interface is down or unplugged",
		    "see the cable, and ip link show", down.first, others(&down, more));
	if (failing.n > 0)
		add(p, STATUS_WARNING, "announce_failed", "the last announcement failed of VIP %s%s",
		    "announce_failed in the log says why", failing.first, others(&failing, more));
	if (mute.n > 0)
		add(p, STATUS_ERROR, "mute", "the kernel does not answer neighbours that ask for VIP %s%s: %s", "", mute.first,
		    others(&mute, more), why);
}

/* ---- Services ---- */

static void of_services(const struct agent *a, struct status_problems *p)
{
	struct some left = { 0 };

	for (size_t i = 0; i < a->n_decisions && a->decisions && !a->store.dirty; i++) {
		const struct pool_decision *d = &a->decisions[i];
		const struct service *s = a->store.services[i]->object;
		const char *why = d->message ? d->message : s->problem;

		if (d->state == POOL_FOREIGN || d->state == POOL_RELEASE || !*why)
			continue;
		if (left.n++ < SERVICES_MAX)
			add(p, STATUS_WARNING, "service", "Service %s/%s: %s%s%s", "", s->meta.ns, s->meta.name, d->reason ? d->reason : "",
			    d->reason ? ": " : "", why);
	}
	if (left.n > SERVICES_MAX)
		add(p, STATUS_WARNING, "service", "%zu more Services are not served as they ask", "see leasehold status services",
		    left.n - SERVICES_MAX);
}

static void of_control_plane(const struct agent *a, struct status_problems *p)
{
	const struct control_plane *cp = &a->control_plane;
	size_t up = 0;

	if (!control_plane_on(cp))
		return;
	for (size_t i = 0; i < cp->health.n; i++)
		up += cp->health.v[i].up;
	if (cp->health.n == 0)
		add(p, STATUS_ERROR, "no_api_servers", "no API server is known: the control plane's VIP refuses connections%s",
		    "does the EndpointSlice of default/kubernetes name any of the VIP's family?", "");
	else if (up == 0)
		add(p, STATUS_ERROR, "api_servers_down", "no API server passes its checks: all get connections, at a guess%s",
		    "the table of API servers says what each answered", "");
	else if (up < cp->health.n)
		add(p, STATUS_WARNING, "api_servers_down", "%zu of %zu API servers do not pass their checks",
		    "the table of API servers says what each answered", cp->health.n - up, cp->health.n);
}

void status_problems_of(struct agent *a, mono_t now, struct status_problems *ret)
{
	ret->n = ret->left_out = 0;
	of_view(a, ret);
	of_leases(a, now, ret);
	of_fence(a, ret);
	of_kernel(a, ret);
	of_vips(a, now, ret);
	of_fitness(a, now, ret);
	of_control_plane(a, ret);
	of_services(a, ret);
	of_node(a, ret);
}
