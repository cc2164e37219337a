/* SPDX-License-Identifier: Apache-2.0 */
/* lease_json.c: coordination.k8s.io/v1 Lease to and from JSON.  What a record means (durations, expiry) is decided in
 * election/; sending and receiving is done by client.c and watch.c. */
#include "agent/kube/lease_json.h"

#include <errno.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/json_walk.h"

#define ANNOTATION_DURATION "leasehold.io/duration-ms"
#define LABEL_MANAGED_BY "app.kubernetes.io/managed-by"
#define DURATION_MS_MAX 86400000

static int meta_decode(const struct walk *root, struct kube_lease *l, struct err_info *err)
{
	struct walk meta, annotations;
	const char *text;
	uint64_t ms;
	int r;

	if ((r = walk_object(root, "metadata", &meta, err)) < 0 ||
	    (r = walk_copy(&meta, "name", l->name, sizeof(l->name), err)) < 0 ||
	    (r = walk_copy(&meta, "resourceVersion", l->version, sizeof(l->version), err)) < 0 ||
	    (r = walk_copy(&meta, "uid", l->uid, sizeof(l->uid), err)) < 0 ||
	    (r = walk_object(&meta, "annotations", &annotations, err)) < 0)
		return r;
	if (!*l->name)
		return walk_refuse(&meta, "name", err, "missing");
	/* Anyone may write an annotation: one that cannot be read counts as absent. */
	text = walk_plain_text(json_object_get(annotations.object, ANNOTATION_DURATION));
	if (text && text_to_u64(text, DURATION_MS_MAX, &ms) == 0)
		l->annotation_ms = (int64_t)ms;
	return 0;
}

static int spec_decode(const struct walk *root, struct kube_lease *l, struct err_info *err)
{
	const struct walk_range range = { 0, INT32_MAX }; /* both are int32 in the API */
	int64_t transitions = 0;
	struct walk spec;
	int r;

	if ((r = walk_object(root, "spec", &spec, err)) < 0 ||
	    (r = walk_copy(&spec, "holderIdentity", l->holder, sizeof(l->holder), err)) < 0 ||
	    (r = walk_int(&spec, "leaseDurationSeconds", range, &l->seconds, err)) < 0 ||
	    (r = walk_int(&spec, "leaseTransitions", range, &transitions, err)) < 0)
		return r;
	l->transitions = (uint32_t)transitions;
	return 0;
}

int lease_decode(const char *json, size_t len, struct kube_lease *ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct kube_lease l;
	struct walk root;
	int r;

	memset(&l, 0, sizeof(l));
	r = walk_parse(json, len, "Lease", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = meta_decode(&root, &l, err)) < 0 || (r = spec_decode(&root, &l, err)) < 0)
		return r;
	*ret = l;
	return 0;
}

/* Sets a string member; the node given to json_object_set_new() may be NULL, which fails. */
static int set_text(json_t *object, const char *key, const char *text)
{
	return json_object_set_new(object, key, json_string(text)) < 0 ? -ENOMEM : 0;
}

static int set_int(json_t *object, const char *key, int64_t value)
{
	return json_object_set_new(object, key, json_integer(value)) < 0 ? -ENOMEM : 0;
}

static int set_time(json_t *object, const char *key, int64_t us)
{
	struct buf text = BUF_INIT(64);
	int r;

	walk_put_time(&text, us);
	r = buf_failed(&text) < 0 ? -ENOMEM : set_text(object, key, buf_text(&text));
	buf_fini(&text);
	return r;
}

/* A new object below 'parent', filled with the members 'kept' has (may be NULL).  Borrowed; NULL: no memory. */
static json_t *put_object(json_t *parent, const char *key, json_t *kept)
{
	json_t *object = kept && json_is_object(kept) ? json_copy(kept) : json_object();

	return object && json_object_set_new(parent, key, object) == 0 ? object : NULL;
}

