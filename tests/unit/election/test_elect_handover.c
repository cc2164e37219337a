/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_handover.c: planned moves from end to end: never two that answer ARP, whatever is lost, and somebody soon
 * does. */
#include "tests/unit/election/elect_cluster.h"
#include "tests/unit/election/elect_move_states.h"

enum { A, B, C };

static struct cluster c;

static void begin(void)
{
	cluster_init(&c, LEASE_FENCE);
	hand_over(&c, A, B, 7);
}

static void assert_moved(void)
{
	assert_true(arp_open(&c, B));
	assert_string_equal(c.record.holder, cnames[B]);
	assert_int_equal(c.record.stage, LEASE_STAGE_NONE);
	assert_int_equal(c.n[A].failures, 0);
	assert_string_equal(c.n[A].why, "handed over");
	assert_string_equal(c.n[A].gate.redirect_to, cnames[B]);
	assert_true(mono_before(at(c.now_ms), c.n[A].gate.redirect_until));
}

static void assert_stayed(const char *why)
{
	assert_true(arp_open(&c, A));
	assert_string_equal(c.record.holder, cnames[A]);
	assert_int_equal(c.record.stage, LEASE_STAGE_NONE);
	assert_int_equal(c.n[A].failures, 1);
	assert_int_equal(c.n[A].follows, 0);
	assert_string_equal(c.n[A].why, why);
	assert_true(c.n[A].gate.redirect_until.ns == 0);
	assert_int_equal(c.n[B].leads, 0);
	assert_true(c.n[B].gate.ip_until.ns == 0);
}

static void test_moved(void **state)
{
	(void)state;
	begin();
	run_until(&c, 2100);
	assert_moved();
	assert_in_range(c.dark_ms, 1, 25); /* CLAIM and its claim: two requests, one watch event */
	assert_int_equal(c.n[B].prepares, 1);
	assert_int_equal(c.n[B].unprepares, 0);
	assert_string_equal(c.n[B].why, "handed over to us");
	assert_int_equal(c.n[C].prepares, 0);
	/* It stays there, and the redirect ends. */
	run_until(&c, 20000);
	assert_true(arp_open(&c, B));
	assert_int_equal(c.n[B].follows, 0);
	assert_true(mono_before(c.n[A].gate.redirect_until, at(62100)));
	/* And back: A's own redirect ends with its next PREPARE at the latest. */
	hand_over(&c, B, A, 8);
	run_until(&c, 20100);
	assert_true(arp_open(&c, A));
	assert_true(c.n[A].gate.redirect_until.ns == 0);
	assert_string_equal(c.n[B].why, "handed over");
}

static void test_refused(void **state)
{
	(void)state;
	cluster_init(&c, LEASE_FENCE);
	c.n[B].refuses = true;
	hand_over(&c, A, B, 7);
	run_until(&c, 4000);
	assert_stayed("the successor refused");
	assert_int_equal(c.dark_ms, 0);
	assert_int_equal(c.n[B].unprepares, 1);
	/* The next one is another. */
	c.n[B].refuses = false;
	hand_over(&c, A, B, 8);
	run_until(&c, 4100);
	assert_true(arp_open(&c, B));
}

static void test_not_ready(void **state)
{
	(void)state;
	cluster_init(&c, LEASE_FENCE);
	c.n[B].mute = true;
	hand_over(&c, A, B, 7);
	run_until(&c, 6000);
	assert_stayed("the successor was not ready in time");
	assert_int_equal(c.dark_ms, 0);
	/* A crash of the successor is the same. */
	begin();
	run_until(&c, 2015);
	assert_int_equal(c.n[B].prepares, 1);
	c.n[B].dead = true;
	c.queued = 0; /* its answer, too */
	run_until(&c, 6000);
	assert_true(arp_open(&c, A));
	assert_int_equal(c.n[A].failures, 1);
	assert_int_equal(c.dark_ms, 0);
}

