/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_elem.c: element messages byte for byte, read back, bounded by the batch's storage, and refused when cut. */
#include "netlink/nat_elem.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "tests/unit/netlink/bytes.h"

static unsigned char buf[512 * 1024] __attribute__((aligned(16)));

static struct nat_elem slot(const char *vip, uint16_t n, const char *backend)
{
	struct ip ip = address(vip);

	return (struct nat_elem){ .set = nat_set_of(NAT_SET_KIND_SLOTS, ip.family), .ip = ip, .proto = 6, .port = 80,
				  .slot = n, .backend = { address(backend), 8080 } };
}

static struct nat_elem dispatch(const char *vip, const char *chain, uint64_t digest)
{
	struct ip ip = address(vip);

	return (struct nat_elem){ .set = nat_set_of(NAT_SET_KIND_DISPATCH, ip.family), .ip = ip, .proto = 17, .port = 53,
				  .chain = chain, .digest = digest };
}

static struct nat_elem firewall(const char *vip, const char *chain)
{
	struct ip ip = address(vip);

	return (struct nat_elem){ .set = nat_set_of(NAT_SET_KIND_FIREWALLS, ip.family), .ip = ip, .proto = 17, .port = 53,
				  .chain = chain };
}

static struct nat_elem client(const char *vip, const char *source, const char *backend)
{
	struct ip ip = address(vip);

	return (struct nat_elem){ .set = nat_set_of(NAT_SET_KIND_CLIENTS, ip.family), .ip = ip, .proto = 6, .port = 443,
				  .client = address(source), .backend = { address(backend), 1 } };
}

static struct nat_elem member(uint8_t kind, const char *ip, uint8_t proto, uint16_t port)
{
	struct nat_member m = { .kind = kind, .ip = address(ip), .proto = proto, .port = port };

	return nat_elem_of_member(&m);
}

static struct nat_elem home(const char *vip, uint32_t ifindex)
{
	struct nat_member m = { .kind = NAT_HOME, .ip = address(vip), .ifindex = ifindex };

	return nat_elem_of_member(&m);
}

/* All of them, neighbours sharing messages; 0 or the first error, after which nothing more is put. */
static int put_all(struct batch *b, const struct nat_elem *v, size_t n, enum nat_elem_verb verb)
{
	struct nat_elem_writer w;
	int r = 0;

	nat_elem_begin(&w, b);
	for (size_t i = 0; i < n && r == 0; i++)
		r = nat_elem_put(&w, &v[i], verb);
	nat_elem_close(&w);
	return r;
}

/* The sets that have keys alone, each as its own kind. */
static void test_keys(void **state)
{
	const struct nat_elem add[] = { member(NAT_GUARD, "198.51.100.1", 6, 8080), home("192.0.2.200", 0x01020304) };
	const struct nat_elem del = member(NAT_LOCAL, "198.51.100.1", 0, 0);
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, add, ARRAY_LEN(add), NAT_ELEM_ADD), 0);
	assert_int_equal(put_all(&b, &del, 1, NAT_ELEM_DEL), 0);
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
	const struct nat_elem elems[] = { slot("192.0.2.200", 7, "198.51.100.1") };
	const struct nat_elem news[] = { dispatch("2001:db8::c8", "random-61", 0x0123456789abcdef) };
	const struct nat_elem dels[] = { member(NAT_VIP, "192.0.2.200", 0, 0) };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, elems, 1, NAT_ELEM_ADD), 0);
	assert_int_equal(put_all(&b, news, 1, NAT_ELEM_NEW), 0);
	assert_int_equal(put_all(&b, dels, 1, NAT_ELEM_DEL), 0);
	batch_end(&b);
	batch_renumber(&b, 100);
	assert_bytes(buf, b.len,
		     "14000000 1000 0100 64000000 00000000 00 00 000a" /* begin: nf_tables */
		     "60000000 0c0a 0104 65000000 00000000 01 00 0000" /* NEWSETELEM, CREATE; inet */
		     "0e00 0100 6c656173 65686f6c 64000000 0b00 0200 736c6f74 73340000"
		     "3000 0380 2c00 0180 1800 0180 1400 0100 c00002c8 06000000 00500000 07000000"
		     "1000 0280 0c00 0100 c6336401 1f900000"
		     "9c000000 0c0a 0106 66000000 00000000 01 00 0000" /* CREATE, EXCL */
		     "0e00 0100 6c656173 65686f6c 64000000 0e00 0200 64697370 61746368 36000000"
		     "6800 0380 6400 0180 2000 0180 1c00 0100 20010db80000000000000000000000c8 11000000 00350000"
		     "2000 0280 1c00 0280 0800 0100 fffffffc 0e00 0200 72616e64 6f6d2d36 31000000"
		     "1e00 0600 0018 64696765737420 30313233343536373839616263646566 00 0000" /* its comment */
		     "44000000 0e0a 0500 67000000 00000000 01 00 0000" /* DELSETELEM, ACK: the last */
		     "0e00 0100 6c656173 65686f6c 64000000 0a00 0200 76697073 34000000"
		     "1400 0380 1000 0180 0c00 0180 0800 0100 c00002c8"
		     "14000000 1100 0100 68000000 00000000 00 00 000a" /* end */);
}

