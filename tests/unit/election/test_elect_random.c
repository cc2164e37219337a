/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_random.c: elect_step() under random events in random order, most of them lies.  Only the rules that
 * always hold are asked. */
#include "tests/unit/election/elect_states.h"

static struct elect_actions acts;

static struct elect_event random_event(struct prng *p, const struct elect *e, mono_t wake)
{
	static const char *const holders[] = { SELF, FORMER, OTHER, "", "stranger" };
	static const char *const versions[] = { "", "x", "y" };
	int64_t kind = prng_range(p, 0, ELECT_EV_STOP + 4);
	struct elect_event ev = { .kind = kind > ELECT_EV_STOP ? ELECT_EV_TICK : (enum elect_event_kind)kind };
	int64_t n = prng_range(p, 0, 60);

	if (ev.kind == ELECT_EV_STOP && prng_range(p, 0, 200) > 0)
		ev.kind = ELECT_EV_WRITE_OK;
	ev.now.ns = prng_range(p, 0, 9) > 5 && !mono_is_never(wake) ? wake.ns : e->write_sent.ns;
	ev.now = mono_add_ms(ev.now, prng_range(p, 0, 9) == 0 ? prng_range(p, 0, 9000) : prng_range(p, 0, 90));
	set(ev.record.holder, sizeof(ev.record.holder), holders[prng_range(p, 0, 4)]);
	ev.record.duration_ms = prng_range(p, 1, 6000);
	if (n < 3)
		set(ev.version, sizeof(ev.version), versions[n]);
	else
		IGNORE(snprintf(ev.version, sizeof(ev.version), "%" PRId64, n)); /* two digits */
	ev.write_id = e->write_id - (prng_range(p, 0, 5) == 0);
	ev.fresh = prng_range(p, 0, 3) > 0;
	ev.fit = prng_range(p, 0, 3) > 0;
	return ev;
}

/* The rules that hold for any events in any order. */
static void check_step(const struct elect *was, const struct elect *e, const struct elect_event *ev)
{
	bool held = was->state == ELECT_LEADING, holds = held;
	unsigned int writes = 0, gets = 0;
	mono_t deadline = was->deadline;

	assert_true(mono_before(ev->now, acts.wake_at));
	for (unsigned int i = 0; i < acts.n; i++) {
		const struct elect_action *a = &acts.v[i];

		if (a->kind == ELECT_DO_CREATE || a->kind == ELECT_DO_UPDATE) {
			writes++;
			assert_int_equal(a->kind == ELECT_DO_UPDATE, *a->version != '\0');
			assert_true(*a->record.holder ? e->fit : !holds); /* release only after FOLLOW */
			assert_true(!was->write_pending || ev->kind != ELECT_EV_TICK ||
				    mono_reached(ev->now, was->write_timeout) || was->state == ELECT_RELEASING);
		}
		gets += a->kind == ELECT_DO_GET;
		if (a->kind == ELECT_DO_FOLLOW) {
			assert_true(holds);
			holds = false;
		}
		if (a->kind == ELECT_DO_LEAD) {
			assert_false(holds);
			assert_int_equal(ev->kind, ELECT_EV_WRITE_OK);
			holds = true;
		}
		if (a->kind == ELECT_DO_LEAD || a->kind == ELECT_DO_HOLD) {
			assert_true(holds && mono_before(ev->now, a->deadline));
			deadline = a->deadline;
		}
	}
	assert_true(writes + gets <= 1);
	assert_int_equal(holds, e->state == ELECT_LEADING);
	assert_int_equal(holds, elect_holds(e, ev->now));
	assert_int_equal(deadline.ns, e->deadline.ns); /* the shell was told of every change */
	if (held && holds && ev->kind != ELECT_EV_WRITE_OK)
		assert_true(e->deadline.ns <= was->deadline.ns); /* only a success moves it on */
	if (held && mono_reached(ev->now, was->deadline))
		assert_int_equal(acts.v[0].kind, ELECT_DO_FOLLOW);
	if (e->state == ELECT_FOLLOWING || e->state == ELECT_STOPPED)
		assert_false(e->write_pending);
	if (e->state == ELECT_CLAIMING)
		assert_true(e->write_pending);
}

static void test_random(void **state)
{
	unsigned int leads = 0, stops = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 2000; seed++) {
		struct prng p = { seed };
		struct elect e = new_elect(), was;
		struct elect_event ev;
		mono_t now = at(0);

		e.prng.state = seed;
		e.write_sent = now;
		acts.wake_at = now;
		for (int i = 0; i < 300; i++) {
			ev = random_event(&p, &e, acts.wake_at);
			ev.now = mono_before(ev.now, now) ? now : ev.now;
			now = ev.now;
			was = e;
			elect_step(&e, &ev, &acts);
			check_step(&was, &e, &ev);
			leads += was.state != ELECT_LEADING && e.state == ELECT_LEADING;
			stops += was.state != ELECT_STOPPED && e.state == ELECT_STOPPED;
		}
	}
	assert_true(leads > 5000 && stops > 100); /* or the events were not worth much */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
