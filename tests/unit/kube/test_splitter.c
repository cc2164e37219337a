/* SPDX-License-Identifier: Apache-2.0 */
/* test_splitter.c: the splitter hands over the same objects however a stream is cut into pieces, tells a whole stream
 * from a cut one at every length, skips what is too large and nothing else, and refuses what is no such stream. */
#include "agent/kube/splitter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define OBJECTS_MAX 64
#define ROOM (1024 * 1024)

struct seen {
	char *objects[OBJECTS_MAX];
	size_t n, oversized;
};

static void take_object(void *ctx, const char *json, size_t len)
{
	struct seen *s = ctx;

	assert_true(s->n < OBJECTS_MAX);
	s->objects[s->n] = strndup(json, len);
	assert_non_null(s->objects[s->n]);
	assert_int_equal(strlen(s->objects[s->n]), len);
	s->n++;
}

static void take_oversized(void *ctx)
{
	struct seen *s = ctx;

	s->oversized++;
}

static const struct splitter_ops ops = { take_object, take_oversized };

static void seen_fini(struct seen *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->objects[i]);
}

/* One text, fed in the pieces that end at 'cuts' and at its end.  Each piece lies in memory of its own, so that a
 * sanitizer sees a read past it. */
static int feed(struct splitter *s, const char *text, size_t len, const size_t *cuts, size_t n_cuts)
{
	size_t at = 0;
	int r = 0;

	for (size_t i = 0; i <= n_cuts && r == 0; i++) {
		size_t end = i < n_cuts ? cuts[i] : len;
		char *piece = malloc(end - at + 1);

		assert_non_null(piece);
		memcpy(piece, text + at, end - at);
		r = splitter_feed(s, piece, end - at);
		free(piece);
		at = end;
	}
	return r;
}

struct sample {
	enum splitter_mode mode;
	const char *text;
	const char *objects[8]; /* what must be handed over */
	const char *rest;	/* LIST */
};

static const struct sample samples[] = {
	{ SPLITTER_LIST, "{\"items\":[]}", { NULL }, "{\"items\":[]}" },
	{ SPLITTER_LIST, "{\"items\":null,\"metadata\":{}}", { NULL }, "{\"items\":null,\"metadata\":{}}" },
	{ SPLITTER_LIST,
	  "{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"12\",\"continue\":\"a}]\"},"
	  "\"items\":[{\"a\":1},{\"b\":[{\"items\":[{}]}]},{}]}\n",
	  { "{\"a\":1}", "{\"b\":[{\"items\":[{}]}]}", "{}" },
	  "{\"kind\":\"ServiceList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"12\",\"continue\":\"a}]\"},"
	  "\"items\":[]}\n" },
	/* metadata behind the items, spaces everywhere, brackets and escapes in strings, UTF-8 of 2, 3 and 4 bytes */
	{ SPLITTER_LIST,
	  " { \"items\" : [ { \"s\" : \"]}\\\"{[\\\\\" } ,\r\n\t{\"\xc3\xbc\":\"\xe2\x82\xac\xf0\x9f\x98\x80\\u00fc\"} ] ,"
	  " \"metadata\" : { \"resourceVersion\" : \"7\" } } ",
	  { "{ \"s\" : \"]}\\\"{[\\\\\" }", "{\"\xc3\xbc\":\"\xe2\x82\xac\xf0\x9f\x98\x80\\u00fc\"}" },
	  " { \"items\" : [] , \"metadata\" : { \"resourceVersion\" : \"7\" } } " },
	/* other arrays of objects, and "items" that is not the member of the top object */
	{ SPLITTER_LIST,
	  "{\"kind\":\"items\",\"others\":[{\"x\":1}],\"metadata\":{\"items\":[{\"y\":1}]},\"itemsX\":[{\"z\":1}],"
	  "\"items\":[{\"good\":true}]}",
	  { "{\"good\":true}" },
	  "{\"kind\":\"items\",\"others\":[{\"x\":1}],\"metadata\":{\"items\":[{\"y\":1}]},\"itemsX\":[{\"z\":1}],"
	  "\"items\":[]}" },
	{ SPLITTER_WATCH, "", { NULL }, NULL },
	{ SPLITTER_WATCH, "{}\n", { "{}" }, NULL },
	{ SPLITTER_WATCH,
	  "{\"type\":\"ADDED\",\"object\":{\"a\":\"}\\\\\\\"\xe2\x82\xac\"}}\n{\"type\":\"BOOKMARK\",\"object\":{\"items\":[{}]}}"
	  "\n\n{\"x\":{\"y\":[[],{}]}}\r\n",
	  { "{\"type\":\"ADDED\",\"object\":{\"a\":\"}\\\\\\\"\xe2\x82\xac\"}}",
	    "{\"type\":\"BOOKMARK\",\"object\":{\"items\":[{}]}}", "{\"x\":{\"y\":[[],{}]}}" },
	  NULL },
};

