/* SPDX-License-Identifier: Apache-2.0 */
/* test_tally.c: through random additions and removals, and moves into tables of another size, the tally counts as a plain
 * list does; removed entries leave no trace. */
#include "agent/core/tally.h"

#include "tests/unit/core/make.h"

#define MEMBERS 96
#define CAP 128

static struct tally_entry v[CAP], w[4 * CAP];

/* Neighbours in every field, so that each must count. */
static struct nat_member member_at(size_t i)
{
	struct nat_member m = { .ip = i % 2 ? make_v6((uint32_t)(i / 2 % 4)) : make_v4((uint32_t)(i / 2 % 4)),
				.kind = (uint8_t)(i / 8 % 3), .proto = i / 24 % 2 ? PROTO_TCP : PROTO_UDP };

	if (m.kind == NAT_HOME)
		m.ifindex = (uint32_t)i / 48 << 16 | 7;
	else
		m.port = (uint16_t)(i / 48 * 256);
	return m;
}

static void check(const struct tally *t, const uint32_t *want)
{
	size_t n = 0, used = 0;

	for (size_t i = 0; i < MEMBERS; i++) {
		const struct nat_member m = member_at(i);

		assert_int_equal(tally_count(t, &m), want[i]);
		n += want[i] > 0;
	}
	assert_int_equal(t->n, n);
	for (size_t i = 0; i < t->cap; i++)
		used += t->v[i].count > 0;
	assert_int_equal(used, n);
}

static void test_random(void **state)
{
	struct prng p = { 11 };

	(void)state;
	for (size_t round = 0; round < 60; round++) {
		uint32_t want[MEMBERS] = { 0 };
		struct tally t, larger;

		memset(v, 0x5a, sizeof(v));
		tally_init(&t, v, CAP);
		for (size_t step = 0; step < 1500; step++) {
			const size_t i = below(&p, MEMBERS);
			const struct nat_member m = member_at(i);

			if (want[i] > 0 && chance(&p, 48 + (uint32_t)round % 5))
				assert_int_equal(tally_sub(&t, &m), --want[i] == 0);
			else
				assert_int_equal(tally_add(&t, &m), want[i]++ == 0);
			if (step % 97 == 0)
				check(&t, want);
		}
		check(&t, want);
		tally_init(&larger, w, 4 * CAP);
		tally_move(&larger, &t);
		check(&larger, want);
		for (size_t i = 0; i < MEMBERS; i++) {
			const struct nat_member m = member_at(i);

			while (want[i] > 0)
				assert_int_equal(tally_sub(&larger, &m), --want[i] == 0);
		}
		check(&larger, want);
	}
}

static void test_room(void **state)
{
	struct tally t;

	(void)state;
	tally_init(&t, v, CAP);
	assert_true(tally_room(&t, CAP / 4 * 3));
	assert_false(tally_room(&t, CAP / 4 * 3 + 1));
	for (size_t i = 0; i < MEMBERS; i++) {
		const struct nat_member m = member_at(i);

		assert_true(tally_room(&t, MEMBERS - i));
		tally_add(&t, &m);
	}
	assert_true(tally_room(&t, 0));
	assert_false(tally_room(&t, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
