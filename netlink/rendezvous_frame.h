/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_frame.h: messages that make and remove the tables "ip leasehold-drain" and "ip6 leasehold-drain";
 * rendezvous_if.h shows them in nft's words, says what they are for and talks to the kernel. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "netlink/batch.h"

#define RENDEZVOUS_TABLE "leasehold-drain"
#define RENDEZVOUS_PEERS_MAX 32 /* addresses: of both families together */

/* A neighbour that strays are handed to. */
struct rendezvous_peer {
	struct ip ip;
	int ifindex; /* it is on the link of this interface */
};

struct rendezvous {
	struct rendezvous_peer peers[RENDEZVOUS_PEERS_MAX];
	size_t n_peers; /* 0 = no tables */
	const uint8_t (*macs)[LINK_MAC_LEN]; /* strays from these have been handed on already */
	size_t n_macs;
	const struct ip *vips; /* sorted */
	size_t n_vips;
	uint32_t timeout_ms; /* of the whole, whatever becomes of this process */
};

/* Bytes that a batch of all of the messages below may have, for one family. */
size_t rendezvous_frame_room(const struct rendezvous *r);

/* Each appends messages for the table of one family (IP_V4, IP_V6).  -ENOSPC: the batch is full; -ENOMEM.  The batch is of
 * no use then. */
MUST_USE int rendezvous_frame_remove(struct batch *b, uint8_t family); /* absent is no error to the kernel */
/* The table may not be there.  Without peers of the family: nothing. */
MUST_USE int rendezvous_frame_make(struct batch *b, const struct rendezvous *r, uint8_t family);
