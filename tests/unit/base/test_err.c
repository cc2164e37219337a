/* SPDX-License-Identifier: Apache-2.0 */
/* test_err.c: texts are written, wrapped from the inside out, and cut visibly. */
#include "agent/base/err.h"

#include "tests/unit/base/check.h"

static void test_texts(void **state)
{
	struct err_info err = { .text = "old", .code = 404 };

	(void)state;
	assert_int_equal(err_set(&err, -EINVAL, "%s: %d is odd", "port", 81), -EINVAL);
	assert_string_equal(err.text, "port: 81 is odd");
	assert_int_equal(err.code, 0);
	assert_int_equal(err_errno(&err, -ENOENT, "%s", "/x/y"), -ENOENT);
	assert_string_equal(err.text, "/x/y: No such file or directory");
	err.code = 409;
	assert_int_equal(err_wrap(&err, -ENOENT, "config %d", 7), -ENOENT);
	assert_int_equal(err_wrap(&err, -EIO, "agent"), -EIO);
	assert_string_equal(err.text, "agent: config 7: /x/y: No such file or directory");
	assert_int_equal(err.code, 409); /* the failing layer's code stays */
}

static void test_not_wanted(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, -EINVAL, "%s", "x"), -EINVAL);
	assert_int_equal(err_errno(NULL, -EIO, "%s", "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EPERM, "%s", "x"), -EPERM);
}

/* len: of the whole text as it would be */
static void check_cut(const struct err_info *err, size_t len)
{
	if (len < ERR_TEXT_MAX) {
		assert_int_equal(strlen(err->text), len);
		assert_null(strstr(err->text, "..."));
	} else {
		assert_int_equal(strlen(err->text), ERR_TEXT_MAX - 1);
		assert_string_equal(err->text + ERR_TEXT_MAX - 4, "...");
	}
}

static void test_cut(void **state)
{
	static char fill[2 * ERR_TEXT_MAX];

	(void)state;
	for (size_t n = 200; n < 300; n++) {
		struct err_info err = ERR_INFO_INIT;

		memset(fill, 'x', n);
		fill[n] = '\0';
		err_set(&err, -EINVAL, "%s", fill);
		check_cut(&err, n);
		err_errno(&err, -EIO, "%s", fill);
		check_cut(&err, n + strlen(": Input/output error"));
		err_set(&err, -EINVAL, "inner");
		err_wrap(&err, -EINVAL, "%s", fill);
		check_cut(&err, n + strlen(": inner"));
		err_set(&err, -EINVAL, "%.190s", fill);
		err_wrap(&err, -EINVAL, "%.*s", (int)(n - 190), fill);
		check_cut(&err, n + 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_not_wanted),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
