/* SPDX-License-Identifier: Apache-2.0 */
/* test_frames.c: ARP, NA and NS frames byte for byte (checksums were computed by scapy), read back, and refused in every
 * other form; and of others' advertisements and
 * probes, what they claim. */
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

static void test_arp_probe_bytes(void **state)
{
	struct ip vip = address("192.0.2.200");
	struct arp_frame f = arp_probe(mac, &vip);
	uint8_t buf[ARP_FRAME_LEN];

	(void)state;
	arp_frame_build(&f, buf);
	assert_bytes(buf, sizeof(buf), "ffffffffffff 00005e005311 0806 0001 0800 06 04 0001"
		     "00005e005311 00000000 000000000000 c00002c8");
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

static void test_ns_bytes(void **state)
{
	struct ip own = address("fe80::200:5eff:fe00:5311"), none = { .family = IP_NONE }, vip = address("2001:db8::c8");
	uint8_t buf[ND_FRAME_LEN];

	(void)state;
	memset(buf, 0xaa, sizeof(buf));
	assert_int_equal(nd_solicitation_build(mac, &own, &vip, buf), ND_FRAME_LEN);
	assert_bytes(buf, ND_FRAME_LEN, "3333ff0000c8 00005e005311 86dd 60000000 0020 3a ff"
		     "fe800000000000000200 5efffe005311 ff0200000000000000000001ff0000c8"
		     "87 00 e8b1 00000000 20010db80000000000000000000000c8 01 01 00005e005311");
	memset(buf, 0xaa, sizeof(buf));
	assert_int_equal(nd_solicitation_build(mac, &none, &vip, buf), ND_PROBE_LEN);
	assert_bytes(buf, ND_PROBE_LEN, "3333ff0000c8 00005e005311 86dd 60000000 0018 3a ff"
		     "00000000000000000000000000000000 ff0200000000000000000001ff0000c8"
		     "87 00 4b5f 00000000 20010db80000000000000000000000c8");
	vip = address("2001:db8::12:3456:789a");
	assert_int_equal(nd_solicitation_build(mac, &none, &vip, buf), ND_PROBE_LEN);
	assert_bytes(buf, 6, "3333ff56789a");
	assert_bytes(buf + 38, 16, "ff0200000000000000000001ff56789a");
}

/* ---- what others advertise ---- */

/* Offsets in the frames below. */
#define AT_PAYLOAD_LEN 18
#define AT_DEST 38
#define AT_ICMP 54
#define AT_SUM 56
#define AT_FLAGS 58
#define AT_TARGET 62
#define AT_OPTION 78

/* As scapy builds them: from ..:53:11 to ..:53:12 alone, solicited, of 2001:db8::c8. */
#define HEADERS(icmp_len) \
	0x00, 0x00, 0x5e, 0x00, 0x53, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x11, 0x86, 0xdd, \
	0x60, 0, 0, 0, 0, (icmp_len), 0x3a, 0xff, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc8, \
	0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
#define ADVERTISEMENT(sum_high, sum_low) \
	136, 0, (sum_high), (sum_low), 0x60, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc8

static const uint8_t plain[] = { HEADERS(24), ADVERTISEMENT(0xbc, 0x28) };
static const uint8_t with_mac[] = { HEADERS(32), ADVERTISEMENT(0x08, 0x86), 2, 1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x99 };
static const uint8_t with_more[] = { HEADERS(48), ADVERTISEMENT(0xd7, 0x50), 14, 2, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5,
				     2, 1, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x99 };

static int parse_claim(const void *data, size_t len)
{
	struct nd_claim c;

	return nd_claim_parse(data, len, &c);
}

/* Makes the checksum right again (RFC 1071), by another way than the program's: the sum over all, with 0 in its place. */
static void mend_checksum(uint8_t *frame, size_t icmp_len)
{
	uint64_t sum = icmp_len + 58;

	frame[AT_SUM] = 0;
	frame[AT_SUM + 1] = 0;
	for (size_t i = 22; i < AT_ICMP + icmp_len; i += 2)
		sum += (uint64_t)frame[i] * 256 + frame[i + 1];
	sum = 0xffff - sum % 0xffff;
	frame[AT_SUM] = (uint8_t)(sum >> 8);
	frame[AT_SUM + 1] = (uint8_t)sum;
}

static void assert_claim(const uint8_t *data, size_t len, const char *want_mac)
{
	struct ip vip = address("2001:db8::c8");
	struct nd_claim c;
	void *copy = copy_of(data, len);

	assert_int_equal(nd_claim_parse(copy, len, &c), 0);
	assert_true(ip_eq(&c.target, &vip));
	assert_bytes(c.mac, 6, want_mac);
	free(copy);
}

static void test_claims(void **state)
{
	struct nd_frame f = advertisement("2001:db8::c8", true);
	uint8_t buf[sizeof(with_more) + 24] = { 0 };

	(void)state;
	assert_claim(plain, sizeof(plain), "00005e005311");
	assert_claim(with_mac, sizeof(with_mac), "00005e005399");
	assert_claim(with_more, sizeof(with_more), "00005e005399");
	/* Padding is none of it, whatever it is. */
	memcpy(buf, plain, sizeof(plain));
	memset(buf + sizeof(plain), 0xff, 18);
	assert_claim(buf, sizeof(plain) + 18, "00005e005311");
	/* Our own announcement is one, too. */
	nd_frame_build(&f, buf);
	assert_claim(buf, ND_FRAME_LEN, "00005e005311");
	/* Of two options the first counts, as with Linux. */
	memcpy(buf, with_mac, sizeof(with_mac));
	memcpy(buf + sizeof(with_mac), "\2\1\0\0\x5e\0\x53\x98", 8);
	buf[AT_PAYLOAD_LEN + 1] = 40;
	mend_checksum(buf, 40);
	assert_claim(buf, sizeof(with_mac) + 8, "00005e005399");
}

static void test_no_claims(void **state)
{
	(void)state;
	assert_no_part(plain, sizeof(plain), parse_claim);
	assert_no_part(with_mac, sizeof(with_mac), parse_claim);
	assert_no_part(with_more, sizeof(with_more), parse_claim);
	/* Any bit from the addresses on is under the checksum, and so are the next header and the lengths. */
	for (size_t i = 22 * 8; i < sizeof(with_more) * 8; i++) {
		uint8_t *changed = copy_of(with_more, sizeof(with_more));

		changed[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(parse_claim(changed, sizeof(with_more)), -EBADMSG);
		free(changed);
	}
	try_changes(with_more, sizeof(with_more), parse_claim);
}

static void test_no_claims_though_the_checksum_is_right(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
		int result;
	} cases[] = {
		{ AT_FLAGS, 0x00, 0 },	      { AT_FLAGS, 0xe0, 0 },
		{ 12, 0x08, -EBADMSG },	      { 13, 0x00, -EBADMSG }, /* EtherType */
		{ 14, 0x40, -EBADMSG },	      { 20, 0x00, -EBADMSG }, /* version, next header */
		{ 21, 254, -EBADMSG },				      /* hop limit */
		{ AT_ICMP, 135, -EBADMSG },   { AT_ICMP + 1, 1, -EBADMSG },
		{ AT_TARGET, 0xff, -EBADMSG }, { AT_DEST, 0xff, -EBADMSG }, /* solicited, yet to many */
		{ AT_OPTION + 1, 0, -EBADMSG }, { AT_OPTION + 1, 4, -EBADMSG }, { AT_OPTION + 1, 255, -EBADMSG },
		{ AT_OPTION + 17, 2, -EBADMSG }, { AT_OPTION + 16, 1, 0 },
		{ AT_OPTION, 2, -EBADMSG },			      /* a link-layer address of 14 bytes */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t *changed = copy_of(with_more, sizeof(with_more));

		changed[cases[i].at] = cases[i].value;
		mend_checksum(changed, 48);
		if (parse_claim(changed, sizeof(with_more)) != cases[i].result)
			fail_msg("byte %zu, value %u", cases[i].at, cases[i].value);
		free(changed);
	}
	/* A length that cuts an option, or leaves a part of one. */
	for (uint8_t len = 0; len < 48; len += 2) {
		uint8_t *changed = copy_of(with_more, sizeof(with_more));

		changed[AT_PAYLOAD_LEN + 1] = len;
		mend_checksum(changed, len);
		assert_int_equal(parse_claim(changed, sizeof(with_more)), len == 24 || len == 40 ? 0 : -EBADMSG);
		free(changed);
	}
}

/* ---- probes: of duplicate address detection ---- */

static int parse_probe(const void *data, size_t len)
{
	struct nd_claim c;

	return nd_probe_parse(data, len, &c);
}

static void test_probes(void **state)
{
	const struct ip none = { .family = IP_NONE }, own = address("fe80::1"), target = address("2001:db8::c8");
	uint8_t buf[ND_FRAME_LEN + 18] = { 0 };
	size_t len = nd_solicitation_build(mac, &none, &target, buf);
	struct nd_claim c;

	(void)state;
	assert_int_equal(len, ND_PROBE_LEN);
	assert_int_equal(nd_probe_parse(buf, sizeof(buf), &c), 0); /* padded as on the wire */
	assert_true(ip_eq(&c.target, &target));
	assert_memory_equal(c.mac, mac, 6);
	assert_no_part(buf, len, parse_probe);
	try_changes(buf, len, parse_probe);
	assert_int_equal(parse_claim(buf, len), -EBADMSG);
	/* RFC 7527's nonce, which Linux sends. */
	memcpy(buf + AT_OPTION, "\x0e\1\1\2\3\4\5\6", 8);
	buf[AT_PAYLOAD_LEN + 1] = 32;
	mend_checksum(buf, 32);
	assert_int_equal(parse_probe(buf, len + 8), 0);
	/* RFC 4861 section 7.1.1: not from :: with a source link-layer address. */
	buf[AT_OPTION] = 1;
	mend_checksum(buf, 32);
	assert_int_equal(parse_probe(buf, len + 8), -EBADMSG);
	/* Whoever asks in its own name is about to talk to it. */
	len = nd_solicitation_build(mac, &own, &target, buf);
	assert_int_equal(parse_probe(buf, len), -EBADMSG);
	/* To another group than the target's. */
	len = nd_solicitation_build(mac, &none, &target, buf);
	buf[AT_DEST + 1] = 5;
	mend_checksum(buf, 24);
	assert_int_equal(parse_probe(buf, len), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp_bytes),  cmocka_unit_test(test_arp_probe_bytes),
		cmocka_unit_test(test_arp_read),   cmocka_unit_test(test_na_bytes),
		cmocka_unit_test(test_na_read),	   cmocka_unit_test(test_ns_bytes),
		cmocka_unit_test(test_claims),	   cmocka_unit_test(test_no_claims),
		cmocka_unit_test(test_no_claims_though_the_checksum_is_right),
		cmocka_unit_test(test_probes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
