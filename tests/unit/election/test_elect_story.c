/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_story.c: what takes elect_step() several steps: expiry and its gaps, outages, lost replies, changed
 * durations, lost races, giving up. */
#include "tests/unit/election/elect_states.h"

static struct elect_actions acts;

static const char *step(struct elect *e, struct elect_event ev)
{
	elect_step(e, &ev, &acts);
	return describe(&acts);
}

static void test_jitter(void **state)
{
	int64_t min_ms = INT64_MAX, max_ms = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 500; seed++) {
		struct elect e = blank();

		/* Nobody holds: at once, but not all in the same millisecond. */
		e.prng.state = seed;
		step(&e, seen(0, "10", ""));
		if (acts.n == 0)
			assert_in_range(ms_of(acts.wake_at), 1, 20);
		/* No Lease: within a quarter of the renew interval. */
		e = blank();
		e.prng.state = seed;
		step(&e, ABSENT(0));
		if (acts.n == 0) {
			int64_t ms = ms_of(acts.wake_at);

			assert_in_range(ms, 1, 187);
			min_ms = ms < min_ms ? ms : min_ms;
			max_ms = ms > max_ms ? ms : max_ms;
		}
		/* Another's record: not before its expiry, and a proof of the view first. */
		e = blank();
		e.prng.state = seed;
		step(&e, seen(0, "10", OTHER));
		assert_int_equal(ms_of(acts.wake_at), 2000);
		assert_string_equal(step(&e, TICK(2000)), "get");
		assert_in_range(ms_of(acts.wake_at), 2376, 2376 + 93);
		assert_string_equal(step(&e, seen(2000, "10", OTHER)), "");
		assert_in_range(ms_of(acts.wake_at), 3000, 3020);
	}
	assert_in_range(min_ms, 1, 20);
	assert_in_range(max_ms, 170, 187);
}

/* The record's duration counts, not ours, and from the last change only. */
static void test_expiry(void **state)
{
	struct elect e = blank();
	struct elect_event ev = seen(0, "10", OTHER);

	(void)state;
	ev.record.duration_ms = 12000;
	step(&e, ev);
	assert_int_equal(ms_of(acts.wake_at), 8000);
	ev.now = at(7000);
	step(&e, ev); /* the same version again, as a list after a torn watch shows it */
	assert_int_equal(ms_of(acts.wake_at), 8000);
	memcpy(ev.version, "11", 3);
	step(&e, ev);
	assert_int_equal(ms_of(acts.wake_at), 15000);
	/* A gap in the view: the expiry starts again when it is back, though nothing has changed. */
	assert_string_equal(step(&e, VIEW(10000, false)), "");
	assert_true(mono_is_never(acts.wake_at));
	assert_string_equal(step(&e, TICK(30000)), "");
	assert_string_equal(step(&e, VIEW(30000, true)), "");
	assert_int_equal(ms_of(acts.wake_at), 38000);
	assert_string_equal(step(&e, TICK(38000)), "get");
	ev.now = at(38002);
	assert_string_equal(step(&e, ev), "");
	assert_in_range(ms_of(acts.wake_at), 42002, 42020);
	assert_string_equal(step(&e, TICK(42020)), "update 11 self 3000 t6");
}

/* A watch that hangs without a word: the GETs show it, and the expiry starts again with the first answer. */
static void test_hanging_view(void **state)
{
	struct elect e = blank();
	struct elect_event ev = TICK(0);
	unsigned int gets = 0;

	(void)state;
	step(&e, seen(0, "10", OTHER));
	while (ms_of(acts.wake_at) < 20000) {
		ev.now = acts.wake_at;
		assert_string_equal(step(&e, ev), "get");
		gets++;
	}
	assert_in_range(gets, 20, 28);
	assert_string_equal(step(&e, seen(20000, "10", OTHER)), "");
	assert_int_equal(ms_of(acts.wake_at), 22000);
	assert_string_equal(step(&e, TICK(22000)), "get");
	/* One attempt lost is no gap. */
	ev.now = acts.wake_at;
	assert_string_equal(step(&e, ev), "get");
	assert_string_equal(step(&e, seen(22500, "10", OTHER)), "");
	assert_int_equal(ms_of(acts.wake_at), 23500);
	assert_string_equal(step(&e, TICK(23500)), "update 10 self 3000 t6");
}

