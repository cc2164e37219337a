/* SPDX-License-Identifier: Apache-2.0 */
/* test_addr_msg.c: address messages byte for byte, and what is read of the kernel's. */
#include "netlink/addr_msg.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "tests/unit/netlink/bytes.h"

static unsigned char buf[ADDR_MSG_MAX] __attribute__((aligned(16)));

static void test_put_bytes(void **state)
{
	struct ip four = address("192.0.2.200"), six = address("2001:db8::c8");
	struct nlmsghdr *nlh = addr_msg_put(buf, 7, &four, 5, false);

	(void)state;
	/* RTM_NEWADDR; REQUEST|CREATE|EXCL; inet/32 on 7; LOCAL, ADDRESS, FLAGS NOPREFIXROUTE, CACHEINFO 5 s both,
	 * RT_PRIORITY 0x4c48, PROTO 76. */
	assert_bytes(buf, nlh->nlmsg_len, "54000000 1400 0106 00000000 00000000  02 20 00 00 07000000"
		     "0800 0200 c00002c8  0800 0100 c00002c8  0800 0800 00020000"
		     "1400 0600 05000000 05000000 00000000 00000000  0800 0900 484c0000  0500 0b00 4c000000");
	nlh = addr_msg_put(buf, 7, &six, 3600, true);
	/* REQUEST|CREATE|REPLACE; NODAD too; preferred for 0 s. */
	assert_bytes(buf, nlh->nlmsg_len, "6c000000 1400 0105 00000000 00000000  0a 80 00 00 07000000"
		     "1400 0200 20010db8000000000000000000 0000c8  1400 0100 20010db80000000000000000000000c8"
		     "0800 0800 02020000  1400 0600 00000000 100e0000 00000000 00000000"
		     "0800 0900 484c0000  0500 0b00 4c000000");
	assert_true(nlh->nlmsg_len <= ADDR_MSG_MAX);
}

static void test_request_bytes(void **state)
{
	struct ip four = address("192.0.2.200"), six = address("2001:db8::c8");
	struct nlmsghdr *nlh = addr_msg_del(buf, 7, &four);

	(void)state;
	assert_bytes(buf, nlh->nlmsg_len, "28000000 1500 0100 00000000 00000000  02 20 00 00 07000000"
		     "0800 0200 c00002c8  0800 0100 c00002c8");
	nlh = addr_msg_get(buf, 7, &six);
	assert_bytes(buf, nlh->nlmsg_len, "2c000000 1600 0100 00000000 00000000  0a 00 00 00 07000000"
		     "1400 0100 20010db80000000000000000000000c8");
	nlh = addr_msg_dump(buf, AF_INET, 7);
	assert_bytes(buf, nlh->nlmsg_len, "18000000 1600 0103 00000000 00000000  02 00 00 00 07000000");
}

static void test_round_trip(void **state)
{
	static const char *const ips[] = { "192.0.2.200", "0.0.0.1", "2001:db8::c8", "2001:db8:1:2:3:4:5:6" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
		struct ip ip = address(ips[i]);
		struct nlmsghdr *nlh = addr_msg_put(buf, 0x7fffffff, &ip, 86400, true);
		struct addr_msg m;

		assert_int_equal(addr_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
		assert_true(ip_eq(&m.addr.ip, &ip));
		assert_int_equal(m.addr.index, 0x7fffffff);
		assert_int_equal(m.addr.prefix_len, ip_len(&ip) * 8);
		assert_true(m.addr.ours);
		assert_false(m.gone);
		assert_true(m.addr.dynamic);
		assert_int_equal(m.valid_s, 86400);
		assert_int_equal(m.preferred_s, ip.family == IP_V4 ? 86400 : 0);
		assert_int_equal(m.flags, IFA_F_NOPREFIXROUTE | (ip.family == IP_V6 ? IFA_F_NODAD : 0));
	}
}

/* What Linux 6.18 sends for "ip addr add 192.0.2.10/24 dev eth0". */
static const uint8_t permanent[] __attribute__((aligned(4))) = {
	88, 0, 0, 0, 20, 0, 2, 0, 1, 0, 0, 0, 9, 9, 0, 0, 2, 24, 0x80, 0, 2, 0, 0, 0,
	8, 0, 1, 0, 192, 0, 2, 1, /* IFA_ADDRESS: here a peer's */
	8, 0, 2, 0, 192, 0, 2, 10, /* IFA_LOCAL */
	9, 0, 3, 0, 'e', 't', 'h', '0', 0, 0, 0, 0,
	8, 0, 8, 0, 0x80, 0, 0, 0,
	20, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8,
	8, 0, 99, 0, 1, 2, 3, 4, /* one that came after us */
};

static void test_kernels_own(void **state)
{
	uint8_t bytes[sizeof(permanent)] __attribute__((aligned(4)));
	struct ip want = address("192.0.2.10");
	struct addr_msg m;

	(void)state;
	assert_int_equal(addr_msg_parse(permanent, sizeof(permanent), &m), 0);
	assert_true(ip_eq(&m.addr.ip, &want));
	assert_int_equal(m.addr.prefix_len, 24);
	assert_int_equal(m.addr.index, 2);
	assert_false(m.addr.ours);
	assert_int_equal(m.flags, IFA_F_PERMANENT);
	assert_false(m.addr.dynamic);
	assert_int_equal(m.valid_s, ADDR_FOREVER);
	memcpy(bytes, permanent, sizeof(bytes));
	bytes[4] = RTM_DELADDR;
	assert_int_equal(addr_msg_parse(bytes, sizeof(bytes), &m), 0);
	assert_true(m.gone);
}

static void test_marks(void **state)
{
	struct ip ip = address("192.0.2.200");
	struct nlmsghdr *nlh = addr_msg_put(buf, 7, &ip, 5, false);
	struct addr_msg m;

	(void)state;
	buf[80] = 3; /* another protocol: the metric does not count then */
	assert_int_equal(addr_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
	assert_false(m.addr.ours);
	nlh->nlmsg_len = 76; /* an old kernel's: no protocol, the metric alone */
	assert_int_equal(addr_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
	assert_true(m.addr.ours);
	buf[72] = 0;
	assert_int_equal(addr_msg_parse(nlh, nlh->nlmsg_len, &m), 0);
	assert_false(m.addr.ours);
}

static int parse(const void *data, size_t len)
{
	struct addr_msg m;

	return addr_msg_parse(data, len, &m);
}

static void test_bad(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int r;
	} cases[] = {
		{ 4, RTM_NEWROUTE, -EBADMSG }, { 16, AF_BRIDGE, -EAFNOSUPPORT }, { 16, AF_INET6, -EBADMSG },
		{ 17, 33, -EBADMSG },	       { 23, 0x80, -EBADMSG },		 { 20, 0, -EBADMSG },
		{ 32, 7, -EBADMSG },	       { 32, 3, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t *bytes = copy_of(permanent, sizeof(permanent));

		bytes[cases[i].at] = cases[i].value;
		assert_int_equal(parse(bytes, sizeof(permanent)), cases[i].r);
		free(bytes);
	}
	assert_no_part(permanent, sizeof(permanent), parse);
	try_changes(permanent, sizeof(permanent), parse);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_put_bytes), cmocka_unit_test(test_request_bytes),
					    cmocka_unit_test(test_round_trip), cmocka_unit_test(test_kernels_own),
					    cmocka_unit_test(test_marks), cmocka_unit_test(test_bad) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
