/* SPDX-License-Identifier: Apache-2.0 */
/* agent_json.c: an agent's status from JSON. */
#include "agent/kube/agent_json.h"

#include <errno.h>
#include <string.h>

#include "agent/kube/json_walk.h"

static int cut_copy(const struct walk *at, const char *key, char *dst, size_t size, struct err_info *err)
{
	const char *text;
	int r = walk_text(at, key, &text, err);

	if (r < 0)
		return r;
	memset(dst, 0, size);
	memcpy(dst, text, walk_cut(text, size - 1));
	return 0;
}

static int vip_decode(const struct walk *root, size_t i, struct agent_vip *ret, struct err_info *err)
{
	const char *address, *holder;
	struct walk at;
	int r;

	if ((r = walk_entry(root, "vips", i, &at, err)) < 0 || (r = walk_text(&at, "address", &address, err)) < 0 ||
	    (r = walk_text(&at, "holder", &holder, err)) < 0 || (r = walk_bool(&at, "live", &ret->live, err)) < 0)
		return r;
	ret->held = *holder || ret->live;
	return ip_parse(address, &ret->ip) < 0 ? walk_refuse(&at, "address", err, "not an address") : 0;
}

int agent_decode(const char *json, size_t len, struct agent_view *ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct agent_view v = { .vips = ret->vips, .cap_vips = ret->cap_vips };
	const json_t *vips;
	struct walk root;
	int r = walk_parse(json, len, NULL, &tree, err);

	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = cut_copy(&root, "version", v.version, sizeof(v.version), err)) < 0 ||
	    (r = cut_copy(&root, "role", v.role, sizeof(v.role), err)) < 0 ||
	    (r = cut_copy(&root, "node", v.node, sizeof(v.node), err)) < 0 ||
	    (r = cut_copy(&root, "not_ready_because", v.why_not, sizeof(v.why_not), err)) < 0 ||
	    (r = walk_bool(&root, "ready", &v.ready, err)) < 0 || (r = walk_array(&root, "vips", &vips, err)) < 0)
		return r;
	v.n_vips = json_array_size(vips);
	for (size_t i = 0; i < v.n_vips && i < v.cap_vips; i++) {
		memset(&v.vips[i], 0, sizeof(v.vips[i]));
		if ((r = vip_decode(&root, i, &v.vips[i], err)) < 0)
			return r;
	}
	*ret = v;
	return 0;
}
