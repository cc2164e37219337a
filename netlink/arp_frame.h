/* SPDX-License-Identifier: Apache-2.0 */
/* arp_frame.h: ARP for IPv4 over Ethernet as frames (RFC 826). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

#define ARP_FRAME_LEN 42 /* Ethernet header and ARP; drivers pad */
#define ARP_MAC_LEN 6

enum arp_op {
	ARP_OP_REQUEST = 1,
	ARP_OP_REPLY = 2,
};

struct arp_frame {
	enum arp_op op;
	uint8_t destination[ARP_MAC_LEN]; /* Ethernet destination */
	uint8_t sender_mac[ARP_MAC_LEN];  /* SHA; also the Ethernet source when built */
	uint8_t target_mac[ARP_MAC_LEN];  /* THA */
	struct ip sender_ip, target_ip;	  /* SPA, TPA; v4 */
};

/* The announcements that 'mac' now has 'vip' (v4), to everyone.  A request with SPA = TPA and THA 0 is RFC 5227's
 * form, which Linux takes even within its lock time; a reply with THA = SHA is the only reply that Linux
 * counts as gratuitous (net/ipv4/arp.c).  Some switches and hosts learn from one only, so both are sent. */
struct arp_frame arp_announcement(enum arp_op op, const uint8_t mac[static ARP_MAC_LEN], const struct ip *vip);

/* The question who has 'vip' (v4), to everyone: RFC 5227 section 2.1.1's probe, whose SPA is 0 so that nobody learns from
 * it.  Linux answers it by a reply to 'mac' alone (arp_process(), net/ipv4/arp.c). */
struct arp_frame arp_probe(const uint8_t mac[static ARP_MAC_LEN], const struct ip *vip);

/* Both addresses must be v4. */
void arp_frame_build(const struct arp_frame *f, uint8_t buf[static ARP_FRAME_LEN]);

/* -EBADMSG: shorter, or not ARP for IPv4 over Ethernet, or neither request nor reply. */
MUST_USE int arp_frame_parse(const uint8_t *data, size_t len, struct arp_frame *ret);