/* A request by keys has no values. */
static void test_get(void **state)
{
	const struct nat_elem e = slot("192.0.2.200", 7, "198.51.100.1");
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, &e, 1, NAT_ELEM_GET), 0);
	assert_bytes(buf + 20, b.len - 20,
		     "50000000 0d0a 0100 01000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0b00 0200 736c6f74 73340000"
		     "2000 0380 1c00 0180 1800 0180 1400 0100 c00002c8 06000000 00500000 07000000");
	assert_ptr_equal(b.last, buf + 20);
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
	batch_init(&b, buf, 256 * 1024); /* what nat_if.c has */
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

static struct nat_elem read_elems[6000];
static char read_chains[64][NAT_NAME_MAX];
static size_t n_read;

static int keep(void *ctx, const struct nat_elem *e)
{
	(void)ctx;
	assert_true(n_read < ARRAY_LEN(read_elems));
	read_elems[n_read] = *e;
	if (e->chain) {
		assert_true(n_read < ARRAY_LEN(read_chains));
		snprintf(read_chains[n_read], NAT_NAME_MAX, "%s", e->chain);
		read_elems[n_read].chain = read_chains[n_read];
	}
	n_read++;
	return 0;
}

static void assert_elem(const struct nat_elem *a, const struct nat_elem *b)
{
	assert_ptr_equal(a->set, b->set);
	assert_true(ip_eq(&a->ip, &b->ip));
	assert_int_equal(a->proto, b->proto);
	assert_int_equal(a->port, b->port);
	assert_int_equal(a->slot, b->slot);
	assert_int_equal(a->ifindex, b->ifindex);
	assert_true(ip_eq(&a->client, &b->client));
	assert_int_equal(ip_port_cmp(&a->backend, &b->backend), 0);
	assert_string_equal(a->chain ? a->chain : "-", b->chain ? b->chain : "-");
	assert_true(a->digest == b->digest);
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

static char long_chain[NAT_NAME_MAX];

/* Of every kind that is read, both families. */
static size_t every_kind(struct nat_elem *v)
{
	size_t n = 0;

	memset(long_chain, 'x', sizeof(long_chain) - 1);
	for (uint8_t kind = 0; kind < NAT_MEMBER_KIND_N; kind++) {
		const bool service = kind == NAT_GUARD || kind >= NAT_RECEIVED;

		if (kind == NAT_HOME)
			continue;
		v[n++] = member(kind, "198.51.100.1", service ? 132 : 0, service ? 65535 : 0);
		v[n++] = member(kind, "2001:db8:1:2:3:4:5:6", service ? 17 : 0, service ? 1 : 0);
	}
	v[n++] = home("192.0.2.200", 1);
	v[n++] = home("2001:db8::c8", UINT32_MAX);
	v[n++] = slot("192.0.2.201", 5002, "198.51.100.255");
	v[n++] = slot("2001:db8::c8", 65535, "::1");
	v[n++] = dispatch("192.0.2.200", "hash-61", 1);
	v[n++] = dispatch("2001:db8::c8", long_chain, UINT64_MAX);
	v[n++] = dispatch("2001:db8::c8", "turn-3-2001.db8..c8-tcp-80", 0);
	v[n++] = firewall("192.0.2.200", "firewall-default/web");
	v[n++] = firewall("2001:db8::c8", long_chain);
	v[n++] = client("192.0.2.200", "203.0.113.7", "198.51.100.255");
	v[n++] = client("2001:db8::c8", "2001:db8:1:2:3:4:5:6", "2001:db8::1");
	return n;
}

static void test_round_trip(void **state)
{
	struct nat_elem v[64];
	size_t n = every_kind(v);
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, v, n, NAT_ELEM_ADD), 0);
	assert_in_range(read_batch(&b), n / 2, n);
	assert_int_equal(n_read, n);
	for (size_t i = 0; i < n; i++)
		assert_elem(&read_elems[i], &v[i]);
}

