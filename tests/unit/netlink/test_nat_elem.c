/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_elem.c: element messages byte for byte, read back, bounded by the batch's storage, and refused when cut. */
#include "netlink/nat_elem.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "tests/unit/netlink/bytes.h"

static unsigned char buf[512 * 1024] __attribute__((aligned(16)));

static struct nat_op slot_op(const char *vip, uint16_t slot, const char *backend)
{
	return (struct nat_op){ .kind = NAT_OP_SLOT_ADD, .vip = address(vip), .proto = 6, .port = 80, .slot = slot,
				.backend = { address(backend), 8080 } };
}

static struct nat_op frontend_op(const char *vip, enum balance balance, uint16_t n_slots)
{
	return (struct nat_op){ .kind = NAT_OP_FRONTEND_ADD, .vip = address(vip), .proto = 17, .port = 53,
				.balance = balance, .n_slots = n_slots };
}

static struct nat_op guard_op(const char *backend, uint8_t proto, uint16_t port)
{
	return (struct nat_op){ .kind = NAT_OP_GUARD_ADD, .vip = address(backend), .proto = proto, .port = port };
}

static struct nat_op home_op(const char *vip, uint32_t ifindex)
{
	return (struct nat_op){ .kind = NAT_OP_HOME_ADD, .vip = address(vip), .ifindex = ifindex };
}

/* The sets that have keys alone, each as its own kind. */
static void test_keys(void **state)
{
	const struct nat_op ops[] = { guard_op("198.51.100.1", 6, 8080), home_op("192.0.2.200", 0x01020304),
				      { .kind = NAT_OP_LOCAL_DEL, .vip = address("198.51.100.1") } };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, ops, ARRAY_LEN(ops), false), 0);
	batch_renumber(&b, 100);
	assert_bytes(buf + 20, b.len - 20,
		     "4c000000 0c0a 0104 65000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 67756172 64733400"
		     "1c00 0380 1800 0180 1400 0180 1000 0100 c6336401 06000000 1f900000"
		     "48000000 0c0a 0104 66000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0b00 0200 686f6d65 73340000"
		     "1800 0380 1400 0180 1000 0180 0c00 0100 c00002c8 04030201"
		     "44000000 0e0a 0100 67000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 6c6f6361 6c733400"
		     "1400 0380 1000 0180 0c00 0180 0800 0100 c6336401");
}

static void test_bytes(void **state)
{
	const struct nat_op ops[] = { slot_op("192.0.2.200", 7, "198.51.100.1"),
				      frontend_op("2001:db8::c8", BALANCE_RANDOM, 61),
				      { .kind = NAT_OP_VIP_DEL, .vip = address("192.0.2.200") } };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, ops, ARRAY_LEN(ops), false), 0);
	batch_end(&b);
	batch_renumber(&b, 100);
	assert_bytes(buf, b.len,
		     "14000000 1000 0100 64000000 00000000 00 00 000a" /* begin: nf_tables */
		     "60000000 0c0a 0104 65000000 00000000 01 00 0000" /* NEWSETELEM, CREATE; inet */
		     "0e00 0100 6c656173 65686f6c 64000000 0b00 0200 736c6f74 73340000"
		     "3000 0380 2c00 0180 1800 0180 1400 0100 c00002c8 06000000 00500000 07000000"
		     "1000 0280 0c00 0100 c6336401 1f900000"
		     "7c000000 0c0a 0104 66000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0e00 0200 64697370 61746368 36000000"
		     "4800 0380 4400 0180 2000 0180 1c00 0100 20010db80000000000000000000000c8 11000000 00350000"
		     "2000 0280 1c00 0280 0800 0100 fffffffc 0e00 0200 72616e64 6f6d2d36 31000000"
		     "44000000 0e0a 0500 67000000 00000000 01 00 0000" /* DELSETELEM, ACK: the last */
		     "0e00 0100 6c656173 65686f6c 64000000 0a00 0200 76697073 34000000"
		     "1400 0380 1000 0180 0c00 0180 0800 0100 c00002c8"
		     "14000000 1100 0100 68000000 00000000 00 00 000a" /* end */);
}

