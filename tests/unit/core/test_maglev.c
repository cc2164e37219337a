/* SPDX-License-Identifier: Apache-2.0 */
/* test_maglev.c: tables are balanced (largest share <= 1.25 of the mean), change little when one backend comes or goes,
 * depend on the set of backends alone, and are the same on every machine (a table is written down here). */
#include "agent/core/maglev.h"

#include <errno.h>

#include "agent/base/nat.h"
#include "tests/unit/core/make.h"

#define BACKENDS_MAX 1200

static struct ip_port slots_a[NAT_SLOTS_MAX], slots_b[NAT_SLOTS_MAX];

static struct ip_port backend_at(uint32_t seed, uint32_t i)
{
	/* neighbouring addresses, as pods have them, and two ports */
	struct ip_port b = { (seed & 1) ? make_v6(seed * 7919 + i) : make_v4((seed * 977 + i) & 0x1ffff),
			     (uint16_t)(seed % 3 ? 8080 : 9090) };

	return b;
}

static int order(const void *a, const void *b)
{
	return ip_port_cmp(a, b);
}

/* n sorted distinct backends; skip: index of one to leave out, or >= n. */
static size_t make_backends(uint32_t seed, uint32_t n, uint32_t skip, struct ip_port *ret)
{
	size_t m = 0;

	for (uint32_t i = 0; i < n; i++)
		if (i != skip)
			ret[m++] = backend_at(seed, i);
	qsort(ret, m, sizeof(*ret), order);
	return m;
}

static void fill(const struct ip_port *b, size_t n, struct ip_port *slots, uint16_t n_slots)
{
	struct arena a = make_arena(64 * 1024);

	assert_int_equal(maglev_fill(b, n, slots, n_slots, &a), 0);
	assert_int_equal(a.used, 0);
	drop_arena(&a);
}

