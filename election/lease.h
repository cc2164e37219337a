/* SPDX-License-Identifier: Apache-2.0 */
/* lease.h: the record in a Lease object, as the election sees it.
 *
 * Source of the fields: coordination.k8s.io/v1 Lease.  agent/kube/lease_json.[ch] translates to and from JSON
 * through the same struct's plain members (it may not include this header: it has its own struct kube_lease
 * and the shell copies).  Wall-clock times (acquireTime, renewTime) are written for people and other tools;
 * they are never read back, so they do not appear here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_HOLDER_MAX 320 /* node name (253) + boot id + random, NUL included */
#define LEASE_VERSION_MAX 64 /* metadata.resourceVersion, opaque, NUL included */
#define LEASE_MS_MIN 400
#define LEASE_MS_MAX (24 * 60 * 60 * 1000)

/* What the holder does when no write succeeds any more; annotation leasehold.io/policy.  Absent or nonsense = FENCE. */
enum lease_policy {
	LEASE_FENCE, /* silent at the deadline */
	LEASE_HOLD,  /* goes on while nobody else answers: whoever wins the expired Lease looks at the wire first */
};

/* A planned move under way; annotation leasehold.io/handover: "prepare|claim NUMBER IDENTITY". */
enum lease_stage {
	LEASE_STAGE_NONE,
	LEASE_STAGE_PREPARE, /* the holder asks 'successor' to get ready; it goes on answering */
	LEASE_STAGE_CLAIM,   /* 'successor' may claim at once: the holder has shut its ARP and ND */
};

struct lease_record {
	char holder[LEASE_HOLDER_MAX]; /* spec.holderIdentity; "" = nobody */
	int64_t duration_ms;	       /* see lease_duration_ms(); > 0 */
	uint32_t transitions;	       /* spec.leaseTransitions */
	enum lease_policy policy;
	enum lease_stage stage;
	uint32_t handover;		  /* number of the move, so that an answer to an earlier one counts for nothing */
	char successor[LEASE_HOLDER_MAX]; /* identity; "" with LEASE_STAGE_NONE */
};

/* The duration that governs: annotation leasehold.io/duration-ms when its ceiling in whole seconds equals
 * spec.leaseDurationSeconds, else the larger of the two (absent or nonsense counts as 0).  Result is at least
 * 1 ms and at most LEASE_MS_MAX. */
int64_t lease_duration_ms(int64_t seconds, int64_t annotation_ms);

/* Whole seconds for spec.leaseDurationSeconds: the ceiling. */
int64_t lease_seconds(int64_t duration_ms);

bool lease_record_eq(const struct lease_record *a, const struct lease_record *b);

/* The node's part of an identity ("node_boot_random": the text before the last two '_') into node; the whole of what is not
 * of this form, cut to fit.  True when it is of this form and fits. */
bool lease_node(const char *holder, char *node, size_t size);

/* True when both identities name the same node ("node_boot_random": the text before the last two '_'). */
bool lease_same_node(const char *holder_a, const char *holder_b);

/* True when version 'a' is certainly older than 'b': both are decimal numbers and a < b.  Kubernetes promises
 * that the versions of one resource compare as integers (KEP-5504; etcd's revision ever since); for versions
 * of any other form the answer is always false, so nothing is ever taken for old that may be news. */
bool lease_version_older(const char *a, const char *b);
