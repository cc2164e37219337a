/* SPDX-License-Identifier: Apache-2.0 */
/* findings_routes.c: what is to be said of a node that advertises VIPs (announce: bgp): of lo, which has them, and of whoever
 * exports them.  That is the user's own routing daemon: of it no more is told than sockets tell. */
#include "agent/core/findings_private.h"

static void judge_lo(struct judge *j)
{
	const struct facts_routes *r = &j->f->net.routes;

	if (!r->lo_up)
		judge_add(j, FINDING_ERROR, "lo is down", "VIPs are addresses of lo: the kernel takes in nothing for them, and no daemon "
			  "exports them", "ip link set lo up", NULL);
	if (r->lo_v6_off > 0 && j->f->config.pool_v6)
		judge_add(j, FINDING_ERROR, SAY(j, "net.ipv6.conf.lo.disable_ipv6 is ", judge_number(j, r->lo_v6_off)),
			  "lo takes no IPv6 address, so no IPv6 VIP", "sysctl -w net.ipv6.conf.lo.disable_ipv6=0",
			  "to keep it, a line in /etc/sysctl.d/90-leasehold.conf");
	if (r->n_lasting > 0)
		judge_add(j, FINDING_WARNING,
			  SAY(j, "on lo without a lifetime: ", judge_ip(j, &r->lasting), r->n_lasting > 1 ? " and " : "",
			      r->n_lasting > 1 ? judge_number(j, (int64_t)r->n_lasting - 1) : "", r->n_lasting > 1 ? " more" : ""),
			  "somebody has changed it: when the agent dies, the kernel does not remove it, and routers go on sending", NULL,
			  "an agent that runs and advertises it sets its lifetime again within seconds; leasehold cleanup removes it where "
			  "none runs");
	else if (r->n_vips > 0)
		judge_ok(j, SAY(j, judge_number(j, (int64_t)r->n_vips), r->n_vips == 1 ? " VIP is" : " VIPs are", " on lo, with a lifetime"));
	else
		judge_skip(j, "VIPs on lo", "none is there; leasehold status tells of each VIP why");
}

static const char *peers(struct judge *j)
{
	const struct facts_routes *r = &j->f->net.routes;
	const char *text = "";

	for (size_t i = 0; i < r->n_peers; i++)
		text = SAY(j, text, i ? ", " : "", judge_ip(j, &r->peers[i]));
	return r->n_more_peers ? SAY(j, text, " and ", judge_number(j, (int64_t)r->n_more_peers), " more") : text;
}

/* A daemon that exports by another protocol, or in another namespace, cannot be seen: no error. */
static void judge_sessions(struct judge *j)
{
	const struct facts_routes *r = &j->f->net.routes;

	if (r->asked.state != FACT_GOOD)
		judge_skip(j, "BGP sessions", r->asked.text);
	else if (r->n_peers > 0)
		judge_ok(j, SAY(j, "BGP: connected with ", peers(j)));
	else
		judge_add(j, FINDING_WARNING,
			  r->listens ? "a routing daemon listens on TCP port 179, and no BGP session is up" :
				       "no BGP session is up on this node, and nobody listens on TCP port 179",
			  "this node's VIPs reach no router, unless by another protocol or from another network namespace", NULL,
			  r->listens ? "birdc show protocols, or vtysh -c 'show bgp summary', say what the daemon waits for" :
				       "run BIRD 2 or FRR on the node (docs/bgp.md has configurations), or have the chart run BIRD: bgp.enabled");
}

void judge_routes(struct judge *j)
{
	judge_lo(j);
	judge_sessions(j);
}
