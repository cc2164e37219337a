/* SPDX-License-Identifier: Apache-2.0 */
/* findings_net.c: what is to be said of interfaces, their sysctls, other software on the node, and the wire. */
#include <string.h>

#include "agent/core/findings_private.h"

/* ---- interfaces ---- */

static void judge_pool(struct judge *j, const struct facts_pool *p)
{
	const char *what = SAY(j, p->control_vip ? "VIP " : "pool ", p->text);

	if (!*p->links)
		judge_add(j, FINDING_ERROR, SAY(j, what, ": no interface of this node carries it"), p->why, NULL,
			  "give an interface an address of that subnet, or name one: --interface IF (in the chart: interface; ip "
			  "-brief link shows them all)");
	else if (*p->why)
		judge_add(j, FINDING_WARNING, SAY(j, what, ": its first address goes to ", p->links, ", its last does not"), p->why,
			  NULL, "a pool should lie in one subnet: split it, or take the rest out");
	else if (p->off_subnet)
		judge_add(j, FINDING_WARNING, SAY(j, what, " goes to ", p->links, ", which has no address of that network"),
			  "hosts on that LAN ask for it only if they have a route or an address of that network, too", NULL,
			  "right for a network of VIPs alone that the router has on this LAN; else take addresses of the LAN's subnet");
	else
		judge_ok(j, SAY(j, what, " goes to ", p->links));
}

static void judge_link(struct judge *j, const struct facts_link *l)
{
	if (!l->up)
		judge_add(j, FINDING_ERROR, SAY(j, l->name, " is down"), "this node cannot hold VIPs there",
			  SAY(j, "ip link set ", l->name, " up"), NULL);
	else if (!l->carrier)
		judge_add(j, FINDING_ERROR, SAY(j, l->name, " has no carrier"), "this node cannot hold VIPs there", NULL,
			  "plug the cable in; of a bridge or bond, look at its ports: bridge link, cat /proc/net/bonding/IF");
	else if (l->mtu != FACT_UNKNOWN && l->mtu < 1280 && l->sysctls.v6)
		judge_add(j, FINDING_ERROR, SAY(j, l->name, " has an MTU of ", judge_number(j, l->mtu)),
			  "IPv6 needs 1280 (RFC 8200, section 5): the kernel turns it off there",
			  SAY(j, "ip link set ", l->name, " mtu 1500"), NULL);
	else
		judge_ok(j, SAY(j, l->name, " is up, with carrier", l->mtu == FACT_UNKNOWN ? "" : ", MTU ",
				l->mtu == FACT_UNKNOWN ? "" : judge_number(j, l->mtu), *l->mac ? ", MAC " : "", l->mac));
	if (l->first.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, SAY(j, l->name, ": the gate cannot stand first"), l->first.text, NULL,
			  "have the other program (of Cilium, for one) attached elsewhere, or use another interface; or gate: off, "
			  "which goes without");
}

static void judge_more_links(struct judge *j)
{
	const struct facts_net *n = &j->f->net;

	if (n->n_more_links)
		judge_skip(j, SAY(j, judge_number(j, (int64_t)n->n_more_links), " more interfaces"), "only the first are looked at");
}

void judge_interfaces(struct judge *j)
{
	const struct facts_net *n = &j->f->net;

	j->section = SECTION_INTERFACES;
	if (*n->skipped) {
		judge_skip(j, "interfaces", n->skipped);
		return;
	}
	if (j->f->config.bgp) {
		judge_routes(j);
		judge_more_links(j);
		return;
	}
	if (j->f->config.routed) {
		judge_ok(j, "VIPs are announced on no interface: routers send them here");
		return;
	}
	if (n->n_pools == 0)
		judge_skip(j, "interfaces for VIPs", "there is no pool");
	for (size_t i = 0; i < n->n_pools; i++)
		judge_pool(j, &n->pools[i]);
	for (size_t i = 0; i < n->n_links; i++)
		judge_link(j, &n->links[i]);
	judge_more_links(j);
}

/* ---- sysctls ---- */

