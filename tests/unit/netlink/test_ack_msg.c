/* SPDX-License-Identifier: Apache-2.0 */
/* test_ack_msg.c: the kernel's verdicts as it sends them (bytes of Linux 6.18), and what they may not be. */
#include "netlink/ack_msg.h"

#include "netlink/attr_walk.h"
#include "tests/unit/netlink/bytes.h"

static const struct nlmsghdr *message(const void *bytes, size_t len)
{
	const struct nlmsghdr *nlh = attr_message(bytes, len);

	assert_non_null(nlh);
	return nlh;
}

/* An error with the request cut to its header and the reason behind it. */
static const uint8_t refused[] __attribute__((aligned(4))) = {
	56, 0, 0, 0, 2, 0, 0, 3, 7, 0, 0, 0, 1, 0, 0, 0, 0xef, 0xff, 0xff, 0xff,
	80, 0, 0, 0, 20, 0, 5, 6, 7, 0, 0, 0, 1, 0, 0, 0,
	17, 0, 1, 0, 'n', 'o', ' ', 's', 'u', 'c', 'h', ' ', 'i', 't', 'e', 'm', 0, 0, 0, 0,
};

static void test_error(void **state)
{
	uint8_t bytes[sizeof(refused)] __attribute__((aligned(4)));
	struct ack_msg m;

	(void)state;
	assert_int_equal(ack_msg_parse(message(refused, sizeof(refused)), &m), 0);
	assert_int_equal(m.error, -EEXIST);
	assert_int_equal(m.seq, 7);
	assert_string_equal(m.text, "no such item");
	/* Without the flag for attributes there is no text, whatever follows. */
	memcpy(bytes, refused, sizeof(bytes));
	bytes[7] = 1;
	assert_int_equal(ack_msg_parse(message(bytes, sizeof(bytes)), &m), 0);
	assert_string_equal(m.text, "");
	/* Not capped: the request of 80 bytes should be there, and is not. */
	bytes[7] = 2;
	assert_int_equal(ack_msg_parse(message(bytes, sizeof(bytes)), &m), 0);
	assert_string_equal(m.text, "");
}

static void test_echoed_request(void **state)
{
	/* Not capped: 20 bytes of request come before the attributes. */
	const uint8_t bytes[] __attribute__((aligned(4))) = {
		48, 0, 0, 0, 2, 0, 0, 2, 9, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 20, 0, 0, 0, 20, 0, 5, 0,
		9,  0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 4, 7, 0, 1, 0, 'n', 'o', 0, 0,
	};
	struct ack_msg m;

	(void)state;
	assert_int_equal(ack_msg_parse(message(bytes, sizeof(bytes)), &m), 0);
	assert_int_equal(m.error, -EPERM);
	assert_string_equal(m.text, "no");
}

static void test_done_and_success(void **state)
{
	const uint8_t success[] __attribute__((aligned(4))) = { 36, 0, 0, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0,
								0,  0, 20, 0, 0, 0, 20, 0, 5, 6, 3, 0, 0, 0, 1, 0,
								0,  0 };
	const uint8_t done[] __attribute__((aligned(4))) = { 20, 0, 0, 0, 3, 0, 2, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0xfc, 0xff,
							     0xff, 0xff };
	const uint8_t bare[] __attribute__((aligned(4))) = { 16, 0, 0, 0, 3, 0, 2, 0, 5, 0, 0, 0, 1, 0, 0, 0 };
	struct ack_msg m;

	(void)state;
	assert_int_equal(ack_msg_parse(message(success, sizeof(success)), &m), 0);
	assert_int_equal(m.error, 0);
	assert_int_equal(ack_msg_parse(message(done, sizeof(done)), &m), 0);
	assert_int_equal(m.error, -EINTR);
	assert_int_equal(ack_msg_parse(message(bare, sizeof(bare)), &m), 0);
	assert_int_equal(m.error, 0);
	assert_int_equal(m.seq, 5);
}

static int parse(const void *data, size_t len)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	struct ack_msg m;

	return nlh ? ack_msg_parse(nlh, &m) : -EBADMSG;
}

static void test_refused_forms(void **state)
{
	uint8_t bytes[sizeof(refused)] __attribute__((aligned(4)));

	(void)state;
	assert_no_part(refused, sizeof(refused), parse);
	try_changes(refused, sizeof(refused), parse);
	memcpy(bytes, refused, sizeof(bytes));
	bytes[19] = 0x7f; /* a positive error */
	assert_int_equal(parse(bytes, sizeof(bytes)), -EBADMSG);
	memcpy(bytes, refused, sizeof(bytes));
	bytes[4] = 16; /* another type */
	assert_int_equal(parse(bytes, sizeof(bytes)), -EBADMSG);
	bytes[4] = 2;
	bytes[0] = 32; /* no room for the verdict */
	assert_int_equal(parse(bytes, sizeof(bytes)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_error), cmocka_unit_test(test_echoed_request),
					    cmocka_unit_test(test_done_and_success),
					    cmocka_unit_test(test_refused_forms) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
