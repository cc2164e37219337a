/* SPDX-License-Identifier: Apache-2.0 */
/* review_json.h: authorization.k8s.io/v1 SelfSubjectAccessReview ("may I do this?") and the answer of /version.  Pure codec
 * (jansson). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

#define REVIEW_PATH "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

/* spec.resourceAttributes; "" = not given, which stands for all. */
struct review_ask {
	const char *verb, *group, *resource, *subresource, *ns, *name;
};

/* The body of a POST.  As buf_failed(). */
MUST_USE int review_encode(const struct review_ask *ask, struct buf *out);

/* status.allowed.  -EINVAL: not such an object, or without status; -ENOMEM. */
MUST_USE int review_decode(const char *json, size_t len, bool *ret_allowed, struct err_info *err);

struct kube_version {
	int major, minor;
	char text[32]; /* gitVersion, cut: "v1.34.1" */
};

/* -EINVAL: not such an object ("minor" may have a sign behind its digits, as some vendors write it). */
MUST_USE int version_decode(const char *json, size_t len, struct kube_version *ret, struct err_info *err);
