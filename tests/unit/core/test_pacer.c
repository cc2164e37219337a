/* SPDX-License-Identifier: Apache-2.0 */
/* test_pacer.c: a few rounds go at once, many at the rate, and in no time more than bucket and rate allow, however the loop
 * wakes. */
#include "agent/core/pacer.h"

#include "agent/base/auto.h"
#include "tests/unit/core/make.h"

#define T0 INT64_C(1000000000000)

/* Rounds that go at 'now' when there is no end of them. */
static unsigned int go(struct pacer *p, const struct pace *pace, int64_t now)
{
	unsigned int n = 0;

	while (pacer_take(p, pace, (mono_t){ now }))
		n++;
	return n;
}

static void test_default(void **state)
{
	const struct pace pace = pace_of(1000);
	struct pacer p = { { 0 } };
	unsigned int sent = go(&p, &pace, T0);

	(void)state;
	assert_int_equal(sent, 50);
	/* The loop wakes each 10 ms: 500 within half a second, 1,000 within one, and no more. */
	for (int64_t ms = 10; ms <= 460; ms += 10)
		sent += go(&p, &pace, T0 + ms * NS_PER_MS);
	assert_in_range(sent, 500, 510);
	for (int64_t ms = 470; ms <= 1000; ms += 10)
		sent += go(&p, &pace, T0 + ms * NS_PER_MS);
	assert_in_range(sent, 1000, 1050);
	assert_int_equal(go(&p, &pace, T0 + 2000 * NS_PER_MS), 50); /* a second of silence saves up no more than the bucket */
}

static void test_never_more(void **state)
{
	static const unsigned int rates[] = { 10, 15, 100, 1000, 3333, 100000 };
	struct prng prng = { 5 };

	(void)state;
	for (size_t r = 0; r < ARRAY_LEN(rates); r++) {
		const struct pace pace = pace_of(rates[r]);
		int64_t depth = rates[r] / 20 > 4 ? rates[r] / 20 : 4, at[400], now = T0;
		struct pacer p = { { 0 } };
		uint64_t sent[ARRAY_LEN(at)], sum = 0;

		for (size_t i = 0; i < ARRAY_LEN(at); i++) {
			now += (int64_t)below(&prng, 300) * pace.gap_ns / 100;
			sum += go(&p, &pace, now);
			at[i] = now;
			sent[i] = sum;
		}
		/* Over any time. */
		for (size_t i = 1; i < ARRAY_LEN(at); i++)
			for (size_t k = i; k < ARRAY_LEN(at); k++)
				assert_true((int64_t)(sent[k] - sent[i - 1]) <= depth + (at[k] - at[i]) / pace.gap_ns);
		assert_true(sum >= (uint64_t)((now - T0) / pace.gap_ns) / 2); /* and it is of use */
	}
}

static void test_when(void **state)
{
	const struct pace pace = pace_of(1000);
	struct pacer p = { { 0 } };
	mono_t now = { T0 };

	(void)state;
	assert_true(pacer_when(&p, &pace, 50).ns <= T0);
	assert_int_equal(go(&p, &pace, T0), 50);
	for (unsigned int n = 1; n <= 50; n++) {
		struct pacer q = p;

		now = pacer_when(&p, &pace, n);
		assert_int_equal(now.ns, T0 + (int64_t)n * NS_PER_MS);
		assert_int_equal(go(&q, &pace, now.ns), n);
		q = p;
		assert_int_equal(go(&q, &pace, now.ns - 1), n - 1);
	}
	assert_int_equal(pacer_when(&p, &pace, 5000).ns, T0 + 50 * NS_PER_MS); /* the bucket holds no more */
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_default), cmocka_unit_test(test_never_more),
					    cmocka_unit_test(test_when) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
