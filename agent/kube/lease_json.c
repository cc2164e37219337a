/* SPDX-License-Identifier: Apache-2.0 */
/* lease_json.c: coordination.k8s.io/v1 Lease to and from JSON.  What a record means (durations, expiry, moves) is decided
 * in election/; sending and receiving is done by client.c and watch.c. */
#include "agent/kube/lease_json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/json_walk.h"

#define ANNOTATION_DURATION "leasehold.io/duration-ms"
#define ANNOTATION_POLICY "leasehold.io/policy"
#define ANNOTATION_MOVE "leasehold.io/handover"
#define ANNOTATION_REQUEST "leasehold.io/handover-request"
#define ANNOTATION_RESULT "leasehold.io/handover-result"
#define LABEL_MANAGED_BY "app.kubernetes.io/managed-by"
#define LABEL_KIND "leasehold.io/kind"
#define OWNERS "ownerReferences"
#define DURATION_MS_MAX 86400000
#define KEEP_ROOM 256 /* bytes */

/* --- reading -------------------------------------------------------------------------------------------------------- */

/* The word before the first blank of *text, which moves on behind it.  False: empty, or it does not fit. */
static bool take_word(const char **text, char *ret, size_t size)
{
	size_t n = strcspn(*text, " ");

	if (n == 0 || n >= size)
		return false;
	memcpy(ret, *text, n);
	ret[n] = '\0';
	*text += n;
	*text += **text == ' ';
	return true;
}

