/* SPDX-License-Identifier: Apache-2.0 */
/* probe.h: asks one API server whether it is ready: GET /readyz at its own address, over TLS.  The server must show a
 * certificate of the cluster's CA for that very address; it gets our credentials, because it may refuse the anonymous. */
#pragma once

#include "agent/base/ip.h"
#include "agent/base/verdict.h"
#include "agent/kube/client.h"

struct kube_probe;

/* why: a text for people, "" when good; borrowed for the call. */
typedef void kube_probe_fn(struct kube_probe *p, enum verdict v, const char *why);

/* One check; embedded in its user, and the user's again once fn is called. */
struct kube_probe {
	struct ip_port at;
	kube_probe_fn *fn;
	void *ctx;
};

/* Begins a check; fn is called exactly once, inside kube_client_dispatch(), but not after kube_client_free().
 * timeout_ms: of the whole, > 0.  -ENOMEM: it was not begun, which says nothing of the server. */
MUST_USE int kube_probe(struct kube_client *c, struct kube_probe *p, int64_t timeout_ms, struct err_info *err);