/* The successor dies when A has shut: A takes it back. */
static void test_not_claimed(void **state)
{
	(void)state;
	begin();
	run_until(&c, 2040);
	assert_false(arp_open(&c, A));
	c.n[B].dead = true;
	run_until(&c, 4000);
	assert_true(arp_open(&c, A));
	assert_int_equal(c.n[A].failures, 1);
	assert_int_equal(c.n[A].follows, 0);
	assert_string_equal(c.n[A].why, "the successor did not claim");
	assert_in_range(c.dark_ms, 700, 800);
	/* It was only frozen, and goes on when A has opened again: the version decides. */
	begin();
	run_until(&c, 2040);
	c.n[B].frozen = true;
	run_until(&c, 4000);
	assert_true(arp_open(&c, A));
	c.n[B].frozen = false;
	give(&c, B, asks(0, "4", LEASE_STAGE_CLAIM, 7, cnames[B]));
	run_until(&c, 8000);
	assert_true(arp_open(&c, A));
	assert_int_equal(c.n[B].leads, 0);
}

/* The holder dies at any time of the move. */
static void test_holder_dies(void **state)
{
	(void)state;
	for (int64_t ms = 2000; ms < 2070; ms++) {
		begin();
		run_until(&c, ms);
		c.n[A].dead = true;
		run_until(&c, 12000);
		assert_true(arp_open(&c, B) || arp_open(&c, C));
		assert_int_equal(c.n[B].leads + c.n[C].leads, 1);
		assert_true(c.n[B].gate.arp_until.ns == c.n[B].gate.ip_until.ns); /* nothing is left of it */
		if (strcmp(c.n[B].why, "handed over to us") == 0)
			assert_in_range(c.dark_ms, 1, 25);
	}
}

/* A new process of the holder's node re-adopts the record in the middle of a move. */
static void test_holder_restarts(void **state)
{
	(void)state;
	for (int64_t ms = 2000; ms < 2070; ms++) {
		struct elect_config cfg;

		begin();
		run_until(&c, ms);
		cfg = c.n[A].e.cfg;
		set(cfg.identity, sizeof(cfg.identity), "a_b00t_2");
		elect_init(&c.n[A].e, &cfg);
		c.n[A].e.fit = true;
		show(&c, A, 0);
		run_until(&c, 12000);
		assert_true(arp_open(&c, A) || arp_open(&c, B));
		assert_int_equal(c.n[B].follows, 0);
		assert_int_equal(c.record.stage, LEASE_STAGE_NONE);
	}
}

/* Requests and replies of each kind of write, of either machine, once and more often. */
static void test_losses(void **state)
{
	static const struct {
		enum lease_stage stage;
		unsigned int node;
	} rows[] = {
		{ LEASE_STAGE_PREPARE, A }, { LEASE_STAGE_CLAIM, A }, { LEASE_STAGE_NONE, A }, { LEASE_STAGE_NONE, B },
	};
	unsigned int moved = 0, stayed = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (unsigned int n = 1; n <= 6; n++) {
			for (unsigned int reply = 0; reply < 2; reply++) {
				cluster_init(&c, LEASE_FENCE);
				c.lose_stage = rows[i].stage;
				c.lose_node = rows[i].node;
				*(reply ? &c.lose_replies : &c.lose_requests) = n;
				hand_over(&c, A, B, 7);
				run_until(&c, 30000);
				assert_int_equal(arp_open(&c, A) + arp_open(&c, B), 1);
				assert_int_equal(c.record.stage, LEASE_STAGE_NONE);
				assert_false(arp_open(&c, A) && strcmp(c.record.holder, cnames[A]) != 0);
				assert_true(c.dark_ms < 3700); /* never more than a crash costs */
				moved += arp_open(&c, B);
				stayed += arp_open(&c, A);
			}
		}
	}
	assert_true(moved > 10 && stayed > 5);
	/* A lost reply of PREPARE costs nothing; one of CLAIM neither. */
	for (enum lease_stage s = LEASE_STAGE_PREPARE; s <= LEASE_STAGE_CLAIM; s++) {
		cluster_init(&c, LEASE_FENCE);
		c.lose_stage = s;
		c.lose_replies = 1;
		hand_over(&c, A, B, 7);
		run_until(&c, 2600);
		assert_moved();
		assert_true(c.dark_ms < (s == LEASE_STAGE_CLAIM ? 25 : 400));
	}
}

