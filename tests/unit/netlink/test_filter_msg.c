/* SPDX-License-Identifier: Apache-2.0 */
/* test_filter_msg.c: qdisc and filter messages byte for byte, and what is read of the kernel's. */
#include "netlink/filter_msg.h"

#include "tests/unit/netlink/bytes.h"

static unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));

/* As Linux 6.18 dumps them. */
#define OURS \
	"70000000 2c000200 01000000 32290000  00000000 03000000 484c0000 f2ffffff 00030100  08000100 62706600" \
	"08000b00 00000000  3c000200 13000700 6c656173 65686f6c 645f6761 74650000  08000b00 07010000" \
	"0c000a00 cf4152e2 2dfe29a6  08000800 01000000  08000900 09000000"
#define HEAD "34000000 2c000200 01000000 32290000  00000000 03000000 00000000 f2ffffff 00030100  08000100 62706600" \
	"08000b00 00000000"
#define U32 \
	"40000000 2c000200 01000000 32290000  00000000 03000000 00000080 f2ffffff 08000700  08000100 75333200" \
	"08000b00 05000000  0c000200 08000400 01000000"
/* RTM_DELQDISC, and a filter of a shared block (TCM_IFINDEX_MAGIC_BLOCK). */
#define CLSACT \
	"30000000 25000000 00000000 00000000  00000000 07000000 0000ffff f1ffffff 00000000  0b000100 636c7361 63740000"
#define SHARED "24000000 2c000000 00000000 00000000  00000000 ffffffff 01000000 01000000 00030100"
#define LINK "20000000 10000000 00000000 00000000  00000403 07000000 00000000 00000000"

static size_t message(const char *text, unsigned char *ret)
{
	size_t n = 0;

	for (const char *c = text; *c; c++) {
		char two[3] = { c[0], '\0', '\0' };

		if (*c == ' ')
			continue;
		two[1] = *++c;
		ret[n++] = (unsigned char)strtoul(two, NULL, 16);
	}
	return n;
}

static int parse(const void *data, size_t len)
{
	struct filter_msg m;

	return filter_msg_parse(data, len, &m);
}

static int parse_link(const void *data, size_t len)
{
	unsigned int type;

	return filter_msg_parse_link(data, len, &type);
}

static struct filter_msg parsed(const char *text)
{
	static unsigned char data[256] __attribute__((aligned(16)));
	size_t len = message(text, data);
	struct filter_msg m = { .ifindex = -1 };

	assert_int_equal(filter_msg_parse(data, len, &m), 0);
	return m;
}

static void test_qdisc_bytes(void **state)
{
	struct nlmsghdr *nlh = filter_msg_clsact(buf, 7, true);

	(void)state;
	/* RTM_NEWQDISC; REQUEST|CREATE|EXCL; handle ffff:, parent ffff:fff1; KIND clsact. */
	assert_bytes(buf, nlh->nlmsg_len,
		     "30000000 2400 0106 00000000 00000000  00000000 07000000 0000ffff f1ffffff 00000000"
		     "0b00 0100 636c7361637400 00");
	nlh = filter_msg_clsact(buf, 7, false);
	assert_bytes(buf, nlh->nlmsg_len,
		     "30000000 2500 0100 00000000 00000000  00000000 07000000 0000ffff f1ffffff 00000000"
		     "0b00 0100 636c7361637400 00");
	nlh = filter_msg_qdiscs(buf);
	assert_bytes(buf, nlh->nlmsg_len,
		     "24000000 2600 0103 00000000 00000000  00000000 00000000 00000000 00000000 00000000");
}

static void test_filter_bytes(void **state)
{
	struct nlmsghdr *nlh = filter_msg_put(buf, 7, FILTER_EGRESS, FILTER_HANDLE_A, 9);

	(void)state;
	/* RTM_NEWTFILTER; REQUEST|CREATE; handle 0x4c48, parent ffff:fff3, priority 1 for ETH_P_ALL; KIND bpf;
	 * OPTIONS: FD 9, NAME, FLAGS direct action, FLAGS_GEN skip_hw. */
	assert_bytes(buf, nlh->nlmsg_len,
		     "5c000000 2c00 0104 00000000 00000000  00000000 07000000 484c0000 f3ffffff 0003 0100"
		     "0800 0100 62706600  3000 0280  0800 0600 09000000  1300 0700 6c65617365686f6c645f6761746500 00"
		     "0800 0800 01000000  0800 0900 01000000");
	nlh = filter_msg_del(buf, 7, FILTER_INGRESS, FILTER_HANDLE_B);
	assert_bytes(buf, nlh->nlmsg_len,
		     "2c000000 2d00 0100 00000000 00000000  00000000 07000000 494c0000 f2ffffff 0003 0100"
		     "0800 0100 62706600");
	nlh = filter_msg_dump(buf, 7, FILTER_INGRESS);
	assert_bytes(buf, nlh->nlmsg_len,
		     "24000000 2e00 0103 00000000 00000000  00000000 07000000 00000000 f2ffffff 00000000");
	nlh = filter_msg_dump(buf, 7, FILTER_EGRESS);
	assert_bytes(buf, nlh->nlmsg_len,
		     "24000000 2e00 0103 00000000 00000000  00000000 07000000 00000000 f3ffffff 00000000");
	nlh = filter_msg_link(buf, 7);
	assert_bytes(buf, nlh->nlmsg_len,
		     "20000000 1200 0100 00000000 00000000  00000000 07000000 00000000 00000000");
}

