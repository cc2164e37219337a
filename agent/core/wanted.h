/* SPDX-License-Identifier: Apache-2.0 */
/* wanted.h: what this node's kernel and the Services' status should be, computed from everything known.
 * Pure; works in the caller's arena.
 *
 * Every candidate wants the frontends with their guards and homes (so that taking over costs no load time, and guards
 * stand before the address does); only the holder wants the addresses. */
#pragma once

#include <stddef.h>

#include "agent/base/nat.h"
#include "agent/base/object.h"
#include "agent/core/place.h"
#include "agent/core/pool.h"

struct wanted_vip {
	struct ip ip;
	size_t service; /* index of the (first) Service in the input */
};

/* The VIPs of decisions KEEP, ASSIGN and the ips of FAILED ones, sorted by ip, distinct.  -ENOSPC: call again with a larger
 * arena. */
MUST_USE int wanted_vips(const struct pool_decision *decisions, size_t n, struct arena *arena, struct wanted_vip **ret,
			 size_t *ret_n);

/* What a node's endpoints weigh when the Service says nothing. */
struct wanted_weight {
	const char *node;
	uint16_t weight; /* 0..WEIGHT_MAX */
};

struct wanted_input {
	const struct service *service;
	struct ip ips[OBJECT_ADDRESSES_MAX]; /* the VIPs that it has, and that are written down */
	size_t n_ips;
	uint32_t homes[OBJECT_ADDRESSES_MAX][PLACE_MAX]; /* the interfaces that are to carry ips[k]; 0 = no more */
	const struct slice *const *slices;    /* of this Service, sorted by name */
	size_t n_slices;
	const char *node; /* this node's name, as nodeName of endpoints; NULL or "" = none of them is here */
	const char *zone; /* this node's, label topology.kubernetes.io/zone; NULL or "" = unknown */
	const struct wanted_weight *weights; /* nodes of another weight than 1, sorted by name */
	size_t n_weights;
	/* Source NAT to the VIP where it may be; false: never, because other nodes have the VIP locally too (kube-proxy in
	 * IPVS mode) or somebody said so. */
	bool snat_to_vip;
	bool routed;   /* no interface carries VIPs (announce: none) */
	bool counters; /* traffic is counted */
};

/* What the Service wants of the data plane.
 *
 * Backends of a port, by port name, protocol and the VIP's family, distinct and sorted (kube-proxy's rules, pkg/proxy/
 * topology.go): the ready endpoints; when none is ready anywhere those that serve and terminate (KEP-1669).  Of a Service with
 * externalTrafficPolicy Local those of this node alone, with the same fallback.  Otherwise hints narrow them: if every
 * ready endpoint names nodes and one names this node, those that name it; else if every one names zones and one names this
 * zone, those that do; else all.
 *
 * An endpoint weighs what leasehold.io/weights says of its address, else of its Pod, else of its node; else what its node
 * weighs; else 1.  Those of weight 0 count only when no other is left.  A port has NAT_SLOTS_MAX backends at most, the first
 * in order.
 *
 * Members: NAT_VIP, NAT_GUARD (every backend, and endpoints that serve and terminate), NAT_LOCAL and NAT_HOME (where source
 * NAT may be to the VIP itself, so that a connection outlives the holder: the backend is on this node, ready or not, or the
 * packet leaves by the VIP's own interface), NAT_KEEP and NAT_HAIRPIN (externalTrafficPolicy Local), NAT_ROUTED, and with
 * 'counters' NAT_RECEIVED of every frontend.
 *
 * A firewall where the Service has limits and any frontend.
 *
 * -ENOSPC: call again with a larger arena.  -ENAMETOOLONG: namespace and name are longer than the API allows. */
MUST_USE int wanted_service(const struct wanted_input *in, struct arena *arena, struct nat_service *ret);

/* The bytes that a copy of 's' with all it points to takes, and that copy in mem[0..bytes), aligned for any object. */
size_t wanted_size(const struct nat_service *s);
struct nat_service *wanted_copy(const struct nat_service *s, void *mem);

/* Whether both want the same. */
bool wanted_eq(const struct nat_service *a, const struct nat_service *b);
