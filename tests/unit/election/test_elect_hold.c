/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_hold.c: policy hold from end to end: an outage of the API is none of the VIPs', and who takes an expired
 * Lease does not answer beside a holder in overtime. */
#include <stdlib.h>

#include "tests/unit/election/elect_cluster.h"
#include "tests/unit/election/elect_move_states.h"

enum { A, B, C };

static struct cluster c;

static void begin(enum lease_policy policy)
{
	cluster_init(&c, policy);
}

/* Nothing answers, nothing is shown. */
static void test_outage(void **state)
{
	(void)state;
	begin(LEASE_HOLD);
	c.api_away = true;
	view(&c, false);
	run_until(&c, 120000);
	assert_true(arp_open(&c, A) && c.n[A].e.over.on && elect_holds(&c.n[A].e, at(c.now_ms)));
	assert_int_equal(c.n[A].follows, 0);
	assert_in_range(c.n[A].probes, 150, 160); /* each renew interval */
	c.api_away = false;
	view(&c, true);
	run_until(&c, 140000);
	assert_true(arp_open(&c, A));
	assert_false(c.n[A].e.over.on);
	assert_int_equal(c.dark_ms, 0);
	assert_int_equal(c.n[A].leads, 1);
	/* The other policy: silent at the deadline. */
	begin(LEASE_FENCE);
	c.api_away = true;
	run_until(&c, 5000);
	assert_false(arp_open(&c, A));
	assert_int_equal(c.n[A].follows, 1);
	assert_int_equal(c.n[A].probes, 0);
}

/* Reads work, writes fail at once: the followers' views are fresh, and they try, but seldom. */
static void test_no_quorum(void **state)
{
	unsigned int moves = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		unsigned int writes;

		begin(LEASE_HOLD);
		for (unsigned int i = 0; i < NODES; i++)
			c.n[i].e.prng.state = seed * NODES + i;
		c.no_quorum = true;
		run_until(&c, 7000);
		writes = c.n[B].writes;
		run_until(&c, 60000);
		assert_true(arp_open(&c, A) && c.n[A].e.over.on);
		assert_in_range(c.n[B].writes - writes, 35, 53); /* a third of the duration, and jitter */
		assert_in_range(c.n[A].writes, 300, 1000);
		assert_int_equal(c.dark_ms, 0);
		c.no_quorum = false;
		run_until(&c, 80000);
		moves += !arp_open(&c, A);
		assert_int_equal(arp_open(&c, A) + arp_open(&c, B) + arp_open(&c, C), 1);
		assert_true(c.dark_ms < 200);
	}
	assert_true(moves <= 12); /* the holder comes first, mostly */
}

/* The holder alone is cut off.  Whoever wins looks, is answered, announces, and opens when the holder has yielded. */
static void test_taken_over(void **state)
{
	unsigned int winner;

	(void)state;
	begin(LEASE_HOLD);
	c.n[A].cut = true;
	run_until(&c, 12000);
	winner = arp_open(&c, B) ? B : C;
	assert_true(arp_open(&c, winner));
	assert_true(c.n[winner].announces > 0);
	assert_string_equal(c.n[A].why, "another node answers");
	assert_in_range(c.dark_ms, 1, 200);
	/* It stays so while the winner answers the probes, for ever. */
	run_until(&c, 60000);
	assert_int_equal(c.n[A].follows, 1);
	assert_true(c.n[A].e.over.yielded);
	/* The winner is cut off, too, and is gone: the wire is silent, and A is back. */
	c.api_away = true;
	c.n[winner].dead = true;
	run_until(&c, 62000 + 2 * 3000);
	assert_false(arp_open(&c, A));
	run_until(&c, 62000 + 3000 + 2 * 3000 + 1000);
	assert_true(arp_open(&c, A));
	assert_string_equal(c.n[A].why, "nobody answers and the API is away");
	/* The API is back, and shows another's record: that ends it. */
	c.n[A].cut = c.api_away = false;
	view(&c, true);
	run_until(&c, 75000);
	assert_false(c.n[A].e.over.on || c.n[A].e.over.yielded);
	assert_string_equal(c.n[A].why, "another holder");
}

/* The old holder does not hear the new one: that opens after one more duration all the same. */
static void test_deaf(void **state)
{
	unsigned int winner;

	(void)state;
	begin(LEASE_HOLD);
	c.n[A].cut = c.n[A].deaf = true;
	c.ignore_duplicates = true;
	run_until(&c, 6000);
	assert_true(arp_open(&c, A) && c.n[A].follows == 0);
	winner = strcmp(c.record.holder, cnames[B]) == 0 ? B : C;
	assert_int_equal(c.n[winner].leads, 1);
	assert_false(arp_open(&c, winner));
	assert_true(c.n[winner].announces > 5 && c.n[winner].announces < 30);
	run_until(&c, 8500);
	assert_true(arp_open(&c, winner));
	/* From then on A's own probes find it. */
	run_until(&c, 9500);
	assert_false(arp_open(&c, A));
	assert_string_equal(c.n[A].why, "another node answers");
}

