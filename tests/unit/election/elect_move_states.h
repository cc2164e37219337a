/* SPDX-License-Identifier: Apache-2.0 */
/* elect_move_states.h: the machine in the midst of a planned move, and under policy hold. */
#pragma once

#include "tests/unit/election/elect_states.h"

/* --- moves: number 9 to OTHER, asked for at 500 ------------------------------------------------------------- */

static inline void add_stage(struct lease_record *r, enum lease_stage stage, const char *successor)
{
	r->stage = stage;
	r->handover = 9;
	set(r->successor, sizeof(r->successor), successor);
}

static inline void add_move(struct elect *e, enum lease_stage stage, int64_t until_ms)
{
	e->move.stage = stage;
	e->move.number = 9;
	set(e->move.successor, sizeof(e->move.successor), OTHER);
	e->move.until = at(until_ms);
}

/* Written with version 21, the lease runs until 3440. */
static inline struct elect preparing_other(void)
{
	struct elect e = leading();

	set(e.seen_version, sizeof(e.seen_version), "21");
	e.deadline = at(3440);
	e.next_write = at(1250);
	e.write_id = 7;
	add_move(&e, LEASE_STAGE_PREPARE, 1250);
	e.write_sent = at(500);
	set(e.write_record.holder, sizeof(e.write_record.holder), SELF);
	add_stage(&e.write_record, LEASE_STAGE_PREPARE, OTHER);
	add_stage(&e.seen, LEASE_STAGE_PREPARE, OTHER);
	return e;
}

/* OTHER said at 600 that it is ready; CLAIM is on its way. */
static inline struct elect ceding(void)
{
	struct elect e = preparing_other();

	add_move(&e, LEASE_STAGE_CLAIM, 1350);
	e.move.shut = true;
	add_write(&e, 600, SELF, "21");
	add_stage(&e.write_record, LEASE_STAGE_CLAIM, OTHER);
	e.write_id = 8;
	return e;
}

/* ... and written, with version 22. */
static inline struct elect ceded(void)
{
	struct elect e = ceding();

	e.write_pending = false;
	e.move.redirect_until = at(60610);
	e.seen = e.write_record;
	set(e.seen_version, sizeof(e.seen_version), "22");
	e.deadline = at(3540);
	e.next_write = at(1350);
	return e;
}

/* Nothing came of it until 1350; a record without it is on its way. */
static inline struct elect taking_back(void)
{
	struct elect e = ceded();

	e.move.stage = LEASE_STAGE_NONE;
	add_write(&e, 1350, SELF, "22");
	e.write_record.stage = LEASE_STAGE_NONE;
	e.write_record.handover = 0;
	e.write_record.successor[0] = '\0';
	e.write_id = 9;
	return e;
}

/* OTHER has claimed at 700. */
static inline struct elect handed_over(void)
{
	struct elect e = ceded();
	struct elect_actions acts;
	struct elect_event ev = { .kind = ELECT_EV_SEEN, .now = at(700) };

	ev.record = e.seen;
	set(ev.record.holder, sizeof(ev.record.holder), OTHER);
	ev.record.stage = LEASE_STAGE_NONE;
	set(ev.version, sizeof(ev.version), "23");
	elect_step(&e, &ev, &acts);
	return e;
}

/* OTHER names us, as number 9, in version 11 of 500. */
static inline struct elect successor(void)
{
	struct elect e = unproven();

	set(e.seen_version, sizeof(e.seen_version), "11");
	add_stage(&e.seen, LEASE_STAGE_PREPARE, SELF);
	e.seen_at = at(500);
	e.next_write = at(3510);
	e.next_probe = at(2500);
	e.move.preparing = e.move.noted = 9;
	e.move.ip_until = at(3500);
	return e;
}

/* ... has shut its gate; our claim is on its way since 600. */
static inline struct elect succeeding(void)
{
	struct elect e = successor();

	e.seen.stage = LEASE_STAGE_CLAIM;
	set(e.seen_version, sizeof(e.seen_version), "12");
	e.seen_at = at(600);
	e.state = ELECT_CLAIMING;
	e.why = "test";
	add_write(&e, 600, SELF, "12");
	return e;
}

/* --- policy hold ------------------------------------------------------------------------------------------- */

/* Every write since 0 has failed. */
static inline struct elect failing(void)
{
	struct elect e = leading();

	e.cfg.policy = e.seen.policy = LEASE_HOLD;
	e.failures = 5;
	e.next_write = at(2950);
	return e;
}

/* ... and so it goes on; a probe was sent at 2890, the last step was at 3000. */
static inline struct elect overtime(void)
{
	struct elect e = failing();

	e.over.on = true;
	e.over.gate_until = at(4500);
	e.over.probe_id = 3;
	e.over.probe_pending = true;
	e.over.probe_timeout = at(3090);
	e.over.next_probe = at(3640);
	e.next_write = at(3050);
	return e;
}

/* A write of ours was refused at 3000: somebody has written. */
static inline struct elect overtime_refused(void)
{
	struct elect e = overtime();

	e.refused = true;
	e.next_write = at(3500);
	return e;
}

/* Somebody answered at 3000.  Silent since 4000, and probed at 9980. */
static inline struct elect yielded(void)
{
	struct elect e = overtime();

	e.over.on = false;
	e.over.yielded = true;
	e.over.silent_since = at(4000);
	e.over.probe_timeout = at(10180);
	e.over.next_probe = at(10730);
	e.state = ELECT_FOLLOWING;
	e.next_write = at(10500);
	e.failures = 20;
	return e;
}

/* Another's hold record, expired, was claimed at 0 with version 20; the wire was asked at 10. */
static inline struct elect looking(void)
{
	struct elect e = leading();

	e.cfg.policy = e.seen.policy = LEASE_HOLD;
	e.over.look_ms = 3000;
	e.over.looking = true;
	e.over.look_until = at(3010);
	e.over.probe_id = 3;
	e.over.probe_pending = true;
	e.over.probe_timeout = at(210);
	e.over.next_probe = at(760);
	return e;
}

/* A candidate answered the last probe, and the look is over at 200. */
static inline struct elect looked(void)
{
	struct elect e = looking();

	e.over.answered = true;
	e.over.look_until = at(200);
	return e;
}

/* ... but that candidate cannot know us. */
static inline struct elect looked_unknown(void)
{
	struct elect e = looked();

	e.over.unknown = true;
	return e;
}

/* ... nor has it answered since. */
static inline struct elect looked_unanswered(void)
{
	struct elect e = looked_unknown();

	e.over.answered = false;
	return e;
}

/* ... and so it looks on. */
static inline struct elect looking_on(void)
{
	struct elect e = looked_unknown();

	e.over.look_until = at(3200);
	e.over.patient = true;
	return e;
}
