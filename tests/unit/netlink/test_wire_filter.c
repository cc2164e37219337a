/* SPDX-License-Identifier: Apache-2.0 */
/* test_wire_filter.c: which frames the programs let through, by a small interpreter of classic BPF: exactly those about our
 * addresses, for sets of every size; with too many addresses more, but never fewer.  What the kernel makes of the programs is
 * tests/netns/test_wire.py's. */
#include "netlink/wire_filter.h"

#include <linux/if_arp.h>
#include <linux/if_packet.h>
#include <stdbool.h>

#include "agent/base/prng.h"
#include "netlink/arp_frame.h"
#include "netlink/nd_frame.h"
#include "tests/unit/netlink/bytes.h"

static const uint8_t mac[6] = { 0x00, 0x00, 0x5e, 0x00, 0x53, 0x11 };

struct frame {
	uint8_t bytes[ND_FRAME_LEN];
	size_t len;
	uint32_t hatype, pkttype;
};

static uint32_t load(const struct frame *f, const struct sock_filter *i, bool *ret_out)
{
	size_t size = BPF_SIZE(i->code) == BPF_W ? 4 : BPF_SIZE(i->code) == BPF_H ? 2 : 1;
	uint32_t v = 0;

	if (i->k == (uint32_t)(SKF_AD_OFF + SKF_AD_HATYPE))
		return f->hatype;
	if (i->k == (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE))
		return f->pkttype;
	*ret_out = i->k + size > f->len;
	for (size_t k = 0; !*ret_out && k < size; k++)
		v = v << 8 | f->bytes[i->k + k];
	return v;
}

/* Whether the frame passes; the program is one that the kernel would take, as far as it goes. */
static bool passes(const struct wire_filter *f, const struct frame *frame)
{
	uint32_t a = 0;
	bool out = false;

	for (size_t pc = 0;; pc++) {
		const struct sock_filter *i = &f->code[pc];
		bool yes = false;

		assert_true(pc < f->n);
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
			a = load(frame, i, &out);
			if (out)
				return false; /* a load outside ends the program */
			continue;
		case BPF_RET:
			assert_true(i->k == 0 || i->k == WIRE_FILTER_FRAME);
			return i->k != 0;
		case BPF_JMP:
			break;
		default:
			fail_msg("code %x", i->code);
		}
		if (BPF_OP(i->code) == BPF_JA) {
			pc += i->k;
			continue;
		}
		if (BPF_OP(i->code) == BPF_JEQ)
			yes = a == i->k;
		else if (BPF_OP(i->code) == BPF_JGT)
			yes = a > i->k;
		else if (BPF_OP(i->code) == BPF_JGE)
			yes = a >= i->k;
		else
			fail_msg("op %x", i->code);
		pc += yes ? i->jt : i->jf;
	}
}

static struct frame arp(const struct ip *spa, const struct ip *tpa)
{
	struct arp_frame a = arp_announcement(ARP_OP_REPLY, mac, tpa);
	struct frame f = { .len = ARP_FRAME_LEN, .hatype = ARPHRD_ETHER, .pkttype = PACKET_BROADCAST };

	a.sender_ip = *spa;
	arp_frame_build(&a, f.bytes);
	return f;
}

static struct frame na(const struct ip *target)
{
	struct frame f = { .len = ND_FRAME_LEN, .hatype = ARPHRD_ETHER, .pkttype = PACKET_MULTICAST };
	const struct nd_frame n = { .target = *target };

	nd_frame_build(&n, f.bytes);
	return f;
}

static struct frame ns(const struct ip *own, const struct ip *target)
{
	struct frame f = { .hatype = ARPHRD_ETHER, .pkttype = PACKET_MULTICAST };

	f.len = nd_solicitation_build(mac, own, target, f.bytes);
	return f;
}

static int order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

static struct ip number(uint8_t family, uint32_t prefix, uint32_t last)
{
	struct ip ip = { .family = family };
	uint8_t *at = ip.b + (family == IP_V6 ? 12 : 0);

	if (family == IP_V6) {
		memcpy(ip.b, "\x20\x01\x0d\xb8", 4);
		ip.b[prefix % 2 ? 11 : 7] = (uint8_t)prefix;
	}
	for (unsigned int i = 0; i < 4; i++)
		at[i] = (uint8_t)(last >> (24 - 8 * i));
	return ip;
}

