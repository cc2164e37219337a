/* SPDX-License-Identifier: Apache-2.0 */
/* test_ip.c: addresses and ranges as tables: what is read, what is refused, and that what is written reads back. */
#include "agent/base/ip.h"

#include "tests/unit/base/check.h"

static struct ip must(const char *text)
{
	struct ip ip;

	if (ip_parse(text, &ip) < 0)
		fail_msg("%s", text);
	return ip;
}

static void test_parse(void **state)
{
	static const char *const same[] = { "192.0.2.1", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1",
					    "2001:db8:1:2:3:4:5:6", "fe80::1", "::ffff:192.0.2.1" };
	static const char *const rewritten[][2] = { { "2001:DB8:0:0:0:0:0:1", "2001:db8::1" },
						    { "2001:0db8::0001", "2001:db8::1" } };
	static const char *const bad[] = { "", " 192.0.2.1", "192.0.2.1 ", "192.0.2", "192.0.2.256", "192.0.2.01", "0x7f.1",
					   "192.0.2.1/24", "2001:db8::1%eth0", "[2001:db8::1]", "2001:db8:::1", "1", "::g",
					   "2001:db8::1::2", "192.0.2.1\n" };
	char text[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(same); i++) {
		struct ip ip = must(same[i]);

		assert_string_equal(ip_format(&ip, text), same[i]);
		assert_int_equal(ip_len(&ip), strchr(same[i], ':') ? 16 : 4);
		for (size_t k = ip_len(&ip); k < sizeof(ip.b); k++)
			assert_int_equal(ip.b[k], 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(rewritten); i++) {
		struct ip ip = must(rewritten[i][0]);

		assert_string_equal(ip_format(&ip, text), rewritten[i][1]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ip ip = must("192.0.2.77"), before = ip;

		if (ip_parse(bad[i], &ip) != -EINVAL)
			fail_msg("\"%s\" was read", bad[i]);
		assert_true(ip_eq(&ip, &before));
	}
	assert_string_equal(ip_format(&(struct ip){ 0 }, text), "-");
}

static void test_ranges(void **state)
{
	static const char *const rows[][3] = {
		{ "192.0.2.1", "192.0.2.1", "192.0.2.1" },
		{ "192.0.2.1-192.0.2.9", "192.0.2.1", "192.0.2.9" },
		{ "192.0.2.0-192.0.2.255", "192.0.2.0", "192.0.2.255" },
		{ "192.0.2.0/24", "192.0.2.1", "192.0.2.254" },
		{ "192.0.2.77/24", "192.0.2.1", "192.0.2.254" },
		{ "192.0.2.128/25", "192.0.2.129", "192.0.2.254" },
		{ "192.0.2.4/30", "192.0.2.5", "192.0.2.6" },
		{ "192.0.2.4/31", "192.0.2.4", "192.0.2.5" },
		{ "192.0.2.4/32", "192.0.2.4", "192.0.2.4" },
		{ "198.18.0.0/15", "198.18.0.1", "198.19.255.254" },
		{ "2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff" },
		{ "2001:db8::8/126", "2001:db8::9", "2001:db8::b" },
		{ "2001:db8::8/127", "2001:db8::8", "2001:db8::9" },
		{ "2001:db8::8/128", "2001:db8::8", "2001:db8::8" },
		{ "2001:db8::1-2001:db8::ff", "2001:db8::1", "2001:db8::ff" },
	};
	static const char *const bad[] = { "", "-", "/", "192.0.2.1-", "-192.0.2.1", "192.0.2.9-192.0.2.1", "192.0.2.0/33",
					   "192.0.2.0/", "192.0.2.0/-1", "192.0.2.0/ 24", "192.0.2.0/024x", "2001:db8::/129",
					   "192.0.2.1-2001:db8::1", "192.0.2.0/24-192.0.3.0/24", "192.0.2.1 - 192.0.2.9",
					   "192.0.2.1-192.0.2.9-192.0.2.11", "192.0.2.1-9", "192.0.2.0/24/24",
					   "192.0.2.0/99999999999999999999",
					   "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff:1111:2222:3333-2001:db8::1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct ip first = must(rows[i][1]), last = must(rows[i][2]);
		struct ip_range r;

		if (ip_range_parse(rows[i][0], &r) < 0 || !ip_eq(&r.first, &first) || !ip_eq(&r.last, &last))
			fail_msg("%s", rows[i][0]);
		assert_true(ip_in_range(&first, &r) && ip_in_range(&last, &r));
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ip_range r = { must("192.0.2.77"), must("192.0.2.78") }, before = r;

		if (ip_range_parse(bad[i], &r) != -EINVAL)
			fail_msg("\"%s\" was read", bad[i]);
		assert_true(ip_eq(&r.first, &before.first) && ip_eq(&r.last, &before.last));
	}
}

static void test_nets(void **state)
{
	static const char *const rows[][2] = {
		{ "192.0.2.0/24", "192.0.2.0" },	  { " \t192.0.2.77/24\n", "192.0.2.0" },
		{ "192.0.2.77/32", "192.0.2.77" },	  { "192.0.2.77/0", "0.0.0.0" },
		{ "198.51.100.255/25", "198.51.100.128" }, { "2001:db8::ffff/64", "2001:db8::" },
		{ "2001:db8::ffff/113", "2001:db8::8000" }, { "2001:db8::1/128", "2001:db8::1" },
		{ "2001:0db8:0000:0000:0000:0000:0000:0001/127    ", "2001:db8::" },
	};
	static const char *const bad[] = { "", " ", "/", "/24", "192.0.2.0", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0 /24",
					   "192.0.2.0/ 24", "192.0.2.0/24 x", "192.0.2.0/24/24", "192.0.2.0/24,192.0.3.0/24", "2001:db8::/129",
					   "192.0.2.00/24", "2001:0db8:0000:0000:0000:0000:0000:0001:0000:0000:0000/127" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct ip want = must(rows[i][1]);
		struct ip_net net;

		if (ip_net_parse(rows[i][0], &net) < 0 || !ip_eq(&net.ip, &want) || net.len != strtoul(strchr(rows[i][0], '/') + 1, NULL, 10))
			fail_msg("%s", rows[i][0]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ip_net net = { must("192.0.2.77"), 9 };

		if (ip_net_parse(bad[i], &net) != -EINVAL || net.len != 9 || net.ip.b[3] != 77)
			fail_msg("\"%s\" was read", bad[i]);
	}
}

static void test_net_order(void **state)
{
	static const char *const sorted[] = { "0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/25", "192.0.2.128/25", "::/0", "2001:db8::/32" };
	struct ip_net a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
		for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
			int c = (ip_net_parse(sorted[i], &a) | ip_net_parse(sorted[k], &b)) < 0 ? 99 : ip_net_cmp(&a, &b);

			assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
		}
	}
}

static void test_order(void **state)
{
	static const char *const sorted[] = { "0.0.0.1", "9.255.0.0", "10.0.0.0", "192.0.2.1", "::", "::1", "2001:db8::", "ff02::1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
		for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
			const struct ip a = must(sorted[i]), b = must(sorted[k]);
			const struct ip_port pa = { a, 80 }, pb = { b, 80 }, higher = { b, 443 };
			int c = ip_cmp(&a, &b), want = (i > k) - (i < k);

			assert_int_equal((c > 0) - (c < 0), want);
			assert_int_equal(ip_eq(&a, &b), i == k);
			c = ip_port_cmp(&pa, &pb);
			assert_int_equal((c > 0) - (c < 0), want);
			if (i <= k)
				assert_true(ip_port_cmp(&pa, &higher) < 0);
		}
	}
}

