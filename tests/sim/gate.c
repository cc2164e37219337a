/* SPDX-License-Identifier: Apache-2.0 */
/* gate.c: the kernel's side: the gate's times, absolute and by the machine's own clock, and the address.  Both outlive
 * the process.  A new process leaves what it finds alone (it runs out by itself) until its own election gives it a
 * right to open something, or the clocks jump; from then on the gate is what elect_gate() says. */
#include <stdio.h>

#include "tests/sim/sim.h"

/* The worker's time for an address and its maps. */
#define ADDRESS_MIN_MS 5
#define ADDRESS_MAX_MS 150

void gate_setup(struct node *n)
{
	gate_clock_changed(n);
}

void gate_clock_changed(struct node *n)
{
	n->kernel.arp_close_ns = clock_true_ns(&n->clock, n->kernel.arp_until);
}

static unsigned int node_of(const char *identity)
{
	unsigned int id = 0;

	return sscanf(identity, "n%u_", &id) == 1 && id < NODES_MAX ? id : NODES_MAX;
}

void gate_apply(struct world *w, struct node *n)
{
	struct elect_gate g = elect_gate(&n->elect);
	struct kernel *k = &n->kernel;
	mono_t now = clock_at(&n->clock, w->now_ns);
	bool was_open = gate_arp_open(n, w->now_ns);

	if (w->opt.mutant && w->opt.mutant->gate)
		w->opt.mutant->gate(w, n, &g);
	if (k->life != n->life && !mono_before(now, g.arp_until) && !mono_before(now, g.ip_until) &&
	    !mono_before(now, g.redirect_until))
		return;
	k->life = n->life;
	k->renew_ms = n->cfg.renew_ms;
	k->arp_until = g.arp_until;
	k->ip_until = g.ip_until;
	k->redirect_until = g.redirect_until;
	k->redirect_to = node_of(g.redirect_to);
	gate_clock_changed(n);
	judge_gate(w, n);
	if (!was_open && gate_arp_open(n, w->now_ns))
		agent_announce(w, n);
}

bool gate_arp_open(const struct node *n, int64_t t_ns)
{
	return !n->kernel.asleep && t_ns < n->kernel.arp_close_ns;
}

bool gate_ip_open(const struct node *n, int64_t t_ns)
{
	return !n->kernel.asleep && mono_before(clock_at(&n->clock, t_ns), n->kernel.ip_until);
}

bool gate_answers(const struct node *n, int64_t t_ns)
{
	return gate_arp_open(n, t_ns) && n->kernel.address;
}

bool gate_takes(const struct world *w, const struct node *n, int64_t t_ns)
{
	bool redirects = !n->kernel.asleep && mono_before(clock_at(&n->clock, t_ns), n->kernel.redirect_until) &&
			 n->kernel.redirect_to < w->n_nodes && n->kernel.redirect_to != n->id;
	const struct node *to = redirects ? &w->nodes[n->kernel.redirect_to] : n;

	return gate_ip_open(to, t_ns) && to->kernel.address;
}

int64_t gate_address(struct world *w, struct node *n, bool wanted)
{
	int64_t t_ns = w->now_ns;

	n->address_wanted = wanted;
	if (!wanted) {
		n->kernel.address = false;
	} else if (!n->kernel.address) {
		t_ns += world_between(w, ADDRESS_MIN_MS, ADDRESS_MAX_MS) * NS_PER_MS;
		world_at(w, t_ns, SIM_ADDRESS, n->id)->life = n->life;
	}
	return t_ns;
}
