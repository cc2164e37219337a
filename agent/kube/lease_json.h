/* SPDX-License-Identifier: Apache-2.0 */
/* lease_json.h: coordination.k8s.io/v1 Lease from and to JSON.  Pure codec (jansson). */
#pragma once

#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

struct kube_lease {
	char name[254];
	char holder[320];	/* spec.holderIdentity, "" = absent or empty */
	int64_t seconds;	/* spec.leaseDurationSeconds, 0 = absent */
	int64_t annotation_ms;	/* leasehold.io/duration-ms, 0 = absent or not a number 1..86400000 */
	uint32_t transitions;
	char version[64];	/* metadata.resourceVersion */
	char uid[64];
};

/* -EINVAL with the JSON path: not a Lease, or a member of the wrong type or out of range. */
MUST_USE int lease_decode(const char *json, size_t len, struct kube_lease *ret, struct err_info *err);

/* The body of a POST (version "") or PUT.  renew_us, acquire_us: wall-clock microseconds since 1970, for people;
 * written as MicroTime (RFC 3339, six decimals, UTC).  Unknown members of the object we replace are not kept, except
 * that 'keep' (the JSON last read, or NULL) supplies labels, annotations and spec members that we do not set. */
MUST_USE int lease_encode(const struct kube_lease *l, const char *ns, int64_t acquire_us, int64_t renew_us,
			  const char *keep, struct buf *out);
