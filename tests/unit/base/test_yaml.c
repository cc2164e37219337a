/* SPDX-License-Identifier: Apache-2.0 */
/* test_yaml.c: documents become trees with line numbers; what is not allowed is refused with its line; every bound holds on
 * both sides; whatever bytes come in, nothing breaks. */
#include "agent/base/yaml.h"

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/base/prng.h"
#include "tests/unit/base/check.h"

static struct ynode *must(const char *text)
{
	struct err_info err = ERR_INFO_INIT;
	struct ynode *n = NULL;

	if (ynode_parse(text, strlen(text), &n, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return n;
}

static void test_tree(void **state)
{
	struct ynode *n = must("# a comment\n"
			       "name: node-1\n"
			       "pools: [192.0.2.0/24, '2001:db8::/64']\n"
			       "nested:\n"
			       "  list:\n"
			       "  - a: 1\n"
			       "    b: \"x\\ty\"\n"
			       "  -\n"
			       "  - two words\n"
			       "empty:\n"
			       "text: |\n"
			       "  line one\n"
			       "  line two\n");
	const struct ynode *list, *item;

	(void)state;
	assert_int_equal(n->kind, YNODE_MAP);
	assert_int_equal(n->n_children, 5);
	assert_null(n->key);
	assert_string_equal(ynode_text(n, "name"), "node-1");
	assert_int_equal(ynode_get(n, "name")->line, 2);
	assert_int_equal(ynode_get(n, "pools")->kind, YNODE_LIST);
	assert_string_equal(ynode_get(n, "pools")->children[1]->text, "2001:db8::/64");
	list = ynode_get(ynode_get(n, "nested"), "list");
	assert_int_equal(list->n_children, 3);
	item = list->children[0];
	assert_int_equal(item->line, 6);
	assert_string_equal(ynode_text(item, "b"), "x\ty");
	assert_int_equal(ynode_get(item, "b")->line, 7);
	assert_string_equal(ynode_get(item, "b")->key, "b");
	assert_string_equal(list->children[1]->text, "");
	assert_string_equal(list->children[2]->text, "two words");
	assert_string_equal(ynode_text(n, "empty"), "");
	assert_string_equal(ynode_text(n, "text"), "line one\nline two\n");
	ynode_free(n);
}

static void test_absent(void **state)
{
	struct ynode *n = must("a: [x]\n"), *scalar = must("just a word"), *none = must("");
	struct ynode *comment = must("# nothing here\n\n");

	(void)state;
	assert_null(ynode_get(n, "b"));
	assert_null(ynode_get(NULL, "a"));
	assert_null(ynode_get(ynode_get(n, "a"), "x"));
	assert_null(ynode_text(n, "a")); /* a list is no text */
	assert_null(ynode_text(scalar, "just"));
	assert_string_equal(scalar->text, "just a word");
	assert_null(none);
	assert_null(comment);
	ynode_free(n);
	ynode_free(scalar);
	ynode_free(NULL);
}

static void refuse(const char *text, size_t len, int want, const char *place)
{
	struct err_info err = ERR_INFO_INIT;
	struct ynode mark = { .line = 77 }, *n = &mark;
	int r = ynode_parse(text, len, &n, &err);

	if (r != want || !strstr(err.text, place))
		fail_msg("%d, \"%s\" for: %.60s", r, err.text, text);
	assert_ptr_equal(n, &mark); /* untouched on failure */
}

static void test_refused(void **state)
{
	static const char *const rows[][2] = {
		{ "a: 1\nb: 2\na: 3\n", "line 3: the key \"a\" stands twice" },
		{ "x:\n  y: 1\n  'y': 2\n", "line 3: the key \"y\" stands twice" },
		{ "a: &x 1\nb: *x\n", "line 2: aliases" },
		{ "*x\n", "line 1" },
		{ "a: 1\n---\nb: 2\n", "line 3: only one document" },
		{ "---\n---\n", "only one document" },
		{ "a: [1, 2\nb: 3\n", "line 2" },
		{ "a: 1\n b: 2\n", "line 2" },
		{ "a: \"open\n", "line 2" },
		{ "a:\n\t- b\n", "line 2" },
		{ "? [x, y]\n: 1\n", "line 1: a key must be a plain word" },
		{ "a: \"x\\0y\"\n", "line 1: a NUL" },
		{ "a: 1\n\"b\\0c\": 2\n", "line 2: a NUL" },
		{ "a: \xff\xfe\n", "line" },
		{ "@", "line 1" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		refuse(rows[i][0], strlen(rows[i][0]), -EINVAL, rows[i][1]);
	refuse("a: x\0y\n", 7, -EINVAL, "line");
}

static void nested(struct buf *b, size_t depth, const char *inner)
{
	for (size_t i = 0; i < depth; i++)
		buf_puts(b, "[");
	buf_puts(b, inner);
	for (size_t i = 0; i < depth; i++)
		buf_puts(b, "]");
}

static void test_depth(void **state)
{
	struct buf b = BUF_INIT(1 << 20);
	struct ynode *n;

	(void)state;
	nested(&b, 16, "x");
	n = must(buf_text(&b));
	ynode_free(n);
	buf_reset(&b);
	nested(&b, 17, "");
	refuse(buf_text(&b), b.len, -EMSGSIZE, "line 1: too deep");
	buf_reset(&b);
	nested(&b, 17, "x");
	refuse(buf_text(&b), b.len, -EMSGSIZE, "line 1: too deep");
	buf_reset(&b);
	nested(&b, 100000, "");
	refuse(buf_text(&b), b.len, -EMSGSIZE, "too deep");
	buf_fini(&b);
}

static void test_size(void **state)
{
	struct buf b = BUF_INIT(4 << 20);
	struct ynode *n;

	(void)state;
	for (size_t i = 1; i < 10000; i++) /* with the list itself 10,000 nodes */
		buf_puts(&b, "- x\n");
	n = must(buf_text(&b));
	assert_int_equal(n->n_children, 9999);
	assert_int_equal(n->children[9998]->line, 9999);
	ynode_free(n);
	buf_puts(&b, "- x\n");
	refuse(buf_text(&b), b.len, -EMSGSIZE, "line 10000: too deep or too large");
	buf_reset(&b);
	buf_puts(&b, "a: ");
	while (b.len < YAML_TEXT_MAX)
		buf_puts(&b, "x");
	n = must(buf_text(&b));
	assert_int_equal(strlen(ynode_text(n, "a")), YAML_TEXT_MAX - 3);
	ynode_free(n);
	buf_puts(&b, "x");
	refuse(buf_text(&b), b.len, -EMSGSIZE, "1 MiB");
	buf_fini(&b);
}

static void test_file(void **state)
{
	const char *path = in_folder(*state, "config.yaml");
	struct err_info err = ERR_INFO_INIT;
	struct ynode *n = NULL;

	assert_int_equal(ynode_parse_file(path, &n, &err), -ENOENT);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(file_write(path, "a: 1\na: 2\n", 10, NULL), 0);
	assert_int_equal(ynode_parse_file(path, &n, &err), -EINVAL);
	assert_non_null(strstr(err.text, path));
	assert_non_null(strstr(err.text, "config.yaml: line 2: the key"));
	assert_int_equal(file_write(path, "a: 1\n", 5, NULL), 0);
	assert_int_equal(ynode_parse_file(path, &n, &err), 0);
	assert_string_equal(ynode_text(n, "a"), "1");
	ynode_free(n);
	assert_int_equal(unlink(path), 0);
}

/* Damaged documents: an error or a tree, never a crash or a leak (the sanitizers watch). */
static void test_damage(void **state)
{
	static const char good[] = "a: &x [1, \"two\", {b: c}]\nd:\n  - e: |\n      text\n  - 'f'\n? g\n: !!str h\n--- \n";
	struct prng p = { 42 };

	(void)state;
	for (size_t cut = 0; cut < sizeof(good); cut++) {
		struct ynode *n = NULL;

		if (ynode_parse(good, cut, &n, NULL) == 0)
			ynode_free(n);
	}
	for (size_t i = 0; i < 5000; i++) {
		char bad[sizeof(good)];
		struct ynode *n = NULL;

		memcpy(bad, good, sizeof(good));
		for (int64_t k = prng_range(&p, 1, 4); k > 0; k--)
			bad[prng_range(&p, 0, (int64_t)sizeof(good) - 1)] =
				"[]{}&*!|>'\"%@`#-?:, \n\t\0\xff"[prng_range(&p, 0, 23)];
		if (ynode_parse(bad, sizeof(bad) - 1, &n, NULL) == 0)
			ynode_free(n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),  cmocka_unit_test(test_absent), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_depth), cmocka_unit_test(test_size),   cmocka_unit_test(test_file),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, folder_make, folder_drop);
}
