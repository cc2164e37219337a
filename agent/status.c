/* SPDX-License-Identifier: Apache-2.0 */
/* status.c: the agent's state for people (a table of at most 100 columns) and for programs (JSON). */
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/status_services.h"
#include "agent/version.h"

#define MAC_TEXT_MAX 18

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

const char *agent_refused(const struct agent *a, const struct ip *ip)
{
	int r = 0;

	for (size_t i = 0; i < a->vips.n && a->kernel.n_refusals > 0 && r == 0; i++) {
		const struct kernel_addr at = { a->vips.v[i].ip, a->vips.v[i].ifindex };

		if (ip_eq(&at.ip, ip))
			r = kernel_refuses_addr(&a->kernel, &at);
	}
	if (r == -EEXIST)
		return "the interface has this address already, and not from Leasehold";
	return r == -EACCES ? "IPv6 is off on the interface" : r < 0 ? strerror(-r) : NULL;
}

static const char *role(const struct agent *a, mono_t now)
{
	return agent_holds(a, now) ? "holder" : a->groups[0]->leader.elect.fit ? "candidate" : "unfit";
}

static void key(struct buf *out, const char *name)
{
	buf_json_string(out, name);
	buf_puts(out, ":");
}

/* How long the gate lets ARP and ND for the VIP through from now; 0 = shut, -1 = there is no gate. */
static int64_t open_for_ms(const struct agent *a, const struct vip *v, mono_t now)
{
	mono_t until = gates_open_until(&a->gates, &v->ip);

	if (!a->gates.gate)
		return -1;
	return mono_before(now, until) ? mono_diff_ms(until, now) : 0;
}

/* Who else was heard to claim the VIP last; NULL = nobody. */
static const struct wire_row *claimed_by(const struct agent *a, const struct vip *v, char mac[static MAC_TEXT_MAX],
					 const char **ret_node)
{
	const struct wire_row *row = wire_row(&a->wire, &v->ip);
	const struct candidate *who;

	if (!row || row->at.ns == 0)
		return NULL;
	who = candidates_by_mac(a->candidates, row->mac);
	*ret_node = who ? who->node : "";
	IGNORE(snprintf(mac, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", row->mac[0], row->mac[1], row->mac[2], row->mac[3],
			row->mac[4], row->mac[5])); /* fits */
	return row;
}

static const char *lease_of(const struct agent *a, const struct vip *v)
{
	return v->group < a->n_groups ? a->groups[v->group]->leader.name : "";
}

static void json_vips(const struct agent *a, mono_t now, struct buf *out)
{
	char ip[IP_TEXT_MAX], name[IF_NAMESIZE], mac[MAC_TEXT_MAX];

	key(out, "vips");
	buf_puts(out, "[");
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *v = &a->vips.v[i];
		const char *node = "";
		const struct wire_row *row = claimed_by(a, v, mac, &node);

		buf_puts(out, i ? ",{" : "{");
		status_json_text(out, "address", ip_format(&v->ip, ip), false);
		status_json_text(out, "lease", lease_of(a, v), false);
		status_json_text(out, "interface", v->ifindex && if_indextoname((unsigned int)v->ifindex, name) ? name : "", false);
		buf_printf(out, "\"live\":%s,\"announced\":%" PRIu64, v->live ? "true" : "false", v->rounds);
		if (a->gates.gate)
			buf_printf(out, ",\"gate_open_for_ms\":%" PRId64, open_for_ms(a, v, now));
		if (row) {
			buf_puts(out, ",\"claimed_by\":{");
			status_json_text(out, "mac", mac, false);
			status_json_text(out, "node", node, false);
			buf_printf(out, "\"ago_ms\":%" PRId64 "}", mono_diff_ms(now, row->at));
		}
		buf_puts(out, "}");
	}
	buf_puts(out, "]");
}

/* What the election does just now, in a word. */
static const char *doing(const struct elect *e)
{
	if (e->over.on)
		return "overtime"; /* past the deadline: the API is away, and nobody else answers */
	if (e->over.looking)
		return "looking"; /* before it opens: the former holder may answer yet */
	if (e->move.preparing)
		return "preparing";
	return e->state == ELECT_LEADING && e->move.stage != LEASE_STAGE_NONE ? "handing over" : elect_state_name(e->state);
}

