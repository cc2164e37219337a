/* SPDX-License-Identifier: Apache-2.0 */
/* review_json.c: access reviews and versions to and from JSON. */
#include "agent/kube/review_json.h"

#include <errno.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/json_walk.h"

static void put(struct buf *out, const char *key, const char *value)
{
	if (!*value)
		return;
	buf_puts(out, out->data[out->len - 1] == '{' ? "" : ",");
	buf_json_string(out, key);
	buf_puts(out, ":");
	buf_json_string(out, value);
}

int review_encode(const struct review_ask *ask, struct buf *out)
{
	buf_puts(out, "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\","
		      "\"spec\":{\"resourceAttributes\":{");
	if (buf_failed(out) < 0)
		return buf_failed(out);
	put(out, "verb", ask->verb);
	put(out, "group", ask->group);
	put(out, "resource", ask->resource);
	put(out, "subresource", ask->subresource);
	put(out, "namespace", ask->ns);
	put(out, "name", ask->name);
	buf_puts(out, "}}}");
	return buf_failed(out);
}

int review_decode(const char *json, size_t len, bool *ret_allowed, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct walk root, status;
	bool allowed = false;
	int r = walk_parse(json, len, "SelfSubjectAccessReview", &tree, err);

	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = walk_object(&root, "status", &status, err)) < 0)
		return r;
	if (!status.object)
		return walk_refuse(&root, "status", err, "missing");
	if ((r = walk_bool(&status, "allowed", &allowed, err)) < 0)
		return r;
	*ret_allowed = allowed;
	return 0;
}

static int number_decode(const struct walk *at, const char *key, int *ret, struct err_info *err)
{
	char digits[8] = "";
	const char *text;
	uint64_t value;
	size_t n;
	int r = walk_text(at, key, &text, err);

	if (r < 0)
		return r;
	n = strspn(text, "0123456789");
	memcpy(digits, text, n < sizeof(digits) ? n : sizeof(digits) - 1);
	if (text_to_u64(digits, 9999, &value) < 0)
		return walk_refuse(at, key, err, "no number");
	*ret = (int)value;
	return 0;
}

int version_decode(const char *json, size_t len, struct kube_version *ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct kube_version v = { .major = 0 };
	const char *text;
	struct walk root;
	int r = walk_parse(json, len, NULL, &tree, err);

	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = number_decode(&root, "major", &v.major, err)) < 0 || (r = number_decode(&root, "minor", &v.minor, err)) < 0 ||
	    (r = walk_text(&root, "gitVersion", &text, err)) < 0)
		return r;
	memcpy(v.text, text, walk_cut(text, sizeof(v.text) - 1)); /* the rest is zero */
	*ret = v;
	return 0;
}