static const struct ip nobody = { .family = IP_V4 }, client = { IP_V4, { 192, 0, 2, 1 } }, none = { .family = IP_NONE },
		       local = { IP_V6, { 0xfe, 0x80, [15] = 1 } };

static bool claim_passes(const struct wire_filter *f, const struct ip *ip)
{
	const struct frame frame = ip->family == IP_V4 ? arp(ip, &client) : na(ip);

	return passes(f, &frame);
}

static bool probe_passes(const struct wire_filter *f, const struct ip *ip)
{
	const struct frame frame = ip->family == IP_V4 ? arp(&nobody, ip) : ns(&none, ip);

	return passes(f, &frame);
}

/* What the kernel charges for the program: bpf_prog_size() of what bpf_convert_filter() makes of it (net/core/filter.c, Linux
 * 5.4 to 6.12), at the most: a load has a fast and a slow path, an immediate with the highest bit set takes a register. */
static size_t charge(const struct wire_filter *f)
{
	size_t n = 8; /* the prologue, rounded up */

	for (size_t i = 0; i < f->n; i++) {
		const struct sock_filter *at = &f->code[i];

		if (BPF_CLASS(at->code) == BPF_LD)
			n += 14;
		else if (BPF_CLASS(at->code) == BPF_RET)
			n += 2;
		else if (BPF_OP(at->code) == BPF_JA)
			n += 1;
		else
			n += 1 + (at->k >> 31) + (at->jt && at->jf);
	}
	return n * 8 + 80; /* struct bpf_prog, rounded up */
}

static void build(uint8_t family, const struct wire_set *vips, const struct wire_set *held, size_t room,
		  struct wire_filter *ret)
{
	if (family == IP_V4)
		wire_filter_arp(vips, held, room, ret);
	else
		wire_filter_nd(vips, held, room, ret);
	assert_in_range(ret->n, 1, BPF_MAXINSNS);
	assert_in_range(charge(ret), 1, 20480 / 2 - 1); /* two of them fit beside each other */
}

/* Random sets in random prefixes; 'spread': how far apart.  Returns how often others' addresses passed. */
static size_t try_sets_in(uint8_t family, size_t n, uint32_t prefixes, uint32_t spread, size_t room)
{
	struct wire_filter *f = malloc(sizeof(*f));
	struct ip *vips = calloc(n + 1, sizeof(*vips));
	struct prng p = { n * 31 + prefixes + spread };
	uint32_t at = 0xc6336400; /* 198.51.100.0 */
	struct wire_set all, held;
	size_t wrong = 0;

	assert_non_null(f);
	assert_non_null(vips);
	for (size_t i = 0; i < n; i++)
		vips[i] = number(family, (uint32_t)prng_range(&p, 0, prefixes - 1), at += (uint32_t)prng_range(&p, 1, spread));
	qsort(vips, n, sizeof(*vips), order);
	all = (struct wire_set){ vips, n };
	held = (struct wire_set){ vips, n / 2 };
	build(family, &all, &held, room, f);
	for (size_t i = 0; i < n; i++) {
		assert_true(claim_passes(f, &vips[i]));
		assert_true(i >= n / 2 || probe_passes(f, &vips[i]));
	}
	for (size_t i = 0; i < 20000; i++) {
		struct ip other = number(family, (uint32_t)prng_range(&p, 0, prefixes), (uint32_t)prng_range(&p, 0xc6336400 - 9, at + 9));
		bool is = ip_listed(vips, n, &other);

		wrong += claim_passes(f, &other) != is;
		wrong += probe_passes(f, &other) != ip_listed(vips, n / 2, &other);
		assert_true(!is || claim_passes(f, &other));
	}
	free(vips);
	free(f);
	return wrong;
}

static void try_sets(uint8_t family, size_t n, uint32_t prefixes, uint32_t spread, bool exact)
{
	size_t wrong = try_sets_in(family, n, prefixes, spread, WIRE_FILTER_ROOM);

	if (exact)
		assert_int_equal(wrong, 0);
}

