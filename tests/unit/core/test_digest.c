/* SPDX-License-Identifier: Apache-2.0 */
/* test_digest.c: each field but the key counts, in digests and in comparisons; digests are written down, since they are kept
 * in the kernel. */
#include "agent/core/digest.h"

#include "agent/core/same.h"
#include "tests/unit/core/make.h"

struct face {
	struct ip_port backends[2];
	uint16_t slots[6];
	struct frontend f;
};

static void make_face(struct face *x)
{
	*x = (struct face){ .backends = { { make_v4(1), 80 }, { make_v4(2), 80 } }, .slots = { 1, 1, 0, 1, 1, 0 },
			    .f = { .vip = make_v4(9), .proto = PROTO_TCP, .port = 80, .n_backends = 2, .n_slots = 6 } };
	x->f.backends = x->backends;
	x->f.slots = x->slots;
}

/* What the kernel keeps must be read the same by the next build, on any machine: these numbers may change only with the
 * table's layout. */
static void test_written_down(void **state)
{
	struct nat_firewall fw = { .restricted = true, .n_sources = 1, .n_rates = 1, .client_connections = 5 };
	const struct ip_net source = { make_v4(0), 24 };
	struct face x;

	(void)state;
	make_face(&x);
	fw.sources = &source;
	fw.rates[0] = (struct rate){ .unit = RATE_BYTES, .per_s = 60, .amount = 1234, .burst = 99 };
	assert_true(digest_frontend(&x.f) == UINT64_C(0xa97761b62ed69023));
	assert_true(digest_firewall(&fw) == UINT64_C(0xc5c22802dda5f275));
}

#define FACES 11 /* ways in which it may differ */

static void vary_face(struct face *x, int how)
{
	make_face(x);
	if (how == 0)
		x->f.balance = BALANCE_RANDOM;
	else if (how == 1)
		x->f.sticky_s = 1;
	else if (how == 2)
		x->f.n_slots = 5;
	else if (how == 3)
		x->f.n_backends = 1;
	else if (how == 4)
		x->backends[0].port = 81;
	else if (how == 5)
		x->backends[1].ip.b[3] = 99;
	else if (how == 6)
		x->backends[1].ip = make_v6(2);
	else if (how == 7)
		x->slots[5] = 1;
	else if (how == 8)
		x->slots[0] = 0;
	else if (how == 9)
		x->f.balance = BALANCE_SOURCE;
	else if (how == 10) { /* two slots change places */
		x->slots[1] = 0;
		x->slots[2] = 1;
	}
}

#define WALLS 9

static void vary_firewall(struct nat_firewall *fw, struct ip_net sources[static 2], int how)
{
	sources[0] = (struct ip_net){ make_v4(0), 24 };
	sources[1] = (struct ip_net){ make_v4(256), 24 };
	*fw = (struct nat_firewall){ .name = "n/web", .sources = sources, .n_sources = 2, .restricted = true, .n_rates = 1,
				     .rates = { { .unit = RATE_BYTES, .per_s = 1, .amount = 10, .burst = 3 } } };
	if (how == 0)
		fw->n_sources = 1;
	else if (how == 1)
		sources[0].len = 25;
	else if (how == 2)
		sources[1].ip = make_v4(512);
	else if (how == 3)
		fw->rates[0].unit = RATE_PACKETS;
	else if (how == 4)
		fw->rates[0].per_s = 60;
	else if (how == 5)
		fw->rates[0].amount = UINT64_C(1) << 40;
	else if (how == 6)
		fw->rates[0].burst = 4;
	else if (how == 7)
		fw->client_connections = 1;
	else if (how == 8)
		fw->n_rates = 0;
}

static void all_distinct(const uint64_t *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(v[i] != v[k]);
}

/* Each field counts, but the key. */
static void test_frontends(void **state)
{
	uint64_t seen[FACES + 1];
	struct face x;

	(void)state;
	for (int i = 0; i <= FACES; i++) { /* the last: as it was */
		vary_face(&x, i);
		seen[i] = digest_frontend(&x.f);
	}
	all_distinct(seen, ARRAY_LEN(seen));
	x.f.vip = make_v6(77);
	x.f.port = 1;
	x.f.proto = PROTO_UDP;
	assert_true(digest_frontend(&x.f) == seen[FACES]);
}

static void test_firewalls(void **state)
{
	uint64_t seen[WALLS + 1];
	struct ip_net sources[2];
	struct nat_firewall fw;

	(void)state;
	for (int i = 0; i <= WALLS; i++) {
		vary_firewall(&fw, sources, i);
		seen[i] = digest_firewall(&fw);
	}
	all_distinct(seen, ARRAY_LEN(seen));
	memcpy(fw.name, "n/other", sizeof("n/other"));
	assert_true(digest_firewall(&fw) == seen[WALLS]);
}

/* Comparison does not trust the digest: should two be the same by chance, what differs is still seen. */
static void test_same(void **state)
{
	struct ip_net sources[2], others[2];
	struct nat_firewall fw, gw;
	struct face x, y;

	(void)state;
	make_face(&y);
	for (int i = 0; i <= FACES; i++) {
		vary_face(&x, i);
		assert_int_equal(same_frontend(&x.f, &y.f), i == FACES);
	}
	x.f.port = 81;
	assert_false(same_frontend(&x.f, &y.f));
	vary_firewall(&gw, others, WALLS);
	for (int i = 0; i <= WALLS; i++) {
		vary_firewall(&fw, sources, i);
		assert_int_equal(same_firewall(&fw, &gw), i == WALLS);
	}
	fw.restricted = false;
	assert_false(same_firewall(&fw, &gw));
	fw.restricted = true;
	memcpy(fw.name, "n/other", sizeof("n/other"));
	assert_false(same_firewall(&fw, &gw));
	assert_false(same_firewall(&fw, NULL));
	assert_false(same_firewall(NULL, &gw));
	assert_true(same_firewall(NULL, NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written_down),
		cmocka_unit_test(test_frontends),
		cmocka_unit_test(test_firewalls),
		cmocka_unit_test(test_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
