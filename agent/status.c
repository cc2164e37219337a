/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: what several pages ask of the agent: is it ready, does the kernel refuse anything. */
#include <errno.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/status_gather.h"

unsigned int agent_services(const struct agent *a)
{
	unsigned int n = 0;

	if (!a->decisions || a->store.dirty)
		return 0;
	for (size_t i = 0; i < a->n_decisions; i++)
		n += a->decisions[i].state != POOL_FOREIGN && a->decisions[i].state != POOL_RELEASE;
	return n;
}

bool agent_ready(struct agent *a, struct buf *why)
{
	bool ready = true;

	if (!store_synced(&a->store)) {
		buf_puts(why, "Services and EndpointSlices are not in view yet\n");
		ready = false;
	}
	if (!leader_knows(&a->groups[0]->leader)) {
		buf_puts(why, "the Lease is not in view yet\n");
		ready = false;
	}
	if (a->dataplane.on && (!a->dataplane.up || !a->planned)) {
		buf_puts(why, "the data plane is not up yet\n");
		ready = false;
	} else if (a->dataplane.on && *a->dataplane.problem) {
		buf_printf(why, "the kernel is not as wanted: %s\n", a->dataplane.problem);
		ready = false;
	}
	if (*forwarding_problem(a)) {
		buf_printf(why, "%s\n", forwarding_problem(a));
		ready = false;
	}
	if (a->interfaces.rules.undecided) {
		buf_puts(why, "interface-for asks for labels of this node's Node, which has not been read yet\n");
		ready = false;
	}
	if (*gates_problem(&a->gates)) {
		buf_printf(why, "an interface for VIPs has no gate: %s\n", gates_problem(&a->gates));
		ready = false;
	}
	if (*guard_problem(&a->guard)) {
		buf_printf(why, "other interfaces may answer ARP for VIPs: %s\n", guard_problem(&a->guard));
		ready = false;
	}
	if (a->stop != STOP_NO) {
		buf_puts(why, "stopping\n");
		ready = false;
	}
	return ready;
}

const char *agent_kernel_problem(const struct agent *a)
{
	return *a->dataplane.problem ? a->dataplane.problem : a->kernel.problem;
}

const char *status_refusal_text(int error)
{
	if (error == -EEXIST)
		return "the interface has this address already, and not from Leasehold";
	return error == -EACCES ? "IPv6 is off on the interface" : error < 0 ? strerror(-error) : NULL;
}

const char *agent_refused(const struct agent *a, const struct ip *ip)
{
	const struct vip *vip = a->kernel.n_refusals > 0 ? vips_find(&a->vips, ip) : NULL;
	int r = 0;

	for (size_t k = 0; vip && k < vip->n_at && (k == 0 || r < 0); k++) /* one that has it will do */
		r = kernel_refuses_addr(&a->kernel, &(struct kernel_addr){ .ip = *ip, .ifindex = vip->at[k].ifindex });
	return status_refusal_text(r);
}
