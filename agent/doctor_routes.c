/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_routes.c: with announce: bgp, what of this node's VIPs and of their export can be seen from here. */
#include <linux/netlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/doctor_net.h"
#include "agent/sysctls.h"
#include "netlink/diag_if.h"
#include "netlink/sysctl.h"

#define BGP_PORT 179 /* RFC 4271 */

struct look {
	const struct doctor *d;
	const struct link_state *s;
	struct facts_net *ret;
};

/* ---- lo ---- */

static void look_at_lo(const struct link_state *s, struct facts_routes *r)
{
	for (size_t i = 0; i < s->n_links; i++)
		r->lo_up |= s->links[i].loopback && s->links[i].up;
	if (sysctl_get(SYSCTL_DISABLE_IPV6, "lo", &r->lo_v6_off, NULL) < 0)
		r->lo_v6_off = FACT_UNKNOWN;
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];
		const struct link *l = link_find(s, a->index);

		if (!a->ours || !l || !l->loopback)
			continue;
		r->n_vips++;
		if (!a->dynamic && r->n_lasting++ == 0)
			r->lasting = a->ip;
	}
}

/* ---- interfaces ---- */

static void take_link(struct look *k, int ifindex)
{
	const struct link *l = link_find(k->s, ifindex);
	struct facts_link *f;

	if (!l || l->loopback)
		return;
	for (size_t i = 0; i < k->ret->n_links; i++)
		if (text_eq(k->ret->links[i].name, l->name))
			return;
	if (k->ret->n_links == FACT_LINKS_MAX)
		return;
	f = &k->ret->links[k->ret->n_links++];
	*f = (struct facts_link){ .up = l->up, .carrier = l->carrier, .mtu = FACT_UNKNOWN };
	f->sysctls = (struct sysctl_facts){ .routed = true, .nft = k->d->cfg->dataplane == DATAPLANE_NFT };
	memcpy(f->name, l->name, sizeof(f->name));
	memcpy(f->sysctls.name, l->name, sizeof(f->sysctls.name));
	sysctls_routes(&f->sysctls, k->s, ifindex);
}

static int owner_of(const struct link_state *s, const struct ip *ip)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (ip_eq(&s->addrs[i].ip, ip))
			return s->addrs[i].index;
	return 0;
}

/* The families of pools, and what the sysctls are.  several: routers are reached by more than one. */
static void finish_links(struct look *k, bool several)
{
	const struct config *c = k->d->cfg;

	for (size_t i = 0; i < k->ret->n_links; i++) {
		struct sysctl_facts *f = &k->ret->links[i].sysctls;

		f->several = several;
		for (size_t p = 0; p < c->pools.n; p++) {
			f->v4 |= c->ranges[p].first.family == IP_V4;
			f->v6 |= c->ranges[p].first.family == IP_V6;
		}
		sysctls_read(f);
	}
}

/* ---- sessions ---- */

static void add_peer(struct facts_routes *r, const struct ip *ip)
{
	size_t at = 0;

	while (at < r->n_peers && ip_cmp(&r->peers[at], ip) < 0)
		at++;
	if (at < r->n_peers && ip_eq(&r->peers[at], ip))
		return;
	if (r->n_peers == FACT_SESSIONS_MAX) {
		r->n_more_peers++;
		return;
	}
	memmove(&r->peers[at + 1], &r->peers[at], (r->n_peers - at) * sizeof(r->peers[0]));
	r->peers[at] = *ip;
	r->n_peers++;
}

static void on_socket(void *ctx, const struct diag_socket *socket)
{
	struct look *k = ctx;

	if (socket->peer.ip.family == IP_NONE) {
		k->ret->routes.listens = true;
		return;
	}
	/* A daemon's own two ends, as in a test of it, lead to no router. */
	if (owner_of(k->s, &socket->peer.ip))
		return;
	add_peer(&k->ret->routes, &socket->peer.ip);
	take_link(k, socket->ifindex ? socket->ifindex : owner_of(k->s, &socket->local.ip));
}

static void look_at_sessions(struct look *k)
{
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct err_info err = ERR_INFO_INIT;
	int r = nlsock_new(NETLINK_SOCK_DIAG, &s, &err);

	if (r == 0)
		r = diag_if_tcp(s, BGP_PORT, on_socket, k, &err);
	if (r < 0)
		doctor_bad(&k->ret->routes.asked, err.text);
	else
		doctor_good(&k->ret->routes.asked);
}

void doctor_routes(const struct doctor *d, const struct link_state *s, struct facts_net *ret)
{
	struct look k = { .d = d, .s = s, .ret = ret };
	bool several;

	look_at_lo(s, &ret->routes);
	look_at_sessions(&k);
	several = ret->n_links > 1;
	if (ret->n_links == 0) { /* at a guess */
		take_link(&k, s->default_v4);
		take_link(&k, s->default_v6);
	}
	finish_links(&k, several);
}