/* A number of a move, 1..UINT32_MAX. */
static bool take_number(const char **text, uint32_t *ret)
{
	char word[16];
	uint64_t v;

	if (!take_word(text, word, sizeof(word)) || text_to_u64(word, UINT32_MAX, &v) < 0 || v == 0)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static void move_decode(const char *text, struct kube_lease_move *ret)
{
	struct kube_lease_move m;
	char word[8];

	memset(&m, 0, sizeof(m));
	if (!take_word(&text, word, sizeof(word)) || !take_number(&text, &m.number) ||
	    !take_word(&text, m.successor, sizeof(m.successor)) || *text)
		return;
	m.stage = text_eq(word, "prepare") ? KUBE_LEASE_PREPARE : text_eq(word, "claim") ? KUBE_LEASE_CLAIM : KUBE_LEASE_STAYS;
	if (m.stage != KUBE_LEASE_STAYS)
		*ret = m;
}

static void request_decode(const char *text, struct kube_lease_request *ret)
{
	struct kube_lease_request q;

	memset(&q, 0, sizeof(q));
	if (take_number(&text, &q.number) && take_word(&text, q.node, sizeof(q.node)) && !*text)
		*ret = q;
}

static void result_decode(const char *text, struct kube_lease_result *ret)
{
	struct kube_lease_result s;
	char word[8];

	memset(&s, 0, sizeof(s));
	if (!take_number(&text, &s.number) || !take_word(&text, word, sizeof(word)))
		return;
	s.ok = text_eq(word, "ok");
	if (!s.ok && !text_eq(word, "failed"))
		return;
	memcpy(s.text, text, walk_cut(text, sizeof(s.text) - 1)); /* the rest is zero */
	*ret = s;
}

/* Anyone may write an annotation: one that cannot be read counts as absent. */
static void annotations_decode(const json_t *annotations, struct kube_lease *l)
{
	const char *text = walk_plain_text(json_object_get(annotations, ANNOTATION_DURATION));
	uint64_t ms;

	if (text && text_to_u64(text, DURATION_MS_MAX, &ms) == 0)
		l->annotation_ms = (int64_t)ms;
	text = walk_plain_text(json_object_get(annotations, ANNOTATION_POLICY));
	l->hold = text && text_eq(text, "hold");
	text = walk_plain_text(json_object_get(annotations, ANNOTATION_MOVE));
	if (text)
		move_decode(text, &l->move);
	text = walk_plain_text(json_object_get(annotations, ANNOTATION_REQUEST));
	if (text)
		request_decode(text, &l->request);
	text = walk_plain_text(json_object_get(annotations, ANNOTATION_RESULT));
	if (text)
		result_decode(text, &l->result);
}

static int meta_decode(const struct walk *meta, struct kube_lease *l, struct err_info *err)
{
	struct walk annotations;
	int r;

	if ((r = walk_copy(meta, "name", l->name, sizeof(l->name), err)) < 0 ||
	    (r = walk_copy(meta, "resourceVersion", l->version, sizeof(l->version), err)) < 0 ||
	    (r = walk_copy(meta, "uid", l->uid, sizeof(l->uid), err)) < 0 ||
	    (r = walk_object(meta, "annotations", &annotations, err)) < 0)
		return r;
	if (!*l->name)
		return walk_refuse(meta, "name", err, "missing");
	annotations_decode(annotations.object, l);
	return 0;
}

static int spec_decode(const struct walk *spec, struct kube_lease *l, struct err_info *err)
{
	const struct walk_range range = { 0, INT32_MAX }; /* both are int32 in the API */
	int64_t transitions = 0;
	const char *holder;
	int r;

	if ((r = walk_text(spec, "holderIdentity", &holder, err)) < 0 || (r = walk_int(spec, "leaseDurationSeconds", range, &l->seconds, err)) < 0 ||
	    (r = walk_int(spec, "leaseTransitions", range, &transitions, err)) < 0)
		return r;
	/* One that is longer than any of ours is somebody else's all the same, and runs out like any other. */
	IGNORE(text_copy(l->holder, sizeof(l->holder), holder)); /* cut */
	l->transitions = (uint32_t)transitions;
	return 0;
}

/* --- keeping what others wrote -------------------------------------------------------------------------------------- */

void lease_keep_reset(struct lease_keep *k)
{
	buf_reset(&k->labels);
	buf_reset(&k->annotations);
	buf_reset(&k->spec);
	buf_reset(&k->lists);
	k->owned = false;
}

int lease_keep_reserve(struct lease_keep *k)
{
	return buf_reserve(&k->labels, KEEP_ROOM) < 0 || buf_reserve(&k->annotations, KEEP_ROOM) < 0 ||
	       buf_reserve(&k->spec, KEEP_ROOM) < 0 || buf_reserve(&k->lists, KEEP_ROOM) < 0 ? -ENOMEM : 0;
}

void lease_keep_fini(struct lease_keep *k)
{
	buf_fini(&k->labels);
	buf_fini(&k->annotations);
	buf_fini(&k->spec);
	buf_fini(&k->lists);
}

static int dump_piece(const char *piece, size_t len, void *ctx)
{
	struct buf *out = ctx;

	buf_append(out, piece, len);
	return buf_failed(out) < 0 ? -1 : 0;
}

/* A failure to dump is one of memory, or the buffer says so itself. */
static int dump(const json_t *value, struct buf *out)
{
	if (json_dump_callback(value, dump_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
		return 0;
	return buf_failed(out) < 0 ? buf_failed(out) : -ENOMEM;
}

static bool is_one_of(const char *key, const char *const *keys)
{
	for (; *keys; keys++)
		if (text_eq(key, *keys))
			return true;
	return false;
}

/* All members of 'object' but those named, "KEY":VALUE, each. */
static int keep_members(const json_t *object, const char *const *but, struct buf *out)
{
	void *at;
	int r = 0;

	/* The iterating functions take no const, and change nothing. */
	if (!json_is_object(object))
		return 0;
	for (at = json_object_iter((json_t *)(uintptr_t)object); at && r == 0;
	     at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
		AUTO(walk_tree_free) json_t *key = NULL;

		if (is_one_of(json_object_iter_key(at), but))
			continue;
		key = json_string(json_object_iter_key(at));
		r = key ? dump(key, out) : -ENOMEM;
		buf_puts(out, ":");
		if (r == 0)
			r = dump(json_object_iter_value(at), out);
		buf_puts(out, ",");
	}
	return r < 0 ? r : buf_failed(out);
}

static int keep_lists(const json_t *meta, struct lease_keep *k)
{
	static const char *const lists[] = { "finalizers", OWNERS };
	struct buf *out = &k->lists;
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(lists) && r == 0; i++) {
		const json_t *list = json_object_get(meta, lists[i]);

		if (json_array_size(list) == 0)
			continue;
		buf_printf(out, ",\"%s\":", lists[i]);
		r = dump(list, out);
	}
	k->owned = json_array_size(json_object_get(meta, OWNERS)) > 0;
	return r < 0 ? r : buf_failed(out);
}

static int keep_decode(const struct walk *meta, const struct walk *spec, struct lease_keep *k, struct err_info *err)
{
	static const char *const labels[] = { LABEL_MANAGED_BY, LABEL_KIND, NULL };
	static const char *const annotations[] = { ANNOTATION_DURATION, ANNOTATION_POLICY, ANNOTATION_MOVE,
						   ANNOTATION_REQUEST, ANNOTATION_RESULT, RECORD_ANNOTATIONS, NULL };
	static const char *const members[] = { "holderIdentity", "leaseDurationSeconds", "leaseTransitions", "acquireTime",
					       "renewTime", NULL };
	int r;

	lease_keep_reset(k);
	if ((r = keep_members(json_object_get(meta->object, "labels"), labels, &k->labels)) < 0 ||
	    (r = keep_members(json_object_get(meta->object, "annotations"), annotations, &k->annotations)) < 0 ||
	    (r = keep_members(spec->object, members, &k->spec)) < 0 || (r = keep_lists(meta->object, k)) < 0)
		return err_errno(err, r, "Lease");
	return 0;
}

int lease_decode(const char *json, size_t len, struct kube_lease *ret, struct lease_keep *keep, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct walk root, meta, spec;
	struct kube_lease l;
	int r;

	memset(&l, 0, sizeof(l));
	r = walk_parse(json, len, "Lease", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = walk_object(&root, "metadata", &meta, err)) < 0 || (r = meta_decode(&meta, &l, err)) < 0 ||
	    (r = walk_object(&root, "spec", &spec, err)) < 0 || (r = spec_decode(&spec, &l, err)) < 0)
		return r;
	if (keep && (r = keep_decode(&meta, &spec, keep, err)) < 0)
		return r;
	*ret = l;
	return 0;
}

/* --- writing: texts alone ------------------------------------------------------------------------------------------- */

static void put_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, "\"%s\":", key);
	buf_json_string(out, text);
}

