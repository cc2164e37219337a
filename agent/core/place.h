/* SPDX-License-Identifier: Apache-2.0 */
/* place.h: which interface of this node carries a VIP.  Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/link.h"

/* The interface for 'ip', NULL when there is none.
 * With names: the first of them with a subnet that holds the address, else the first of them that exists.  Without:
 * the interface with such a subnet (the longest prefix), else the one of the family's default route.  Never loopback;
 * addresses of ours and host prefixes (/32, /128) say nothing about subnets. */
const struct link *place_vip(const struct link_state *s, const char *const *names, size_t n_names, const struct ip *ip);

/* Up, with carrier. */
bool place_usable(const struct link *l);
