/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_routes.c: with announce: bgp, what of this node's VIPs and of their export can be seen from here. */
#include <linux/netlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/uplinks.h"
#include "agent/doctor_net.h"
#include "agent/sysctls.h"
#include "netlink/diag_if.h"
#include "netlink/sysctl.h"

#define BGP_PORT 179 /* RFC 4271 */

struct look {
	const struct doctor *d;
	const struct link_state *s;
	struct facts_net *ret;
	bool v4[FACT_LINKS_MAX]; /* of ret->links: routers send packets for IPv4 VIPs in there, as far as can be told */
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

static bool is_link_local(const struct ip *ip)
{
	static const struct ip net = { IP_V6, { 0xfe, 0x80 } };

	return ip_in_prefix(ip, &net, 10);
}

static void take_link(struct look *k, int ifindex, bool v4)
{
	const struct link *l = link_find(k->s, ifindex);
	struct facts_link *f;

	if (!l || l->loopback)
		return;
	for (size_t i = 0; i < k->ret->n_links; i++)
		if (text_eq(k->ret->links[i].name, l->name)) {
			k->v4[i] |= v4;
			return;
		}
	if (k->ret->n_links == FACT_LINKS_MAX) {
		k->ret->n_more_links++;
		return;
	}
	k->v4[k->ret->n_links] = v4;
	f = &k->ret->links[k->ret->n_links++];
	*f = (struct facts_link){ .up = l->up, .carrier = l->carrier, .mtu = FACT_UNKNOWN };
	f->sysctls = (struct sysctl_facts){ .routed = true, .watched = uplinks_is(k->s, l),
					    .nft = k->d->cfg->dataplane == DATAPLANE_NFT };
	memcpy(f->name, l->name, sizeof(f->name));
	memcpy(f->sysctls.name, l->name, sizeof(f->sysctls.name));
	sysctls_routes(&f->sysctls, k->s, ifindex);
}

/* ifindex: the link that a link-local address is meant on, else of no matter. */
static int owner_of(const struct link_state *s, const struct ip *ip, int ifindex)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (ip_eq(&s->addrs[i].ip, ip) && (!is_link_local(ip) || s->addrs[i].index == ifindex))
			return s->addrs[i].index;
	return 0;
}

/* Without connections: the default routes' links, else (a link that is down has none) those with neighbours. */
static void guess_links(struct look *k)
{
	take_link(k, k->s->default_v4, true);
	take_link(k, k->s->default_v6, true);
	for (size_t i = 0; i < k->s->n_links && k->s->default_v4 == 0 && k->s->default_v6 == 0; i++) {
		const struct link *l = &k->s->links[i];

		if (!l->pair && (l->kind == LINK_PLAIN || l->kind == LINK_VLAN || l->kind == LINK_BOND) && uplinks_is(k->s, l))
			take_link(k, l->index, true);
	}
}

/* The families of pools, and what the sysctls are. */
static void finish_links(struct look *k, bool guessed)
{
	const struct config *c = k->d->cfg;
	size_t n_v4 = 0;

	for (size_t i = 0; i < k->ret->n_links; i++)
		n_v4 += k->v4[i];
	for (size_t i = 0; i < k->ret->n_links; i++) {
		struct sysctl_facts *f = &k->ret->links[i].sysctls;

		sysctl_way_in(f, k->v4[i], n_v4, k->ret->n_links);
		f->guessed |= guessed;
		for (size_t p = 0; p < c->pools.n; p++) {
			f->v4 |= c->ranges[p].first.family == IP_V4;
			f->v6 |= c->ranges[p].first.family == IP_V6;
		}
		sysctls_read(f);
	}
}

/* ---- sessions ---- */

static int peer_cmp(const struct facts_peer *a, const struct facts_peer *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	return c ? c : strcmp(a->link, b->link);
}

/* Two routers may have the same link-local address, each on a link of its own. */
static void add_peer(struct look *k, const struct ip *ip, int ifindex)
{
	struct facts_routes *r = &k->ret->routes;
	const struct link *l = is_link_local(ip) ? link_find(k->s, ifindex) : NULL;
	struct facts_peer p = { .ip = *ip };
	size_t at = 0;

	if (l)
		memcpy(p.link, l->name, sizeof(p.link));
	while (at < r->n_peers && peer_cmp(&r->peers[at], &p) < 0)
		at++;
	if (at < r->n_peers && peer_cmp(&r->peers[at], &p) == 0)
		return;
	if (r->n_peers == FACT_SESSIONS_MAX) {
		r->n_more_peers++;
		return;
	}
	memmove(&r->peers[at + 1], &r->peers[at], (r->n_peers - at) * sizeof(r->peers[0]));
	r->peers[at] = p;
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
	if (owner_of(k->s, &socket->peer.ip, socket->ifindex))
		return;
	add_peer(k, &socket->peer.ip, socket->ifindex);
	/* A session by link-local addresses carries both families (RFC 8950). */
	take_link(k, socket->ifindex ? socket->ifindex : owner_of(k->s, &socket->local.ip, 0),
		  socket->peer.ip.family == IP_V4 || is_link_local(&socket->peer.ip));
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
	bool guessed;

	look_at_lo(s, &ret->routes);
	look_at_sessions(&k);
	guessed = ret->n_links == 0;
	if (guessed)
		guess_links(&k);
	finish_links(&k, guessed);
}