/* A deleted object does not shorten what its holder may rely on, which may be more than we have seen. */
static void test_deleted_under_holder(void **state)
{
	struct elect e = foreign();

	(void)state;
	assert_string_equal(step(&e, ABSENT(1000)), "");
	assert_in_range(ms_of(acts.wake_at), 4000, 4187);
	assert_string_equal(step(&e, VIEW(2000, false)), "");
	assert_string_equal(step(&e, VIEW(2500, true)), "");
	assert_in_range(ms_of(acts.wake_at), 5500, 5687);
	assert_string_equal(step(&e, TICK(5687)), "create self 3000 t0");
	assert_string_equal(step(&e, OK(5690, 1, "30")), "lead 8627");
	/* Nor does one that lapsed for us, and may have been another's since. */
	e = lapsed();
	e.fresh = true;
	assert_string_equal(step(&e, ABSENT(2990)), "");
	assert_in_range(ms_of(acts.wake_at), 5990, 6177);
	/* A released record is nobody's. */
	e = knows("");
	step(&e, ABSENT(1000));
	if (e.state == ELECT_FOLLOWING) /* unless the jitter was 0 */
		assert_in_range(ms_of(acts.wake_at), 1001, 1187);
	/* The holder itself creates a new one soon. */
	e = leading();
	assert_string_equal(step(&e, ABSENT(100)), "update 20 self 3000 t5");
	assert_string_equal(step(&e, CONFLICT(105, 7)), "follow");
	assert_in_range(ms_of(acts.wake_at), 106, 292);
}

/* The deadline is exact, and counts from the send of the write that succeeded. */
static void test_deadline(void **state)
{
	struct elect e = leading();

	(void)state;
	assert_string_equal(step(&e, TICK(750)), "update 20 self 3000 t5");
	assert_string_equal(step(&e, TICK(1125)), ""); /* no outcome in time: failed */
	assert_string_equal(step(&e, TICK(1200)), "update 20 self 3000 t5");
	assert_int_equal(e.write_id, 8);
	assert_string_equal(step(&e, OK(1210, 7, "21")), ""); /* the late reply moves nothing */
	assert_int_equal(ms_of(e.deadline), 2940);
	assert_string_equal(step(&e, CONFLICT(1220, 8)), "get");
	assert_string_equal(step(&e, seen(1230, "21", SELF)), "update 21 self 3000 t5");
	assert_int_equal(ms_of(e.deadline), 2940); /* nor does what is seen */
	assert_string_equal(step(&e, OK(1250, 9, "22")), "hold 4170");
	assert_true(elect_holds(&e, at(4169)));
	assert_false(elect_holds(&e, at(4170)));
}

/* Attempts that fail at once are repeated with growing pauses, and FOLLOW comes on time. */
static void test_outage(void **state)
{
	struct elect e = leading();
	unsigned int writes = 0, follows = 0;
	struct elect_event ev = TICK(750);

	(void)state;
	while (ms_of(ev.now) < 30000) {
		bool wrote = false;

		elect_step(&e, &ev, &acts);
		for (unsigned int i = 0; i < acts.n; i++) {
			if (acts.v[i].kind == ELECT_DO_FOLLOW) {
				follows++;
				assert_in_range(ms_of(ev.now), 2940, 2941); /* an event may come 1 ms later */
			}
			wrote |= acts.v[i].kind == ELECT_DO_UPDATE;
		}
		writes += wrote;
		ev = (struct elect_event){ .kind = wrote ? ELECT_EV_WRITE_FAILED : ELECT_EV_TICK,
					   .now = wrote ? mono_add_ms(ev.now, 1) : acts.wake_at,
					   .write_id = e.write_id };
	}
	assert_int_equal(follows, 1);
	assert_in_range(writes, 40, 130);
	/* The API is back, the watch not yet: the former holder is. */
	e.fresh = false;
	do {
		ev = (struct elect_event){ .kind = ELECT_EV_TICK, .now = acts.wake_at };
		elect_step(&e, &ev, &acts);
	} while (acts.n == 0);
	assert_int_equal(acts.v[0].kind, ELECT_DO_UPDATE);
	ev = OK(ms_of(ev.now) + 5, e.write_id, "21");
	elect_step(&e, &ev, &acts);
	assert_int_equal(acts.v[0].kind, ELECT_DO_LEAD);
	assert_in_range(ms_of(acts.v[0].deadline), ms_of(ev.now) + 2934, ms_of(ev.now) + 2935);
}