/* Each set is emptied first, then gets its own family's addresses. */
static void test_former(void **state)
{
	const struct ip ips[] = { address("198.51.100.1"), address("2001:db8::1") };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put_former(&b, ips, ARRAY_LEN(ips), 5000), 0);
	batch_renumber(&b, 100);
	assert_bytes(buf + 20, b.len - 20,
		     "30000000 0e0a 0100 65000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 666f726d 65723400"
		     "50000000 0c0a 0104 66000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 666f726d 65723400"
		     "2000 0380 1c00 0180 0c00 0180 0800 0100 c6336401 0c00 0400 00000000 00001388"
		     "30000000 0e0a 0100 67000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 666f726d 65723600"
		     "5c000000 0c0a 0104 68000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0c00 0200 666f726d 65723600"
		     "2c00 0380 2800 0180 1800 0180 1400 0100 20010db8000000000000000000000001"
		     "0c00 0400 00000000 00001388");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put_former(&b, NULL, 0, 0), 0);
	assert_int_equal(batch_count(&b), 2); /* emptied */
}

static void test_former_bounds(void **state)
{
	static struct ip ips[4096];
	const struct ip bad = { 0 };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put_former(&b, &bad, 1, 5000), -EINVAL);
	ips[0] = address("198.51.100.1");
	assert_int_equal(nat_elem_put_former(&b, ips, 1, 0), -EINVAL); /* for ever */
	assert_int_equal(b.len, 20);
	for (size_t i = 0; i < ARRAY_LEN(ips); i++)
		ips[i] = address("2001:db8::1");
	batch_init(&b, buf, 256 * 1024); /* what nat_apply.c has */
	assert_int_equal(nat_elem_put_former(&b, ips, ARRAY_LEN(ips), 5000), 0);
	assert_in_range(batch_count(&b), 2 + 3, 2 + 4); /* a list is one attribute */
	for (size_t cap = BATCH_OVERHEAD; cap < 1024; cap += 4) {
		unsigned char *data = malloc(cap);
		int r;

		assert_non_null(data);
		batch_init(&b, data, cap);
		r = nat_elem_put_former(&b, ips, 8, 5000);
		assert_true(r == 0 || (r == -ENOSPC && b.len == 20));
		assert_true(b.len <= cap);
		free(data);
	}
}

static struct nat_op read_ops[6000];
static size_t n_read;

static void keep(void *ctx, const struct nat_op *op)
{
	(void)ctx;
	assert_true(n_read < ARRAY_LEN(read_ops));
	read_ops[n_read++] = *op;
}

static void assert_op(const struct nat_op *a, const struct nat_op *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_true(ip_eq(&a->vip, &b->vip));
	assert_int_equal(a->proto, b->proto);
	assert_int_equal(a->port, b->port);
	assert_int_equal(a->balance, b->balance);
	assert_int_equal(a->n_slots, b->n_slots);
	assert_int_equal(a->slot, b->slot);
	assert_int_equal(a->ifindex, b->ifindex);
	assert_int_equal(ip_port_cmp(&a->backend, &b->backend), 0);
}

/* Reads every message of a batch that is not ended yet; the number of messages. */
static size_t read_batch(const struct batch *b)
{
	size_t n = 0;

	n_read = 0;
	for (size_t at = 20; at < b->len; n++) {
		const struct nlmsghdr *nlh = (const void *)(b->data + at);

		assert_true(nlh->nlmsg_len <= b->len - at);
		assert_int_equal(nat_elem_parse(nlh, nlh->nlmsg_len, keep, NULL), 0);
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
	return n;
}

static void test_round_trip(void **state)
{
	static const uint16_t classes[] = NAT_CLASSES;
	struct nat_op ops[12 + 4 * NAT_CLASS_N];
	size_t n = 0;
	struct batch b;

	(void)state;
	ops[n++] = (struct nat_op){ .kind = NAT_OP_VIP_ADD, .vip = address("192.0.2.200") };
	ops[n++] = (struct nat_op){ .kind = NAT_OP_VIP_ADD, .vip = address("2001:db8::c8") };
	ops[n++] = guard_op("198.51.100.1", 132, 65535);
	ops[n++] = guard_op("2001:db8:1:2:3:4:5:6", 17, 1);
	ops[n++] = home_op("192.0.2.200", 1);
	ops[n++] = home_op("2001:db8::c8", UINT32_MAX);
	ops[n++] = (struct nat_op){ .kind = NAT_OP_LOCAL_ADD, .vip = address("198.51.100.1") };
	ops[n++] = (struct nat_op){ .kind = NAT_OP_LOCAL_ADD, .vip = address("2001:db8::1") };
	ops[n++] = slot_op("192.0.2.200", 0, "198.51.100.1");
	ops[n++] = slot_op("192.0.2.201", 5002, "198.51.100.255");
	ops[n++] = slot_op("2001:db8::c8", 256, "2001:db8:1:2:3:4:5:6");
	ops[n - 1].port = 65535;
	ops[n - 1].proto = 132;
	ops[n++] = slot_op("2001:db8::c8", 65535, "::1");
	for (size_t i = 0; i < NAT_CLASS_N; i++) {
		ops[n++] = frontend_op("192.0.2.200", BALANCE_HASH, classes[i]);
		ops[n++] = frontend_op("2001:db8::c8", BALANCE_RANDOM, classes[i]);
		ops[n++] = frontend_op("2001:db8::c8", BALANCE_HASH, classes[i]);
		ops[n++] = frontend_op("192.0.2.200", BALANCE_RANDOM, classes[i]);
	}
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, ops, n, true), 0);
	assert_int_equal(read_batch(&b), n);
	assert_int_equal(n_read, n);
	for (size_t i = 0; i < n; i++)
		assert_op(&read_ops[i], &ops[i]);
}

