/* SPDX-License-Identifier: Apache-2.0 */
/* node_json.c: a Node, cut down to whether VIPs are welcome there. */
#include "agent/kube/node_json.h"

#include <string.h>

#include "agent/base/object.h"
#include "agent/base/text.h"
#include "agent/kube/json_walk.h"

#define LABEL_EXCLUDED "node.kubernetes.io/exclude-from-external-load-balancers"
#define LABEL_RANK "leasehold.io/rank"
#define LABEL_ZONE "topology.kubernetes.io/zone"
#define NOTE_WEIGHT "leasehold.io/weight"
#define RANK_MAX 9

static void take_labels(const struct walk *from, struct labels *to)
{
	for (size_t i = 0; i < to->n; i++) {
		struct label *l = &to->v[i];
		const char *text = walk_plain_text(json_object_get(from->object, l->key));

		memset(l->value, 0, sizeof(l->value));
		l->there = text && strlen(text) < sizeof(l->value);
		if (l->there)
			memcpy(l->value, text, strlen(text));
	}
}

int node_decode(const char *json, size_t len, struct kube_node *ret, struct labels *labels, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct walk root, meta, spec, at_labels, notes;
	struct kube_node n;
	const char *text;
	uint64_t rank, weight;
	int r;

	memset(&n, 0, sizeof(n));
	r = walk_parse(json, len, "Node", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = walk_object(&root, "metadata", &meta, err)) < 0 || (r = walk_copy(&meta, "uid", n.uid, sizeof(n.uid), err)) < 0 ||
	    (r = walk_text(&meta, "deletionTimestamp", &text, err)) < 0 ||
	    (r = walk_object(&meta, "labels", &at_labels, err)) < 0 || (r = walk_object(&meta, "annotations", &notes, err)) < 0 ||
	    (r = walk_object(&root, "spec", &spec, err)) < 0 ||
	    (r = walk_bool(&spec, "unschedulable", &n.unschedulable, err)) < 0)
		return r;
	n.deleting = *text;
	n.excluded = json_object_get(at_labels.object, LABEL_EXCLUDED) != NULL;
	text = walk_plain_text(json_object_get(at_labels.object, LABEL_RANK));
	n.rank = text && text_to_u64(text, RANK_MAX, &rank) == 0 ? (int)rank : -1;
	text = walk_plain_text(json_object_get(at_labels.object, LABEL_ZONE));
	if (!text || !text_copy(n.zone, sizeof(n.zone), text))
		memset(n.zone, 0, sizeof(n.zone));
	text = walk_plain_text(json_object_get(notes.object, NOTE_WEIGHT));
	n.weight = text && text_to_u64(text, WEIGHT_MAX, &weight) == 0 ? (int)weight : -1;
	if (labels)
		take_labels(&at_labels, labels);
	*ret = n;
	return 0;
}
