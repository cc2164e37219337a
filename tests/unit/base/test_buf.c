/* SPDX-License-Identifier: Apache-2.0 */
/* test_buf.c: growth up to the bound and not beyond it, failure that stays, JSON strings for any bytes. */
#include "agent/base/buf.h"

#include "tests/unit/base/check.h"

static void test_grows_to_its_bound(void **state)
{
	struct buf b = BUF_INIT(1000);

	(void)state;
	assert_string_equal(buf_text(&b), "");
	for (size_t i = 0; i < 100; i++)
		buf_printf(&b, "%s", "0123456789");
	assert_int_equal(b.len, 1000);
	assert_int_equal(buf_failed(&b), 0);
	assert_int_equal(strlen(buf_text(&b)), 1000);
	buf_puts(&b, "");
	assert_int_equal(buf_failed(&b), 0);
	buf_puts(&b, "x");
	assert_int_equal(buf_failed(&b), -EMSGSIZE);
	assert_string_equal(buf_text(&b), "");
	buf_fini(&b);
	buf_fini(&b);
}

static void test_failure_stays(void **state)
{
	struct buf b = BUF_INIT(8);

	(void)state;
	buf_puts(&b, "12345");
	buf_printf(&b, "%d", 123456);
	buf_puts(&b, "6");
	buf_append(&b, "", 0);
	assert_int_equal(buf_failed(&b), -EMSGSIZE);
	assert_int_equal(b.len, 5); /* nothing was half written */
	buf_reset(&b);
	assert_int_equal(buf_failed(&b), 0);
	buf_puts(&b, "12345678");
	assert_string_equal(buf_text(&b), "12345678");
	buf_fini(&b);
}

static void test_reserve(void **state)
{
	struct buf b = BUF_INIT(1000);
	const char *data;

	(void)state;
	buf_puts(&b, "ab");
	assert_int_equal(buf_reserve(&b, 500), 0);
	assert_string_equal(buf_text(&b), "ab");
	data = b.data;
	for (int i = 0; i < 500; i++)
		buf_puts(&b, "x");
	assert_int_equal(b.len, 502);
	assert_ptr_equal(b.data, data); /* nothing was asked for */
	buf_reset(&b);
	assert_int_equal(buf_reserve(&b, 1000), 0);
	assert_int_equal(buf_reserve(&b, 1001), -EMSGSIZE);
	buf_fini(&b);
}

static void test_consume(void **state)
{
	struct buf b = BUF_INIT(100);

	(void)state;
	buf_append(&b, "ab\0cd", 5);
	buf_consume(&b, 0);
	assert_int_equal(b.len, 5);
	buf_consume(&b, 3);
	assert_int_equal(b.len, 2);
	assert_string_equal(buf_text(&b), "cd");
	buf_puts(&b, "ef");
	assert_string_equal(buf_text(&b), "cdef");
	buf_consume(&b, 4);
	assert_string_equal(buf_text(&b), "");
	buf_fini(&b);
}

static void test_json_string(void **state)
{
	static const char *const rows[][2] = {
		{ "", "\"\"" },
		{ "plain / text", "\"plain / text\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\n\t\r\x01\x1f", "\"\\n\\u0009\\u000d\\u0001\\u001f\"" },
		{ "\x7f", "\"\x7f\"" },
		/* UTF-8 of two, three and four bytes, and the last code point */
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf", "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xf4\x8f\xbf\xbf\"" },
		{ "\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80", "\"\xc2\x80\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xf0\x90\x80\x80\"" },
		/* what is none: lone continuation, cut sequences, overlong forms, surrogates, beyond U+10FFFF */
		{ "a\x80z", "\"a\xef\xbf\xbdz\"" },
		{ "\xc3", "\"\xef\xbf\xbd\"" },
		{ "\xc3z", "\"\xef\xbf\xbdz\"" },
		{ "\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xf0\x9f\x98", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xc1\xbf", "\"\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xe0\x9f\xbf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xf0\x8f\xbf\xbf", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xf5\xff\xfe", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" },
		{ "\xe2\x82\"", "\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"" }, /* the quote is not swallowed */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf b = BUF_INIT(200);

		buf_json_string(&b, rows[i][0]);
		if (strcmp(buf_text(&b), rows[i][1]) != 0)
			fail_msg("row %zu: %s", i, buf_text(&b));
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_to_its_bound),
		cmocka_unit_test(test_failure_stays),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_consume),
		cmocka_unit_test(test_json_string),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