/* Neighbours of one kind and family share a message; a list is one attribute, so a long one is split. */
static void test_grouping(void **state)
{
	static struct nat_op ops[NAT_SLOTS_MAX];
	struct batch b;
	size_t messages;

	(void)state;
	for (uint16_t i = 0; i < NAT_SLOTS_MAX; i++)
		ops[i] = slot_op("2001:db8::c8", i, "2001:db8::1");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, ops, NAT_SLOTS_MAX, false), 0);
	messages = read_batch(&b);
	assert_in_range(messages, 6, 12);
	assert_int_equal(n_read, NAT_SLOTS_MAX);
	for (size_t i = 0; i < NAT_SLOTS_MAX; i++)
		assert_op(&read_ops[i], &ops[i]);
	ops[1].vip = address("192.0.2.1");
	ops[1].backend.ip = address("192.0.2.2");
	ops[3].kind = NAT_OP_SLOT_DEL;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, ops, 5, false), 0);
	assert_int_equal(batch_count(&b), 5);
}

static void test_storage_is_the_bound(void **state)
{
	struct nat_op ops[40];
	bool fitted = false;

	(void)state;
	for (uint16_t i = 0; i < ARRAY_LEN(ops); i++)
		ops[i] = i % 2 ? slot_op("2001:db8::c8", i, "2001:db8::1") : frontend_op("2001:db8::c8", i % 4, 1021);
	for (size_t i = 0; i < ARRAY_LEN(ops); i += 2)
		ops[i].balance = BALANCE_RANDOM;
	for (size_t cap = BATCH_OVERHEAD; cap < 8192; cap += 4) {
		unsigned char *data = malloc(cap);
		struct batch b;
		int r;

		assert_non_null(data);
		batch_init(&b, data, cap);
		r = nat_elem_put(&b, ops, ARRAY_LEN(ops), cap % 8 == 0);
		if (r == 0) {
			batch_end(&b);
			fitted = true;
		} else {
			assert_int_equal(r, -ENOSPC);
			assert_int_equal(b.len, 20); /* as before */
			assert_int_equal(batch_count(&b), 0);
		}
		assert_true(b.len <= cap);
		free(data);
	}
	assert_true(fitted);
}

static void test_ops_that_cannot_be(void **state)
{
	struct nat_op good = slot_op("192.0.2.200", 7, "198.51.100.1"), bad[4];
	struct batch b;

	(void)state;
	bad[0] = frontend_op("192.0.2.200", BALANCE_HASH, 14);
	bad[1] = frontend_op("192.0.2.200", BALANCE_HASH, 0);
	bad[2] = slot_op("192.0.2.200", 7, "2001:db8::1");
	bad[3] = (struct nat_op){ .kind = NAT_OP_VIP_ADD };
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const struct nat_op ops[] = { good, bad[i] };

		batch_init(&b, buf, sizeof(buf));
		assert_int_equal(nat_elem_put(&b, ops, 2, false), -EINVAL);
		assert_int_equal(b.len, 20);
	}
}

