/* SPDX-License-Identifier: Apache-2.0 */
/* test_attr_walk.c: attributes are walked to the end of their bytes and not beyond, whatever they say of themselves. */
#include "netlink/attr_walk.h"

#include <endian.h>

#include "tests/unit/netlink/bytes.h"

struct message {
	struct nlmsghdr h;
	uint32_t fixed;
	uint8_t attrs[64];
};

/* A message with a fixed header of 4 bytes and the attributes given. */
static struct message message(const uint8_t *attrs, size_t len)
{
	struct message m = { .h = { .nlmsg_len = (uint32_t)(sizeof(m.h) + sizeof(m.fixed) + len) } };

	memcpy(m.attrs, attrs, len);
	return m;
}

static void test_table(void **state)
{
	const uint8_t attrs[] = { 8, 0, 1, 0, 1, 2, 3, 4, /* u32 */
				  5, 0, 2, 0, 9, 0, 0, 0, /* u8, padded */
				  6, 0, 3, 0x80, 'x', 0, 0, 0, /* a text, flagged as nested */
				  8, 0, 1, 0, 5, 6, 7, 8, /* the first type again: the last counts */
				  4, 0, 9, 0,		  /* beyond the table */
				  5, 0, 4, 0, 7 };	  /* the end's padding left out */
	struct message m = message(attrs, sizeof(attrs));
	const struct nlattr *tb[5];
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	uint8_t u8 = 0;

	(void)state;
	assert_int_equal(attr_table(attr_walk_message(&m.h, 4), tb, 4), 0);
	assert_null(tb[0]);
	assert_true(attr_u32_be(tb[1], &u32));
	assert_int_equal(u32, 0x05060708);
	assert_true(attr_u8(tb[2], &u8));
	assert_int_equal(u8, 9);
	assert_string_equal(attr_text(tb[3]), "x");
	assert_true(attr_u8(tb[4], &u8));
	assert_int_equal(u8, 7);
	/* Wrong sizes leave the result alone. */
	assert_false(attr_u8(tb[1], &u8));
	assert_false(attr_u32(tb[2], &u32));
	assert_false(attr_u64_be(tb[1], &u64));
	assert_false(attr_u32(NULL, &u32));
	assert_null(attr_text(tb[1]));
	assert_null(attr_text(NULL));
	assert_int_equal(u8, 7);
	assert_int_equal(u64, 0);
}

static void test_bad_lengths(void **state)
{
	static const uint8_t cases[][12] = {
		{ 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 },	  /* shorter than its own header */
		{ 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 },	  /* would never advance */
		{ 13, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 },	  /* one byte beyond */
		{ 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, /* far beyond */
		{ 8, 0, 1, 0, 0, 0, 0, 0, 8, 0, 2, 0 },	  /* the second lacks its data */
	};
	const struct nlattr *tb[3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct message m = message(cases[i], sizeof(cases[i]));

		assert_int_equal(attr_table(attr_walk_message(&m.h, 4), tb, 2), -EBADMSG);
	}
}

static void test_nested(void **state)
{
	const uint8_t attrs[] = { 20, 0, 1, 0x80, 8, 0, 1, 0, 1, 0, 0, 0, 8, 0, 1, 0, 2, 0, 0, 0 };
	struct message m = message(attrs, sizeof(attrs));
	struct attr_walk outer = attr_walk_message(&m.h, 4), inner = attr_walk_nested(attr_next(&outer));
	const struct nlattr *a;
	uint32_t sum = 0, v;

	(void)state;
	while ((a = attr_next(&inner)) != NULL && attr_u32(a, &v))
		sum = sum * 10 + le32toh(v);
	assert_int_equal(sum, 12);
	assert_int_equal(inner.left, 0);
	assert_null(attr_next(&outer));
	inner = attr_walk_nested(NULL);
	assert_null(attr_next(&inner));
}

static void test_message_lengths(void **state)
{
	struct message m = message((const uint8_t *)"", 0);

	(void)state;
	assert_ptr_equal(attr_message(&m, sizeof(m)), &m);
	assert_null(attr_message(&m, m.h.nlmsg_len - 1));
	assert_null(attr_message(&m, sizeof(m.h) - 1));
	assert_non_null(attr_header(&m.h, 4));
	assert_null(attr_header(&m.h, 5));
	assert_int_equal(attr_walk_message(&m.h, 5).left, 0);
	m.h.nlmsg_len = sizeof(m.h) - 1;
	assert_null(attr_message(&m, sizeof(m)));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_bad_lengths),
					    cmocka_unit_test(test_nested), cmocka_unit_test(test_message_lengths) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
