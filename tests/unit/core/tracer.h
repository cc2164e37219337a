/* SPDX-License-Identifier: Apache-2.0 */
/* tracer.h: where the first packet of a connection goes by what is wanted: the rules of the table as netlink/nat_layout.h
 * tells them, walked through in the order of their hooks over the plain data of nat_services.  It knows nothing of how
 * the kernel holds them: tests/netns sends the same packets. */
#pragma once

#include "tests/unit/core/make.h"

#include "agent/base/nat.h"

#define PROTO_ICMP 1
#define PROTO_ICMP6 58
#define PROTO_VRRP 112

#define TRACE_SSH 22
#define TRACE_BGP 179

/* Interfaces, as ifindex; 0 = a process of this node. */
enum trace_link {
	TRACE_SELF,
	TRACE_LAN,
	TRACE_PODS,
	TRACE_OVERLAY,
};

struct trace_node {
	const struct nat_service *services;
	size_t n_services;
	const struct nat_options *options;
	bool holder;	    /* the VIPs are addresses of this node */
	bool public_lan;    /* options->router is about TRACE_LAN */
};

struct trace_packet {
	struct ip_port from, to; /* ports 0 where the protocol has none */
	uint8_t proto;
	enum trace_link in;
};

enum trace_kind {
	TRACE_BACKENDS, /* as the slots say */
	TRACE_REJECT,
	TRACE_DROP,
	TRACE_ACCEPT, /* this node's own programs may answer */
	TRACE_PASS,   /* none of ours */
};

struct trace_verdict {
	enum trace_kind kind;
	const char *why;	  /* TRACE_DROP: as nat_drop_name() */
	const struct frontend *f; /* TRACE_BACKENDS */
};

enum trace_source {
	TRACE_CLIENT, /* the client's address stays */
	TRACE_VIP,
	TRACE_NODE, /* masqueraded */
};

/* By which interface an address is reached: the surroundings in tests/golden/trace/README.md. */
static inline enum trace_link trace_link_of(const struct ip *ip)
{
	static const struct {
		const char *net;
		uint8_t len;
		enum trace_link link;
	} routes[] = {
		{ "192.0.2.1", 32, TRACE_SELF },	{ "2001:db8:1::1", 128, TRACE_SELF },
		{ "198.51.100.0", 25, TRACE_PODS },	{ "2001:db8:3::", 64, TRACE_PODS },
		{ "198.51.100.192", 26, TRACE_OVERLAY }, { "2001:db8:5::", 64, TRACE_OVERLAY },
	};

	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		const struct ip net = make_ip(routes[i].net);

		if (ip_in_prefix(ip, &net, routes[i].len))
			return routes[i].link;
	}
	return TRACE_LAN;
}

/* ---- sets and maps ---- */

static inline bool trace_has(const struct trace_node *n, const struct nat_member *m)
{
	for (size_t i = 0; i < n->n_services; i++)
		for (size_t k = 0; k < n->services[i].n_members; k++)
			if (nat_member_cmp(&n->services[i].members[k], m) == 0)
				return true;
	return false;
}

static inline bool trace_has_ip(const struct trace_node *n, enum nat_member_kind kind, const struct ip *ip)
{
	return trace_has(n, &(struct nat_member){ .kind = (uint8_t)kind, .ip = *ip });
}

static inline bool trace_is_home(const struct trace_node *n, const struct ip *vip, enum trace_link link)
{
	return trace_has(n, &(struct nat_member){ .kind = NAT_HOME, .ip = *vip, .ifindex = link });
}

static inline const struct frontend *trace_dispatch(const struct trace_node *n, const struct trace_packet *p,
						    const struct nat_firewall **ret_fw)
{
	const struct frontend key = { .vip = p->to.ip, .proto = p->proto, .port = p->to.port };

	for (size_t i = 0; i < n->n_services; i++) {
		for (size_t k = 0; k < n->services[i].n_frontends; k++) {
			if (frontend_cmp(&n->services[i].frontends[k], &key) == 0) {
				*ret_fw = n->services[i].firewall;
				return &n->services[i].frontends[k];
			}
		}
	}
	return NULL;
}

/* ---- chains ---- */

static inline bool trace_has_ports(uint8_t proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP || proto == PROTO_SCTP;
}

/* What comes in that cannot begin a connection: a backend's answer that belongs to none, and packets that still look
 * for the VIP where it has been. */
static inline bool trace_guard(const struct trace_node *n, const struct trace_packet *p)
{
	const struct nat_member guard = { .kind = NAT_GUARD, .ip = p->from.ip, .proto = p->proto, .port = p->from.port };

	if (p->in == TRACE_SELF)
		return false;
	return (trace_has_ports(p->proto) && trace_has(n, &guard)) || (!n->holder && trace_is_home(n, &p->to.ip, p->in));
}

