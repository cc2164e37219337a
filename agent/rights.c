/* SPDX-License-Identifier: Apache-2.0 */
/* rights.c: the table.  One entry a resource; tests/chart/test_rights.py reads it. */
#include "agent/rights.h"


#include "agent/base/auto.h"

#define VERBS_MAX 6

enum right_place {
	RIGHT_CLUSTER,	 /* in all namespaces */
	RIGHT_NAMESPACE, /* in that of the Leases */
	RIGHT_DAEMONSET, /* the DaemonSet's own object there, where one is named */
};

static const struct {
	const char *group, *resource, *subresource;
	enum right_place place;
	const char *verbs[VERBS_MAX];
	const char *what_for;
} rights[] = {
	{ "coordination.k8s.io", "leases", "", RIGHT_NAMESPACE, { "get", "list", "watch", "create", "update" },
	  "hold its Leases and to see those of others" },
	{ "apps", "daemonsets", "", RIGHT_DAEMONSET, { "get" },
	  "see at its end whether Leasehold was uninstalled" },
	{ "", "services", "", RIGHT_CLUSTER, { "get", "list", "watch" },
	  "serve Services" },
	{ "", "services", "status", RIGHT_CLUSTER, { "patch" },
	  "write addresses into Service status" },
	{ "discovery.k8s.io", "endpointslices", "", RIGHT_CLUSTER, { "get", "list", "watch" },
	  "find backends" },
	{ "", "nodes", "", RIGHT_CLUSTER, { "get", "list", "watch" },
	  "see whether its node is being drained" },
	{ "events.k8s.io", "events", "", RIGHT_CLUSTER, { "create" },
	  "tell what it does as Events" },
};

size_t rights_list(const struct config *c, struct facts_right ret[static FACT_RIGHTS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(rights); i++) {
		if (rights[i].place == RIGHT_DAEMONSET && !*c->daemonset)
			continue;
		for (size_t k = 0; k < VERBS_MAX && rights[i].verbs[k] && n < FACT_RIGHTS_MAX; k++)
			ret[n++] = (struct facts_right){
				.verb = rights[i].verbs[k], .group = rights[i].group, .resource = rights[i].resource,
				.subresource = rights[i].subresource, .ns = rights[i].place == RIGHT_CLUSTER ? "" : c->ns,
				.name = rights[i].place == RIGHT_DAEMONSET ? c->daemonset : "", .what_for = rights[i].what_for,
				.answer = RIGHT_UNKNOWN,
			};
	}
	return n;
}
