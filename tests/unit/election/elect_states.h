/* SPDX-License-Identifier: Apache-2.0 */
/* elect_states.h: what the tests of elect.c share: the machine in each of its states, short forms of its events,
 * and its actions as text.
 *
 * Times are milliseconds after T0.  The node is "a", its lease 3000/750: margin 60, attempts bounded by 375. */
#pragma once

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/auto.h"
#include "election/elect.h"

#define T0_MS INT64_C(5000000)
#define SELF "a_b00tb00t_00000001"
#define FORMER "a_b00tb00t_0000000f"
#define OTHER "b_b00tb00t_00000002"
#define ANY (-2)   /* a wake time that jitter decides; it must lie ahead */
#define NEVER (-1) /* no wake time */

static inline mono_t at(int64_t ms)
{
	return mono_add_ms((mono_t){ 0 }, T0_MS + ms);
}

static inline void set(char *dst, size_t size, const char *text)
{
	assert_true(strlen(text) < size);
	memset(dst, 0, size);
	memcpy(dst, text, strlen(text));
}

/* --- states ---------------------------------------------------------------------------------------------- */

static inline struct elect new_elect(void)
{
	struct elect_config cfg = { .duration_ms = 3000, .renew_ms = 750, .seed = 1 };
	struct elect e;

	set(cfg.identity, sizeof(cfg.identity), SELF);
	elect_init(&e, &cfg);
	return e;
}

/* A follower that may claim and has a live view of nothing yet. */
static inline struct elect blank(void)
{
	struct elect e = new_elect();

	e.fit = e.fresh = true;
	return e;
}

/* ... that saw 'holder' write version 10 at 0. */
static inline struct elect knows(const char *holder)
{
	struct elect e = blank();

	e.known = true;
	set(e.seen.holder, sizeof(e.seen.holder), holder);
	set(e.seen_version, sizeof(e.seen_version), "10");
	e.seen.duration_ms = 3000;
	e.seen.transitions = 4;
	e.seen_at = at(0);
	e.next_write = at(3010);
	e.proven = true;
	return e;
}

static inline struct elect foreign(void)
{
	return knows(OTHER);
}

/* The same before its view was proven. */
static inline struct elect unproven(void)
{
	struct elect e = foreign();

	e.proven = false;
	e.next_probe = at(2000);
	return e;
}

/* A GET was sent at 2000. */
static inline struct elect probing(void)
{
	struct elect e = unproven();

	e.asked = 1;
	e.next_probe = at(2400);
	return e;
}

/* ... and another at 2400. */
static inline struct elect doubting(void)
{
	struct elect e = probing();

	e.asked = 2;
	e.next_probe = at(3200);
	return e;
}

/* A follower whose version 10 was refused; a GET was sent at 3010. */
static inline struct elect refused(void)
{
	struct elect e = foreign();

	e.refused = true;
	e.failures = 1;
	e.next_write = at(3500);
	return e;
}

static inline void add_write(struct elect *e, int64_t sent_ms, const char *holder, const char *version)
{
	e->write_id = 7;
	e->write_pending = true;
	e->write_sent = at(sent_ms);
	e->write_timeout = at(sent_ms + 375);
	set(e->write_record.holder, sizeof(e->write_record.holder), holder);
	e->write_record.duration_ms = *holder ? 3000 : 1000;
	e->write_record.transitions = 5;
	set(e->write_version, sizeof(e->write_version), version);
}

/* The foreign record expired; the claim went out at 3010. */
static inline struct elect claiming(void)
{
	struct elect e = foreign();

	e.state = ELECT_CLAIMING;
	e.why = "test";
	add_write(&e, 3010, SELF, "10");
	return e;
}

static inline struct elect creating(void)
{
	struct elect e = blank();

	e.absent = true;
	e.state = ELECT_CLAIMING;
	e.why = "test";
	add_write(&e, 0, SELF, "");
	return e;
}