static void test_ours(void **state)
{
	struct filter_msg m = parsed(OURS), other;

	(void)state;
	assert_true(filter_msg_is_ours(&m));
	assert_false(m.qdisc || m.gone);
	assert_true(m.direct);
	assert_int_equal(m.ifindex, 3);
	assert_int_equal(m.parent, 0xfffffff2);
	assert_int_equal(m.handle, FILTER_HANDLE_A);
	assert_int_equal(m.priority, FILTER_PRIORITY);
	assert_int_equal(m.protocol, 3); /* ETH_P_ALL */
	assert_int_equal(m.chain, 0);
	assert_int_equal(m.prog_id, 0x107);
	assert_string_equal(m.kind, "bpf");
	assert_string_equal(m.name, FILTER_NAME);
	/* Each mark is needed. */
	other = m;
	other.handle = 1;
	assert_false(filter_msg_is_ours(&other));
	other = m;
	other.name[0] = 'L';
	assert_false(filter_msg_is_ours(&other));
	other = m;
	other.priority = 2;
	assert_false(filter_msg_is_ours(&other));
	other = m;
	other.chain = 1;
	assert_false(filter_msg_is_ours(&other));
	other = m;
	other.direct = false;
	assert_false(filter_msg_is_ours(&other));
}

static void test_others(void **state)
{
	struct filter_msg m = parsed(HEAD);

	(void)state;
	assert_int_equal(m.handle, 0);
	assert_string_equal(m.name, "");
	m = parsed(U32);
	assert_string_equal(m.kind, "u32");
	assert_int_equal(m.handle, 0x80000000);
	assert_int_equal(m.priority, 7);
	assert_int_equal(m.protocol, 0x800);
	assert_int_equal(m.chain, 5);
	assert_int_equal(m.prog_id, 0);
	m = parsed(CLSACT);
	assert_true(m.qdisc && m.gone);
	assert_string_equal(m.kind, "clsact");
	assert_int_equal(m.ifindex, 7);
	assert_int_equal(m.parent, FILTER_PARENT);
	m = parsed(SHARED);
	assert_int_equal(m.ifindex, 0);
}

static void test_link(void **state)
{
	static unsigned char data[64] __attribute__((aligned(16)));
	size_t len = message(LINK, data);
	unsigned int type = 0;

	(void)state;
	assert_int_equal(filter_msg_parse_link(data, len, &type), 0);
	assert_int_equal(type, 772); /* ARPHRD_LOOPBACK */
	assert_no_part(data, len, parse_link);
	try_changes(data, len, parse_link);
	data[4] = 17; /* RTM_DELLINK */
	assert_int_equal(parse_link(data, len), -EBADMSG);
}

static void test_bad(void **state)
{
	static const char *const texts[] = { OURS, U32, CLSACT, SHARED };
	static unsigned char data[256] __attribute__((aligned(16)));

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		size_t len = message(texts[i], data);

		assert_no_part(data, len, parse);
		try_changes(data, len, parse);
	}
	data[4] = 16; /* RTM_NEWLINK */
	assert_int_equal(parse(data, sizeof(data)), -EBADMSG);
}

/* A name longer than ours could be is cut, not refused, and is not ours. */
static void test_long_name(void **state)
{
	static unsigned char data[256] __attribute__((aligned(16)));
	size_t len = message(HEAD, data);
	struct filter_msg m;

	(void)state;
	data[0] = (unsigned char)(len + 108); /* OPTIONS of 108 bytes, in it NAME of 104 */
	memcpy(data + len, "\x6c\x00\x02\x00\x68\x00\x07\x00", 8);
	memcpy(data + len + 8, FILTER_NAME, strlen(FILTER_NAME));
	memset(data + len + 8 + strlen(FILTER_NAME), 'x', 99 - strlen(FILTER_NAME));
	assert_int_equal(filter_msg_parse(data, len + 108, &m), 0);
	assert_int_equal(strlen(m.name), FILTER_TEXT_MAX - 1);
	assert_false(filter_msg_is_ours(&m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qdisc_bytes), cmocka_unit_test(test_filter_bytes), cmocka_unit_test(test_ours),
		cmocka_unit_test(test_others),	    cmocka_unit_test(test_link),	 cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