/* sysctl(8): a dot within an interface's name is written as a slash. */
static const char *name_of(struct judge *j, enum sysctl_key key, const char *interface)
{
	static const char *const leaves[SYSCTL_KEY_N] = {
		[SYSCTL_FORWARD_V4] = "forwarding",
		[SYSCTL_FORWARD_V6] = "forwarding",
		[SYSCTL_RP_FILTER] = "rp_filter",
		[SYSCTL_ARP_IGNORE] = "arp_ignore",
		[SYSCTL_ARP_ANNOUNCE] = "arp_announce",
		[SYSCTL_ARP_FILTER] = "arp_filter",
		[SYSCTL_DROP_GRATUITOUS_ARP] = "drop_gratuitous_arp",
		[SYSCTL_PROXY_ARP] = "proxy_arp",
		[SYSCTL_PROXY_ARP_PVLAN] = "proxy_arp_pvlan",
		[SYSCTL_DISABLE_IPV6] = "disable_ipv6",
		[SYSCTL_ACCEPT_RA] = "accept_ra",
		[SYSCTL_DROP_UNSOLICITED_NA] = "drop_unsolicited_na",
		[SYSCTL_PROXY_NDP] = "proxy_ndp",
	};
	bool v6 = key == SYSCTL_FORWARD_V6 || key == SYSCTL_DISABLE_IPV6 || key == SYSCTL_ACCEPT_RA ||
		  key == SYSCTL_DROP_UNSOLICITED_NA || key == SYSCTL_PROXY_NDP;
	char name[LINK_NAME_MAX] = "";

	for (size_t i = 0; i + 1 < sizeof(name) && interface[i]; i++)
		name[i] = interface[i] == '.' ? '/' : interface[i];
	return SAY(j, v6 ? "net.ipv6.conf." : "net.ipv4.conf.", name, ".", leaves[key]);
}

static void judge_sysctl(struct judge *j, const struct sysctl_facts *f, const struct sysctl_advice *a)
{
	const char *name = name_of(j, a->key, a->interface);
	const char *set = SAY(j, "sysctl -w ", name, "=", judge_number(j, a->wanted));
	bool forwarding = a->key == SYSCTL_FORWARD_V4 || a->key == SYSCTL_FORWARD_V6;
	const char *what = SAY(j, name, " is ", judge_number(j, a->value));
	const char *mend;

	if (strcmp(a->interface, "all") != 0 && f->own[a->key] != a->value)
		what = SAY(j, name_of(j, a->key, "all"), " is ", judge_number(j, a->value), ", above that of ", f->name);
	if (a->manageable && j->f->config.manage && j->f->rights.sysctls.state == FACT_GOOD) {
		judge_ok(j, SAY(j, what, "; the agent sets ", name, " to ", judge_number(j, a->wanted), " (sysctl: manage)"));
		return;
	}
	if (a->accept_ra_first && !*f->ra_link) {
		set = NULL;
		mend = "find that interface (ip -6 route show default), set its accept_ra to 2, and only then forwarding to 1";
	} else if (a->accept_ra_first) {
		set = SAY(j, "sysctl -w ", name_of(j, SYSCTL_ACCEPT_RA, f->ra_link), "=2\n", set);
		mend = "in this order: forwarding alone would drop the default route that router advertisements gave";
	} else if (f->routed && a->key == SYSCTL_RP_FILTER) {
		mend = SAY(j, j->f->config.in_pod ? "on the node itself; " : "", "nothing is to be done where ip route show default names "
			   "all interfaces that lead to routers, ", f->name, " among them (a multipath route)");
	} else if (j->f->config.in_pod) {
		mend = forwarding ? "on the node itself, or for all nodes helm upgrade ... --set sysctlInit.enabled=true" :
				    "on the node itself: /proc/sys is read-only in a Pod";
	} else {
		mend = a->manageable ? "or --sysctl manage; to keep it, a line in /etc/sysctl.d/90-leasehold.conf" :
				       "to keep it, a line in /etc/sysctl.d/90-leasehold.conf";
	}
	judge_add(j, a->error ? FINDING_ERROR : FINDING_WARNING, what, a->why, set, mend);
}

/* "all" is the same for every interface: said once. */
static bool is_told(const struct judge *j, size_t link, const struct sysctl_advice *a)
{
	struct sysctl_advice before[SYSCTL_ADVICE_MAX];

	for (size_t i = 0; i < link && strcmp(a->interface, "all") == 0; i++) {
		size_t n = sysctl_judge(&j->f->net.links[i].sysctls, before);

		for (size_t k = 0; k < n; k++)
			if (before[k].key == a->key && strcmp(before[k].interface, "all") == 0)
				return true;
	}
	return false;
}

