/* SPDX-License-Identifier: Apache-2.0 */
/* write_json.h: bodies and paths of our other writes: Service status and Events.  Pure codec (jansson). */
#pragma once

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/object.h"

/* Merge PATCH for /status: annotations leasehold.io/allocated = ips and leasehold.io/lease = lease, the names of the Leases
 * that govern them; both null when n_ips = 0. */
MUST_USE int allocation_patch(const struct ip *ips, size_t n_ips, const char *lease, const char *resource_version,
			      struct buf *out);

/* Merge PATCH for /status: annotation leasehold.io/lease alone. */
MUST_USE int record_patch(const char *lease, const char *resource_version, struct buf *out);

/* Merge PATCH for /status: status.loadBalancer.ingress = ips with ipMode VIP, or Proxy (n_ips = 0: empty) and, when 'clear' is
 * set, the allocation's annotations too are removed. */
MUST_USE int status_patch(const struct ip *ips, size_t n_ips, bool proxy, bool clear, const char *resource_version,
			  struct buf *out);

/* "/api/v1/namespaces/NS/services/NAME/status" with path-escaped names. */
MUST_USE int service_status_path(const char *ns, const char *name, struct buf *out);

struct event_body {
	const char *ns, *service, *uid; /* of the Service it regards */
	const char *type;	  /* "Normal" or "Warning" */
	const char *reason;	  /* Assigned, Moved, AllocationFailed... */
	const char *action;	  /* Allocate, Announce... */
	const char *note;	  /* cut at 1 KiB */
	const char *instance;	  /* reportingInstance: our identity, <= 128 characters */
	int64_t time_us;
	uint64_t unique;	  /* makes the name */
};

/* Body for POST /apis/events.k8s.io/v1/namespaces/NS/events (reportingController leasehold.io/agent). */
MUST_USE int event_encode(const struct event_body *e, struct buf *out);

/* Merge PATCH of a Lease: asks its holder to hand it to 'node' ("*": to whichever is best) under this number; 0: takes the
 * request back. */
MUST_USE int handover_request_patch(uint32_t number, const char *node, struct buf *out);
