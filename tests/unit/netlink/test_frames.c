/* SPDX-License-Identifier: Apache-2.0 */
/* test_frames.c: ARP and NA frames byte for byte (the NA's checksum was computed by scapy), read back, and refused in
 * every other form. */
#include "netlink/arp_frame.h"
#include "netlink/nd_frame.h"

#include "tests/unit/netlink/bytes.h"

static const uint8_t mac[6] = { 0x00, 0x00, 0x5e, 0x00, 0x53, 0x11 };

static void test_arp_bytes(void **state)
{
	struct ip vip = address("192.0.2.200");
	struct arp_frame f = arp_announcement(ARP_OP_REQUEST, mac, &vip);
	uint8_t buf[ARP_FRAME_LEN];

	(void)state;
	arp_frame_build(&f, buf);
	assert_bytes(buf, sizeof(buf), "ffffffffffff 00005e005311 0806 0001 0800 06 04 0001"
		     "00005e005311 c00002c8 000000000000 c00002c8");
	f = arp_announcement(ARP_OP_REPLY, mac, &vip);
	arp_frame_build(&f, buf);
	assert_bytes(buf, sizeof(buf), "ffffffffffff 00005e005311 0806 0001 0800 06 04 0002"
		     "00005e005311 c00002c8 00005e005311 c00002c8");
}

static int parse_arp(const void *data, size_t len)
{
	struct arp_frame f;

	return arp_frame_parse(data, len, &f);
}

static void test_arp_read(void **state)
{
	struct ip vip = address("192.0.2.200");
	uint8_t buf[ARP_FRAME_LEN + 18] = { 0 }; /* padded as on the wire */

	(void)state;
	for (int op = ARP_OP_REQUEST; op <= ARP_OP_REPLY; op++) {
		struct arp_frame f = arp_announcement(op == ARP_OP_REPLY ? ARP_OP_REPLY : ARP_OP_REQUEST, mac, &vip), g;

		f.target_ip = address("192.0.2.50");
		f.destination[0] = 2;
		arp_frame_build(&f, buf);
		assert_int_equal(arp_frame_parse(buf, sizeof(buf), &g), 0);
		assert_int_equal(g.op, f.op);
		assert_memory_equal(g.destination, f.destination, 6);
		assert_memory_equal(g.sender_mac, f.sender_mac, 6);
		assert_memory_equal(g.target_mac, f.target_mac, 6);
		assert_true(ip_eq(&g.sender_ip, &f.sender_ip));
		assert_true(ip_eq(&g.target_ip, &f.target_ip));
	}
	assert_no_part(buf, ARP_FRAME_LEN, parse_arp);
	for (size_t i = 12; i < 22; i++) { /* EtherType to operation */
		buf[i] ^= 4;
		assert_int_equal(parse_arp(buf, sizeof(buf)), -EBADMSG);
		buf[i] ^= 4;
	}
	buf[21] = 0;
	assert_int_equal(parse_arp(buf, sizeof(buf)), -EBADMSG);
}

static struct nd_frame advertisement(const char *target, bool router)
{
	struct nd_frame f = { .target = address(target), .router = router };

	memcpy(f.mac, mac, sizeof(f.mac));
	return f;
}

static void test_na_bytes(void **state)
{
	struct nd_frame f = advertisement("2001:db8::c8", true);
	uint8_t buf[ND_FRAME_LEN];

	(void)state;
	nd_frame_build(&f, buf);
	assert_bytes(buf, sizeof(buf), "333300000001 00005e005311 86dd 60000000 0020 3a ff"
		     "20010db80000000000000000000000c8 ff020000000000000000000000000001"
		     "88 00 c88b a0000000 20010db80000000000000000000000c8 02 01 00005e005311");
	f = advertisement("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", false);
	nd_frame_build(&f, buf);
	assert_bytes(buf, sizeof(buf), "333300000001 00005e005311 86dd 60000000 0020 3a ff"
		     "20010db8ffffffffffffffffffffffff ff020000000000000000000000000001"
		     "88 00 4a1c 20000000 20010db8ffffffffffffffffffffffff 02 01 00005e005311");
}

static int parse_na(const void *data, size_t len)
{
	struct nd_frame f;

	return nd_frame_parse(data, len, &f);
}

static void test_na_read(void **state)
{
	struct nd_frame f = advertisement("2001:db8::c8", true), g;
	uint8_t buf[ND_FRAME_LEN];

	(void)state;
	nd_frame_build(&f, buf);
	assert_int_equal(nd_frame_parse(buf, sizeof(buf), &g), 0);
	assert_memory_equal(g.mac, mac, 6);
	assert_true(ip_eq(&g.target, &f.target));
	assert_true(g.router);
	assert_no_part(buf, sizeof(buf), parse_na);
	/* Any bit changed is seen, by the checksum or otherwise. */
	for (size_t i = 0; i < sizeof(buf) * 8; i++) {
		buf[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(parse_na(buf, sizeof(buf)), -EBADMSG);
		buf[i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_arp_bytes), cmocka_unit_test(test_arp_read),
					    cmocka_unit_test(test_na_bytes), cmocka_unit_test(test_na_read) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
