/* SPDX-License-Identifier: Apache-2.0 */
/* nat_udata.h: the userdata that nft keeps beside sets and rules so that it can print them as they were typed.
 * The kernel stores it unread.  The numbers are nft's own (src/expression.h, src/proto.h, src/datatype.h of
 * nftables >= 0.9.4); tests/unit/netlink/test_nat_frame.c holds what nft 1.0.6 itself writes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "netlink/nat_layout.h"

#define NAT_UDATA_MAX 256

struct nat_udata {
	uint8_t data[NAT_UDATA_MAX];
	size_t len;
};

/* The types of a set's or map's key and value. */
struct nat_udata nat_udata_set(const struct nat_set_shape *set);

/* A rule's comment. */
struct nat_udata nat_udata_comment(const char *comment);

/* The comment within a rule's userdata, NUL-terminated, or NULL. */
const char *nat_udata_find_comment(const void *data, size_t len);
