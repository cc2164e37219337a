/* SPDX-License-Identifier: Apache-2.0 */
/* object_json.c: what is asked of any object: which one it is, whether it goes.  Services are decoded in service_json.c,
 * EndpointSlices in slice_json.c: first filled with strings borrowed from the JSON tree, then packed into one allocation of
 * its exact size.  Which addresses a Service gets is decided in agent/core; the bodies we send are made in write_json.c. */
#include "agent/kube/object_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kube/meta_json.h"
#include "agent/kube/span.h"

int object_key_decode(const char *json, size_t len, struct object_key **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	AUTO(texts_fini) struct texts texts = { .v = NULL };
	struct object_meta m = { .ns = "" };
	struct object_key *k;
	struct walk root, meta;
	size_t size;
	int r;

	r = walk_parse(json, len, NULL, &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	r = meta_decode(&root, &m, &meta, err);
	if (r < 0)
		return r;
	m.resource_version = "";
	r = texts_init(&texts, META_TEXTS);
	if (r < 0)
		return err_errno(err, r, "object");
	meta_texts(&texts, &m);
	size = texts_size(&texts);
	k = malloc(sizeof(*k) + size);
	if (!k)
		return err_errno(err, -ENOMEM, "object");
	texts_move(&texts, (char *)(k + 1));
	*k = (struct object_key){ m.ns, m.name, m.uid };
	*ret = k;
	return 0;
}

void object_key_free(struct object_key *k)
{
	free(k);
}

int object_deleting_decode(const char *json, size_t len, bool *ret)
{
	const struct span object = { json, len };
	struct span meta = span_member(object, "metadata");

	if (!meta.p)
		return -EINVAL;
	*ret = span_member(meta, "deletionTimestamp").p != NULL;
	return 0;
}
