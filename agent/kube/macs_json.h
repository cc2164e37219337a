/* SPDX-License-Identifier: Apache-2.0 */
/* macs_json.h: which node has which MAC, and which addresses the nodes have, out of a list of the nodes' records (record_json.h).  Pure codec (jansson). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

struct node_mac {
	uint8_t mac[LINK_MAC_LEN];
	char node[254];
};

/* ret[0..*ret_n), cap at most; further ones are left out, and so is what cannot be read.  -EINVAL: not a LeaseList; -ENOMEM. */
MUST_USE int macs_decode(const char *json, size_t len, struct node_mac *ret, size_t cap, size_t *ret_n);

/* The nodes' addresses, likewise, in the list's order. */
MUST_USE int addresses_decode(const char *json, size_t len, struct ip *ret, size_t cap, size_t *ret_n);
