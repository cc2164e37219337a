/* SPDX-License-Identifier: Apache-2.0 */
/* own_node.c: one object in view. */
#include "agent/own_node.h"

#include <stdio.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define NODE_SILENCE_MS (INT64_C(120) * 1000) /* bookmarks come about every 60 s */

static void forget(struct own_node *n)
{
	memset(&n->node, 0, sizeof(n->node));
	n->node.rank = n->node.weight = -1;
}

static void on_begin(void *ctx)
{
	struct own_node *n = ctx;

	n->found = false;
}

static bool same_labels(const struct labels *a, const struct labels *b)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->v[i].there != b->v[i].there || !text_eq(a->v[i].value, b->v[i].value))
			return false;
	return true;
}

static void on_put(void *ctx, const char *json, size_t len)
{
	static struct log_limit limit;
	struct own_node *n = ctx;
	struct err_info err = ERR_INFO_INIT;
	struct labels labels = n->labels;
	uint32_t left_out;

	n->found = true;
	n->gone = false;
	if (node_decode(json, len, &n->node, &labels, &err) < 0) {
		if (log_limit(&limit, mono_now().ns, 5000, &left_out))
			log_event(LOG_WARN, "node_unreadable", "this node's Node could not be read; what was known of it stays",
				  log_str("error", err.text), log_int("left_out", left_out));
		return;
	}
	n->changes += !n->known || !same_labels(&n->labels, &labels);
	n->labels = labels;
	n->known = true;
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	struct own_node *n = ctx;

	(void)json;
	(void)len;
	n->gone |= *n->node.uid != '\0';
	forget(n);
}

static void on_synced(void *ctx)
{
	struct own_node *n = ctx;

	if (n->found)
		return;
	n->changes += !n->known;
	n->known = true;
	n->gone |= *n->node.uid != '\0';
	forget(n);
}

static void on_live(void *ctx, bool live, const char *why)
{
	(void)ctx;
	log_event(LOG_DEBUG, "node_view", live ? "the Node is in view" : "the view of the Node is in doubt",
		  log_str("why", why));
}

static void on_problem(void *ctx, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	(void)ctx;
	if (log_limit(&limit, mono_now().ns, 60000, &left_out))
		log_event(LOG_WARN, "node_watch_problem", "this node's Node cannot be watched; trying again",
			  log_str("error", err->text), log_int("left_out", left_out));
}

int own_node_init(struct own_node *n, struct kube_client *client, const char *name, uint64_t seed, struct err_info *err)
{
	static const struct kube_watch_ops ops = { on_begin, on_put, on_gone, on_synced, on_live, on_problem };
	char selector[320];
	const struct kube_watch_config cfg = {
		.path = "/api/v1/nodes",
		.field_selector = selector,
		.channel = KUBE_CHANNEL_GENERAL,
		.silence_ms = NODE_SILENCE_MS,
		.seed = seed,
	};

	memset(n, 0, sizeof(*n));
	forget(n);
	IGNORE(snprintf(selector, sizeof(selector), "metadata.name=%s", name)); /* a node's name is bounded */
	return kube_watch_new(client, &cfg, &ops, n, &n->watch, err);
}

void own_node_ask(struct own_node *n, const struct labels *labels)
{
	n->labels = *labels;
}

void own_node_fini(struct own_node *n)
{
	kube_watch_free(n->watch);
	memset(n, 0, sizeof(*n));
}

const char *own_node_leaving(const struct own_node *n)
{
	if (n->gone)
		return "the Node was deleted";
	if (n->node.deleting)
		return "the Node is being deleted";
	if (n->node.unschedulable)
		return "the Node is unschedulable";
	return n->node.excluded ? "the Node is excluded from external load balancers" : NULL;
}