#define N_SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void check_sample(const struct sample *sample, const size_t *cuts, size_t n_cuts)
{
	struct seen seen = { .n = 0 };
	struct splitter s;

	splitter_init(&s, sample->mode, ROOM, &ops, &seen);
	assert_int_equal(feed(&s, sample->text, strlen(sample->text), cuts, n_cuts), 0);
	assert_true(splitter_at_boundary(&s));
	for (size_t i = 0; i < seen.n; i++) {
		assert_non_null(sample->objects[i]);
		assert_string_equal(seen.objects[i], sample->objects[i]);
	}
	assert_null(sample->objects[seen.n]);
	assert_int_equal(seen.oversized, 0);
	if (sample->rest)
		assert_string_equal(buf_text(&s.rest), sample->rest);
	splitter_fini(&s);
	seen_fini(&seen);
}

static void test_any_two_cuts(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_SAMPLES; k++) {
		size_t len = strlen(samples[k].text);

		check_sample(&samples[k], NULL, 0);
		for (size_t a = 0; a <= len; a++)
			for (size_t b = a; b <= len; b++)
				check_sample(&samples[k], (const size_t[]){ a, b }, 2);
	}
}

static void test_byte_by_byte(void **state)
{
	size_t cuts[1024];

	(void)state;
	for (size_t k = 0; k < N_SAMPLES; k++) {
		size_t len = strlen(samples[k].text);

		assert_true(len < sizeof(cuts) / sizeof(cuts[0]));
		for (size_t i = 0; i < len; i++)
			cuts[i] = i + 1;
		check_sample(&samples[k], cuts, len);
	}
}

/* A stream cut at any place gives whole objects only, the same as the whole stream would have, and it is known to be cut
 * wherever an object (a list: the list) is under way. */
static void check_truncated(const struct sample *sample, size_t len)
{
	struct seen seen = { .n = 0 };
	struct splitter s;
	int depth = 0;
	bool in_string = false;

	splitter_init(&s, sample->mode, ROOM, &ops, &seen);
	assert_int_equal(feed(&s, sample->text, len, NULL, 0), 0);
	for (size_t i = 0; i < len; i++) {
		char c = sample->text[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string)
			depth += (c == '{' || c == '[') - (c == '}' || c == ']');
	}
	assert_int_equal(splitter_at_boundary(&s), depth == 0);
	for (size_t i = 0; i < seen.n; i++)
		assert_string_equal(seen.objects[i], sample->objects[i]);
	splitter_fini(&s);
	seen_fini(&seen);
}

static void test_every_truncation(void **state)
{
	(void)state;
	for (size_t k = 0; k < N_SAMPLES; k++)
		for (size_t len = 0; len <= strlen(samples[k].text); len++)
			check_truncated(&samples[k], len);
}

/* {"o":"xxx..."} of 'size' bytes */
static char *object_of(size_t size)
{
	char *text = malloc(size + 1);

	assert_true(text && size >= 8);
	memset(text, 'x', size);
	memcpy(text, "{\"o\":\"", 6);
	memcpy(text + size - 2, "\"}", 3);
	return text;
}