static void json_lease(const struct agent *a, const struct leader *l, mono_t now, struct buf *out)
{
	char node[LEASE_HOLDER_MAX];

	IGNORE(lease_node(l->seen.holder, node, sizeof(node))); /* only shown */
	buf_puts(out, "{");
	status_json_text(out, "namespace", l->ns, false);
	status_json_text(out, "name", l->name, false);
	status_json_text(out, "holder", node, false);
	status_json_text(out, "holder_identity", l->seen.holder, false);
	status_json_text(out, "state", doing(&l->elect), false);
	status_json_text(out, "on_api_loss", l->seen.hold ? "hold" : "fence", false);
	buf_printf(out, "\"in_view\":%s,\"transitions\":%u,\"duration_ms\":%" PRId64,
		   l->elect.fresh ? "true" : "false", l->seen.transitions, a->cfg->lease_ms);
	if (l->renewed_at.ns)
		buf_printf(out, ",\"renewed_ago_ms\":%" PRId64, mono_diff_ms(now, l->renewed_at));
	if (leader_holds(l, now))
		buf_printf(out, ",\"deadline_in_ms\":%" PRId64, mono_diff_ms(l->elect.deadline, now));
	buf_puts(out, "}");
}

static void json_leases(const struct agent *a, mono_t now, struct buf *out)
{
	key(out, "lease");
	json_lease(a, &a->groups[0]->leader, now, out);
	buf_puts(out, ",");
	key(out, "leases");
	buf_puts(out, "[");
	for (size_t i = 0; i < a->n_groups; i++) {
		buf_puts(out, i ? "," : "");
		json_lease(a, &a->groups[i]->leader, now, out);
	}
	buf_puts(out, "]");
}

static void render_json(struct agent *a, struct buf *out)
{
	struct buf why = BUF_INIT(4096);
	mono_t now = mono_now();
	bool ready = agent_ready(a, &why);

	buf_puts(out, "{");
	status_json_text(out, "version", version_text(), false);
	status_json_text(out, "node", a->cfg->node_name, false);
	status_json_text(out, "identity", a->elect_cfg.identity, false);
	status_json_text(out, "role", role(a, now), false);
	buf_printf(out, "\"ready\":%s,", ready ? "true" : "false");
	status_json_text(out, "not_ready_because", buf_text(&why), false);
	status_json_text(out, "gate", a->gates.gate ? "on" : "off", false);
	status_json_text(out, "gate_problem", gates_problem(&a->gates), false);
	buf_printf(out, "\"gate_put_back\":%" PRIu64 ",\"conflicts\":%" PRIu64 ",", a->gates.put_back, a->metrics.conflicts);
	status_json_text(out, "on_api_loss", a->elect_cfg.policy == LEASE_HOLD ? "hold" : "fence", false);
	json_leases(a, now, out);
	buf_printf(out, ",\"api\":{\"synced\":%s,\"services\":%zu,\"slices\":%zu},", store_synced(&a->store) ? "true" : "false",
		   a->store.n_services, a->store.n_slices);
	buf_printf(out, "\"kernel\":{\"ready\":%s,\"as_wanted\":%s,", !a->dataplane.on || a->dataplane.up ? "true" : "false",
		   dataplane_as_wanted(&a->dataplane) ? "true" : "false");
	status_json_text(out, "problem", agent_kernel_problem(a), false);
	status_json_text(out, "forwarding_problem", forwarding_problem(a), false);
	buf_printf(out, "\"elements_changed\":%" PRIu64 ",\"mended\":%" PRIu64 ",\"last_job_ms\":%" PRId64 "},",
		   a->dataplane.elements, a->dataplane.mended, a->dataplane.job_ms);
	json_vips(a, now, out);
	buf_puts(out, ",\"control_plane\":");
	control_plane_status(&a->control_plane, now, true, out);
	buf_puts(out, ",");
	services_json(a, now, out);
	buf_puts(out, "}\n");
	buf_fini(&why);
}