static inline bool trace_sources(const struct nat_firewall *fw, const struct ip *from)
{
	for (size_t i = 0; i < fw->n_sources; i++)
		if (ip_in_prefix(from, &fw->sources[i].ip, fw->sources[i].len))
			return true;
	return false;
}

static inline bool trace_is_admin(const struct nat_router *r, const struct ip *from)
{
	for (size_t i = 0; i < r->n_admins; i++)
		if (ip_in_prefix(from, &r->admins[i].ip, r->admins[i].len))
			return true;
	return false;
}

/* Whether a packet that no backend takes may come in by a public interface: to this node by what is allowed there, through it
 * not at all. */
static inline bool trace_router(const struct trace_node *n, const struct trace_packet *p, bool delivered)
{
	const struct nat_router *r = &n->options->router;

	if (!n->public_lan || p->in != TRACE_LAN || trace_is_admin(r, &p->from.ip))
		return true;
	if (!delivered)
		return false;
	if (p->proto == PROTO_TCP && p->to.port == TRACE_SSH)
		return (r->allow & NAT_ROUTER_SSH) && r->n_admins == 0;
	if (p->proto == PROTO_TCP && p->to.port == TRACE_BGP)
		return r->allow & NAT_ROUTER_BGP;
	return ((p->proto == PROTO_ICMP || p->proto == PROTO_ICMP6) && (r->allow & NAT_ROUTER_ICMP)) ||
	       (p->proto == PROTO_VRRP && (r->allow & NAT_ROUTER_VRRP));
}

/* A VIP's packet that no backend takes: refused where it would be delivered, or (no interface carries the VIP)
 * forwarded.  Pings are let through. */
static inline struct trace_verdict trace_unmatched(const struct trace_node *n, const struct trace_packet *p)
{
	const bool routed = trace_has_ip(n, NAT_ROUTED, &p->to.ip) && p->in != TRACE_SELF;
	struct trace_verdict v = { .kind = n->holder ? TRACE_ACCEPT : TRACE_PASS };

	if ((!n->holder && !routed) || p->proto == PROTO_ICMP || p->proto == PROTO_ICMP6)
		return v;
	switch ((enum nat_unmatched)n->options->unmatched) {
	case NAT_UNMATCHED_REJECT:
		return (struct trace_verdict){ .kind = TRACE_REJECT };
	case NAT_UNMATCHED_DROP:
		return (struct trace_verdict){ .kind = TRACE_DROP, .why = "unmatched" };
	case NAT_UNMATCHED_ACCEPT:
		break;
	}
	return v;
}

static inline struct trace_verdict trace_walk(const struct trace_node *n, const struct trace_packet *p)
{
	const bool vip = trace_has_ip(n, NAT_VIP, &p->to.ip);
	const struct nat_firewall *fw = NULL;
	const struct frontend *f;

	if (vip && trace_guard(n, p))
		return (struct trace_verdict){ .kind = TRACE_DROP, .why = "invalid" };
	f = trace_dispatch(n, p, &fw);
	if (fw && fw->restricted && p->in != TRACE_SELF && !trace_sources(fw, &p->from.ip)) /* the node itself may */
		return (struct trace_verdict){ .kind = TRACE_DROP, .why = "source-range" };
	if (f)
		return (struct trace_verdict){ .kind = TRACE_BACKENDS, .f = f };
	if (!trace_router(n, p, vip ? n->holder : trace_link_of(&p->to.ip) == TRACE_SELF))
		return (struct trace_verdict){ .kind = TRACE_DROP, .why = "router" };
	return vip ? trace_unmatched(n, p) : (struct trace_verdict){ .kind = TRACE_PASS };
}

/* Source NAT of what goes to a backend. */
static inline enum trace_source trace_source_of(const struct trace_node *n, const struct trace_packet *p,
						const struct ip *backend)
{
	const struct ip *vip = &p->to.ip;

	if (trace_has_ip(n, NAT_KEEP, vip)) /* what the node itself sends may have the VIP as its source */
		return p->in == TRACE_SELF || (trace_has_ip(n, NAT_HAIRPIN, backend) && ip_eq(&p->from.ip, backend)) ?
			       TRACE_NODE : TRACE_CLIENT;
	if (trace_is_home(n, vip, p->in) &&
	    (trace_is_home(n, vip, trace_link_of(backend)) || trace_has_ip(n, NAT_LOCAL, backend)))
		return TRACE_VIP;
	return TRACE_NODE;
}