void judge_sysctls(struct judge *j)
{
	const struct facts_net *n = &j->f->net;

	j->section = SECTION_SYSCTLS;
	if (*n->skipped)
		judge_skip(j, "sysctls", n->skipped);
	else if (n->n_links == 0)
		judge_skip(j, "sysctls", j->f->config.bgp ? "no interface leads to a router" : "no interface carries VIPs");
	for (size_t i = 0; i < n->n_links && !*n->skipped; i++) {
		struct sysctl_advice advice[SYSCTL_ADVICE_MAX];
		const struct sysctl_facts *f = &n->links[i].sysctls;
		size_t n_advice = sysctl_judge(f, advice), told = 0;

		for (size_t k = 0; k < n_advice; k++)
			if (!is_told(j, i, &advice[k])) {
				judge_sysctl(j, f, &advice[k]);
				told++;
			}
		if (told == 0)
			judge_ok(j, f->routed ? SAY(j, n->links[i].name, ": forwarding and rp_filter as VIPs need them") :
				 SAY(j, n->links[i].name, ": all as VIPs need them (", f->nft ? "forwarding, rp_filter, " : "",
				     "arp_*, proxy_*", f->v6 ? ", disable_ipv6)" : ")"));
	}
}

/* ---- other software ---- */

static void judge_proxy(struct judge *j)
{
	const struct facts_net *n = &j->f->net;
	bool strict = n->strict_arp_ignore >= 1 && n->strict_arp_announce >= 2;

	if (*n->proxy_mode)
		judge_ok(j, SAY(j, "kube-proxy runs in mode ", n->proxy_mode));
	else if (n->ipvs)
		judge_ok(j, "kube-proxy's interface kube-ipvs0 is here: mode ipvs");
	else
		judge_skip(j, "kube-proxy",
			   j->f->config.routed ?
			   "none answers at 127.0.0.1:10249/proxyMode; without one, Pods reach VIPs by this node's own rules where it "
			   "has the VIP, else by whoever routes it (ip-mode: proxy)" :
			   "none answers at 127.0.0.1:10249/proxyMode; without one, Pods reach VIPs by the holder (ip-mode: proxy)");
	if (!n->ipvs || strict || j->f->config.routed)
		return;
	judge_add(j, j->f->config.gate ? FINDING_WARNING : FINDING_ERROR, "kube-proxy's strictARP is off",
		  "in mode ipvs every node has all VIPs on kube-ipvs0, and so answers ARP requests for them: the gate keeps nodes with "
		  "an agent silent, and nothing those without",
		  "kubectl -n kube-system edit configmap kube-proxy",
		  "set ipvs.strictARP: true there, then kubectl -n kube-system rollout restart daemonset kube-proxy");
}

static void judge_filter(struct judge *j, const char *family, const struct facts_filter *f)
{
	switch (f->pass) {
	case FILTER_UNSEEN:
		break;
	case FILTER_OPEN:
		judge_ok(j, SAY(j, family, ": the node's packet filter lets connections to backends pass"));
		break;
	case FILTER_MARKED:
		judge_ok(j, SAY(j, family, ": ", f->place, " drops what lacks kube-proxy's mark; connections to VIPs carry it"));
		break;
	case FILTER_DOUBTFUL:
		judge_add(j, FINDING_WARNING, SAY(j, family, ": ", f->place, " drops what none of its rules accepts"),
			  "it may be that connections to VIPs do not reach their backends", f->command, "only if clients get no answer");
		break;
	case FILTER_CLOSED:
		judge_add(j, FINDING_ERROR, SAY(j, family, ": ", f->place, " drops all new connections to backends"),
			  "VIPs on this node do not answer", f->command, NULL);
		break;
	}
}

/* What may be the node's own is not to be deleted by a command of ours: that could cut the node off. */
static void judge_stranger(struct judge *j, const struct facts_stranger *s)
{
	const char *prefix = SAY(j, judge_ip(j, &s->ip), "/", judge_number(j, s->len));

	if (j->f->config.bgp && s->on_lo && s->len == ip_len(&s->ip) * 8)
		judge_add(j, FINDING_ERROR, SAY(j, prefix, s->vip ? " on lo is a VIP, and not marked as Leasehold's" :
								  " on lo is in a pool, and not marked as Leasehold's"),
			  "somebody has changed it or put it there: nobody removes it when this node cannot serve it, or has no agent any "
			  "more, and it is exported for ever",
			  SAY(j, "ip address del ", prefix, " dev ", s->link),
			  s->vip ? "the agent puts it back within seconds, with its mark and a lifetime" :
				   "where it is a VIP that this node can serve, the agent puts it back, with its mark and a lifetime");
	else if (s->len < ip_len(&s->ip) * 8 || s->dynamic || s->on_default || s->only)
		judge_add(j, FINDING_ERROR, SAY(j, prefix, " on ", s->link, ", maybe this node's own, is in a pool"),
			  "a Service that gets it takes it from the node", NULL,
			  "take it out of the pool, or remove it if it is not this node's own");
	else
		judge_add(j, FINDING_ERROR, SAY(j, prefix, " on ", s->link, " is in a pool, and not Leasehold's"),
			  j->f->config.bgp ? "another tool or hand put it there: this node takes what is sent to it for its own, whether it "
					     "can serve a Service that gets the address or not" :
			  "keepalived, kube-vip, MetalLB, another tool or hand put it there: when a Service gets the address, two answer",
			  SAY(j, "ip address del ", prefix, " dev ", s->link),
			  "end the program that sets it first; or take the address out of the pool");
}

