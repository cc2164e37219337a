/* SPDX-License-Identifier: Apache-2.0 */
/* record_json.h: what a node says of itself, in annotations of its own Lease (leasehold-node-<node>); the Lease around it is
 * lease_json.h's.  Pure codec (jansson).
 *
 *	leasehold.io/macs	"02:00:00:00:00:01,...": of the interfaces that may carry VIPs
 *	leasehold.io/rank	"0".."9": 0 is preferred
 *	leasehold.io/weight	"0".."100": of its endpoints; absent = 1
 *	leasehold.io/addresses	"192.0.2.11,2001:db8::11,...": of its interfaces
 *	leasehold.io/leaving	"true": wants no VIPs any more
 *	leasehold.io/drain	"1".."4294967295": another number each time that its VIPs are to be drained anew
 *	leasehold.io/busiest	"192.0.2.7,2001:db8::7,...": the VIPs here with most traffic, the busiest first
 *	leasehold.io/prepared	"LEASE=NUMBER/MAC,LEASE=NUMBER!REASON": answers to holders who want to move a Lease here
 *
 * Read strictly and bounded; an annotation, or one entry of a list, that is nonsense counts as absent. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"

#define RECORD_MACS_MAX 16
#define RECORD_ANSWERS_MAX 64
#define RECORD_REASON_MAX 96
#define RECORD_ADDRESSES_MAX 8
#define RECORD_RANK_MAX 9
#define RECORD_BUSIEST_MAX 32
#define RECORD_NAME_MAX 253 /* a DNS subdomain (RFC 1123) */

/* The names of its annotations, for lists of what is ours. */
#define RECORD_MACS "leasehold.io/macs"
#define RECORD_RANK "leasehold.io/rank"
#define RECORD_WEIGHT "leasehold.io/weight"
#define RECORD_ADDRESSES "leasehold.io/addresses"
#define RECORD_LEAVING "leasehold.io/leaving"
#define RECORD_DRAIN "leasehold.io/drain"
#define RECORD_BUSIEST "leasehold.io/busiest"
#define RECORD_PREPARED "leasehold.io/prepared"
#define RECORD_ANNOTATIONS \
	RECORD_MACS, RECORD_RANK, RECORD_WEIGHT, RECORD_ADDRESSES, RECORD_LEAVING, RECORD_DRAIN, RECORD_BUSIEST, RECORD_PREPARED

struct kube_answer {
	char lease[64];
	uint32_t number; /* > 0 */
	bool ready;
	uint8_t mac[LINK_MAC_LEN];	/* ready; zero = on several interfaces */
	char reason[RECORD_REASON_MAX]; /* not ready */
};

struct kube_record {
	uint8_t macs[RECORD_MACS_MAX][LINK_MAC_LEN];
	size_t n_macs;
	struct ip addresses[RECORD_ADDRESSES_MAX];
	size_t n_addresses;
	unsigned int rank, weight;
	bool leaving;
	uint32_t drain; /* 0 = none */
	struct ip busiest[RECORD_BUSIEST_MAX];
	size_t n_busiest;
	struct kube_answer answers[RECORD_ANSWERS_MAX]; /* oldest first */
	size_t n_answers;
	/* To be written only: the Node that owns the Lease, so that it goes with it; uid "" = not known yet. */
	char owner[254], owner_uid[64];
};

/* -EINVAL: not a Lease; -ENOMEM. */
MUST_USE int record_decode(const char *json, size_t len, struct kube_record *ret, struct err_info *err);

/* The name of that Lease. */
void record_name(const char *node, char name[static RECORD_NAME_MAX + 1]);

/* The annotations as members of a JSON object, commas between them.  Commas in reasons become semicolons. */
void record_annotations(const struct kube_record *r, struct buf *out);