/* Neighbours of one set and verb share a message; a list is one attribute, so a long one is split. */
static void test_grouping(void **state)
{
	static struct nat_elem v[NAT_SLOTS_MAX];
	struct nat_elem_writer w;
	struct batch b;

	(void)state;
	for (uint16_t i = 0; i < NAT_SLOTS_MAX; i++)
		v[i] = slot("2001:db8::c8", i, "2001:db8::1");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, v, NAT_SLOTS_MAX, NAT_ELEM_ADD), 0);
	assert_in_range(read_batch(&b), 6, 12);
	assert_int_equal(n_read, NAT_SLOTS_MAX);
	for (size_t i = 0; i < NAT_SLOTS_MAX; i++)
		assert_elem(&read_elems[i], &v[i]);
	v[1] = slot("192.0.2.1", 1, "192.0.2.2");
	batch_init(&b, buf, sizeof(buf));
	nat_elem_begin(&w, &b);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(nat_elem_put(&w, &v[i], i == 3 ? NAT_ELEM_DEL : NAT_ELEM_ADD), 0);
	nat_elem_close(&w);
	assert_int_equal(batch_count(&b), 5);
}

/* Going back to a mark leaves what was there, in an open message, too. */
static void test_rewind(void **state)
{
	static unsigned char other[4096] __attribute__((aligned(16)));
	struct batch b, want;
	struct nat_elem_writer w, x;

	(void)state;
	batch_init(&want, other, sizeof(other));
	nat_elem_begin(&x, &want);
	batch_init(&b, buf, sizeof(other));
	nat_elem_begin(&w, &b);
	for (uint16_t i = 0; i < 6; i++) {
		struct nat_elem one = slot("192.0.2.200", i, "198.51.100.1");
		struct nat_elem two = dispatch("192.0.2.200", "hash-13", i + 1);
		struct nat_elem_mark mark = nat_elem_mark(&w);

		for (unsigned int n = 0; n < i; n++) {
			assert_int_equal(nat_elem_put(&w, &one, NAT_ELEM_ADD), 0);
			assert_int_equal(nat_elem_put(&w, &two, NAT_ELEM_DEL), 0);
		}
		nat_elem_rewind(&w, &mark);
		assert_int_equal(nat_elem_put(&w, i < 4 ? &one : &two, NAT_ELEM_ADD), 0);
		assert_int_equal(nat_elem_put(&x, i < 4 ? &one : &two, NAT_ELEM_ADD), 0);
	}
	nat_elem_close(&w);
	nat_elem_close(&x);
	assert_int_equal(batch_count(&b), 2);
	assert_int_equal(b.len, want.len);
	assert_memory_equal(b.data, want.data, b.len);
}

static void test_storage_is_the_bound(void **state)
{
	bool fitted = false;

	(void)state;
	for (size_t cap = BATCH_OVERHEAD; cap < 16384; cap += 4) {
		unsigned char *data = malloc(cap);
		struct nat_elem_writer w;
		struct batch b;
		int r = 0;

		assert_non_null(data);
		batch_init(&b, data, cap);
		nat_elem_begin(&w, &b);
		for (uint16_t i = 0; i < 40 && r == 0; i++) {
			struct nat_elem e = i / 4 % 2 ? slot("2001:db8::c8", i, "2001:db8::1")
						      : dispatch("2001:db8::c8", "hash-1021", 7);
			struct nat_elem_mark before = nat_elem_mark(&w);

			r = nat_elem_put(&w, &e, NAT_ELEM_ADD);
			if (r < 0) {
				assert_int_equal(r, -ENOSPC);
				assert_memory_equal(&before.w, &w, sizeof(w)); /* as before */
				assert_memory_equal(&before.b, &b, sizeof(b));
			}
		}
		nat_elem_close(&w);
		if (batch_count(&b) > 0)
			batch_end(&b);
		fitted = fitted || r == 0;
		assert_true(b.len <= cap);
		free(data);
	}
	assert_true(fitted);
}