/* A dead holder's record: one silent probe, and no more. */
static void test_dead_holder(void **state)
{
	(void)state;
	begin(LEASE_HOLD);
	c.n[A].dead = true;
	run_until(&c, 8000);
	assert_true(arp_open(&c, B) || arp_open(&c, C));
	assert_int_equal(c.n[B].probes + c.n[C].probes, 1);
	assert_int_equal(c.n[B].announces + c.n[C].announces, 0);
	assert_true(c.dark_ms < 200);
	/* What the expired record says counts, not our own policy. */
	begin(LEASE_FENCE);
	for (unsigned int i = B; i <= C; i++)
		c.n[i].e.cfg.policy = LEASE_HOLD;
	c.n[A].dead = true;
	run_until(&c, 8000);
	assert_int_equal(c.n[B].probes + c.n[C].probes, 0);
	begin(LEASE_HOLD);
	for (unsigned int i = B; i <= C; i++)
		c.n[i].e.cfg.policy = LEASE_FENCE;
	c.n[A].dead = true;
	run_until(&c, 8000);
	assert_int_equal(c.n[B].probes + c.n[C].probes, 1);
	assert_int_equal(c.record.policy, LEASE_FENCE);
}

/* The claim's reply was lost: what it was sent over still counts when the claim is found in the record. */
static void test_lost_claim(void **state)
{
	(void)state;
	begin(LEASE_HOLD);
	c.n[A].cut = true;
	c.n[C].dead = true;
	c.lose_replies = 1;
	c.lose_node = B;
	run_until(&c, 12000);
	assert_int_equal(c.lose_replies, 0);
	assert_true(arp_open(&c, B));
	assert_true(c.n[B].announces > 0);
	assert_string_equal(c.n[A].why, "another node answers");
}

/* A is cut off and takes B for a stranger: B came later.  B's shell says so by the version of the record known, which becomes
 * that of B's own claim when the view shows that ahead of the reply. */
static void look_unknown(bool lose_reply)
{
	unsigned int since;

	begin(LEASE_HOLD);
	since = c.version;
	c.n[A].cut = c.n[A].deaf = true;
	c.n[C].dead = true;
	c.lose_replies = lose_reply;
	c.lose_node = B;
	for (int64_t ms = c.now_ms + 1; ms <= 30000; ms++) {
		run_until(&c, ms);
		if (c.n[B].e.state == ELECT_CLAIMING && strcmp(c.record.holder, cnames[B]) == 0) {
			show(&c, B, 0);
			run_until(&c, ms);
		}
		if (!elect_holds(&c.n[B].e, at(ms)))
			give(&c, B, INTRODUCED(ms, (unsigned int)atoi(c.n[B].e.seen_version) > since));
	}
	assert_int_equal(c.lose_replies, 0);
	assert_true(c.n[B].leads == 1 && c.n[B].follows == 0);
	assert_true(arp_open(&c, A));
	/* It opens when A is silent. */
	c.n[A].dead = true;
	run_until(&c, 33000);
	assert_true(arp_open(&c, B));
}

static void test_not_introduced(void **state)
{
	(void)state;
	look_unknown(false);
	look_unknown(true);
}

/* A holder that stands still falls silent soon, and needs a proof of silence before it goes on. */
static void test_frozen(void **state)
{
	(void)state;
	begin(LEASE_HOLD);
	c.api_away = true;
	run_until(&c, 10000);
	assert_true(arp_open(&c, A));
	c.n[A].frozen = true;
	run_until(&c, 11500);
	assert_false(arp_open(&c, A));
	c.n[A].frozen = false;
	run_until(&c, 11600);
	assert_int_equal(c.n[A].follows, 1);
	assert_string_equal(c.n[A].why, "the hold was not affirmed in time");
	run_until(&c, 11600 + 6000);
	assert_false(arp_open(&c, A));
	run_until(&c, 11600 + 8000);
	assert_true(arp_open(&c, A));
	/* So does one that stood still when its deadline came ... */
	begin(LEASE_HOLD);
	c.api_away = true;
	run_until(&c, 4500);
	c.n[A].frozen = true;
	run_until(&c, 6000);
	c.n[A].frozen = false;
	run_until(&c, 7000);
	assert_false(arp_open(&c, A));
	assert_string_equal(c.n[A].why, "the lease could not be renewed in time");
	run_until(&c, 15000);
	assert_true(arp_open(&c, A));
	/* ... and one whose clock has jumped. */
	give(&c, A, (struct elect_event){ .kind = ELECT_EV_DOUBT });
	assert_false(arp_open(&c, A));
	run_until(&c, 20000);
	assert_false(arp_open(&c, A));
	run_until(&c, 23000);
	assert_true(arp_open(&c, A));
}