static void test_classes(void **state)
{
	static const struct {
		size_t n;
		uint16_t want;
	} rows[] = { { 1, 13 },	    { 2, 13 },	   { 3, 61 },	  { 12, 61 },	  { 13, 251 },	  { 50, 251 },
		     { 51, 1021 },  { 204, 1021 }, { 205, 5003 }, { 1000, 5003 }, { 1001, 5003 }, { 100000, 5003 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(maglev_class(rows[i].n), rows[i].want);
	for (size_t n = 1; n <= 1000; n++)
		assert_true(maglev_class(n) >= 5 * n);
}

/* Each backend's share lies between floor and ceiling of the mean: turns are taken in rounds. */
static void test_balance(void **state)
{
	static struct ip_port b[BACKENDS_MAX];
	static unsigned int count[BACKENDS_MAX];

	(void)state;
	for (uint32_t n = 1; n <= 1000; n += n < 60 ? 1 : 47) {
		const uint16_t m = maglev_class(n);
		unsigned int most = 0;

		make_backends(n, n, n, b);
		fill(b, n, slots_a, m);
		memset(count, 0, sizeof(count));
		for (size_t i = 0; i < m; i++) {
			const struct ip_port *at = bsearch(&slots_a[i], b, n, sizeof(*b), order);

			assert_non_null(at);
			if (++count[at - b] > most)
				most = count[at - b];
		}
		for (uint32_t i = 0; i < n; i++)
			assert_in_range(count[i], m / n, m / n + 1);
		assert_true((double)most * n / m <= 1.25);
	}
}

/* Share of slots that hold another backend although both tables know the old one: the price of a change.  Of a backend
 * that goes, its own slots must move; of one that comes, as many.  Only what moves besides is counted. */
static double needless(uint32_t seed, uint32_t n, uint32_t gone)
{
	static struct ip_port with[BACKENDS_MAX], without[BACKENDS_MAX];
	const struct ip_port victim = backend_at(seed, gone);
	const uint16_t m = maglev_class(n);
	unsigned int moved = 0;

	fill(with, make_backends(seed, n, n, with), slots_a, m);
	fill(without, make_backends(seed, n, gone, without), slots_b, m);
	for (size_t i = 0; i < m; i++)
		if (ip_port_cmp(&slots_a[i], &victim) != 0 && ip_port_cmp(&slots_a[i], &slots_b[i]) != 0)
			moved++;
	return (double)moved / m;
}

static void test_disruption(void **state)
{
	static const uint32_t sizes[] = { 4, 10, 12, 30, 50, 100, 200, 500 };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		double sum = 0, worst = 0;

		for (uint32_t seed = 1; seed <= 40; seed++) {
			double x = needless(seed, sizes[k], seed % sizes[k]);

			sum += x;
			worst = x > worst ? x : worst;
		}
		print_message("%u backends: mean %.1f %%, worst %.1f %% of the slots moved needlessly\n", sizes[k],
			      sum * 100 / 40, worst * 100);
		/* slot modulo n would move 31-91 %; the bounds leave air for any seed */
		assert_true(sum / 40 <= 0.20);
		assert_true(worst <= 0.40);
	}
}

/* The input is sorted by contract, so "order" can only enter through stale slots or scratch memory. */
static void test_pure(void **state)
{
	static struct ip_port b[64];
	struct arena a = make_arena(4096);

	(void)state;
	for (uint32_t seed = 1; seed < 30; seed++) {
		size_t n = make_backends(seed, 1 + seed * 2 % 50, 99, b);
		uint16_t m = maglev_class(n);

		memset(slots_a, 0, sizeof(slots_a));
		memset(slots_b, (int)seed, sizeof(slots_b));
		memset(a.base, (int)seed, a.size);
		fill(b, n, slots_a, m);
		assert_int_equal(maglev_fill(b, n, slots_b, m, &a), 0);
		for (size_t i = 0; i < m; i++)
			assert_int_equal(ip_port_cmp(&slots_a[i], &slots_b[i]), 0);
	}
	drop_arena(&a);
}

static void test_more_backends_than_slots(void **state)
{
	static struct ip_port b[BACKENDS_MAX];

	(void)state;
	make_backends(2, 100, 100, b);
	fill(b, 100, slots_a, 13);
	for (size_t i = 0; i < 13; i++) {
		assert_non_null(bsearch(&slots_a[i], b, 100, sizeof(*b), order));
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(ip_port_cmp(&slots_a[i], &slots_a[j]), 0);
	}
}

/* Two nodes with two builds must agree, or a move cuts connections: these are the tables, for ever.  They were computed
 * by another program from the definition at the head of maglev.c. */
static void test_written_down(void **state)
{
	static const char v4[] = "bccccbacbcaccbaabbcaabbacccbaabaccbbabaaccbabbacabcaaabcbacba";
	static const char v6[] = "bababababaaba";
	struct ip_port b[3];
	char got[64] = "";

	(void)state;
	for (uint8_t i = 0; i < 3; i++) {
		b[i] = (struct ip_port){ make_ip("192.0.2.10"), 8080 };
		b[i].ip.b[3] = (uint8_t)(10 + i);
	}
	fill(b, 3, slots_a, 61);
	for (size_t i = 0; i < 61; i++)
		got[i] = (char)('a' + slots_a[i].ip.b[3] - 10);
	assert_string_equal(got, v4);
	b[0] = (struct ip_port){ make_ip("2001:db8::a"), 443 };
	b[1] = (struct ip_port){ make_ip("2001:db8::a"), 8443 };
	fill(b, 2, slots_a, 13);
	for (size_t i = 0; i < 13; i++)
		got[i] = slots_a[i].port == 443 ? 'a' : 'b';
	got[13] = '\0';
	assert_string_equal(got, v6);
}

static void test_too_little_scratch(void **state)
{
	static struct ip_port b[50];
	size_t n = make_backends(3, 50, 50, b);

	(void)state;
	for (size_t size = 0; size < n * 4; size++) {
		struct arena a = make_arena(size);

		assert_int_equal(maglev_fill(b, n, slots_a, 251, &a), -ENOSPC);
		assert_int_equal(a.used, 0);
		drop_arena(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_balance),
		cmocka_unit_test(test_disruption),
		cmocka_unit_test(test_pure),
		cmocka_unit_test(test_more_backends_than_slots),
		cmocka_unit_test(test_written_down),
		cmocka_unit_test(test_too_little_scratch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