static void test_exact(void **state)
{
	(void)state;
	for (unsigned int k = 0; k < 2; k++) {
		uint8_t family = k ? IP_V6 : IP_V4;

		try_sets(family, 1, 1, 1, true);
		try_sets(family, 2, 1, 100, true);
		try_sets(family, WIRE_FILTER_ROOM - WIRE_FILTER_PREFIX - 1, 1, 50, true);
		try_sets(family, WIRE_FILTER_ROOM - (k ? WIRE_FILTER_PREFIX : 0), 1, 1000, true);
		try_sets(family, 5000, 1, 1, true); /* one run */
	}
	try_sets(IP_V6, WIRE_FILTER_ROOM - 3 * WIRE_FILTER_PREFIX, 3, 40, true);
	try_sets(IP_V6, 2, 2, 400, true);
}

/* Too many runs, or prefixes: whatever is ours passes all the same. */
static void test_too_many(void **state)
{
	(void)state;
	try_sets(IP_V4, 3000, 1, 40, false);
	try_sets(IP_V6, 3000, 1, 40, false);
	try_sets(IP_V6, 3000, 5, 40, false);
	try_sets(IP_V6, 3000, 7, 40, false);
	try_sets(IP_V6, 300, 30, 40, false);
	for (size_t room = 1; room < WIRE_FILTER_ROOM; room++) {
		assert_true(try_sets_in(IP_V4, 300, 1, 40, room) > 0);
		assert_true(try_sets_in(IP_V6, 300, 3, 40, room) > 0);
	}
}

/* No more than needed are taken together: those that lie closest. */
static void test_merges_the_closest(void **state)
{
	struct ip vips[WIRE_FILTER_ROOM + 1], between = number(IP_V4, 0, 0xc6336402), far = number(IP_V4, 0, 0xc6336413);
	struct wire_filter *f = malloc(sizeof(*f));

	(void)state;
	assert_non_null(f);
	vips[0] = number(IP_V4, 0, 0xc6336401);
	for (size_t i = 1; i < ARRAY_LEN(vips); i++)
		vips[i] = number(IP_V4, 0, 0xc6336403 + (uint32_t)(i - 1) * 32);
	wire_filter_arp(&(struct wire_set){ vips, ARRAY_LEN(vips) }, &(struct wire_set){ vips, 0 }, WIRE_FILTER_ROOM, f);
	assert_true(claim_passes(f, &between));
	assert_false(claim_passes(f, &far));
	free(f);
}

static void test_other_frames(void **state)
{
	const struct ip four = address("198.51.100.7"), six = address("2001:db8::7");
	const struct wire_set v4 = { &four, 1 }, v6 = { &six, 1 }, empty = { &four, 0 };
	struct wire_filter *f = malloc(sizeof(*f));
	struct frame frame;

	(void)state;
	assert_non_null(f);
	wire_filter_arp(&v4, &v4, WIRE_FILTER_ROOM, f);
	frame = arp(&client, &four); /* a client's question */
	assert_false(passes(f, &frame));
	frame = arp(&four, &client);
	assert_true(passes(f, &frame));
	frame.hatype = ARPHRD_LOOPBACK;
	assert_false(passes(f, &frame));
	frame = arp(&four, &client);
	frame.pkttype = PACKET_OTHERHOST;
	assert_false(passes(f, &frame));
	frame = arp(&four, &client);
	frame.bytes[18] = 8; /* of another hardware */
	assert_false(passes(f, &frame));
	for (size_t len = 0; len < 32; len++) {
		frame = arp(&four, &client);
		frame.len = len;
		assert_false(passes(f, &frame));
	}
	wire_filter_arp(&v4, &empty, WIRE_FILTER_ROOM, f);
	assert_false(probe_passes(f, &four)); /* of a VIP that another node holds */
	wire_filter_arp(&empty, &empty, WIRE_FILTER_ROOM, f);
	assert_false(claim_passes(f, &four));

	wire_filter_nd(&v6, &v6, WIRE_FILTER_ROOM, f);
	frame = ns(&local, &six); /* a client's */
	assert_false(passes(f, &frame));
	frame = ns(&none, &six);
	assert_true(passes(f, &frame));
	frame = na(&six);
	frame.bytes[21] = 64; /* from beyond a router */
	assert_false(passes(f, &frame));
	frame = na(&six);
	frame.bytes[20] = 6;
	assert_false(passes(f, &frame));
	frame = na(&six);
	frame.bytes[54] = 134;
	assert_false(passes(f, &frame));
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_merges_the_closest),
		cmocka_unit_test(test_other_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