/* A restart with a shorter duration: the former one is kept until we lead, then shortened from its send. */
static void test_shortened(void **state)
{
	struct elect e = blank();
	struct elect_event ev = seen(0, "10", FORMER);

	(void)state;
	ev.record.duration_ms = 10000;
	assert_string_equal(step(&e, ev), "update 10 self 10000 t6");
	/* Reply lost; our own record now carries the long duration, and still no kernel state of ours. */
	assert_string_equal(step(&e, FAILED(375, 1)), "");
	ev = seen(380, "11", SELF);
	ev.record.duration_ms = 10000;
	assert_string_equal(step(&e, ev), "update 11 self 10000 t5");
	assert_string_equal(step(&e, OK(390, 2, "12")), "lead 10180");
	assert_string_equal(step(&e, TICK(1130)), "hold 4070; update 12 self 3000 t5");
	assert_string_equal(step(&e, FAILED(1140, 3)), "");
	assert_int_equal(ms_of(e.deadline), 4070);
	assert_string_equal(step(&e, TICK(1200)), "update 12 self 3000 t5");
	assert_string_equal(step(&e, OK(1210, 4, "13")), "hold 4140");
}

/* The kernel may still answer for a former process: its record is not given away before we have led by it. */
static void test_inherited(void **state)
{
	struct elect e = blank();

	(void)state;
	assert_string_equal(step(&e, seen(0, "10", FORMER)), "update 10 self 3000 t6");
	assert_string_equal(step(&e, STOP(1)), "stopped");
	e = blank();
	step(&e, seen(0, "10", FORMER));
	step(&e, FAILED(1, 1));
	step(&e, seen(2, "11", SELF));
	assert_string_equal(step(&e, STOP(3)), "stopped");
	e = blank();
	step(&e, seen(0, "10", FORMER));
	assert_string_equal(step(&e, OK(2, 1, "11")), "lead 2940");
	assert_string_equal(step(&e, STOP(3)), "follow; update 11 nobody 1000 t6");
}

/* And with a longer one: nothing to wait for. */
static void test_lengthened(void **state)
{
	struct elect e = blank();
	struct elect_event ev = seen(0, "10", FORMER);

	(void)state;
	ev.record.duration_ms = 400;
	assert_string_equal(step(&e, ev), "update 10 self 3000 t6");
	assert_string_equal(step(&e, OK(10, 1, "11")), "lead 2940");
}

/* A lost race: one GET, then the winner's record is waited for; no second write. */
static void test_lost_race(void **state)
{
	struct elect e = claiming();

	(void)state;
	assert_string_equal(step(&e, CONFLICT(3020, 7)), "get");
	assert_in_range(ms_of(acts.wake_at), 3396, 3600);
	assert_string_equal(step(&e, seen(3025, "11", OTHER)), "");
	assert_int_equal(ms_of(acts.wake_at), 5025);
	/* The view was faster than the refusal: no GET. */
	e = claiming();
	assert_string_equal(step(&e, seen(3015, "11", OTHER)), "");
	assert_string_equal(step(&e, CONFLICT(3020, 7)), "");
	assert_int_equal(ms_of(acts.wake_at), 5015);
}

/* Writes that are refused for ever (a namespace that does not exist answers 404 to all) stay few. */
static void test_refused_for_ever(void **state)
{
	struct elect e = absent();
	struct elect_event ev = TICK(100);
	unsigned int requests = 0;

	(void)state;
	while (ms_of(ev.now) < 60000) {
		elect_step(&e, &ev, &acts);
		if (acts.n == 0) {
			ev = TICK(0);
			ev.now = acts.wake_at;
			continue;
		}
		assert_int_equal(acts.n, 1);
		requests++;
		ev.now = mono_add_ms(ev.now, 1);
		ev.kind = acts.v[0].kind == ELECT_DO_GET ? ELECT_EV_ABSENT : ELECT_EV_WRITE_CONFLICT;
		ev.write_id = acts.v[0].write_id;
	}
	assert_in_range(requests, 40, 60000 / 375 * 2);
}

