/* SPDX-License-Identifier: Apache-2.0 */
/* test_conflict.c: the policy's table, row by row, and that nothing else is told; how often a VIP is defended and asked for. */
#include "agent/core/conflict.h"

#include "tests/unit/core/make.h"

#define T0 ((mono_t){ INT64_C(1000000000000) })
#define LONG_MS 60000

static struct conflict_verdict weigh(enum conflict_heard heard, enum conflict_here here, enum conflict_who who, bool answer,
				     int64_t held_ms)
{
	const struct conflict_case c = { heard, here, who, answer, held_ms, CONFLICT_LATE_CANDIDATE_MS };

	return conflict_weigh(&c);
}

static void test_held(void **state)
{
	static const struct {
		enum conflict_heard heard;
		enum conflict_who who;
		bool answer;
		int64_t held_ms;
		unsigned int what;
		enum conflict_kind kind;
	} cases[] = {
		{ CONFLICT_CLAIM, CONFLICT_STRANGER, true, LONG_MS, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		{ CONFLICT_CLAIM, CONFLICT_STRANGER, false, LONG_MS, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		{ CONFLICT_ANNOUNCE, CONFLICT_STRANGER, false, LONG_MS, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		{ CONFLICT_ANNOUNCE_REPLY, CONFLICT_STRANGER, false, LONG_MS, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		/* Just taken over: who had it before has said what is still under way; an answer is to a question of now. */
		{ CONFLICT_ANNOUNCE, CONFLICT_STRANGER, false, CONFLICT_LATE_MS - 1, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ANNOUNCE, CONFLICT_STRANGER, false, CONFLICT_LATE_MS, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		{ CONFLICT_CLAIM, CONFLICT_STRANGER, true, 0, CONFLICT_DEFEND | CONFLICT_REPORT, CONFLICT_HOST },
		{ CONFLICT_CLAIM, CONFLICT_CANDIDATE, true, 0, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ANNOUNCE, CONFLICT_CANDIDATE, false, CONFLICT_LATE_CANDIDATE_MS - 1, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ANNOUNCE, CONFLICT_CANDIDATE, false, CONFLICT_LATE_CANDIDATE_MS,
		  CONFLICT_DEFEND | CONFLICT_REPORT | CONFLICT_CONFIRM, CONFLICT_NODE },
		{ CONFLICT_CLAIM, CONFLICT_CANDIDATE, true, LONG_MS, CONFLICT_DEFEND | CONFLICT_REPORT | CONFLICT_CONFIRM,
		  CONFLICT_NODE },
		{ CONFLICT_CLAIM, CONFLICT_UNKNOWN, true, LONG_MS, CONFLICT_DEFEND, CONFLICT_HOST },
		{ CONFLICT_CLAIM, CONFLICT_SELF, true, LONG_MS, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ASKED, CONFLICT_STRANGER, false, LONG_MS, CONFLICT_REPORT, CONFLICT_PROBE },
		{ CONFLICT_ASKED, CONFLICT_CANDIDATE, false, LONG_MS, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ASKED, CONFLICT_UNKNOWN, false, LONG_MS, CONFLICT_IGNORE, CONFLICT_HOST },
		{ CONFLICT_ASKED, CONFLICT_SELF, false, LONG_MS, CONFLICT_IGNORE, CONFLICT_HOST },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct conflict_verdict v =
			weigh(cases[i].heard, CONFLICT_HELD, cases[i].who, cases[i].answer, cases[i].held_ms);

		if (v.what != cases[i].what || (v.what != CONFLICT_IGNORE && v.kind != cases[i].kind))
			fail_msg("case %zu: %u %s", i, v.what, conflict_kind_name(v.kind));
	}
}

/* Where this node does not answer nobody is told, whoever speaks; and past a deadline a candidate is the election's. */
static void test_not_held(void **state)
{
	(void)state;
	for (unsigned int heard = CONFLICT_CLAIM; heard <= CONFLICT_ASKED; heard++) {
		for (unsigned int who = CONFLICT_SELF; who <= CONFLICT_UNKNOWN; who++) {
			struct conflict_verdict busy =
				weigh((enum conflict_heard)heard, CONFLICT_BUSY, (enum conflict_who)who, true, LONG_MS);

			for (unsigned int here = CONFLICT_OTHERS; here <= CONFLICT_NOBODY; here++)
				assert_int_equal(weigh((enum conflict_heard)heard, (enum conflict_here)here,
						       (enum conflict_who)who, true, LONG_MS).what, CONFLICT_IGNORE);
			if (who == CONFLICT_SELF || (heard == CONFLICT_ASKED && who != CONFLICT_STRANGER))
				assert_int_equal(busy.what, CONFLICT_IGNORE);
			else if (who == CONFLICT_CANDIDATE)
				assert_int_equal(busy.what, CONFLICT_YIELD);
			else
				assert_int_equal(busy.what, weigh((enum conflict_heard)heard, CONFLICT_HELD,
								  (enum conflict_who)who, true, LONG_MS).what);
		}
	}
}

/* Without a gate the address of a former holder that was killed answers until it expires. */
static void test_late_without_gate(void **state)
{
	struct conflict_case c = { CONFLICT_CLAIM, CONFLICT_HELD, CONFLICT_CANDIDATE, true, 6999, 7000 };

	(void)state;
	assert_int_equal(conflict_weigh(&c).what, CONFLICT_IGNORE);
	c.held_ms = 7000;
	assert_int_equal(conflict_weigh(&c).kind, CONFLICT_NODE);
}

/* RFC 5227 section 2.4(c), with the first three sooner. */
static void test_defence(void **state)
{
	static const int64_t want_ms[] = { 0, 1000, 2000, 12000, 22000, 32000, 42000 };
	struct conflict_defence d = { 0 };
	size_t n = 0;
	mono_t now;

	(void)state;
	for (int64_t ms = 0; ms < 40000; ms += 50) { /* claimed all the time */
		mono_t at = conflict_defend(&d, mono_add_ms(T0, ms));

		if (n == 0 || mono_diff_ms(at, T0) != want_ms[n - 1]) {
			assert_true(n < ARRAY_LEN(want_ms));
			assert_int_equal(mono_diff_ms(at, T0), want_ms[n]);
			n++;
		}
		assert_true(want_ms[n - 1] >= ms); /* each claim has an answer */
	}
	assert_int_equal(n, ARRAY_LEN(want_ms));
	now = mono_add_ms(T0, 40000 + 9900);
	assert_int_equal(mono_diff_ms(conflict_defend(&d, now), T0), 52000); /* 10 s after the last that was due */
	assert_int_equal(mono_diff_ms(conflict_defend(&d, mono_add_ms(now, 1000)), T0), 52000);
	now = mono_add_ms(now, 1000 + 10000); /* peace between */
	assert_int_equal(mono_diff_ms(conflict_defend(&d, now), now), 0);
	assert_int_equal(mono_diff_ms(conflict_defend(&d, mono_add_ms(now, 400)), now), 1000);
}

static void test_stranger(void **state)
{
	struct conflict_voice host = { 0 }, one_form = { 0 }, both = { 0 }, six = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 100; i++) {
		conflict_hear(&host, CONFLICT_CLAIM, true);
		conflict_hear(&one_form, CONFLICT_ANNOUNCE, true);
	}
	assert_int_equal(conflict_stranger(&host, true), CONFLICT_HOST);
	assert_int_equal(conflict_stranger(&one_form, true), CONFLICT_HOST);
	for (unsigned int i = 0; i < CONFLICT_ANNOUNCED; i++) {
		assert_int_equal(conflict_stranger(&both, true), CONFLICT_HOST);
		assert_int_equal(conflict_stranger(&six, false), CONFLICT_HOST);
		conflict_hear(&both, i % 2 ? CONFLICT_ANNOUNCE_REPLY : CONFLICT_ANNOUNCE, true);
		conflict_hear(&six, CONFLICT_ANNOUNCE, false);
	}
	assert_int_equal(conflict_stranger(&both, true), CONFLICT_BALANCER);
	assert_int_equal(conflict_stranger(&six, false), CONFLICT_BALANCER);
}

/* One minute of a loop that is a few milliseconds late each time: probes in all, and the longest wait for one VIP. */
static void run_sweep(size_t n, unsigned int rate, unsigned int *ret_sent, int64_t *ret_gap)
{
	struct conflict_sweep s = { .next = MONO_NEVER };
	mono_t now = T0, *asked = calloc(n, sizeof(*asked));
	struct prng p = { n + rate };
	unsigned int due, wakes = 0;

	assert_non_null(asked);
	*ret_sent = 0;
	*ret_gap = 0;
	for (size_t i = 0; i < n; i++)
		asked[i] = T0;
	while (mono_diff_ms(now, T0) < 60000) {
		due = conflict_sweep_due(&s, now, n, rate, &p);
		wakes++;
		*ret_sent += due;
		for (; due > 0; due--) {
			mono_t *at = &asked[s.at++ % n];
			int64_t gap = mono_diff_ms(now, *at);

			*ret_gap = gap > *ret_gap ? gap : *ret_gap;
			*at = now;
		}
		assert_true(mono_before(now, s.next));
		now = mono_add_ms(s.next, prng_range(&p, 0, 5));
	}
	assert_in_range(wakes, 50, 60 * 6);
	free(asked);
}

static void test_sweep(void **state)
{
	static const struct {
		size_t n;
		unsigned int rate, sent_min, sent_max;
		int64_t gap_max;
	} cases[] = {
		{ 1, 20, 54, 66, 1120 },      { 3, 20, 165, 190, 1250 },   { 20, 20, 1150, 1250, 1300 },
		{ 100, 20, 1150, 1250, 5400 }, { 1000, 20, 1150, 1250, 52000 }, { 20, 5, 285, 315, 4600 },
		{ 7, 1, 54, 66, 7500 },	      { 500, 1000, 28500, 30500, 1300 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		unsigned int sent;
		int64_t gap;

		run_sweep(cases[i].n, cases[i].rate, &sent, &gap);
		if (sent < cases[i].sent_min || sent > cases[i].sent_max || gap > cases[i].gap_max)
			fail_msg("%zu VIPs, %u a second: %u sent, a VIP waited for %lld ms", cases[i].n, cases[i].rate, sent,
				 (long long)gap);
	}
}

static void test_sweep_stops_and_begins(void **state)
{
	struct conflict_sweep s = { .next = MONO_NEVER };
	struct prng p = { 3 };
	mono_t now = T0;

	(void)state;
	assert_int_equal(conflict_sweep_due(&s, now, 0, 20, &p), 0);
	assert_true(mono_is_never(s.next));
	assert_int_equal(conflict_sweep_due(&s, now, 5, 0, &p), 0);
	assert_true(mono_is_never(s.next));
	assert_int_equal(conflict_sweep_due(&s, now, 20, 20, &p), 1);
	assert_int_equal(conflict_sweep_due(&s, now, 20, 20, &p), 0); /* not yet */
	now = mono_add_ms(now, 60000); /* stood still: nothing to catch up with */
	assert_in_range(conflict_sweep_due(&s, now, 20, 20, &p), 1, 5);
	/* What was asked at once besides is not asked for again so soon. */
	conflict_sweep_spent(&s, 20);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(conflict_sweep_due(&s, s.next, 20, 20, &p), 0);
}

static void test_quota(void **state)
{
	struct conflict_quota q = { 0 };
	mono_t now = { .ns = 5 };

	(void)state;
	for (unsigned int minute = 0; minute < 3; minute++) {
		for (unsigned int i = 0; i < 16; i++)
			assert_true(conflict_may_tell(&q, mono_add_ms(now, i), 16));
		assert_false(conflict_may_tell(&q, mono_add_ms(now, 16), 16));
		assert_false(conflict_may_tell(&q, mono_add_ms(now, 59999), 16));
		now = mono_add_ms(now, 60000);
	}
}

static void test_round(void **state)
{
	(void)state;
	assert_int_equal(conflict_round_ms(1, 20), 1000);
	assert_int_equal(conflict_round_ms(20, 20), 1000);
	assert_int_equal(conflict_round_ms(100, 20), 5000);
	assert_int_equal(conflict_round_ms(100, 0), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),	 cmocka_unit_test(test_not_held),
		cmocka_unit_test(test_late_without_gate), cmocka_unit_test(test_defence),
		cmocka_unit_test(test_stranger), cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_sweep_stops_and_begins), cmocka_unit_test(test_round),
		cmocka_unit_test(test_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