static void test_elements_that_cannot_be(void **state)
{
	char too_long[NAT_NAME_MAX + 1] = "";
	struct nat_elem bad[5];
	struct batch b;

	(void)state;
	memset(too_long, 'x', NAT_NAME_MAX);
	bad[0] = dispatch("192.0.2.200", NULL, 1);
	bad[1] = dispatch("192.0.2.200", too_long, 1);
	bad[2] = slot("192.0.2.200", 7, "2001:db8::1");
	bad[3] = member(NAT_VIP, "192.0.2.200", 0, 0);
	bad[3].ip.family = IP_NONE;
	bad[4] = client("192.0.2.200", "2001:db8::1", "198.51.100.1");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		batch_init(&b, buf, sizeof(buf));
		assert_int_equal(put_all(&b, &bad[i], 1, NAT_ELEM_ADD), -EINVAL);
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
	const struct nlmsghdr *nlh = (const void *)(buf + 20);
	struct nat_elem v[64];
	size_t n = every_kind(v);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		struct batch b;

		batch_init(&b, buf, sizeof(buf));
		assert_int_equal(put_all(&b, &v[i], 1, NAT_ELEM_ADD), 0);
		assert_no_part(nlh, nlh->nlmsg_len, parse);
		try_changes(nlh, nlh->nlmsg_len, parse);
	}
}

static int refuse(void *ctx, const struct nat_elem *e)
{
	(void)ctx;
	(void)e;
	return -ENOMEM;
}

static void test_others(void **state)
{
	struct nat_elem e = slot("192.0.2.200", 7, "198.51.100.1");
	struct nlmsghdr *nlh = (void *)(buf + 20);
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, &e, 1, NAT_ELEM_ADD), 0);
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
	assert_int_equal(nat_elem_parse(nlh, nlh->nlmsg_len, refuse, NULL), -ENOMEM);
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM;
	assert_int_equal(parse(nlh, nlh->nlmsg_len), -EBADMSG);
	/* A verdict other than goto is reported as none; a comment without a digest, likewise. */
	e = dispatch("192.0.2.200", "hash-13", 1);
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(put_all(&b, &e, 1, NAT_ELEM_ADD), 0);
	assert_memory_equal(buf + b.len - 48, "\xff\xff\xff\xfc", 4);
	buf[b.len - 45] = 0xfd; /* jump */
	buf[b.len - 4] = 'x';
	assert_int_equal(parse(nlh, nlh->nlmsg_len), 0);
	assert_int_equal(n_read, 1);
	assert_null(read_elems[0].chain);
	assert_true(read_elems[0].digest == 0);
}

/* As Linux 6.18 answers: an element of a set that counts, and a named counter. */
static void test_counters(void **state)
{
	static const unsigned char elem[] __attribute__((aligned(4))) =
		"\x78\x00\x00\x00\x0c\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"
		"\x0e\x00\x01\x00leasehold\x00\x00\x00\x0a\x00\x02\x00sent4\x00\x00\x00"
		"\x48\x00\x03\x80\x44\x00\x01\x80"
		"\x14\x00\x01\x80\x10\x00\x01\x00\xc0\x00\x02\x01\x06\x00\x00\x00\x00\x50\x00\x00"
		"\x2c\x00\x07\x80\x0c\x00\x01\x00" "counter\x00\x1c\x00\x02\x80"
		"\x0c\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x02\x0c\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x03";
	static const unsigned char object[] __attribute__((aligned(4))) =
		"\x60\x00\x00\x00\x12\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"
		"\x0e\x00\x01\x00leasehold\x00\x00\x00\x0e\x00\x02\x00" "drop-rate\x00\x00\x00"
		"\x08\x00\x03\x00\x00\x00\x00\x01\x08\x00\x05\x00\x00\x00\x00\x02"
		"\x1c\x00\x04\x80\x0c\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x02"
		"\x0c\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x03";
	struct nat_seen_counter c;

	(void)state;
	assert_int_equal(parse(elem, sizeof(elem) - 1), 0);
	assert_int_equal(n_read, 1);
	assert_int_equal(read_elems[0].set->kind, NAT_SET_KIND_SENT);
	assert_int_equal(read_elems[0].port, 80);
	assert_true(read_elems[0].packets == 3 && read_elems[0].bytes == 0x102);
	assert_no_part(elem, sizeof(elem) - 1, parse);
	try_changes(elem, sizeof(elem) - 1, parse);
	assert_int_equal(nat_elem_parse_counter(object, sizeof(object) - 1, &c), 0);
	assert_string_equal(c.name, "drop-rate");
	assert_true(c.packets == 3 && c.bytes == 0x102);
	for (size_t n = 0; n < sizeof(object) - 1; n++) {
		void *part = copy_of(object, n);

		assert_int_equal(nat_elem_parse_counter(part, n, &c), -EBADMSG);
		free(part);
	}
}

