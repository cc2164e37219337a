/* SPDX-License-Identifier: Apache-2.0 */
/* lease_json.h: coordination.k8s.io/v1 Lease from and to JSON.  Pure codec (jansson).
 *
 * What others keep in a Lease (labels, annotations, finalizers, owners, unknown members of the spec) is taken out as text
 * when it is read, so that a write is put together from texts: no parsing and, in a buffer that has its size, no
 * allocation on the renewal path. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/kube/record_json.h"

#define LEASE_RESULT_TEXT_MAX 128 /* NUL included */
#define LEASE_KEEP_MAX (2 * 1024 * 1024) /* bytes of one part; an object in etcd has 1.5 MiB at most */

/* Annotation leasehold.io/handover: "prepare|claim NUMBER IDENTITY". */
enum kube_lease_stage {
	KUBE_LEASE_STAYS,
	KUBE_LEASE_PREPARE,
	KUBE_LEASE_CLAIM,
};

struct kube_lease_move {
	enum kube_lease_stage stage;
	uint32_t number;
	char successor[320]; /* identity; "" with KUBE_LEASE_STAYS */
};

/* Annotation leasehold.io/handover-request: "NUMBER NODE|*", written by the command line. */
struct kube_lease_request {
	uint32_t number; /* 0 = none */
	char node[254];	 /* "*": any */
};

/* Annotation leasehold.io/handover-result: "NUMBER ok|failed TEXT". */
struct kube_lease_result {
	uint32_t number; /* 0 = none */
	bool ok;
	char text[LEASE_RESULT_TEXT_MAX];
};

struct kube_lease {
	char name[254];
	char holder[320];	/* spec.holderIdentity, cut to fit; "" = absent or empty */
	int64_t seconds;	/* spec.leaseDurationSeconds, 0 = absent */
	int64_t annotation_ms;	/* leasehold.io/duration-ms, 0 = absent or not a number 1..86400000 */
	uint32_t transitions;
	char version[64];	/* metadata.resourceVersion */
	char uid[64];
	bool hold;		/* leasehold.io/policy is "hold"; else "fence", absent or nonsense */
	struct kube_lease_move move;	   /* these three: nonsense counts as absent */
	struct kube_lease_request request;
	struct kube_lease_result result;
	/* To be written: no Lease of VIPs but what a node says of itself, without duration, times and policy; label
	 * leasehold.io/kind=node.  Borrowed; NULL after reading. */
	const struct kube_record *record;
};

/* What others keep in a Lease, as pieces of JSON text; written by lease_decode() alone. */
struct lease_keep {
	struct buf labels, annotations, spec; /* members, each with a comma behind it */
	struct buf lists;		      /* finalizers and owners: members of metadata, each with a comma before it */
	bool owned;			      /* there are owners among them */
};

#define LEASE_KEEP_INIT \
	{ BUF_INIT(LEASE_KEEP_MAX), BUF_INIT(LEASE_KEEP_MAX), BUF_INIT(LEASE_KEEP_MAX), BUF_INIT(LEASE_KEEP_MAX), false }

/* Room for what others usually keep there, so that the first reading takes no memory of ours.  -ENOMEM. */
MUST_USE int lease_keep_reserve(struct lease_keep *k);
void lease_keep_fini(struct lease_keep *k);
/* Nothing is kept: the Lease is gone. */
void lease_keep_reset(struct lease_keep *k);

/* keep: NULL = not wanted; on failure its content is undefined (reset it or read again).
 * -EINVAL with the JSON path: not a Lease, or a member of the wrong type or out of range; -ENOMEM, -EMSGSIZE. */
MUST_USE int lease_decode(const char *json, size_t len, struct kube_lease *ret, struct lease_keep *keep,
			  struct err_info *err);

/* Wall-clock microseconds since 1970, for people; written as MicroTime (RFC 3339, six decimals, UTC). */
struct lease_times {
	int64_t acquire_us, renew_us;
};

/* The body of a POST (version "") or PUT, appended to 'out'.  keep: of the Lease that is replaced; NULL = nothing.  times:
 * may be NULL for a record. */
MUST_USE int lease_encode(const struct kube_lease *l, const char *ns, const struct lease_times *times,
			  const struct lease_keep *keep, struct buf *out);
