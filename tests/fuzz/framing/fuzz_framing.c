/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_framing.c: streams of JSON objects as bytes that nobody checked.  The first byte chooses the reader (see readers[]), the
 * second how the rest is cut into pieces, anywhere.  Beyond not crashing: a stream gives the same objects however it is
 * cut, and a list gives what a JSON parser finds in it. */
#include <errno.h>
#include <jansson.h>

#include "agent/base/buf.h"
#include "agent/kube/span.h"
#include "agent/kube/splitter.h"
#include "tests/fuzz/fuzz.h"

#define OBJECT_BYTES_MAX 4096 /* small, so that the bound is met */

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

/* seed = 0: all at once. */
static struct outcome split(enum splitter_mode mode, const char *text, size_t len, uint64_t seed)
{
	static const struct splitter_ops ops = { on_object, on_oversized };
	struct outcome o = { .told = { .all = BUF_INIT(16 * 1024 * 1024) }, .rest = BUF_INIT(16 * 1024 * 1024) };
	struct prng prng = { .state = seed };
	struct splitter s;

	splitter_init(&s, mode, OBJECT_BYTES_MAX, &ops, &o.told);
	for (size_t at = 0; at < len && o.r == 0;) {
		size_t n = seed ? fuzz_piece(&prng, len - at) : len - at;

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

static void read_stream(enum splitter_mode mode, const char *text, size_t len, uint64_t seed)
{
	struct outcome all = split(mode, text, len, 0), cut = split(mode, text, len, seed);
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

static void read_list(const char *text, size_t len, uint64_t seed)
{
	read_stream(SPLITTER_LIST, text, len, seed);
}

static void read_watch(const char *text, size_t len, uint64_t seed)
{
	read_stream(SPLITTER_WATCH, text, len, seed);
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

static void read_span(const char *text, size_t len, uint64_t seed)
{
	static const char *const names[] = { "type", "object", "metadata", "resourceVersion", "" };
	const struct span json = { text, len };

	(void)seed;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct span outer = span_member(json, names[i]);

		check_span(json, outer);
		for (size_t k = 0; outer.p && k < ARRAY_LEN(names); k++)
			check_span(outer, span_member(outer, names[k]));
	}
}

static void (*const readers[])(const char *text, size_t len, uint64_t seed) = { read_list, read_watch, read_span };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size < 2)
		return 0;
	text = fuzz_copy(data + 2, size - 2);
	readers[data[0] % ARRAY_LEN(readers)](text, size - 2, (uint64_t)data[1] + 1);
	free(text);
	return 0;
}