static void test_release_bounds(void **state)
{
	struct elect e = leading();
	struct elect_event ev;

	(void)state;
	/* Two tries, both failing. */
	assert_string_equal(step(&e, STOP(100)), "follow; update 20 nobody 1000 t5");
	assert_string_equal(step(&e, FAILED(101, 7)), "");
	ev = TICK(0);
	ev.now = acts.wake_at;
	assert_in_range(ms_of(ev.now), 102, 160);
	assert_string_equal(step(&e, ev), "update 20 nobody 1000 t5");
	ev = FAILED(0, 8);
	ev.now = mono_add_ms(e.write_sent, 1);
	assert_string_equal(step(&e, ev), "stopped");
	/* No answer at all: one renew interval. */
	e = leading();
	ev = STOP(100);
	while (e.state != ELECT_STOPPED) {
		elect_step(&e, &ev, &acts);
		assert_in_range(ms_of(ev.now), 100, 850);
		ev = TICK(0);
		ev.now = acts.wake_at;
	}
	/* Unfit, released, fit again: claims like anybody. */
	e = leading();
	step(&e, FIT(100, false));
	assert_string_equal(step(&e, OK(105, 7, "21")), "");
	assert_true(mono_is_never(acts.wake_at));
	assert_int_equal(e.state, ELECT_FOLLOWING);
	step(&e, FIT(5000, true));
	if (e.state == ELECT_FOLLOWING) /* unless the jitter was 0 */
		assert_string_equal(step(&e, TICK(5020)), "update 21 self 3000 t6");
	assert_int_equal(e.state, ELECT_CLAIMING);
}

static struct elect delayed(struct elect e)
{
	e.cfg.delay_ms = 500;
	return e;
}

/* Preferred candidates come first; nobody waits for them over what is its own. */
static void test_delay(void **state)
{
	struct elect e = delayed(blank());

	(void)state;
	assert_string_equal(step(&e, seen(0, "10", "")), "");
	assert_in_range(ms_of(acts.wake_at), 500, 520);
	e = delayed(blank());
	step(&e, ABSENT(0));
	assert_in_range(ms_of(acts.wake_at), 500, 687);
	e = delayed(foreign());
	step(&e, ABSENT(1000));
	assert_in_range(ms_of(acts.wake_at), 4500, 4687);
	e = delayed(blank());
	step(&e, seen(0, "10", OTHER));
	assert_int_equal(ms_of(acts.wake_at), 2500); /* the proof is no older than without the delay */
	assert_string_equal(step(&e, TICK(2500)), "get");
	assert_string_equal(step(&e, seen(2502, "10", OTHER)), "");
	assert_in_range(ms_of(acts.wake_at), 3502, 3520);
	e = delayed(blank());
	assert_string_equal(step(&e, seen(0, "10", FORMER)), "update 10 self 3000 t6");
	e = delayed(lapsed());
	assert_string_equal(step(&e, TICK(3000)), "update 20 self 3000 t5");
	e = delayed(foreign());
	assert_string_equal(step(&e, CEDES(100, "11", 9, SELF)), "update 11 self 3000 t6");
}

static void test_limits(void **state)
{
	struct elect e = foreign();

	(void)state;
	e.seen.transitions = INT32_MAX;
	assert_string_equal(step(&e, TICK(3010)), "update 10 self 3000 t2147483647");
	e = foreign();
	e.write_id = UINT32_MAX;
	step(&e, TICK(3010));
	assert_int_equal(e.write_id, 1); /* never 0 */
	assert_int_equal(elect_margin_ms(400), 50);
	assert_int_equal(elect_margin_ms(2500), 50);
	assert_int_equal(elect_margin_ms(2501), 51);
	assert_int_equal(elect_margin_ms(3000), 60);
	assert_int_equal(elect_margin_ms(10000), 200);
	assert_int_equal(elect_margin_ms(LEASE_MS_MAX), LEASE_MS_MAX / 50);
	assert_string_equal(elect_state_name(ELECT_RELEASING), "releasing");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jitter),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_hanging_view),
		cmocka_unit_test(test_deleted_under_holder),
		cmocka_unit_test(test_deadline),
		cmocka_unit_test(test_outage),
		cmocka_unit_test(test_shortened),
		cmocka_unit_test(test_inherited),
		cmocka_unit_test(test_lengthened),
		cmocka_unit_test(test_lost_race),
		cmocka_unit_test(test_refused_for_ever),
		cmocka_unit_test(test_release_bounds),
		cmocka_unit_test(test_delay),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