static void test_digests(void **state)
{
	char text[NAT_DIGEST_MAX];

	(void)state;
	assert_string_equal(nat_digest_text(0xfeu, text), "digest 00000000000000fe");
	assert_true(nat_digest_find("digest 00000000000000fe") == 0xfe);
	assert_true(nat_digest_find("layout 4 digest ffffffffffffffff, and more") == UINT64_MAX);
	assert_true(nat_digest_find("digest 00000000000000f") == 0);
	assert_true(nat_digest_find("digest 00000000000000fE") == 0);
	assert_true(nat_digest_find("layout 4") == 0);
	assert_true(nat_digest_find("") == 0);
	assert_int_equal(nat_rules_find("layout 4 digest 00000000000000fe rules 65535"), 65535);
	assert_int_equal(nat_rules_find("rules 7, and more"), 7);
	assert_int_equal(nat_rules_find("rules 65536"), 0);
	assert_int_equal(nat_rules_find("rules 99999999999999999999"), 0);
	assert_int_equal(nat_rules_find("rules x"), 0);
	assert_int_equal(nat_rules_find("rules "), 0);
	assert_int_equal(nat_rules_find("layout 4"), 0);
}

static void test_text(void **state)
{
	char text[NAT_ELEM_TEXT_MAX];
	struct nat_elem v[64], e = slot("192.0.2.200", 7, "198.51.100.1");
	size_t n = every_kind(v);

	(void)state;
	assert_string_equal(nat_elem_text(&e, text), "192.0.2.200 . tcp . 80 . 7 : 198.51.100.1 . 8080 (map slots4)");
	e = dispatch("2001:db8::c8", "random-61", 5);
	e.proto = 99;
	assert_string_equal(nat_elem_text(&e, text), "2001:db8::c8 . 99 . 53 : random-61 (map dispatch6)");
	e = member(NAT_VIP, "192.0.2.200", 0, 0);
	assert_string_equal(nat_elem_text(&e, text), "192.0.2.200 (set vips4)");
	e = member(NAT_GUARD, "198.51.100.1", 17, 5353);
	assert_string_equal(nat_elem_text(&e, text), "198.51.100.1 . udp . 5353 (set guards4)");
	e = home("2001:db8::c8", 7);
	assert_string_equal(nat_elem_text(&e, text), "2001:db8::c8 . interface 7 (set homes6)");
	e = client("192.0.2.200", "203.0.113.7", "198.51.100.1");
	assert_string_equal(nat_elem_text(&e, text),
			    "192.0.2.200 . tcp . 443 . 203.0.113.7 : 198.51.100.1 . 1 (map clients4)");
	for (size_t i = 0; i < n; i++)
		assert_true(strlen(nat_elem_text(&v[i], text)) < NAT_ELEM_TEXT_MAX - 1); /* not cut */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),	     cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_get),	     cmocka_unit_test(test_former),
		cmocka_unit_test(test_former_bounds), cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_grouping),     cmocka_unit_test(test_rewind),
		cmocka_unit_test(test_storage_is_the_bound), cmocka_unit_test(test_elements_that_cannot_be),
		cmocka_unit_test(test_cut_and_changed), cmocka_unit_test(test_others),
		cmocka_unit_test(test_counters),     cmocka_unit_test(test_digests),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