/* Version 20 was sent at 0 and succeeded. */
static inline struct elect leading(void)
{
	struct elect e = knows(SELF);

	set(e.seen_version, sizeof(e.seen_version), "20");
	e.seen.transitions = 5;
	e.state = ELECT_LEADING;
	e.wrote = true;
	e.deadline = at(2940);
	e.next_write = at(750);
	e.write_id = 6;
	return e;
}

static inline struct elect renewing(void)
{
	struct elect e = leading();

	add_write(&e, 750, SELF, "20");
	return e;
}

/* The renewal at 750 was refused; a GET is under way. */
static inline struct elect leading_refused(void)
{
	struct elect e = leading();

	e.refused = true;
	e.failures = 1;
	e.write_id = 7;
	e.next_write = at(1300);
	return e;
}

static inline struct elect leading_absent(void)
{
	struct elect e = renewing();

	e.absent = true;
	return e;
}

/* Told to stop at 800; the release is under way. */
static inline struct elect releasing(void)
{
	struct elect e = leading();

	e.state = ELECT_RELEASING;
	e.stopping = true;
	e.releases = 1;
	e.release_until = at(1550);
	add_write(&e, 800, "", "20");
	return e;
}

/* Unfit at 800 while a renewal was under way. */
static inline struct elect releasing_renewal(void)
{
	struct elect e = renewing();

	e.state = ELECT_RELEASING;
	e.fit = false;
	e.release_until = at(1550);
	return e;
}

/* Told to stop at 3100 while a claim was under way. */
static inline struct elect releasing_claim(void)
{
	struct elect e = claiming();

	e.state = ELECT_RELEASING;
	e.stopping = true;
	e.release_until = at(3850);
	return e;
}

static inline struct elect stopped(void)
{
	struct elect e = leading();

	e.state = ELECT_STOPPED;
	e.stopping = true;
	return e;
}

/* Our own record, version 20, which we do not lead by. */
static inline struct elect lapsed(void)
{
	struct elect e = leading();

	e.state = ELECT_FOLLOWING;
	e.fresh = false;
	e.next_write = at(3000);
	e.failures = 3;
	return e;
}

static inline struct elect absent(void)
{
	struct elect e = blank();

	e.absent = true;
	e.next_write = at(100);
	return e;
}

static inline struct elect unfit(void)
{
	struct elect e = foreign();

	e.fit = false;
	return e;
}

static inline struct elect stale(void)
{
	struct elect e = foreign();

	e.fresh = false;
	return e;
}

/* --- events, outcomes as text ---------------------------------------------------------------------------- */

static inline struct elect_event event(enum elect_event_kind kind, int64_t ms)
{
	return (struct elect_event){ .kind = kind, .now = at(ms) };
}

static inline struct elect_event seen(int64_t ms, const char *version, const char *holder)
{
	struct elect_event ev = event(ELECT_EV_SEEN, ms);

	set(ev.version, sizeof(ev.version), version);
	set(ev.record.holder, sizeof(ev.record.holder), holder);
	ev.record.duration_ms = *holder ? 3000 : 1000;
	ev.record.transitions = 5;
	return ev;
}

/* ... with a move in the record. */
static inline struct elect_event asks(int64_t ms, const char *version, enum lease_stage stage, uint32_t number,
				      const char *successor)
{
	struct elect_event ev = seen(ms, version, OTHER);

	ev.record.stage = stage;
	ev.record.handover = number;
	set(ev.record.successor, sizeof(ev.record.successor), successor);
	return ev;
}

static inline struct elect_event move(enum elect_event_kind kind, int64_t ms, uint32_t number, const char *successor)
{
	struct elect_event ev = event(kind, ms);

	ev.handover = number;
	set(ev.successor, sizeof(ev.successor), successor);
	return ev;
}

static inline struct elect_event wire(int64_t ms, uint32_t probe_id, enum elect_wire what)
{
	struct elect_event ev = event(ELECT_EV_WIRE, ms);

	ev.probe_id = probe_id;
	ev.wire = what;
	return ev;
}

