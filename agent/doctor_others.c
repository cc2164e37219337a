/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_others.c: what other software has done to this node: the packet filter's FORWARD, addresses of our pools,
 * kube-proxy. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "agent/base/text.h"
#include "agent/doctor_net.h"
#include "netlink/forward_if.h"
#include "netlink/sysctl.h"

#define PROXY_PORT 10249 /* --metrics-bind-address of kube-proxy: 127.0.0.1:10249 */
#define PROXY_S 1
#define IPVS_LINK "kube-ipvs0"

/* ---- FORWARD ---- */

static void take_family(const struct doctor *d, const struct forward_family *f, struct facts_filter *ret)
{
	enum forward_pass pass = (enum forward_pass)f->pass;

	if (pass == FORWARD_BY_MARK && d->cfg->forward_mark == FORWARD_MARK_OFF)
		pass = FORWARD_CLOSED;
	ret->pass = pass == FORWARD_OPEN ? FILTER_OPEN : pass == FORWARD_BY_MARK ? FILTER_MARKED :
		    pass == FORWARD_DOUBTFUL ? FILTER_DOUBTFUL : FILTER_CLOSED;
	IGNORE(text_copy(ret->place, sizeof(ret->place), f->place)); /* fits */
	IGNORE(text_copy(ret->command, sizeof(ret->command), f->command)); /* likewise */
}

static bool has_family(const struct config *c, enum ip_family family)
{
	bool any = c->control_vip.family == family || c->pools.n == 0;

	for (size_t i = 0; i < c->pools.n; i++)
		any |= c->ranges[i].first.family == family;
	return any;
}

static void look_at_filter(const struct doctor *d, struct facts_net *ret)
{
	struct err_info err = ERR_INFO_INIT;
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct forward_view view = { .seen = false };
	int r;

	if (d->cfg->dataplane != DATAPLANE_NFT)
		return;
	r = nlsock_new(NETLINK_NETFILTER, &s, &err);
	if (r == 0)
		r = forward_if_look(s, &view, &err);
	if (r < 0) {
		IGNORE(text_copy(ret->filter_error, sizeof(ret->filter_error), err.text)); /* same size */
		return;
	}
	if (has_family(d->cfg, IP_V4))
		take_family(d, &view.v4, &ret->v4);
	if (has_family(d->cfg, IP_V6))
		take_family(d, &view.v6, &ret->v6);
}

/* ---- addresses ---- */

static bool in_pools(const struct config *c, const struct ip *ip)
{
	for (size_t i = 0; i < c->pools.n; i++)
		if (ip_in_range(ip, &c->ranges[i]))
			return true;
	return false;
}

/* RFC 3927, RFC 4291 section 2.5.6 */
static bool is_link_local(const struct ip *ip)
{
	return ip->family == IP_V4 ? ip->b[0] == 169 && ip->b[1] == 254 : ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}

/* Another address of the node's own is there, too: of no pool, and of more than this link. */
static bool has_own(const struct config *c, const struct link_state *s, const struct link_addr *but)
{
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];

		if (a->index == but->index && a->ip.family == but->ip.family && !a->ours && !in_pools(c, &a->ip) && !is_link_local(&a->ip))
			return true;
	}
	return false;
}

static bool is_vip(const struct doctor *d, const struct ip *ip)
{
	for (size_t i = 0; i < d->agent.n_vips && i < d->agent.cap_vips; i++)
		if (ip_eq(&d->agent.vips[i].ip, ip))
			return true;
	return false;
}

/* kube-proxy's own interface has the VIPs on every node, as it should. */
static void look_at_addrs(const struct doctor *d, const struct link_state *s, struct facts_net *ret)
{
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];
		const struct link *l = link_find(s, a->index);

		bool vip = l && l->loopback && is_vip(d, &a->ip);

		if (a->ours || !l || text_eq(l->name, IPVS_LINK) || !(vip || in_pools(d->cfg, &a->ip)))
			continue;
		if (ret->n_strangers == FACT_STRANGERS_MAX) {
			ret->n_more_strangers++;
			continue;
		}
		ret->strangers[ret->n_strangers] = (struct facts_stranger){
			.ip = a->ip, .len = a->prefix_len, .dynamic = a->dynamic, .only = !has_own(d->cfg, s, a),
			.on_lo = l->loopback, .vip = vip,
			.on_default = a->index == (a->ip.family == IP_V4 ? s->default_v4 : s->default_v6),
		};
		memcpy(ret->strangers[ret->n_strangers++].link, l->name, LINK_NAME_MAX);
	}
}

/* ---- kube-proxy ---- */

static int connect_proxy(void)
{
	const struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PROXY_PORT),
					.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	const struct timeval patience = { .tv_sec = PROXY_S };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		close_fdp(&fd);
	return fd;
}

/* GET /proxyMode is answered with the mode's bare name (cmd/kube-proxy/app/server.go); anything else is no kube-proxy. */
static void ask_proxy(char *ret, size_t size)
{
	static const char ask[] = "GET /proxyMode HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
	static const char *const modes[] = { "iptables", "ipvs", "nftables", "kernelspace" };
	AUTO(close_fdp) int fd = connect_proxy();
	const mono_t until = mono_add_ms(mono_now(), PROXY_S * MS_PER_S);
	char reply[2048], *body;
	size_t len = 0;
	ssize_t n;

	if (fd < 0 || send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(ask) - 1)
		return;
	while (len < sizeof(reply) - 1 && mono_before(mono_now(), until) &&
	       (n = recv(fd, reply + len, sizeof(reply) - 1 - len, 0)) > 0)
		len += (size_t)n;
	reply[len] = '\0';
	body = strstr(reply, "\r\n\r\n");
	for (size_t i = 0; body && i < ARRAY_LEN(modes); i++)
		if (text_eq(body + 4, modes[i]))
			IGNORE(text_copy(ret, size, modes[i])); /* fits */
}

void doctor_others(const struct doctor *d, const struct link_state *s, struct facts_net *ret)
{
	look_at_filter(d, ret);
	if (d->cfg->announce != ANNOUNCE_NONE)
		look_at_addrs(d, s, ret);
	ask_proxy(ret->proxy_mode, sizeof(ret->proxy_mode));
	for (size_t i = 0; i < s->n_links; i++)
		ret->ipvs |= text_eq(s->links[i].name, IPVS_LINK);
	if (sysctl_get(SYSCTL_ARP_IGNORE, "all", &ret->strict_arp_ignore, NULL) < 0)
		ret->strict_arp_ignore = FACT_UNKNOWN;
	if (sysctl_get(SYSCTL_ARP_ANNOUNCE, "all", &ret->strict_arp_announce, NULL) < 0)
		ret->strict_arp_announce = FACT_UNKNOWN;
}
