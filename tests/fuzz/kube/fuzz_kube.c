/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_kube.c: what an API server sends, as bytes that nobody checked.  The first byte chooses the reader (see readers[]),
 * the second how the rest is cut into pieces.  Beyond not crashing: a stream gives the same objects however it is cut, a
 * list gives what a JSON parser finds in it, a decoded object keeps its bounds, and a Lease comes back from its encoding.
 *
 * With libFuzzer:	clang -fsanitize=fuzzer,address,undefined ... fuzz_kube.c build/asan-clang/lib{kube,base}.a
 * The corpus is also run by tests/unit/kube/test_corpus.c, which includes this file. */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/lease_json.h"
#include "agent/kube/node_json.h"
#include "agent/kube/object_json.h"
#include "agent/kube/record_json.h"
#include "agent/kube/span.h"
#include "agent/kube/splitter.h"
#include "agent/kube/status_json.h"

#define OBJECT_BYTES_MAX 4096 /* small, so that the bound is met */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- streams ---- */

struct told {
	struct buf all; /* the objects, each behind its length */
	size_t n, oversized;
};

static void on_object(void *ctx, const char *json, size_t len)
{
	struct told *t = ctx;

	/* Brackets are counted, not matched: that is the parser's part. */
	assert(len >= 2 && len <= OBJECT_BYTES_MAX && strchr("{[", json[0]) && strchr("}]", json[len - 1]));
	buf_printf(&t->all, "%zu:", len);
	buf_append(&t->all, json, len);
	t->n++;
}

static void on_oversized(void *ctx)
{
	struct told *t = ctx;

	t->oversized++;
}

struct outcome {
	struct told told;
	struct buf rest;
	int r;
	bool whole;
};

static void outcome_fini(struct outcome *o)
{
	buf_fini(&o->told.all);
	buf_fini(&o->rest);
}

/* piece = 0: all at once. */
static struct outcome split(enum splitter_mode mode, const char *text, size_t len, size_t piece)
{
	static const struct splitter_ops ops = { on_object, on_oversized };
	struct outcome o = { .told = { .all = BUF_INIT(16 * 1024 * 1024) }, .rest = BUF_INIT(16 * 1024 * 1024) };
	struct splitter s;

	splitter_init(&s, mode, OBJECT_BYTES_MAX, &ops, &o.told);
	for (size_t at = 0; at < len && o.r == 0;) {
		size_t n = piece && piece < len - at ? piece : len - at;

		o.r = splitter_feed(&s, text + at, n);
		at += n;
	}
	assert(o.r == 0 || o.r == -EBADMSG);
	o.whole = splitter_at_boundary(&s);
	assert(!o.whole || o.r == 0);
	buf_append(&o.rest, s.rest.data ? s.rest.data : "", s.rest.len);
	splitter_fini(&s);
	return o;
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

/* What a JSON parser finds among the items; false: it is no such list, or not one to compare. */
static bool expected(const char *text, size_t len, json_t **ret)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
	json_t *items = json_object_get(root, "items"), *item;
	bool good = json_is_array(items) && !memmem(text, len, "\\u", 2); /* a name may be written with those */
	size_t i;

	json_array_foreach(items, i, item) good = good && json_is_object(item);
	*ret = good ? json_incref(items) : NULL;
	json_decref(root);
	return good;
}

static void check_list(const struct outcome *o, json_t *items)
{
	const char *p = o->told.all.data;

	assert(o->whole && o->told.n + o->told.oversized == json_array_size(items));
	for (size_t i = 0; i < o->told.n && o->told.oversized == 0; i++) {
		char *colon;
		size_t len = strtoul(p, &colon, 10);
		json_t *item = json_loadb(colon + 1, len, JSON_ALLOW_NUL, NULL);

		assert(item && json_equal(item, json_array_get(items, i)));
		json_decref(item);
		p = colon + 1 + len;
	}
}

static void read_stream(enum splitter_mode mode, const char *text, size_t len, size_t piece)
{
	struct outcome all = split(mode, text, len, 0), cut = split(mode, text, len, piece);
	json_t *items = NULL;

	assert(all.r == cut.r && all.whole == cut.whole && all.told.oversized == cut.told.oversized);
	assert(same(&all.told.all, &cut.told.all));
	assert(all.r < 0 || same(&all.rest, &cut.rest));
	if (mode == SPLITTER_LIST && all.r == 0 && expected(text, len, &items))
		check_list(&all, items);
	json_decref(items);
	outcome_fini(&all);
	outcome_fini(&cut);
}

static void read_list(const char *text, size_t len, size_t piece)
{
	read_stream(SPLITTER_LIST, text, len, piece);
}

static void read_watch(const char *text, size_t len, size_t piece)
{
	read_stream(SPLITTER_WATCH, text, len, piece);
}

/* ---- spans ---- */

static void check_span(struct span inside, struct span s)
{
	char buf[64];

	if (!s.p)
		return;
	assert(s.p >= inside.p && s.len <= inside.len && s.p + s.len <= inside.p + inside.len);
	if (span_text(s, buf, sizeof(buf)))
		assert(strlen(buf) <= s.len - 2);
	else
		assert(!*buf);
}

static void read_span(const char *text, size_t len, size_t piece)
{
	static const char *const names[] = { "type", "object", "metadata", "resourceVersion", "" };
	const struct span json = { text, len };

	(void)piece;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct span outer = span_member(json, names[i]);

		check_span(json, outer);
		for (size_t k = 0; outer.p && k < ARRAY_LEN(names); k++)
			check_span(outer, span_member(outer, names[k]));
	}
}

