/* SPDX-License-Identifier: Apache-2.0 */
/* nd_frame.h: neighbour discovery as Ethernet frames: announcing (RFC 4861 sections 4.4 and 7.2.6), asking (4.3, 7.2.2)
 * and hearing what others advertise (7.1.2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

#define ND_FRAME_LEN 86 /* Ethernet, IPv6, ICMPv6 NA or NS, a link-layer address option */
#define ND_PROBE_LEN 78 /* an NS without the option */
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

/* The question who has 'target' (v6), from 'mac' to the target's solicited-node group; returns the frame's length.
 *
 * With the asking interface's own link-local address 'own' it has the source link-layer address option, and the answer
 * comes to us alone.  Without (family IP_NONE) the source is :: and the form that of duplicate address detection (RFC 4862
 * section 5.4.2): nobody learns from it, and the answer goes to all nodes, ff02::1 (ndisc_recv_ns(), net/ipv6/ndisc.c). */
MUST_USE size_t nd_solicitation_build(const uint8_t mac[static ND_MAC_LEN], const struct ip *own, const struct ip *target,
				      uint8_t buf[static ND_FRAME_LEN]);

/* What an advertisement claims, or a probe asks for. */
struct nd_claim {
	struct ip target;
	uint8_t mac[ND_MAC_LEN]; /* of the target link-layer address option, else the frame's source */
	bool solicited;		 /* S: an answer */
};

/* Reads any advertisement that RFC 4861 section 7.1.2 calls valid, solicited or not; bytes behind the packet are
 * padding.  -EBADMSG: any other frame, a wrong checksum or extension headers before ICMPv6 included. */
MUST_USE int nd_claim_parse(const uint8_t *data, size_t len, struct nd_claim *ret);

/* Reads a solicitation from ::, which duplicate address detection sends (RFC 4862 section 5.4.2), as RFC 4861 section 7.1.1
 * has it valid; mac is the frame's source.  Bytes behind the packet are padding.  -EBADMSG: any other frame. */
MUST_USE int nd_probe_parse(const uint8_t *data, size_t len, struct nd_claim *ret);
