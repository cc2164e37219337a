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
			  j->f->config.in_pod ? "on the node itself: /proc/sys is read-only in a Pod" :
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
		text = SAY(j, text, i ? ", " : "", judge_ip(j, &r->peers[i].ip), *r->peers[i].link ? "%" : "", r->peers[i].link);
	return r->n_more_peers ? SAY(j, text, " and ", judge_number(j, (int64_t)r->n_more_peers), " more") : text;
}

/* How to ask the daemon: in a Pod it is the chart's own, in a container beside the agent's, or one of the node. */
static const char *ask_daemon(struct judge *j, const char *bird, const char *frr)
{
	if (j->f->config.in_pod)
		return SAY(j, "kubectl -n ", j->f->config.ns, " exec POD -c bird -- birdc ", bird, " (the chart's BIRD); else on the node "
			   "itself: birdc ", bird, ", or vtysh -c '", frr, "'");
	return SAY(j, "birdc ", bird, ", or vtysh -c '", frr, "'");
}

/* Whatever has a connection there: a network plugin's own mesh of nodes exports no VIPs. */
static void judge_peers(struct judge *j)
{
	const struct facts_routes *r = &j->f->net.routes;
	const char *what = SAY(j, "TCP port 179: connected with ", peers(j));
	const char *ask = ask_daemon(j, "show route export PROTOCOL", "show bgp ipv4 neighbors ADDR advertised-routes");
	bool nodes = r->n_more_peers == 0;

	for (size_t i = 0; i < r->n_peers; i++)
		nodes &= r->peers[i].node;
	if (nodes)
		judge_add(j, FINDING_WARNING, SAY(j, what, r->n_peers == 1 ? ", a node of this cluster" : ", all nodes of this cluster"),
			  "of a network plugin (Calico, kube-router), maybe: no router is among them, and nodes need no route to a VIP", NULL,
			  SAY(j, "have a daemon export the VIPs of lo to routers (docs/bgp.md); right where a node reflects routes to them: ",
			      ask));
	else
		judge_add(j, FINDING_OK, what, SAY(j, "whether the VIPs are exported to them the daemon says: ", ask), NULL, NULL);
}

/* A daemon that exports by another protocol, or in another namespace, cannot be seen: no error. */
static void judge_sessions(struct judge *j)
{
	const struct facts_routes *r = &j->f->net.routes;

	if (r->n_peers > 0)
		judge_peers(j);
	if (r->asked.state != FACT_GOOD)
		judge_skip(j, r->n_peers > 0 ? "more TCP connections of port 179" : "BGP sessions", r->asked.text);
	else if (r->n_peers == 0)
		judge_add(j, FINDING_WARNING,
			  r->listens ? "a routing daemon listens on TCP port 179, and no BGP session is up" :
				       "no BGP session is up on this node, and nobody listens on TCP port 179",
			  "this node's VIPs reach no router, unless by another protocol or from another network namespace", NULL,
			  r->listens ? SAY(j, ask_daemon(j, "show protocols", "show bgp summary"), ": what the daemon waits for") :
				       "run BIRD 2 or FRR on the node (docs/bgp.md has configurations), or have the chart run BIRD: bgp.enabled");
}

/* One that is down is no loss of service while another is up. */
static void judge_way_in(struct judge *j, const struct facts_link *l, bool other)
{
	enum finding_level level = other ? FINDING_WARNING : FINDING_ERROR;

	if (!l->up)
		judge_add(j, level, SAY(j, l->name, " is down"), "no router sends packets for VIPs in there",
			  SAY(j, "ip link set ", l->name, " up"), NULL);
	else if (!l->carrier)
		judge_add(j, level, SAY(j, l->name, " has no carrier"), "no router sends packets for VIPs in there", NULL,
			  "plug the cable in; of a bond, look at its ports: cat /proc/net/bonding/IF");
	else
		judge_ok(j, SAY(j, l->name, " is up, with carrier"));
}

void judge_routes(struct judge *j)
{
	const struct facts_net *n = &j->f->net;
	bool any = false;

	judge_lo(j);
	judge_sessions(j);
	for (size_t i = 0; i < n->n_links; i++)
		any |= n->links[i].up && n->links[i].carrier;
	for (size_t i = 0; i < n->n_links; i++)
		judge_way_in(j, &n->links[i], any);
}