static inline struct elect_event outcome(enum elect_event_kind kind, int64_t ms, uint32_t id, const char *version)
{
	struct elect_event ev = event(kind, ms);

	ev.write_id = id;
	set(ev.version, sizeof(ev.version), version);
	return ev;
}

static inline const char *short_name(const char *holder)
{
	return !*holder			     ? "nobody" :
	       strcmp(holder, SELF) == 0     ? "self" :
	       strcmp(holder, FORMER) == 0   ? "former" :
	       strcmp(holder, OTHER) == 0    ? "other" : holder;
}

static inline int64_t ms_of(mono_t t)
{
	return mono_is_never(t) ? NEVER : mono_diff_ms(t, at(0));
}

/* " hold prepare 7 other"; "" for a plain record. */
static inline const char *extras(const struct lease_record *r)
{
	static char text[80];

	IGNORE(snprintf(text, sizeof(text), "%s", r->policy == LEASE_HOLD ? " hold" : ""));
	if (r->stage != LEASE_STAGE_NONE)
		IGNORE(snprintf(text, sizeof(text), "%s %s %u %s", r->policy == LEASE_HOLD ? " hold" : "",
				r->stage == LEASE_STAGE_CLAIM ? "claim" : "prepare", r->handover,
				short_name(r->successor)));
	else
		assert_true(r->handover == 0 && !*r->successor);
	return text;
}

static inline int describe_one(const struct elect_action *a, char *dst, size_t size)
{
	const struct lease_record *r = &a->record;

	switch (a->kind) {
	case ELECT_DO_CREATE:
		return snprintf(dst, size, "create %s %" PRId64 " t%u%s", short_name(r->holder), r->duration_ms,
				r->transitions, extras(r));
	case ELECT_DO_UPDATE:
		return snprintf(dst, size, "update %s %s %" PRId64 " t%u%s", a->version, short_name(r->holder),
				r->duration_ms, r->transitions, extras(r));
	case ELECT_DO_LEAD:
		return snprintf(dst, size, "lead %" PRId64, ms_of(a->deadline));
	case ELECT_DO_HOLD:
		return snprintf(dst, size, "hold %" PRId64, ms_of(a->deadline));
	case ELECT_DO_FOLLOW:
		return snprintf(dst, size, "follow");
	case ELECT_DO_GET:
		return snprintf(dst, size, "get");
	case ELECT_DO_STOPPED:
		return snprintf(dst, size, "stopped");
	case ELECT_DO_PREPARE:
		return snprintf(dst, size, "prepare %u", a->handover);
	case ELECT_DO_UNPREPARE:
		return snprintf(dst, size, "unprepare");
	case ELECT_DO_HANDOVER_FAILED:
		return snprintf(dst, size, "failed %u", a->handover);
	case ELECT_DO_PROBE:
		return snprintf(dst, size, "probe %u", a->probe_id);
	case ELECT_DO_ANNOUNCE:
		return snprintf(dst, size, "announce");
	}
	return -1;
}

/* "follow; update 20 self 3000 t5; ..." */
static inline const char *describe(const struct elect_actions *acts)
{
	static char text[1024];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < acts->n; i++) {
		const struct elect_action *a = &acts->v[i];
		char one[200];
		int len = describe_one(a, one, sizeof(one));

		assert_true(len > 0 && (size_t)len < sizeof(one));
		len = snprintf(text + n, sizeof(text) - n, "%s%s", i ? "; " : "", one);
		assert_true(n + (size_t)len < sizeof(text));
		n += (size_t)len;
		if (a->kind == ELECT_DO_FOLLOW || a->kind == ELECT_DO_LEAD || a->kind == ELECT_DO_UNPREPARE ||
		    a->kind == ELECT_DO_HANDOVER_FAILED)
			assert_true(a->why && *a->why);
		if (a->kind == ELECT_DO_CREATE || a->kind == ELECT_DO_UPDATE || a->kind == ELECT_DO_GET)
			assert_int_equal(a->timeout_ms, 375);
		if (a->kind == ELECT_DO_PROBE)
			assert_true(a->probe_id > 0);
	}
	return text;
}