static void text_head(struct agent *a, mono_t now, struct buf *out)
{
	struct buf why = BUF_INIT(4096);
	bool ready = agent_ready(a, &why);

	buf_printf(out, "Node       %s (%s, %s)\n", a->cfg->node_name, role(a, now), ready ? "ready" : "not ready");
	if (!ready)
		buf_printf(out, "           %s", buf_text(&why));
	if (!a->gates.gate)
		buf_puts(out, "Gate       OFF: nothing stops this node from answering when its agent dies\n");
	else
		buf_printf(out, "Gate       on%s%s; put back %" PRIu64 " times, conflicts %" PRIu64 "\n",
			   *gates_problem(&a->gates) ? ", but " : "", gates_problem(&a->gates), a->gates.put_back,
			   a->metrics.conflicts);
	buf_printf(out, "API        %s, %u Services served of %zu\n", store_synced(&a->store) ? "in view" : "not in view yet",
		   agent_services(a), a->store.n_services);
	buf_printf(out, "Kernel     %s%s%s\n", dataplane_as_wanted(&a->dataplane) ? "as wanted" : "being brought up to date",
		   *agent_kernel_problem(a) ? ": " : "", agent_kernel_problem(a));
	if (*forwarding_problem(a))
		buf_printf(out, "Forwarding %s\n", forwarding_problem(a));
	buf_fini(&why);
}

/* "2.6 s", "-12.0 s"; "-" where there is nothing to tell. */
static const char *seconds(bool known, int64_t ms, char *buf, size_t size)
{
	IGNORE(snprintf(buf, size, known ? "%.1f s" : "-", (double)ms / 1000)); /* fits */
	return buf;
}

static void text_leases(const struct agent *a, mono_t now, struct buf *out)
{
	char node[LEASE_HOLDER_MAX], renewed[24], deadline[24];

	buf_printf(out, "\n%-26s %-22s %-12s %-8s %-9s %s\n", "LEASE", "HOLDER", "HERE", "RENEWED", "DEADLINE", "API LOSS");
	for (size_t i = 0; i < a->n_groups; i++) {
		const struct leader *l = &a->groups[i]->leader;
		bool holds = leader_holds(l, now);

		IGNORE(lease_node(l->seen.holder, node, sizeof(node))); /* only shown */
		buf_printf(out, "%-26s %-22s %-12s %-8s %-9s %s%s\n", l->name, *node ? node : "nobody", doing(&l->elect),
			   seconds(holds && l->renewed_at.ns, mono_diff_ms(now, l->renewed_at), renewed, sizeof(renewed)),
			   seconds(holds, mono_diff_ms(l->elect.deadline, now), deadline, sizeof(deadline)),
			   l->seen.hold ? "hold" : "fence", l->elect.fresh ? "" : " (not in view)");
	}
}

static void text_vips(const struct agent *a, mono_t now, struct buf *out)
{
	char ip[IP_TEXT_MAX], name[IF_NAMESIZE], mac[MAC_TEXT_MAX], gate[24], ago[24];

	if (a->vips.n)
		buf_printf(out, "\n%-26s %-10s %-5s %-12s %s\n", "VIP", "INTERFACE", "HERE", "GATE", "CLAIMED BY OTHERS");
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *v = &a->vips.v[i];
		int64_t open_ms = open_for_ms(a, v, now);
		const char *node = "";
		const struct wire_row *row = claimed_by(a, v, mac, &node);

		buf_printf(out, "%-26s %-10s %-5s %-12s ", ip_format(&v->ip, ip),
			   v->ifindex && if_indextoname((unsigned int)v->ifindex, name) ? name : "-", v->live ? "yes" : "no",
			   open_ms < 0 ? "off" : open_ms == 0 ? "shut" : seconds(true, open_ms, gate, sizeof(gate)));
		if (row)
			buf_printf(out, "%s %s%s%s ago\n", mac, node, *node ? ", " : "",
				   seconds(true, mono_diff_ms(now, row->at), ago, sizeof(ago)));
		else
			buf_puts(out, "-\n");
	}
}

static void render_text(struct agent *a, struct buf *out)
{
	mono_t now = mono_now();

	text_head(a, now, out);
	text_leases(a, now, out);
	text_vips(a, now, out);
	control_plane_status(&a->control_plane, now, false, out);
	services_text(a, out);
}

void status_render(struct agent *a, bool json, struct buf *out)
{
	if (json)
		render_json(a, out);
	else
		render_text(a, out);
}
