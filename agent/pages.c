/* SPDX-License-Identifier: Apache-2.0 */
/* pages.c: gathers the numbers of the parts; rendering is metrics.c's. */
#include "agent/pages.h"

#include "agent/status_services.h"

/* Leases held past their deadline. */
static unsigned int overtimes(const struct agent *a)
{
	unsigned int n = 0;

	for (size_t i = 0; i < a->n_groups; i++)
		n += a->groups[i]->leader.elect.over.on;
	return n;
}

void pages_metrics(void *ctx, struct buf *out)
{
	struct agent *a = ctx;
	const struct leader *first = &a->groups[0]->leader;
	mono_t now = mono_now();
	uint64_t frames[GATE_COUNT_N] = { 0 };
	const struct metrics_now m = {
		.gate_arp = gates_frames(&a->gates, frames)[GATE_COUNT_ARP],
		.gate_ip = frames[GATE_COUNT_IP],
		.gate_egress = frames[GATE_COUNT_EGRESS],
		.gate_redirected = frames[GATE_COUNT_REDIRECT],
		.tables_lost = a->tables.lost,
		.node = a->cfg->node_name,
		.vips_held = (unsigned int)a->n_live,
		.vips_routed = (unsigned int)a->routed.n_there,
		.vips_wanted = (unsigned int)a->vips.n,
		.services = agent_services(a),
		.leading = agent_holds(a, now),
		.lease_age_s = first->renewed_at.ns ? (double)mono_diff_ms(now, first->renewed_at) / 1000 : -1,
		.synced = store_synced(&a->store),
		.as_wanted = dataplane_as_wanted(&a->dataplane),
		.gate = a->gates.gate != NULL,
		.gate_put_back = a->gates.put_back,
		.overtime = overtimes(a),
		.vips_in_conflict = (unsigned int)conflicts_n(a),
		.netlink_errors = a->kernel.netlink_errors + a->dataplane.errors,
		.nat_ops = a->dataplane.elements,
		.addr_ops = a->kernel.addr_ops_applied,
		.bad_objects = a->store.bad_objects,
	};

	metrics_render(&a->metrics, &m, out);
	services_metrics(a, now, out);
	control_plane_metrics(&a->control_plane, out);
}

bool pages_ready(void *ctx, struct buf *why)
{
	return agent_ready(ctx, why);
}
