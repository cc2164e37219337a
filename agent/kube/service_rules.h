/* SPDX-License-Identifier: Apache-2.0 */
/* service_rules.h: how a Service's traffic is to be treated: its annotations, spec.sessionAffinity and
 * spec.loadBalancerSourceRanges.  A part of service_decode(). */
#pragma once

#include "agent/base/object.h"
#include "agent/kube/annotation.h"
#include "agent/kube/json_walk.h"

/* Bytes of service.problem, NUL included: an Event's note takes 1 KiB. */
#define PROBLEM_MAX 1000

/* What service_decode() fills before it knows the sizes. */
struct service_room {
	struct service_port ports[OBJECT_PORTS_MAX];
	struct ip_net sources[OBJECT_SOURCES_MAX];
	struct annotation_weights *weights; /* freed by the owner; NULL = none */
	char problem[PROBLEM_MAX];
};

/* Fills the fields of 's' that these make; what they point to is in the room or the JSON tree.  -EINVAL: a field of the API
 * is not what the API allows; -ENOMEM.  Annotations and source ranges that cannot be read are problems, no errors. */
MUST_USE int service_rules_decode(const struct walk *meta, const struct walk *spec, struct service *s,
				  struct service_room *room, struct err_info *err);
