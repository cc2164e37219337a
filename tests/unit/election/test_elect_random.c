/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_random.c: elect_step() under random events in random order, most of them lies.  Only the rules that
 * always hold are asked. */
#include "tests/unit/election/elect_states.h"

static struct elect_actions acts;
static unsigned int claims, yields, overtimes, looks, failed_moves, prepares;

static const char *pick(struct prng *p, const char *const *of, int64_t n)
{
	return of[prng_range(p, 0, n - 1)];
}

/* Moves under few numbers and names, so that some fit together. */
static void random_move(struct prng *p, struct elect_event *ev)
{
	static const char *const names[] = { SELF, OTHER, OTHER, "", "stranger" };

	ev->handover = (uint32_t)prng_range(p, 0, 3);
	set(ev->successor, sizeof(ev->successor), pick(p, names, 5));
	ev->record.policy = prng_range(p, 0, 1) ? LEASE_HOLD : LEASE_FENCE;
	if (prng_range(p, 0, 2) > 0)
		return;
	ev->record.stage = prng_range(p, 0, 1) ? LEASE_STAGE_PREPARE : LEASE_STAGE_CLAIM;
	ev->record.handover = (uint32_t)prng_range(p, 0, 3);
	set(ev->record.successor, sizeof(ev->record.successor), pick(p, names, 5));
}

/* An event that may follow, or may not: most of them are lies. */
static struct elect_event random_event(struct prng *p, const struct elect *e, mono_t wake)
{
	static const char *const holders[] = { SELF, FORMER, OTHER, "", "stranger" };
	static const char *const versions[] = { "", "x", "y" };
	int64_t kind = prng_range(p, 0, ELECT_EV_DOUBT + 4);
	struct elect_event ev = { .kind = kind > ELECT_EV_DOUBT ? ELECT_EV_TICK : (enum elect_event_kind)kind };
	int64_t n = prng_range(p, 0, 60);

	if (ev.kind == ELECT_EV_STOP && prng_range(p, 0, 200) > 0)
		ev.kind = ELECT_EV_WRITE_OK;
	ev.now.ns = prng_range(p, 0, 9) > 5 && !mono_is_never(wake) ? wake.ns : e->write_sent.ns;
	if (e->state == ELECT_LEADING && !e->over.on && prng_range(p, 0, 9) == 0)
		ev.now = mono_add_ms(e->deadline, -90);
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
	ev.wire = (enum elect_wire)prng_range(p, 0, 2);
	ev.probe_id = prng_range(p, 0, 3) == 0 ? 0 : e->over.probe_id;
	random_move(p, &ev);
	/* Most moves are of the number in hand, and most doubts are not. */
	if (prng_range(p, 0, 1) && ev.kind >= ELECT_EV_PREPARED && ev.kind <= ELECT_EV_REFUSED)
		ev.handover = e->move.number;
	if (prng_range(p, 0, 1) && ev.kind == ELECT_EV_HANDOVER) {
		ev.handover = 9;
		set(ev.successor, sizeof(ev.successor), OTHER);
	}
	if (ev.kind == ELECT_EV_DOUBT && prng_range(p, 0, 9) > 0)
		ev.kind = ELECT_EV_WRITE_FAILED;
	return ev;
}

/* Whether a CLAIM may be out: sent, and neither taken back by a write of ours nor overtaken by another's record. */
static bool claim_is_out(bool out, const struct elect *was, const struct elect *e, const struct elect_event *ev)
{
	if (ev->kind == ELECT_EV_WRITE_OK && was->write_pending && ev->write_id == was->write_id &&
	    was->write_record.stage == LEASE_STAGE_NONE)
		out = false;
	if (e->known && strcmp(e->seen.holder, SELF) != 0)
		out = false;
	for (unsigned int i = 0; i < acts.n; i++)
		out |= acts.v[i].kind == ELECT_DO_UPDATE && acts.v[i].record.stage == LEASE_STAGE_CLAIM;
	return out;
}

/* What the kernel may answer, against who we are. */
static void check_gate(const struct elect *e, bool claim_out)
{
	struct elect_gate g = elect_gate(e);

	if (e->state != ELECT_LEADING)
		assert_true(g.arp_until.ns == 0 && (g.ip_until.ns == 0 || e->move.preparing != 0));
	else if (!e->over.on)
		assert_true(g.arp_until.ns <= e->deadline.ns && g.ip_until.ns <= e->deadline.ns);
	else
		assert_true(g.arp_until.ns <= e->over.gate_until.ns && e->cfg.policy == LEASE_HOLD);
	assert_true(g.arp_until.ns <= g.ip_until.ns);
	if (claim_out || e->over.looking)
		assert_true(g.arp_until.ns == 0);
	assert_int_equal(g.redirect_until.ns > 0, *g.redirect_to != '\0');
	assert_false(e->over.on && (e->over.looking || e->over.yielded || e->move.shut));
	if (e->state == ELECT_RELEASING || e->state == ELECT_STOPPED)
		assert_false(e->move.preparing != 0 || e->over.on || e->over.yielded);
}

