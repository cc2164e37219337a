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
#include "agent/core/pool.h"

struct wanted_home {
	uint32_t ifindex[OBJECT_ADDRESSES_MAX];
};

struct wanted_vip {
	struct ip ip;
	size_t service; /* index of the (first) Service in the input */
};

struct wanted {
	struct wanted_vip *vips; /* sorted by ip, distinct */
	size_t n_vips;
	struct frontend *frontends; /* sorted by frontend_cmp(), distinct; one with no backend is left out */
	size_t n_frontends;
	struct nat_guard *guards; /* every backend of the frontends; sorted by nat_guard_cmp(), distinct */
	size_t n_guards;
	/* Where source NAT may be to the VIP itself, so that a connection outlives the holder: the backend is on this node,
	 * or the packet leaves by the VIP's own interface.  Both empty: masquerade everywhere. */
	struct ip *locals; /* addresses of backends on this node; sorted, distinct */
	size_t n_locals;
	struct nat_home *homes; /* sorted by nat_home_cmp(), distinct */
	size_t n_homes;
};

struct wanted_input {
	const struct service *const *services; /* sorted by namespace, name */
	const struct pool_decision *decisions; /* one a Service */
	size_t n_services;
	const struct slice *const *slices; /* sorted by namespace, service, name */
	size_t n_slices;
	bool dataplane_nft; /* false: announce only, no frontends */
	/* Source NAT to the VIP where it may be; false: never, because other nodes have the VIP locally too (kube-proxy in
	 * IPVS mode) or somebody said so. */
	bool snat_to_vip;
	const char *node; /* this node's name, as nodeName of endpoints; NULL or "" = none of them is here */
	/* One a Service: the interface that is to carry decisions[i].ips[k], 0 = none here.  NULL = none for any. */
	const struct wanted_home *homes;
};

/* Backends of a port: the ready endpoints of its slices (by port name, protocol and the VIP's family),
 * deduplicated and sorted; when none is ready anywhere, those that are serving and terminating (KEP-1669).  Of a Service
 * with externalTrafficPolicy Local those of this node alone.
 * VIPs of decisions KEEP, ASSIGN and the ips of FAILED ones.  -ENOSPC: call again with a larger arena. */
MUST_USE int wanted_build(const struct wanted_input *in, struct arena *arena, struct wanted *ret);