/* A probe that the caller never answers proves nothing; and a look that nobody answers has an end. */
static void test_unanswered(void **state)
{
	struct elect e = yielded();
	struct elect_actions acts;
	struct elect_event ev;

	(void)state;
	for (ev = TICK(10000); ms_of(ev.now) < 100000; ev.now = acts.wake_at) {
		elect_step(&e, &ev, &acts);
		assert_int_not_equal(e.state, ELECT_LEADING);
		if (e.write_pending)
			acts.wake_at = mono_min(acts.wake_at, e.write_timeout);
	}
	e = looking();
	for (ev = TICK(20); e.over.looking; ev.now = acts.wake_at) {
		elect_step(&e, &ev, &acts);
		assert_int_equal(e.state, ELECT_LEADING);
		e.write_pending = false; /* renewed, somehow */
		e.deadline = mono_add_ms(ev.now, 2940);
		assert_true(ms_of(ev.now) <= 3010);
	}
	assert_true(elect_gate(&e).arp_until.ns > 0);
}

static struct elect_actions stepped;

static void step(struct elect *e, struct elect_event ev)
{
	elect_step(e, &ev, &stepped);
}

/* Two durations of silence are a chain without a gap. */
static void test_silence(void **state)
{
	struct elect e = yielded();

	(void)state;
	/* One probe was not answered. */
	step(&e, TICK(10180));
	step(&e, TICK(10730));
	assert_int_equal(e.over.probe_id, 4);
	step(&e, SILENT(10760, 4));
	assert_int_not_equal(e.state, ELECT_LEADING);
	assert_int_equal(ms_of(e.over.silent_since), 10760);
	/* No probe was sent for some time. */
	e = yielded();
	step(&e, SILENT(9999, 3));
	step(&e, TICK(20000));
	assert_int_equal(e.over.probe_id, 4);
	step(&e, SILENT(20030, 4));
	assert_int_not_equal(e.state, ELECT_LEADING);
	assert_int_equal(ms_of(e.over.silent_since), 20030);
}

/* The rolling deadline: soon enough for whoever looks for one duration, and with several steps in between. */
static void test_rolling(void **state)
{
	static const struct {
		int64_t duration_ms, renew_ms, want_ms;
	} rows[] = {
		{ 3000, 750, 1500 }, { 400, 100, 200 }, { 1000, 250, 500 }, { 10000, 100, 500 },
		{ 3000, 1499, 1500 }, { 600000, 60000, 5000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct elect e = overtime();

		e.cfg.duration_ms = rows[i].duration_ms;
		e.cfg.renew_ms = rows[i].renew_ms;
		e.next_write = MONO_NEVER;
		e.over.next_probe = MONO_NEVER;
		e.over.probe_pending = false;
		step(&e, TICK(3000));
		assert_int_equal(mono_diff_ms(e.over.gate_until, at(3000)), rows[i].want_ms);
		assert_true(mono_diff_ms(stepped.wake_at, at(3000)) <= rows[i].want_ms / 4);
	}
}

/* Deleted while we look: the new object is claimed with the same care. */
static void test_deleted_look(void **state)
{
	struct elect e = looking();
	mono_t now;

	(void)state;
	step(&e, ABSENT(50));
	step(&e, CONFLICT(60, e.write_id));
	assert_string_equal(describe(&stepped), "follow");
	now = stepped.wake_at;
	step(&e, TICK(ms_of(now)));
	assert_string_equal(describe(&stepped), "create self 3000 t0 hold");
	step(&e, OK(ms_of(now) + 5, e.write_id, "30"));
	assert_true(e.over.looking && elect_gate(&e).arp_until.ns == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outage),	   cmocka_unit_test(test_no_quorum),
		cmocka_unit_test(test_taken_over), cmocka_unit_test(test_deaf),
		cmocka_unit_test(test_dead_holder), cmocka_unit_test(test_lost_claim),
		cmocka_unit_test(test_frozen),	   cmocka_unit_test(test_unanswered),
		cmocka_unit_test(test_silence),	   cmocka_unit_test(test_deleted_look),
		cmocka_unit_test(test_rolling),	   cmocka_unit_test(test_not_introduced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