/* ---- objects ---- */

static void check_meta(const struct object_meta *m)
{
	assert(*m->name && *m->ns && m->uid && m->resource_version);
}

static void check_addresses(const struct ip *ips, size_t n)
{
	assert(n <= OBJECT_ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++)
		assert(ip_len(&ips[i]) > 0 && !ip_is_unusable(&ips[i]));
	assert(n < 2 || ips[0].family != ips[1].family);
}

static void read_service(const char *text, size_t len, size_t piece)
{
	struct err_info err = ERR_INFO_INIT;
	struct service *s;

	(void)piece;
	if (service_decode(text, len, &s, &err) < 0) {
		assert(*err.text);
		return;
	}
	check_meta(&s->meta);
	assert(*s->type && s->load_balancer_class && s->sharing_key && s->problem);
	assert(s->n_ports <= OBJECT_PORTS_MAX && s->n_ingress <= OBJECT_INGRESS_MAX);
	for (size_t i = 0; i < s->n_ports; i++)
		assert(s->ports[i].name && s->ports[i].port && s->ports[i].proto);
	check_addresses(s->requested, s->n_requested);
	check_addresses(s->allocated, s->n_allocated);
	service_free(s);
}

static void read_slice(const char *text, size_t len, size_t piece)
{
	struct err_info err = ERR_INFO_INIT;
	struct slice *s;

	(void)piece;
	if (slice_decode(text, len, &s, &err) < 0) {
		assert(*err.text);
		return;
	}
	if (!s)
		return;
	check_meta(&s->meta);
	assert(s->service && s->n_ports <= OBJECT_PORTS_MAX && s->n_endpoints <= OBJECT_ENDPOINTS_MAX);
	for (size_t i = 0; i < s->n_ports; i++)
		assert(s->ports[i].name && s->ports[i].proto);
	for (size_t i = 0; i < s->n_endpoints; i++)
		assert(s->endpoints[i].node && s->endpoints[i].ip.family == s->family);
	slice_free(s);
}

static void read_key(const char *text, size_t len, size_t piece)
{
	struct object_key *k;

	(void)piece;
	if (object_key_decode(text, len, &k, NULL) < 0)
		return;
	assert(*k->ns && *k->name && k->uid);
	object_key_free(k);
}

/* A Lease may be a node's record, and what was read is written in the same words. */
static void read_record(const char *text, size_t len)
{
	static struct kube_record r, again;
	struct buf body = BUF_INIT(16 * 1024 * 1024);
	struct kube_lease out = { .name = "leasehold-node-a", .holder = "a_1_2", .record = &r };
	int e;

	if (record_decode(text, len, &r, NULL) < 0)
		return;
	e = lease_encode(&out, "kube-system", NULL, NULL, &body);
	assert(e == 0);
	e = record_decode(buf_text(&body), body.len, &again, NULL);
	assert(e == 0);
	assert(memcmp(&r, &again, sizeof(r)) == 0);
	buf_fini(&body);
}

static void read_node(const char *text, size_t len)
{
	struct kube_node n;

	if (node_decode(text, len, &n, NULL) == 0)
		assert(n.rank >= -1 && n.rank <= 9 && strnlen(n.uid, sizeof(n.uid)) < sizeof(n.uid));
}

static void read_lease(const char *text, size_t len, size_t piece)
{
	const struct lease_times times = { 1, 2 };
	struct lease_keep keep = LEASE_KEEP_INIT;
	struct buf body = BUF_INIT(16 * 1024 * 1024);
	struct kube_lease l, again;
	struct err_info err = ERR_INFO_INIT;
	int r;

	(void)piece;
	read_record(text, len);
	read_node(text, len);
	if (lease_decode(text, len, &l, &keep, &err) < 0) {
		assert(*err.text);
	} else {
		r = lease_encode(&l, "kube-system", &times, &keep, &body);
		assert(r == 0);
		r = lease_decode(buf_text(&body), body.len, &again, NULL, &err);
		assert(r == 0);
		assert(text_eq(l.name, again.name) && text_eq(l.holder, again.holder) && text_eq(l.version, again.version));
		assert(l.annotation_ms == again.annotation_ms && l.transitions == again.transitions && l.hold == again.hold);
		assert(memcmp(&l.move, &again.move, sizeof(l.move)) == 0);
		assert(memcmp(&l.request, &again.request, sizeof(l.request)) == 0);
		assert(memcmp(&l.result, &again.result, sizeof(l.result)) == 0);
		assert(again.seconds == (l.seconds < 1 ? 1 : l.seconds));
	}
	lease_keep_fini(&keep);
	buf_fini(&body);
}

static void read_status(const char *text, size_t len, size_t piece)
{
	struct kube_status st;

	(void)piece;
	memset(&st, 'x', sizeof(st));
	status_decode(text, len, &st);
	assert(st.code >= 0 && st.retry_after_s >= 0);
	assert(strnlen(st.reason, sizeof(st.reason)) < sizeof(st.reason));
	assert(strnlen(st.message, sizeof(st.message)) < sizeof(st.message));
}

static void (*const readers[])(const char *text, size_t len, size_t piece) = {
	read_list, read_watch, read_span, read_service, read_slice, read_key, read_lease, read_status,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t len = size < 2 ? 0 : size - 2;
	char *text;

	if (size < 2)
		return 0;
	text = malloc(len ? len : 1); /* of its own, so that a sanitizer sees a read past it */
	assert(text);
	memcpy(text, data + 2, len);
	readers[data[0] % ARRAY_LEN(readers)](text, len, (size_t)data[1] + 1);
	free(text);
	return 0;
}
