/* SPDX-License-Identifier: Apache-2.0 */
/* A holder of many groups hands one to whoever has few: to its like alone, not in a hurry, and never back and forth. */
#include "agent/core/spread.h"

#include "make.h"

#define NODES_MAX 4
#define NONE ((size_t)-1)

static void test_pick(void **state)
{
	static const struct {
		const char *what;
		struct spread_node nodes[NODES_MAX];
		size_t n, self, to;
	} rows[] = {
		{ "all on one", { { .held = 4 }, { .held = 0 }, { .held = 0 } }, 3, 0, 1 },
		{ "to the emptiest", { { .held = 4 }, { .held = 2 }, { .held = 1 } }, 3, 0, 2 },
		{ "even", { { .held = 2 }, { .held = 2 } }, 2, 0, NONE },
		{ "one more would only swap", { { .held = 2 }, { .held = 1 } }, 2, 0, NONE },
		{ "two more", { { .held = 3 }, { .held = 1 } }, 2, 0, 1 },
		{ "holds few itself", { { .held = 0 }, { .held = 4 } }, 2, 0, NONE },
		{ "holds nothing, nor do others", { { .held = 0 }, { .held = 0 } }, 2, 0, NONE },
		{ "alone", { { .held = 4 } }, 1, 0, NONE },
		{ "the other one leaves", { { .held = 4 }, { .leaving = true } }, 2, 0, NONE },
		{ "we leave: that is drained, not spread", { { .held = 4, .leaving = true }, { .held = 0 } }, 2, 0, NONE },
		{ "the other one has a better rank", { { .held = 4, .rank = 1 }, { .rank = 0 } }, 2, 0, NONE },
		{ "the other one has a worse rank", { { .held = 4 }, { .rank = 1 } }, 2, 0, NONE },
		{ "past one that leaves", { { .held = 0, .leaving = true }, { .held = 3 }, { .held = 1 } }, 3, 1, 2 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t to = NONE;
		bool moves = spread_pick(rows[i].nodes, rows[i].n, rows[i].self, &to);

		if (moves != (rows[i].to != NONE) || to != rows[i].to)
			fail_msg("%s: %zu", rows[i].what, to);
	}
}

/* Each node in turn does what it is told: it ends, evenly. */
static void test_converges(void **state)
{
	(void)state;
	for (unsigned int groups = 0; groups <= 64; groups++) {
		struct spread_node nodes[NODES_MAX] = { { .held = groups } };
		unsigned int moves = 0, least = 64, most = 0;
		bool any = true;
		size_t to;

		while (any) {
			any = false;
			for (size_t i = 0; i < NODES_MAX; i++) {
				if (!spread_pick(nodes, NODES_MAX, i, &to))
					continue;
				nodes[i].held--;
				nodes[to].held++;
				any = true;
				assert_true(++moves <= groups);
			}
		}
		for (size_t i = 0; i < NODES_MAX; i++) {
			least = nodes[i].held < least ? nodes[i].held : least;
			most = nodes[i].held > most ? nodes[i].held : most;
		}
		assert_true(most - least <= 1);
	}
}

static mono_t at(int64_t s)
{
	return (mono_t){ (1000 + s) * MS_PER_S * NS_PER_MS };
}

static bool due(struct spread *s, int64_t seconds, uint64_t world)
{
	mono_t wake;
	bool now = spread_due(s, at(seconds), world, &wake);

	assert_int_equal(now, mono_reached(at(seconds), wake));
	return now;
}

static void test_patience(void **state)
{
	struct spread s = { .world = 0 };

	(void)state;
	assert_false(due(&s, 0, 7));
	assert_false(due(&s, 299, 7));
	assert_true(due(&s, 300, 7));
	assert_false(due(&s, 301, 8)); /* somebody came */
	assert_false(due(&s, 600, 8));
	assert_true(due(&s, 601, 8));
	spread_begun(&s, at(601), 4);
	assert_false(due(&s, 660, 8));
	assert_true(due(&s, 661, 8));
	spread_begun(&s, at(661), 3); /* it had worked: the same pause */
	assert_true(due(&s, 721, 8));
	spread_begun(&s, at(721), 3); /* in vain: twice as long */
	assert_false(due(&s, 840, 8));
	assert_true(due(&s, 841, 8));
	for (int i = 0; i < 20; i++)
		spread_begun(&s, at(841), 3);
	assert_false(due(&s, 841 + 3599, 8));
	assert_true(due(&s, 841 + 3600, 8)); /* bounded */
	assert_false(due(&s, 5000, 9));
	assert_true(due(&s, 5300, 9));
	spread_begun(&s, at(5300), 3); /* others are there now: patience begins again */
	assert_true(due(&s, 5360, 9));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pick), cmocka_unit_test(test_converges), cmocka_unit_test(test_patience),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
