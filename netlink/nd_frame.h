/* SPDX-License-Identifier: Apache-2.0 */
/* nd_frame.h: unsolicited neighbour advertisements as Ethernet frames (RFC 4861 sections 4.4 and 7.2.6). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

#define ND_FRAME_LEN 86 /* Ethernet, IPv6, ICMPv6 NA, target link-layer address option */
#define ND_MAC_LEN 6

/* "The address 'target' is at 'mac'", to all nodes (ff02::1), with the Override flag and without Solicited
 * (Linux drops multicast advertisements that have it). */
struct nd_frame {
	uint8_t mac[ND_MAC_LEN];
	struct ip target; /* v6; also the source address: it is the sender's own, as the RFC asks */
	bool router;	  /* R: this node forwards IPv6 */
};

void nd_frame_build(const struct nd_frame *f, uint8_t buf[static ND_FRAME_LEN]);

/* Reads a frame of this very form.  -EBADMSG: any other, a wrong checksum or hop limit included. */
MUST_USE int nd_frame_parse(const uint8_t *data, size_t len, struct nd_frame *ret);
