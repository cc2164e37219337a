/* SPDX-License-Identifier: Apache-2.0 */
/* test_rounds.c: what goes first of what is due, and that of many the first ones are kept; and a takeover of a thousand VIPs, paced,
 * with the schedules that they have. */
#include "agent/core/rounds.h"

#include "agent/core/pacer.h"
#include "tests/unit/core/make.h"

#define T0 INT64_C(1000000000000)
#define MANY 1000

static struct round due(uint32_t vip, unsigned int round, uint32_t rank, int64_t next_ms)
{
	return (struct round){ .vip = vip, .rank = rank, .schedule = { .round = round, .next = { T0 + next_ms * NS_PER_MS } } };
}

static void test_order(void **state)
{
	const struct round in_order[] = {
		due(9, 0, 0, 50),		/* just won, and busy */
		due(7, 0, 3, -900),
		due(2, 0, ROUND_RANK_NONE, 0),
		due(4, 0, ROUND_RANK_NONE, -50), /* by address, not by time */
		due(8, 1, 1, -400),
		due(1, 1, ROUND_RANK_NONE, -500),
		due(5, 5, 0, -9000),
		due(6, 7, ROUND_RANK_NONE, -60), /* refreshing: the one due longest, whatever its traffic */
		due(3, 6, 2, -20),
		due(0, 99, 2, 0),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(in_order); i++)
		for (size_t k = 0; k < ARRAY_LEN(in_order); k++) {
			int c = round_cmp(&in_order[i], &in_order[k]);

			assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
		}
}

static void test_first_of_many(void **state)
{
	struct rounds r = { .n = 0 };
	struct prng p = { 19 };
	uint32_t deck[MANY];

	(void)state;
	for (uint32_t i = 0; i < MANY; i++)
		deck[i] = i;
	for (uint32_t i = MANY; i-- > 1;) {
		uint32_t k = below(&p, i + 1), old = deck[i];

		deck[i] = deck[k];
		deck[k] = old;
	}
	for (uint32_t i = 0; i < MANY; i++) {
		struct round round = due(deck[i], 0, ROUND_RANK_NONE, 0);

		rounds_offer(&r, &round);
		assert_int_equal(r.n, i < ROUNDS_MAX ? i + 1 : ROUNDS_MAX);
	}
	for (uint32_t i = 0; i < ROUNDS_MAX; i++)
		assert_int_equal(r.v[i].vip, i);
}

/* A loop that wakes when tokens are there, 10 at a time, as the announcer's. */
static void test_takeover(void **state)
{
	static struct schedule s[MANY];
	const struct pace pace = pace_of(1000);
	struct pacer pacer = { { 0 } };
	struct prng prng = { 23 };
	uint32_t order[MANY], n = 0;
	mono_t now = { T0 }, last = now;

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		schedule_start(&s[i], now);
	for (bool more = true; more; now = mono_add_ms(now, 1)) {
		struct rounds r = { .n = 0 };

		if (mono_before(now, pacer_when(&pacer, &pace, 10)))
			continue;

		for (uint32_t i = 0; i < MANY; i++) {
			struct round round = { .vip = i, .schedule = s[i], .rank = i >= MANY - 5 ? MANY - i : ROUND_RANK_NONE };

			if (mono_reached(now, s[i].next) && !schedule_steady(&s[i]))
				rounds_offer(&r, &round);
		}
		more = r.n > 0 || mono_before(now, (mono_t){ T0 + 5000 * NS_PER_MS });
		for (size_t i = 0; i < r.n && pacer_take(&pacer, &pace, now); i++) {
			if (s[r.v[i].vip].round == 0) {
				order[n++] = r.v[i].vip;
				last = now;
			}
			schedule_sent(&s[r.v[i].vip], now, &prng);
		}
	}
	assert_int_equal(n, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		assert_int_equal(order[i], i < 5 ? MANY - 1 - i : i - 5); /* the five busiest, then by address */
	assert_true(last.ns - T0 <= 1000 * NS_PER_MS);
	for (size_t i = 0; i < MANY; i++)
		assert_true(schedule_steady(&s[i])); /* nobody is left behind */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_order), cmocka_unit_test(test_first_of_many),
					    cmocka_unit_test(test_takeover) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