void judge_others(struct judge *j)
{
	const struct facts_net *n = &j->f->net;

	j->section = SECTION_OTHERS;
	if (*n->skipped) {
		judge_skip(j, "other software", n->skipped);
		return;
	}
	judge_proxy(j);
	if (*n->filter_error && j->f->config.nft)
		judge_skip(j, "the node's packet filter", n->filter_error);
	judge_filter(j, "IPv4", &n->v4);
	judge_filter(j, "IPv6", &n->v6);
	for (size_t i = 0; i < n->n_strangers; i++)
		judge_stranger(j, &n->strangers[i]);
	if (n->n_more_strangers)
		judge_add(j, FINDING_ERROR, SAY(j, judge_number(j, (int64_t)n->n_more_strangers), " more addresses like these"),
			  NULL, NULL, NULL);
	if (n->n_strangers == 0 && (n->n_pools > 0 || (j->f->config.bgp && j->f->config.n_pools > 0)))
		judge_ok(j, "no address of a pool is on this node but by Leasehold");
}

/* ---- the wire ---- */

static const char *answerers(struct judge *j, const struct facts_probe *p)
{
	const char *unknown = j->f->wire.nodes_known ? " (no node of ours)" : "";
	const char *text = "";

	for (size_t i = 0; i < p->n_macs; i++)
		text = SAY(j, text, i ? ", " : "", p->macs[i].mac, *p->macs[i].node ? " (node " : "", p->macs[i].node,
			   *p->macs[i].node ? ")" : unknown);
	return text;
}

/* Asks once more, with tools that everybody has. */
static const char *ask_again(struct judge *j, const struct facts_probe *p)
{
	if (p->ip.family == IP_V4)
		return SAY(j, "arping -c 3 -I ", p->link, " ", judge_ip(j, &p->ip));
	return SAY(j, "ndisc6 -m ", judge_ip(j, &p->ip), " ", p->link);
}

static void judge_probe(struct judge *j, const struct facts_probe *p)
{
	const char *asked = SAY(j, judge_ip(j, &p->ip), " on ", p->link);
	const bool mine = p->ours || p->here;
	const size_t n = p->n_macs + mine;

	if (!*p->link)
		judge_skip(j, judge_ip(j, &p->ip), p->skipped);
	else if (n > 1)
		judge_add(j, FINDING_ERROR,
			  SAY(j, asked, ": ", judge_number(j, (int64_t)n), " hosts answer: ", mine ? "this node, " : "", answerers(j, p)),
			  "clients reach now one and now the other", ask_again(j, p),
			  "take the address from the host with that MAC (the switch's table tells its port), or out of the pool");
	else if (mine)
		judge_ok(j, SAY(j, asked, ": this node alone has it"));
	else if (n == 1 && p->wanted && !*p->macs[0].node && j->f->wire.nodes_known)
		judge_add(j, FINDING_ERROR, SAY(j, asked, ": a stranger answers: ", answerers(j, p)),
			  "clients of this VIP reach another host", ask_again(j, p),
			  "take the address from the host with that MAC (the switch's table tells its port), or out of the pool");
	else if (n == 1)
		judge_ok(j, SAY(j, asked, ": one host answers, ", answerers(j, p)));
	else if (p->wanted)
		judge_add(j, FINDING_ERROR, SAY(j, asked, ": nobody answers"), "clients on this LAN do not reach the VIP", NULL,
			  "leasehold status says who holds it and what stands in the way; a switch or cloud network may filter ARP, too");
	else
		judge_ok(j, SAY(j, asked, ": nobody answers: free"));
}

void judge_wire(struct judge *j)
{
	const struct facts_wire *w = &j->f->wire;

	j->section = SECTION_WIRE;
	if (*w->skipped)
		judge_skip(j, "who answers for VIPs", w->skipped);
	for (size_t i = 0; i < w->n_probes && !*w->skipped; i++)
		judge_probe(j, &w->probes[i]);
	if (w->n_more && !*w->skipped)
		judge_skip(j, SAY(j, judge_number(j, (int64_t)w->n_more), " more VIPs"), "not asked for; name one with --probe");
}
