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

/* ---- doubt ---- */

enum { HEAR, ANSWER, ASK };

/* What happens 'ms' after the VIP went live here, a long time after: a claim, an answer, or that the candidate is asked. */
struct doubt_event {
	int64_t ms;
	int what;
	bool proof;
};

static void run_doubt(const char *name, const struct doubt_event *events, bool asks)
{
	const mono_t held_since = mono_add_ms(T0, -LONG_MS);
	struct conflict_doubt d = { 0 };

	for (size_t i = 0; i < 8 && (i == 0 || events[i].ms > 0); i++) {
		mono_t now = mono_add_ms(T0, events[i].ms);

		if (events[i].what == ASK) {
			if (!mono_reached(now, conflict_doubt_ask_at(&d)))
				fail_msg("%s: asked at %lld ms, not due", name, (long long)events[i].ms);
			conflict_doubt_asked(&d, now);
			continue;
		}
		if (conflict_doubt_hear(&d, now, held_since, events[i].what == ANSWER, asks) != events[i].proof)
			fail_msg("%s: %s at %lld ms", name, events[i].proof ? "no proof" : "taken for proof",
				 (long long)events[i].ms);
	}
}

static void test_doubt(void **state)
{
	static const struct {
		const char *name;
		bool asks;
		struct doubt_event events[8];
	} cases[] = {
		{ "it answers when it is asked", true, { { 0, ANSWER, false }, { 200, ASK, false }, { 201, ANSWER, true } } },
		{ "the first answer is lost", true,
		  { { 0, ANSWER, false }, { 200, ASK, false }, { 400, ASK, false }, { 401, ANSWER, true } } },
		{ "it only announces", true,
		  { { 0, HEAR, false }, { 200, ASK, false }, { 300, HEAR, false }, { 400, ASK, false }, { 1100, HEAR, true } } },
		{ "one late frame", true, { { 0, HEAR, false }, { 200, ASK, false }, { 400, ASK, false } } },
		{ "one late round: both forms of ARP", true,
		  { { 0, HEAR, false }, { 1, HEAR, false }, { 200, ASK, false }, { 400, ASK, false } } },
		/* What had come by then is read before anything is asked. */
		{ "one late round, and this node stood still between its frames", true,
		  { { 0, HEAR, false }, { 900, HEAR, false }, { 901, ASK, false }, { 1101, ASK, false } } },
		{ "two late answers, and this node stood still between them", true,
		  { { 0, ANSWER, false }, { 900, ANSWER, false }, { 901, ASK, false }, { 1101, ASK, false } } },
		{ "late rounds, one after each standstill of another", true,
		  { { 0, HEAR, false }, { 200, ASK, false }, { 400, ASK, false }, { 5401, HEAR, false }, { 5601, ASK, false },
		    { 5602, HEAR, false } } },
		{ "nothing is ever asked", false, { { 0, HEAR, false }, { 399, HEAR, false }, { 400, HEAR, true } } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		run_doubt(cases[i].name, cases[i].events, cases[i].asks);
}

/* Asked twice, and no more. */
static void test_doubt_asks(void **state)
{
	struct conflict_doubt d = { 0 };

	(void)state;
	assert_true(mono_is_never(conflict_doubt_ask_at(&d)));
	assert_false(conflict_doubt_hear(&d, T0, T0, true, true));
	assert_int_equal(mono_diff_ms(conflict_doubt_ask_at(&d), T0), CONFLICT_ASK_MS);
	conflict_doubt_asked(&d, mono_add_ms(T0, 250)); /* late: the second one follows as far behind */
	assert_int_equal(mono_diff_ms(conflict_doubt_ask_at(&d), T0), 250 + CONFLICT_CONFIRM_MS - CONFLICT_ASK_MS);
	conflict_doubt_asked(&d, mono_add_ms(T0, 450));
	assert_true(mono_is_never(conflict_doubt_ask_at(&d)));
	assert_false(conflict_doubt_hear(&d, mono_add_ms(T0, 6000), T0, true, true)); /* from the beginning */
	assert_int_equal(mono_diff_ms(conflict_doubt_ask_at(&d), T0), 6000 + CONFLICT_ASK_MS);
}

/* The VIP was elsewhere meanwhile: what was doubted before says nothing of now. */
static void test_doubt_ends_with_the_lease(void **state)
{
	struct conflict_doubt d = { 0 };
	mono_t again = mono_add_ms(T0, 1000), now = mono_add_ms(T0, 3100);

	(void)state;
	assert_false(conflict_doubt_hear(&d, T0, T0, true, true));
	conflict_doubt_asked(&d, mono_add_ms(T0, 200));
	conflict_doubt_asked(&d, mono_add_ms(T0, 400));
	assert_true(conflict_doubt_stands(&d, now, T0));
	assert_false(conflict_doubt_stands(&d, now, (mono_t){ 0 }));
	assert_false(conflict_doubt_stands(&d, now, again));
	assert_false(conflict_doubt_hear(&d, now, again, true, true));
	assert_true(conflict_doubt_stands(&d, now, again));
}

/* ---- sweep ---- */

struct sweep_run {
	unsigned int sent, wakes, most; /* in all; in one batch */
	int64_t gap_ms;			/* the longest wait of one VIP */
};

/* One minute of a loop that is a few milliseconds late each time. */
static struct sweep_run run_sweep(size_t n, unsigned int rate)
{
	struct conflict_sweep s = { .next = MONO_NEVER };
	mono_t now = T0, *asked = calloc(n, sizeof(*asked));
	struct sweep_run run = { 0 };
	struct prng p = { n + rate };

	assert_non_null(asked);
	for (size_t i = 0; i < n; i++)
		asked[i] = T0;
	while (mono_diff_ms(now, T0) < 60000) {
		unsigned int due = conflict_sweep_due(&s, now, n, rate, &p);

		run.wakes++;
		run.sent += due;
		run.most = due > run.most ? due : run.most;
		for (; due > 0; due--) {
			mono_t *at = &asked[s.at++ % n];

			run.gap_ms = mono_diff_ms(now, *at) > run.gap_ms ? mono_diff_ms(now, *at) : run.gap_ms;
			*at = now;
		}
		assert_true(mono_before(now, s.next));
		now = mono_add_ms(s.next, prng_range(&p, 0, 5));
	}
	free(asked);
	return run;
}

static void test_sweep(void **state)
{
	static const struct {
		size_t n;
		unsigned int rate, sent_min, sent_max, most;
		int64_t gap_max_ms;
	} cases[] = {
		{ 1, 100, 115, 122, 1, 556 },	      { 2, 100, 230, 244, 1, 561 },	   { 3, 100, 345, 366, 2, 561 },
		{ 20, 100, 2300, 2440, 10, 561 },     { 50, 100, 5750, 6100, 25, 561 },   { 100, 100, 5750, 6100, 25, 1120 },
		{ 1000, 100, 5750, 6100, 25, 11000 }, { 20, 20, 1150, 1220, 5, 1120 },	   { 20, 5, 285, 305, 2, 4450 },
		{ 7, 1, 57, 62, 1, 7750 },	      { 500, 1000, 57500, 61000, 250, 561 }, { 1, 1, 57, 62, 1, 1110 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sweep_run run = run_sweep(cases[i].n, cases[i].rate);

		if (run.sent < cases[i].sent_min || run.sent > cases[i].sent_max || run.most > cases[i].most ||
		    run.gap_ms > cases[i].gap_max_ms || run.wakes > 60 * 4 + 10)
			fail_msg("%zu VIPs, %u a second: %u sent, up to %u at once, in %u wakes; a VIP waited for %lld ms", cases[i].n,
				 cases[i].rate, run.sent, run.most, run.wakes, (long long)run.gap_ms);
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
	assert_int_equal(conflict_sweep_due(&s, now, 20, 20, &p), 5);
	assert_int_equal(conflict_sweep_due(&s, now, 20, 20, &p), 0); /* not yet */
	now = mono_add_ms(now, 60000); /* stood still: nothing to catch up with */
	assert_int_equal(conflict_sweep_due(&s, now, 20, 20, &p), 5);
}

/* What was asked besides goes where the budget has room, and the sweep waits for what it has none for. */
static void test_sweep_besides(void **state)
{
	struct conflict_sweep s = { .next = MONO_NEVER };
	struct prng p = { 3 };
	unsigned int sent = 0;

	(void)state;
	assert_int_equal(conflict_sweep_spare(&s, 0), 0);
	assert_int_equal(conflict_sweep_spare(&s, 100), 100);
	conflict_sweep_spent(&s, 60);
	assert_int_equal(conflict_sweep_spare(&s, 100), 40);
	conflict_sweep_spent(&s, 41);
	assert_int_equal(conflict_sweep_spare(&s, 100), 0);
	for (unsigned int i = 0; i < 6; i++) /* a second is over after four */
		sent += conflict_sweep_due(&s, i == 0 ? T0 : s.next, 10, 100, &p);
	assert_int_equal(sent, 10);
	assert_int_equal(conflict_sweep_spare(&s, 100), 100);
	/* 10 VIPs are 5 of the 25 frames that a batch has room for, 100 are all of them. */
	conflict_sweep_spent(&s, 20);
	assert_int_equal(conflict_sweep_due(&s, s.next, 10, 100, &p), 5);
	conflict_sweep_spent(&s, 100);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(conflict_sweep_due(&s, s.next, 100, 100, &p), 0);
	assert_int_equal(conflict_sweep_due(&s, s.next, 100, 100, &p), 25);
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
	assert_int_equal(conflict_round_ms(1, 100), 500);
	assert_int_equal(conflict_round_ms(50, 100), 500);
	assert_int_equal(conflict_round_ms(100, 100), 1000);
	assert_int_equal(conflict_round_ms(1000, 100), 10000);
	assert_int_equal(conflict_round_ms(20, 20), 1000);
	assert_int_equal(conflict_round_ms(100, 0), 500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held),	 cmocka_unit_test(test_not_held),
		cmocka_unit_test(test_late_without_gate), cmocka_unit_test(test_defence),
		cmocka_unit_test(test_stranger), cmocka_unit_test(test_doubt), cmocka_unit_test(test_doubt_asks),
		cmocka_unit_test(test_doubt_ends_with_the_lease), cmocka_unit_test(test_sweep),
		cmocka_unit_test(test_sweep_stops_and_begins), cmocka_unit_test(test_sweep_besides), cmocka_unit_test(test_round),
		cmocka_unit_test(test_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