/* An annotation whose value needs no escapes but those of 'text'. */
static void put_noted(struct buf *out, const char *key, uint32_t number, const char *word, const char *text)
{
	char value[sizeof(((struct kube_lease_move *)0)->successor) + 32];

	IGNORE(snprintf(value, sizeof(value), "%u %s%s%s", number, word, *word ? " " : "", text)); /* fits: bounded in the struct */
	buf_puts(out, ",");
	put_text(out, key, value);
}

static void annotations_encode(const struct kube_lease *l, struct buf *out)
{
	char value[sizeof(l->move.successor) + 32];

	put_text(out, ANNOTATION_POLICY, l->hold ? "hold" : "fence");
	if (l->annotation_ms > 0)
		buf_printf(out, ",\"%s\":\"%lld\"", ANNOTATION_DURATION, (long long)l->annotation_ms);
	if (l->move.stage != KUBE_LEASE_STAYS) {
		IGNORE(snprintf(value, sizeof(value), "%s %u %s", l->move.stage == KUBE_LEASE_CLAIM ? "claim" : "prepare",
				l->move.number, l->move.successor)); /* fits */
		buf_puts(out, ",");
		put_text(out, ANNOTATION_MOVE, value);
	}
	if (l->request.number)
		put_noted(out, ANNOTATION_REQUEST, l->request.number, "", l->request.node);
	if (l->result.number)
		put_noted(out, ANNOTATION_RESULT, l->result.number, l->result.ok ? "ok" : "failed", l->result.text);
}

static void time_encode(struct buf *out, const char *key, int64_t us)
{
	buf_printf(out, ",\"%s\":\"", key);
	walk_put_time(out, us);
	buf_puts(out, "\"");
}

static void meta_encode(const struct kube_lease *l, const char *ns, const struct lease_keep *keep, struct buf *out)
{
	put_text(out, "name", l->name);
	buf_puts(out, ",");
	put_text(out, "namespace", ns);
	/* Without the uid the API server takes a PUT on a Lease deleted meanwhile for its creation. */
	if (*l->uid) {
		buf_puts(out, ",");
		put_text(out, "uid", l->uid);
	}
	if (*l->version) {
		buf_puts(out, ",");
		put_text(out, "resourceVersion", l->version);
	}
	buf_printf(out, ",\"labels\":{%s\"%s\":\"leasehold\"%s}", keep ? buf_text(&keep->labels) : "", LABEL_MANAGED_BY,
		   l->record ? ",\"" LABEL_KIND "\":\"node\"" : "");
	buf_printf(out, ",\"annotations\":{%s", keep ? buf_text(&keep->annotations) : "");
	if (l->record)
		record_annotations(l->record, out);
	else
		annotations_encode(l, out);
	buf_printf(out, "}%s", keep ? buf_text(&keep->lists) : "");
	if (l->record && *l->record->owner_uid && !(keep && keep->owned)) {
		buf_puts(out, ",\"" OWNERS "\":[{\"apiVersion\":\"v1\",\"kind\":\"Node\",");
		put_text(out, "name", l->record->owner);
		buf_puts(out, ",");
		put_text(out, "uid", l->record->owner_uid);
		buf_puts(out, "}]");
	}
}

int lease_encode(const struct kube_lease *l, const char *ns, const struct lease_times *times, const struct lease_keep *keep,
		 struct buf *out)
{
	buf_puts(out, "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"metadata\":{");
	meta_encode(l, ns, keep, out);
	buf_printf(out, "},\"spec\":{%s", keep ? buf_text(&keep->spec) : "");
	/* An empty holder is written as "", as client-go does when it releases; the server wants seconds > 0. */
	put_text(out, "holderIdentity", l->holder);
	if (!l->record) {
		buf_printf(out, ",\"leaseDurationSeconds\":%lld,\"leaseTransitions\":%u",
			   (long long)(l->seconds < 1 ? 1 : l->seconds), l->transitions);
		time_encode(out, "acquireTime", times->acquire_us);
		time_encode(out, "renewTime", times->renew_us);
	}
	buf_puts(out, "}}");
	return buf_failed(out);
}