/* Stopped, or no longer fit, in the middle of a move. */
static void test_stop(void **state)
{
	(void)state;
	for (int64_t ms = 2000; ms < 2070; ms++) {
		begin();
		run_until(&c, ms);
		if (ms % 2)
			give(&c, A, (struct elect_event){ .kind = ELECT_EV_STOP });
		else
			give(&c, A, (struct elect_event){ .kind = ELECT_EV_FIT });
		assert_false(arp_open(&c, A));
		run_until(&c, 4000);
		assert_true(arp_open(&c, B) || arp_open(&c, C));
		assert_true(c.dark_ms < 60);
		assert_int_equal(c.n[A].e.state, ms % 2 ? ELECT_STOPPED : ELECT_FOLLOWING);
	}
	/* The successor is dead, and CLAIM is out: released all the same, for the third. */
	begin();
	run_until(&c, 2040);
	c.n[B].dead = true;
	give(&c, A, (struct elect_event){ .kind = ELECT_EV_STOP });
	run_until(&c, 4000);
	assert_true(arp_open(&c, C));
	assert_string_equal(c.n[C].why, "the lease was free");
	assert_in_range(c.dark_ms, 350, 450);
}

/* The API goes away in the middle of a move. */
static void test_api_away(void **state)
{
	(void)state;
	for (int p = LEASE_FENCE; p <= LEASE_HOLD; p++) {
		for (int64_t ms = 2000; ms < 2070; ms++) {
			cluster_init(&c, (enum lease_policy)p);
			hand_over(&c, A, B, 7);
			run_until(&c, ms);
			c.api_away = true;
			run_until(&c, 20000);
			view(&c, false);
			run_until(&c, 20001);
			c.api_away = false;
			view(&c, true);
			run_until(&c, 30000);
			assert_int_equal(arp_open(&c, A) + arp_open(&c, B) + arp_open(&c, C), 1);
			assert_int_equal(c.record.stage, LEASE_STAGE_NONE);
		}
	}
}

static const char *step(struct elect *e, struct elect_event ev)
{
	static struct elect_actions acts;

	elect_step(e, &ev, &acts);
	return describe(&acts);
}

/* A write was under way when the move began, or went on: the next one follows at once, and has its time from then. */
static void test_pending(void **state)
{
	struct elect e = renewing();

	(void)state;
	assert_string_equal(step(&e, HANDOVER(800, 9, OTHER)), "");
	assert_string_equal(step(&e, OK(1100, 7, "21")), "hold 3690; update 21 self 3000 t5 prepare 9 other");
	assert_int_equal(ms_of(e.move.until), 1850);
	/* Its outcome is unknown when the answer comes. */
	assert_string_equal(step(&e, PREPARED(1150, 9)), "");
	assert_true(elect_gate(&e).redirect_until.ns == 0); /* the successor has no addresses yet: we balance */
	assert_true(elect_gate(&e).local);
	assert_true(elect_gate(&e).arp_until.ns == 0);
	assert_string_equal(step(&e, TICK(1475)), "update 21 self 3000 t5 claim 9 other");
	assert_int_equal(ms_of(e.move.until), 2225);
	/* PREPARE had been written after all; so has CLAIM, we hear.  It is the successor's turn. */
	assert_string_equal(step(&e, CONFLICT(1480, 9)), "get");
	assert_string_equal(step(&e, seen(1485, "22", SELF)), "update 22 self 3000 t5 claim 9 other");
	assert_string_equal(step(&e, FAILED(1490, 10)), "");
	assert_string_equal(step(&e, TICK(1600)), "update 22 self 3000 t5 claim 9 other");
	assert_int_equal(ms_of(e.move.until), 2225); /* tries do not prolong it */
	/* An answer that comes before the question does not end the move. */
	e = renewing();
	assert_string_equal(step(&e, HANDOVER(800, 9, OTHER)), "");
	assert_string_equal(step(&e, PREPARED(810, 9)), "");
	assert_string_equal(step(&e, OK(820, 7, "21")), "hold 3690; update 21 self 3000 t5 claim 9 other");
	assert_true(elect_gate(&e).arp_until.ns == 0);
}

