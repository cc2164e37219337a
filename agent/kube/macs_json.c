/* SPDX-License-Identifier: Apache-2.0 */
/* macs_json.c: annotations of many Leases, from JSON. */
#include "agent/kube/macs_json.h"

#include <errno.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/json_walk.h"
#include "agent/kube/record_json.h"

#define PREFIX "leasehold-node-"

/* Where to: either is NULL. */
struct taken {
	struct node_mac *macs;
	struct ip *addresses;
	size_t cap;
};

static void take_macs(const char *node, const struct kube_record *r, struct node_mac *ret, size_t cap, size_t *n)
{
	for (size_t i = 0; i < r->n_macs && *n < cap; i++) {
		struct node_mac *m = &ret[*n];

		if (!text_copy(m->node, sizeof(m->node), node))
			return;
		memcpy(m->mac, r->macs[i], sizeof(m->mac));
		(*n)++;
	}
}

static void take_addresses(const struct kube_record *r, struct ip *ret, size_t cap, size_t *n)
{
	for (size_t i = 0; i < r->n_addresses && *n < cap; i++)
		ret[(*n)++] = r->addresses[i];
}

static int decode(const char *json, size_t len, const struct taken *ret, size_t *ret_n)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	const json_t *items;
	struct walk root;
	size_t n = 0;
	int r = walk_parse(json, len, "LeaseList", &tree, NULL);

	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = walk_array(&root, "items", &items, NULL)) < 0)
		return r;
	for (size_t i = 0; i < json_array_size(items); i++) {
		const json_t *meta = json_object_get(json_array_get(items, i), "metadata");
		const char *name = walk_plain_text(json_object_get(meta, "name"));
		AUTO(freep) struct kube_record *record = calloc(1, sizeof(*record));
		char *text;

		if (!record)
			return -ENOMEM;
		if (!name || !text_starts(name, PREFIX))
			continue;
		text = json_dumps(json_array_get(items, i), 0);
		if (!text || record_decode(text, strlen(text), record, NULL) < 0)
			record->n_macs = record->n_addresses = 0;
		if (ret->macs)
			take_macs(name + strlen(PREFIX), record, ret->macs, ret->cap, &n);
		else
			take_addresses(record, ret->addresses, ret->cap, &n);
		free(text);
	}
	*ret_n = n;
	return 0;
}

int macs_decode(const char *json, size_t len, struct node_mac *ret, size_t cap, size_t *ret_n)
{
	const struct taken t = { .macs = ret, .cap = cap };

	return decode(json, len, &t, ret_n);
}

int addresses_decode(const char *json, size_t len, struct ip *ret, size_t cap, size_t *ret_n)
{
	const struct taken t = { .addresses = ret, .cap = cap };

	return decode(json, len, &t, ret_n);
}