static void check_bound(enum splitter_mode mode, size_t size, size_t max, size_t cut)
{
	const char *head = mode == SPLITTER_LIST ? "{\"items\":[{\"a\":1}," : "{\"a\":1}\n";
	const char *tail = mode == SPLITTER_LIST ? ",{\"b\":2}]}" : "\n{\"b\":2}\n";
	char *object = object_of(size), text[512];
	struct seen seen = { .n = 0 };
	struct splitter s;
	int len = snprintf(text, sizeof(text), "%s%s%s", head, object, tail);

	assert_true(len > 0 && (size_t)len < sizeof(text));
	splitter_init(&s, mode, max, &ops, &seen);
	cut = cut < (size_t)len ? cut : (size_t)len;
	assert_int_equal(feed(&s, text, (size_t)len, &cut, 1), 0);
	assert_true(splitter_at_boundary(&s));
	assert_int_equal(seen.oversized, size > max);
	assert_int_equal(seen.n, size > max ? 2 : 3);
	assert_string_equal(seen.objects[0], "{\"a\":1}");
	assert_string_equal(seen.objects[seen.n - 1], "{\"b\":2}");
	if (size <= max)
		assert_string_equal(seen.objects[1], object);
	splitter_fini(&s);
	seen_fini(&seen);
	free(object);
}

static void test_too_large_is_skipped_alone(void **state)
{
	(void)state;
	for (size_t cut = 0; cut < 180; cut++) {
		for (size_t size = 60; size <= 70; size++) {
			check_bound(SPLITTER_LIST, size, 64, cut);
			check_bound(SPLITTER_WATCH, size, 64, cut);
		}
		check_bound(SPLITTER_LIST, 150, 64, cut);
		check_bound(SPLITTER_WATCH, 150, 64, cut);
	}
}

/* The memory of a large object is given back. */
static void test_keeps_no_large_buffer(void **state)
{
	char *object = object_of(300 * 1024);
	struct seen seen = { .n = 0 };
	struct splitter s;

	(void)state;
	splitter_init(&s, SPLITTER_WATCH, ROOM, &ops, &seen);
	assert_int_equal(splitter_feed(&s, object, strlen(object)), 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.objects[0], object);
	assert_true(s.object.cap <= 64 * 1024);
	splitter_fini(&s);
	seen_fini(&seen);
	free(object);
}

static void check_refused(enum splitter_mode mode, const char *text)
{
	struct seen seen = { .n = 0 };
	struct splitter s;

	splitter_init(&s, mode, ROOM, &ops, &seen);
	assert_int_equal(splitter_feed(&s, text, strlen(text)), -EBADMSG);
	assert_false(splitter_at_boundary(&s));
	/* and nothing more is taken */
	assert_int_equal(splitter_feed(&s, "{\"items\":[{}]}", 14), -EBADMSG);
	assert_int_equal(seen.n, 0);
	splitter_fini(&s);
	seen_fini(&seen);
}

static void test_refuses_nonsense(void **state)
{
	char *deep = malloc(5002);

	(void)state;
	check_refused(SPLITTER_WATCH, "}");
	check_refused(SPLITTER_WATCH, "]");
	check_refused(SPLITTER_WATCH, "[{}]");
	check_refused(SPLITTER_LIST, "}");
	check_refused(SPLITTER_LIST, "]");
	assert_non_null(deep);
	memset(deep, '[', 5000);
	deep[0] = '{';
	deep[5000] = '\0';
	check_refused(SPLITTER_WATCH, deep);
	check_refused(SPLITTER_LIST, deep);
	free(deep);
}

/* What lies beside the items is bounded as well. */
static void test_rest_is_bounded(void **state)
{
	struct seen seen = { .n = 0 };
	char *object = object_of(2000);
	struct splitter s;

	(void)state;
	splitter_init(&s, SPLITTER_LIST, 1000, &ops, &seen);
	assert_int_equal(splitter_feed(&s, object, strlen(object)), -EBADMSG);
	splitter_fini(&s);
	free(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_two_cuts),	      cmocka_unit_test(test_byte_by_byte),
		cmocka_unit_test(test_every_truncation),      cmocka_unit_test(test_too_large_is_skipped_alone),
		cmocka_unit_test(test_keeps_no_large_buffer), cmocka_unit_test(test_refuses_nonsense),
		cmocka_unit_test(test_rest_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