/* The Lease is deleted while a successor may have claimed it: its record counts as if it stood there. */
static void test_deleted_under_claim(void **state)
{
	struct elect e = ceded();

	(void)state;
	e.refused = true;
	step(&e, ABSENT(700));
	assert_int_equal(e.state, ELECT_FOLLOWING);
	assert_false(mono_before(e.next_write, at(3700)));
	e = leading(); /* without a move there is nobody to wait for */
	e.refused = true;
	step(&e, ABSENT(700));
	assert_true(mono_before(e.next_write, at(1700)));
}

/* The addresses change over with the CLAIM: with its reply, or when the view shows it; the successor's when it sees it. */
static void test_local(void **state)
{
	struct elect e = ceding();
	struct elect_event ev;

	(void)state;
	assert_true(elect_gate(&e).local);
	step(&e, OK(610, 8, "22"));
	assert_false(elect_gate(&e).local);
	assert_int_equal(ms_of(elect_gate(&e).redirect_until), 60610);
	e = ceded();
	e.move.redirect_until = (mono_t){ 0 }; /* the reply was lost */
	ev = seen(700, "23", SELF);
	add_stage(&ev.record, LEASE_STAGE_CLAIM, OTHER);
	step(&e, ev);
	assert_false(elect_gate(&e).local);
	assert_int_equal(ms_of(elect_gate(&e).redirect_until), 60700);
}

/* CLAIM never left: nothing is to be taken back. */
static void test_claim_unsent(void **state)
{
	struct elect e = renewing();

	(void)state;
	step(&e, HANDOVER(800, 9, OTHER));
	step(&e, PREPARED(810, 9));
	assert_string_equal(step(&e, REFUSED(820, 9)), "failed 9");
	assert_int_equal(ms_of(elect_gate(&e).arp_until), 2940);
	assert_true(elect_gate(&e).redirect_until.ns == 0);
}

/* The end of a move may be the beginning of overtime: CLAIM could not be sent, and the deadline is near. */
static void test_into_overtime(void **state)
{
	struct elect e = preparing_other();
	struct elect_gate g;

	(void)state;
	e.cfg.policy = e.seen.policy = LEASE_HOLD;
	e.failures = 4;
	add_move(&e, LEASE_STAGE_CLAIM, 3400);
	e.move.shut = true;
	e.write_pending = true;
	e.write_timeout = at(3800);
	assert_string_equal(step(&e, TICK(3399)), "");
	assert_string_equal(step(&e, TICK(3400)), "failed 9; probe 1");
	g = elect_gate(&e);
	assert_int_equal(ms_of(g.arp_until), 4900);
	assert_true(e.over.on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moved),	       cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_ready),      cmocka_unit_test(test_not_claimed),
		cmocka_unit_test(test_holder_dies),    cmocka_unit_test(test_holder_restarts),
		cmocka_unit_test(test_losses),	       cmocka_unit_test(test_stop),
		cmocka_unit_test(test_api_away),       cmocka_unit_test(test_pending),
		cmocka_unit_test(test_local),	       cmocka_unit_test(test_deleted_under_claim),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_claim_unsent),   cmocka_unit_test(test_into_overtime),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
