/* SPDX-License-Identifier: Apache-2.0 */
/* test_span.c: a member is found by its name at its own level, as the text that stands there; what is absent, cut off or
 * nonsense is absent; nothing is read past the end. */
#include "agent/kube/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char event[] =
	" {\"type\" : \"MODIFIED\",\n\"empty\":\"\",\"object\":{\"type\":\"inner\",\"metadata\":{\"name\":\"a\\\"}b\","
	"\"resourceVersion\":\"42\",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}},\"list\":[{\"x\":[1,\"]\"]},null]},"
	"\"n\":-1.5e3 , \"t\":true,\"z\":null}";

/* The text in memory of its own, exactly as long, so that a sanitizer sees a read past it. */
static struct span held(const char *text, size_t len, char **ret_memory)
{
	*ret_memory = malloc(len ? len : 1);
	assert_non_null(*ret_memory);
	memcpy(*ret_memory, text, len);
	return (struct span){ *ret_memory, len };
}

static void check_member(struct span json, const char *name, const char *want)
{
	struct span got = span_member(json, name);

	if (!want) {
		assert_null(got.p);
		return;
	}
	assert_non_null(got.p);
	assert_int_equal(got.len, strlen(want));
	assert_memory_equal(got.p, want, got.len);
}

static void test_finds_members(void **state)
{
	char *memory;
	struct span json = held(event, strlen(event), &memory), object = span_member(json, "object");
	struct span meta = span_member(object, "metadata");

	(void)state;
	check_member(json, "type", "\"MODIFIED\"");
	check_member(json, "empty", "\"\"");
	check_member(json, "n", "-1.5e3");
	check_member(json, "t", "true");
	check_member(json, "z", "null");
	check_member(json, "typ", NULL);
	check_member(json, "typex", NULL);
	check_member(json, "", NULL);
	check_member(json, "metadata", NULL);
	check_member(object, "type", "\"inner\"");
	check_member(object, "list", "[{\"x\":[1,\"]\"]},null]");
	check_member(meta, "name", "\"a\\\"}b\"");
	check_member(span_member(meta, "annotations"), "k8s.io/initial-events-end", "\"true\"");
	check_member(span_member(json, "absent"), "x", NULL);
	check_member(span_member(json, "type"), "x", NULL);
	check_member(span_member(object, "list"), "x", NULL);
	free(memory);
}

static void test_texts(void **state)
{
	char *memory, text[8];
	struct span json = held(event, strlen(event), &memory), object = span_member(json, "object");
	struct span meta = span_member(object, "metadata");

	(void)state;
	assert_true(span_text(span_member(meta, "resourceVersion"), text, sizeof(text)));
	assert_string_equal(text, "42");
	assert_true(span_text(span_member(meta, "resourceVersion"), text, 3));
	assert_false(span_text(span_member(meta, "resourceVersion"), text, 2)); /* no room for the NUL */
	assert_string_equal(text, "");
	assert_true(span_text(span_member(json, "empty"), text, 1));
	assert_false(span_text(span_member(meta, "name"), text, sizeof(text))); /* escapes */
	assert_false(span_text(span_member(json, "type"), text, sizeof(text))); /* too long */
	assert_false(span_text(span_member(json, "n"), text, sizeof(text)));
	assert_false(span_text(span_member(json, "absent"), text, sizeof(text)));
	assert_string_equal(text, "");
	assert_true(span_is(span_member(json, "type"), "MODIFIED"));
	assert_false(span_is(span_member(json, "type"), "MODIFIE"));
	assert_false(span_is(span_member(json, "type"), "MODIFIED2"));
	assert_false(span_is(span_member(json, "t"), "true")); /* no string */
	assert_false(span_is(span_member(json, "absent"), ""));
	free(memory);
}

/* Any prefix: a member that is found holds a prefix of the right value, and a string is never taken for a shorter one. */
static void test_every_truncation(void **state)
{
	static const char *const names[] = { "type", "empty", "object", "n", "t", "z" };
	char text[64];

	(void)state;
	for (size_t len = 0; len <= strlen(event); len++) {
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			struct span whole = span_member((struct span){ event, strlen(event) }, names[i]);
			char *memory;
			struct span got = span_member(held(event, len, &memory), names[i]);

			if (got.p && got.len > 0) {
				assert_true(got.len <= whole.len);
				assert_memory_equal(got.p, whole.p, got.len);
				assert_int_equal(got.p - memory, whole.p - event);
				if (whole.p[0] == '"' && got.len < whole.len)
					assert_false(span_text(got, text, sizeof(text)));
			}
			free(memory);
		}
	}
}

static void test_nonsense_is_absent(void **state)
{
	static const char *const texts[] = { "", " ", "{", "}", "[]", "\"a\"", "a", "{a:1}", "{\"a\"}", "{\"a\" 1}", "{\"b\":1 \"a\":2}",
					     "{,\"a\":1}", "{\"a", "{\"a\\", "{\"a\\\"", "[{\"a\":1}]", "nul" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *memory;

		check_member(held(texts[i], strlen(texts[i]), &memory), "a", NULL);
		free(memory);
	}
	check_member((struct span){ NULL, 0 }, "a", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_members),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_every_truncation),
		cmocka_unit_test(test_nonsense_is_absent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