static int parse(const void *data, size_t len)
{
	n_read = 0;
	return nat_elem_parse(data, len, keep, NULL);
}

static void test_cut_and_changed(void **state)
{
	const struct nat_op ops[] = { slot_op("192.0.2.200", 7, "198.51.100.1"),
				      frontend_op("2001:db8::c8", BALANCE_RANDOM, 61),
				      guard_op("2001:db8::1", 6, 80), home_op("192.0.2.200", 7),
				      { .kind = NAT_OP_LOCAL_ADD, .vip = address("198.51.100.1") },
				      { .kind = NAT_OP_VIP_ADD, .vip = address("192.0.2.200") } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
		const struct nlmsghdr *nlh = (const void *)(buf + 20);
		struct batch b;

		batch_init(&b, buf, sizeof(buf));
		assert_int_equal(nat_elem_put(&b, &ops[i], 1, true), 0);
		assert_no_part(nlh, nlh->nlmsg_len, parse);
		try_changes(nlh, nlh->nlmsg_len, parse);
	}
}

static void test_others(void **state)
{
	struct nat_op op = slot_op("192.0.2.200", 7, "198.51.100.1");
	struct nlmsghdr *nlh = (void *)(buf + 20);
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, &op, 1, true), 0);
	buf[36] = NFPROTO_IPV4;
	assert_int_equal(parse(nlh, nlh->nlmsg_len), -ENOENT);
	buf[36] = NFPROTO_INET;
	buf[44] = 'x'; /* another table */
	assert_int_equal(parse(nlh, nlh->nlmsg_len), -ENOENT);
	buf[44] = 'l';
	buf[60] = 'x'; /* another map */
	assert_int_equal(parse(nlh, nlh->nlmsg_len), -ENOENT);
	buf[60] = 's';
	assert_int_equal(parse(nlh, nlh->nlmsg_len), 0);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM;
	assert_int_equal(parse(nlh, nlh->nlmsg_len), -EBADMSG);
	/* A verdict that is none of ours is reported as a frontend without slots. */
	op = frontend_op("192.0.2.200", BALANCE_HASH, 13);
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_elem_put(&b, &op, 1, true), 0);
	assert_memory_equal(buf + b.len - 8, "hash-13", 8);
	buf[b.len - 2] = '4';
	assert_int_equal(parse(nlh, nlh->nlmsg_len), 0);
	assert_int_equal(n_read, 1);
	assert_int_equal(read_ops[0].kind, NAT_OP_FRONTEND_ADD);
	assert_int_equal(read_ops[0].n_slots, 0);
}

static void test_text(void **state)
{
	struct nat_op op = slot_op("192.0.2.200", 7, "198.51.100.1");
	char text[NAT_ELEM_TEXT_MAX];

	(void)state;
	assert_string_equal(nat_elem_text(&op, text), "192.0.2.200 . tcp . 80 . 7 : 198.51.100.1 . 8080 (map slots4)");
	op = frontend_op("2001:db8::c8", BALANCE_RANDOM, 61);
	op.proto = 99;
	assert_string_equal(nat_elem_text(&op, text), "2001:db8::c8 . 99 . 53 : random-61 (map dispatch6)");
	op = (struct nat_op){ .kind = NAT_OP_VIP_DEL, .vip = address("192.0.2.200") };
	assert_string_equal(nat_elem_text(&op, text), "192.0.2.200 (set vips4)");
	op = guard_op("198.51.100.1", 17, 5353);
	assert_string_equal(nat_elem_text(&op, text), "198.51.100.1 . udp . 5353 (set guards4)");
	op = home_op("2001:db8::c8", 7);
	assert_string_equal(nat_elem_text(&op, text), "2001:db8::c8 . interface 7 (set homes6)");
	op = (struct nat_op){ .kind = NAT_OP_LOCAL_DEL, .vip = address("198.51.100.1") };
	assert_string_equal(nat_elem_text(&op, text), "198.51.100.1 (set locals4)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),		 cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_former),		 cmocka_unit_test(test_former_bounds),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_grouping),	 cmocka_unit_test(test_storage_is_the_bound),
		cmocka_unit_test(test_ops_that_cannot_be), cmocka_unit_test(test_cut_and_changed),
		cmocka_unit_test(test_others),		 cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
