/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_if.h: which addresses another host has, as far as the kernel's neighbour table knows.  Called on a worker thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "netlink/nlsock.h"

#define NEIGH_FOUND_MAX 8
#define NEIGH_LOOK_MAX 8192 /* entries that are looked at: kernels keep 1024 unless told otherwise (gc_thresh3) */

struct neigh_query {
	int ifindex;
	uint8_t mac[LINK_MAC_LEN];
	struct ip found[NEIGH_FOUND_MAX]; /* IPv4 first, link-local ones last, then by value */
	size_t n_found;
};

/* Looks for ifindex and mac, fills in the rest.  s: NETLINK_ROUTE.  Errors: as nlsock_request(). */
MUST_USE int neigh_if_find(struct nlsock *s, struct neigh_query *q, struct err_info *err);