static void test_next(void **state)
{
	static const char *const rows[][2] = {
		{ "192.0.2.1", "192.0.2.2" },	{ "192.0.2.255", "192.0.3.0" }, { "9.255.255.255", "10.0.0.0" },
		{ "2001:db8::", "2001:db8::1" }, { "2001:db8::ffff", "2001:db8::1:0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip ip = must(rows[i][0]), want = must(rows[i][1]);

		assert_true(ip_next(&ip, &ip));
		assert_true(ip_eq(&ip, &want));
	}
	for (size_t i = 0; i < 2; i++) {
		struct ip last = must(i ? "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" : "255.255.255.255"), ip = must("192.0.2.1");

		assert_false(ip_next(&last, &ip));
		assert_int_equal(ip.b[3], 1);
	}
}

static void test_membership(void **state)
{
	static const struct {
		const char *ip, *net;
		unsigned int len;
		bool want;
	} rows[] = {
		{ "192.0.2.1", "192.0.2.0", 24, true },	  { "192.0.3.1", "192.0.2.0", 24, false },
		{ "192.0.3.1", "192.0.2.9", 23, true },	  { "192.0.2.1", "192.0.2.1", 32, true },
		{ "192.0.2.1", "192.0.2.2", 32, false },  { "192.0.2.1", "203.0.113.1", 0, true },
		{ "192.0.2.1", "203.0.113.1", 1, true },  { "192.0.2.1", "10.0.0.0", 1, false },
		{ "192.0.2.1", "192.0.2.1", 33, false },  { "192.0.2.1", "::", 0, false },
		{ "2001:db8::1", "2001:db8::", 64, true }, { "2001:db8:0:1::1", "2001:db8::", 63, true },
		{ "2001:db8:0:2::1", "2001:db8::", 63, false }, { "2001:db8::1", "2001:db8::1", 128, true },
		{ "2001:db8::1", "2001:db8::1", 129, false },
	};
	struct ip_range r;
	const struct ip low = must("192.0.2.9"), high = must("192.0.2.21"), six = must("2001:db8::1");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip ip = must(rows[i].ip), net = must(rows[i].net);

		if (ip_in_prefix(&ip, &net, rows[i].len) != rows[i].want)
			fail_msg("%s in %s/%u", rows[i].ip, rows[i].net, rows[i].len);
	}
	assert_int_equal(ip_range_parse("192.0.2.10-192.0.2.20", &r), 0);
	assert_false(ip_in_range(&low, &r));
	assert_false(ip_in_range(&high, &r));
	assert_false(ip_in_range(&six, &r));
}