/* The move that is under way for the shell: begins with PREPARE, ends with UNPREPARE or LEAD. */
static void check_move(const struct elect *was, const struct elect *e)
{
	bool preparing = was->move.preparing != 0;

	for (unsigned int i = 0; i < acts.n; i++) {
		const struct elect_action *a = &acts.v[i];

		if (a->kind == ELECT_DO_PREPARE) {
			assert_true(a->handover != 0 && a->handover != was->move.noted);
			preparing = true;
			prepares++;
		} else if (a->kind == ELECT_DO_UNPREPARE) {
			assert_true(preparing);
			preparing = false;
		} else if (a->kind == ELECT_DO_LEAD) {
			preparing = false;
		} else if (a->kind == ELECT_DO_HANDOVER_FAILED) {
			failed_moves += was->move.number == a->handover;
		}
	}
	assert_int_equal(preparing, e->move.preparing != 0);
	if (e->move.stage != LEASE_STAGE_NONE)
		assert_true(e->move.number != 0 && (e->state == ELECT_LEADING || e->state == ELECT_RELEASING));
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
			assert_true(a->record.stage == LEASE_STAGE_NONE || holds);
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
			assert_true(ev->kind == ELECT_EV_WRITE_OK || (ev->kind == ELECT_EV_WIRE && e->over.on));
			holds = true;
		}
		if (a->kind == ELECT_DO_LEAD || a->kind == ELECT_DO_HOLD) {
			assert_true(holds && mono_before(ev->now, a->deadline));
			if (ev->kind != ELECT_EV_WIRE || !e->over.on)
				deadline = a->deadline;
		}
	}
	assert_true(writes + gets <= 1);
	assert_int_equal(holds, e->state == ELECT_LEADING);
	assert_int_equal(holds, elect_holds(e, ev->now));
	assert_int_equal(deadline.ns, e->deadline.ns); /* the shell was told of every change */
	if (held && holds && ev->kind != ELECT_EV_WRITE_OK)
		assert_true(e->deadline.ns <= was->deadline.ns); /* only a success moves it on */
	if (held && mono_reached(ev->now, was->over.on ? was->over.gate_until : was->deadline) &&
	    (was->over.on || e->cfg.policy == LEASE_FENCE || mono_diff_ms(ev->now, was->deadline) >= 50))
		assert_int_equal(acts.v[0].kind, ELECT_DO_FOLLOW);
	if (e->over.on && !was->over.on && ev->kind != ELECT_EV_WIRE) {
		assert_true(held && e->failures > 0 && mono_diff_ms(ev->now, was->deadline) < 50);
		overtimes++;
	}
	check_move(was, e);
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
		bool claim_out = false;
		struct elect_event ev;
		mono_t now = at(0);

		e.prng.state = seed;
		e.cfg.policy = seed % 2 ? LEASE_HOLD : LEASE_FENCE;
		e.cfg.delay_ms = seed % 3 == 0 ? 100 : 0;
		e.write_sent = now;
		acts.wake_at = now;
		for (int i = 0; i < 300; i++) {
			ev = random_event(&p, &e, acts.wake_at);
			ev.now = mono_before(ev.now, now) ? now : ev.now;
			now = ev.now;
			was = e;
			elect_step(&e, &ev, &acts);
			check_step(&was, &e, &ev);
			claim_out = claim_is_out(claim_out, &was, &e, &ev);
			check_gate(&e, claim_out);
			claims += claim_out && was.move.shut && !was.write_pending && e.write_pending;
			yields += !was.over.yielded && e.over.yielded;
			looks += !was.over.looking && e.over.looking;
			leads += was.state != ELECT_LEADING && e.state == ELECT_LEADING;
			stops += was.state != ELECT_STOPPED && e.state == ELECT_STOPPED;
		}
	}
	print_message("%u leads, %u stops, %u overtimes, %u yields, %u looks, %u prepares, %u failed, %u claims\n", leads,
		      stops, overtimes, yields, looks, prepares, failed_moves, claims);
	/* Or the events were not worth much. */
	assert_true(leads > 5000 && stops > 100 && overtimes > 100 && yields > 500 && looks > 500 && prepares > 100 &&
		    failed_moves > 300 && claims > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