/* labels, annotations, finalizers and ownerReferences stay as they are, but for our own entries. */
static int meta_encode(json_t *body, const struct kube_lease *l, const char *ns, json_t *kept)
{
	static const char *const lists[] = { "finalizers", "ownerReferences" };
	json_t *meta = put_object(body, "metadata", NULL), *labels, *annotations;
	struct buf ms = BUF_INIT(32);
	const char *uid = l->uid;
	int r;

	if (!meta)
		return -ENOMEM;
	labels = put_object(meta, "labels", json_object_get(kept, "labels"));
	annotations = put_object(meta, "annotations", json_object_get(kept, "annotations"));
	if (!labels || !annotations)
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		json_t *list = json_object_get(kept, lists[i]);

		if (json_is_array(list) && json_object_set(meta, lists[i], list) < 0)
			return -ENOMEM;
	}
	if (!*uid && *l->version && walk_plain_text(json_object_get(kept, "uid")))
		uid = walk_plain_text(json_object_get(kept, "uid"));
	/* Without the uid the API server takes a PUT on a Lease deleted meanwhile for its creation. */
	if ((r = set_text(meta, "name", l->name)) < 0 || (r = set_text(meta, "namespace", ns)) < 0 ||
	    (*uid && (r = set_text(meta, "uid", uid)) < 0) ||
	    (*l->version && (r = set_text(meta, "resourceVersion", l->version)) < 0) ||
	    (r = set_text(labels, LABEL_MANAGED_BY, "leasehold")) < 0)
		return r;
	if (l->annotation_ms <= 0) {
		IGNORE(json_object_del(annotations, ANNOTATION_DURATION)); /* fails when it is not there */
		return 0;
	}
	buf_printf(&ms, "%lld", (long long)l->annotation_ms);
	r = buf_failed(&ms) < 0 ? -ENOMEM : set_text(annotations, ANNOTATION_DURATION, buf_text(&ms));
	buf_fini(&ms);
	return r;
}

static int spec_encode(json_t *body, const struct kube_lease *l, int64_t acquire_us, int64_t renew_us,
		       json_t *kept)
{
	json_t *spec = put_object(body, "spec", kept);
	int r;

	if (!spec)
		return -ENOMEM;
	/* An empty holder is written as "", as client-go does when it releases; the server wants seconds > 0. */
	if ((r = set_text(spec, "holderIdentity", l->holder)) < 0 ||
	    (r = set_int(spec, "leaseDurationSeconds", l->seconds < 1 ? 1 : l->seconds)) < 0 ||
	    (r = set_int(spec, "leaseTransitions", l->transitions)) < 0 ||
	    (r = set_time(spec, "acquireTime", acquire_us)) < 0 || (r = set_time(spec, "renewTime", renew_us)) < 0)
		return r;
	return 0;
}

static int dump_piece(const char *piece, size_t len, void *ctx)
{
	struct buf *out = ctx;

	buf_append(out, piece, len);
	return buf_failed(out) < 0 ? -1 : 0;
}

int lease_encode(const struct kube_lease *l, const char *ns, int64_t acquire_us, int64_t renew_us, const char *keep,
		 struct buf *out)
{
	AUTO(walk_tree_free) json_t *kept = NULL;
	AUTO(walk_tree_free) json_t *body = json_object();
	int r;

	if (!body)
		return -ENOMEM;
	r = keep ? walk_parse(keep, strlen(keep), "Lease", &kept, NULL) : 0;
	if (r < 0)
		return r;
	if ((r = set_text(body, "apiVersion", "coordination.k8s.io/v1")) < 0 || (r = set_text(body, "kind", "Lease")) < 0 ||
	    (r = meta_encode(body, l, ns, json_object_get(kept, "metadata"))) < 0 ||
	    (r = spec_encode(body, l, acquire_us, renew_us, json_object_get(kept, "spec"))) < 0)
		return r;
	if (json_dump_callback(body, dump_piece, out, JSON_COMPACT) < 0)
		return buf_failed(out) < 0 ? buf_failed(out) : -ENOMEM;
	return 0;
}