static void test_unusable(void **state)
{
	static const char *const no[] = { "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255",
					  "240.0.0.1", "::", "::1", "fe80::1", "febf::1", "ff02::1", "::ffff:192.0.2.1" };
	static const char *const yes[] = { "192.0.2.1", "198.51.100.255", "203.0.113.0", "1.0.0.1", "126.0.0.1", "128.0.0.1", "223.255.255.255",
					   "2001:db8::1", "::2", "fec0::1", "fd00::1", "::fffe:192.0.2.1" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		struct ip ip = must(no[i]);

		if (!ip_is_unusable(&ip))
			fail_msg("%s", no[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		struct ip ip = must(yes[i]);

		if (ip_is_unusable(&ip))
			fail_msg("%s", yes[i]);
	}
	assert_true(ip_is_unusable(&(struct ip){ 0 }));
}

static void test_listed(void **state)
{
	struct ip v[9];

	(void)state;
	for (uint8_t i = 0; i < 9; i++)
		v[i] = (struct ip){ IP_V4, { 192, 0, 2, (uint8_t)(2 * i + 1) } };
	for (size_t n = 0; n <= 9; n++) {
		for (uint8_t last = 0; last < 20; last++) {
			const struct ip ip = { IP_V4, { 192, 0, 2, last } };

			assert_int_equal(ip_listed(v, n, &ip), last % 2 == 1 && last < 2 * n);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_ranges),	 cmocka_unit_test(test_nets), cmocka_unit_test(test_net_order), cmocka_unit_test(test_order),
		cmocka_unit_test(test_next),  cmocka_unit_test(test_membership), cmocka_unit_test(test_unusable),
		cmocka_unit_test(test_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