/* "arp ip redirect": until when, "-" = shut. */
static inline const char *gate_text(const struct elect *e)
{
	static char text[80];
	struct elect_gate g = elect_gate(e);
	const mono_t times[] = { g.arp_until, g.ip_until, g.redirect_until };
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(times); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, times[i].ns ? "%s%" PRId64 : "%s-", i ? " " : "",
				      ms_of(times[i]));
	if (*g.redirect_to)
		IGNORE(snprintf(text + n, sizeof(text) - n, " %s", short_name(g.redirect_to)));
	return text;
}

/* --- tables ---------------------------------------------------------------------------------------------- */

struct row {
	int line;
	struct elect (*state)(void);
	struct elect_event ev;
	enum elect_state want;
	const char *actions;
	int64_t wake_ms;  /* after T0, NEVER, ANY */
	const char *gate; /* NULL = not looked at */
};

static inline void run_rows(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct elect e = rows[i].state(), again = e;
		struct elect_actions acts, acts_again;
		const char *got;

		elect_step(&e, &rows[i].ev, &acts);
		elect_step(&again, &rows[i].ev, &acts_again);
		got = describe(&acts);
		if (e.state != rows[i].want || strcmp(got, rows[i].actions) != 0 ||
		    (rows[i].gate && strcmp(gate_text(&e), rows[i].gate) != 0) ||
		    (rows[i].wake_ms != ANY && ms_of(acts.wake_at) != rows[i].wake_ms))
			fail_msg("row at line %d: %s, \"%s\", wake %" PRId64 ", gate \"%s\"", rows[i].line,
				 elect_state_name(e.state), got, ms_of(acts.wake_at), gate_text(&e));
		assert_true(mono_before(rows[i].ev.now, acts.wake_at));
		if (rows[i].wake_ms == ANY)
			assert_false(mono_is_never(acts.wake_at));
		assert_memory_equal(&e, &again, sizeof(e)); /* same (state, event): same state */
		assert_int_equal(acts.n, acts_again.n);
	}
}

#define TICK(ms) event(ELECT_EV_TICK, ms)
#define ABSENT(ms) event(ELECT_EV_ABSENT, ms)
#define STOP(ms) event(ELECT_EV_STOP, ms)
#define INTRODUCED(ms, yes) ((struct elect_event){ .kind = ELECT_EV_INTRODUCED, .now = at(ms), .introduced = (yes) })
#define DOUBT(ms) event(ELECT_EV_DOUBT, ms)
#define HANDOVER(ms, number, to) move(ELECT_EV_HANDOVER, ms, number, to)
#define PREPARED(ms, number) move(ELECT_EV_PREPARED, ms, number, "")
#define REFUSED(ms, number) move(ELECT_EV_REFUSED, ms, number, "")
#define ASKS(ms, version, number, whom) asks(ms, version, LEASE_STAGE_PREPARE, number, whom)
#define CEDES(ms, version, number, whom) asks(ms, version, LEASE_STAGE_CLAIM, number, whom)
#define SILENT(ms, id) wire(ms, id, ELECT_WIRE_SILENT)
#define CANDIDATE(ms, id) wire(ms, id, ELECT_WIRE_CANDIDATE)
#define STRANGER(ms, id) wire(ms, id, ELECT_WIRE_STRANGER)
#define VIEW(ms, on) (struct elect_event){ .kind = ELECT_EV_VIEW, .now = at(ms), .fresh = (on) }
#define FIT(ms, on) (struct elect_event){ .kind = ELECT_EV_FIT, .now = at(ms), .fit = (on) }
#define OK(ms, id, version) outcome(ELECT_EV_WRITE_OK, ms, id, version)
#define CONFLICT(ms, id) outcome(ELECT_EV_WRITE_CONFLICT, ms, id, "")
#define FAILED(ms, id) outcome(ELECT_EV_WRITE_FAILED, ms, id, "")
