/* SPDX-License-Identifier: Apache-2.0 */
/* test_neigh_msg.c: the question byte for byte, and what is read of the kernel's answers. */
#include "netlink/neigh_msg.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "tests/unit/netlink/bytes.h"

/* As Linux 6.12 tells them: NDA_DST, NDA_LLADDR, NDA_PROBES, NDA_CACHEINFO. */
static const uint8_t four[76] __attribute__((aligned(16))) =
	"\x4c\0\0\0\x1c\0\x02\0\0\0\0\0\0\0\0\0" /* RTM_NEWNEIGH */
	"\x02\0\0\0\x07\0\0\0\x04\0\0\x01"	  /* inet, on 7, STALE, unicast */
	"\x08\0\x01\0\xc6\x33\x64\x07"
	"\x0a\0\x02\0\x00\x00\x5e\x00\x53\x07\0\0"
	"\x08\0\x04\0\0\0\0\0"
	"\x14\0\x03\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0";
static const uint8_t six[60] __attribute__((aligned(16))) =
	"\x3c\0\0\0\x1c\0\x02\0\0\0\0\0\0\0\0\0"
	"\x0a\0\0\0\x07\0\0\0\x02\0\x80\x01" /* inet6, REACHABLE, a router */
	"\x14\0\x01\0\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
	"\x0a\0\x02\0\x00\x00\x5e\x00\x53\x07\0";

#define AT_FAMILY 16
#define AT_STATE 24
#define AT_FLAGS 26
#define AT_DST_LEN 28
#define AT_MAC_LEN 36

static int parse(const void *data, size_t len)
{
	struct neigh_msg m;

	return neigh_msg_parse(data, len, &m);
}

static void test_dump_bytes(void **state)
{
	static unsigned char buf[NEIGH_MSG_MAX] __attribute__((aligned(16)));
	struct nlmsghdr *nlh = neigh_msg_dump(buf, 7);

	(void)state;
	assert_bytes(buf, nlh->nlmsg_len, "24000000 1e00 0103 00000000 00000000  00 000000 00000000 0000 00 00"
		     "0800 0800 07000000");
}

static void test_read(void **state)
{
	struct ip want4 = address("198.51.100.7"), want6 = address("2001:db8::7");
	struct neigh_msg m;

	(void)state;
	assert_int_equal(neigh_msg_parse(four, sizeof(four), &m), 0);
	assert_true(ip_eq(&m.ip, &want4));
	assert_int_equal(m.ifindex, 7);
	assert_memory_equal(m.mac, "\x00\x00\x5e\x00\x53\x07", 6);
	assert_int_equal(neigh_msg_parse(six, sizeof(six), &m), 0);
	assert_true(ip_eq(&m.ip, &want6));
	assert_no_part(four, sizeof(four), parse);
	assert_no_part(six, sizeof(six), parse);
	try_changes(four, sizeof(four), parse);
	try_changes(six, sizeof(six), parse);
}

static void test_no_neighbour(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int result;
	} cases[] = {
		{ 4, RTM_DELNEIGH, -EBADMSG }, { AT_FAMILY, AF_BRIDGE, -EAFNOSUPPORT }, { AT_FAMILY, AF_INET6, -EBADMSG },
		{ AT_FAMILY + 4, 0, -EBADMSG }, { AT_FAMILY + 7, 0x80, -EBADMSG },
		{ AT_STATE, NUD_INCOMPLETE, -ENODATA }, { AT_STATE, NUD_FAILED, -ENODATA }, { AT_STATE, NUD_NOARP, -ENODATA },
		{ AT_STATE, NUD_PERMANENT, 0 }, { AT_STATE, NUD_DELAY, 0 }, { AT_FLAGS, NTF_PROXY, -ENODATA },
		{ AT_DST_LEN + 2, 9, -EBADMSG }, { AT_MAC_LEN + 2, 9, -ENODATA }, { AT_MAC_LEN, 8, -EBADMSG },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t *changed = copy_of(four, sizeof(four));

		changed[cases[i].at] = cases[i].value;
		if (parse(changed, sizeof(four)) != cases[i].result)
			fail_msg("byte %zu, value %u", cases[i].at, cases[i].value);
		free(changed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dump_bytes),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_no_neighbour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
