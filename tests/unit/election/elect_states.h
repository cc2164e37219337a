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

/* "follow; update 20 self 3000 t5; ..." */
static inline const char *describe(const struct elect_actions *acts)
{
	static char text[1024];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < acts->n; i++) {
		const struct elect_action *a = &acts->v[i];
		const char *sep = i ? "; " : "", *holder = short_name(a->record.holder);
		int len = 0;

		switch (a->kind) {
		case ELECT_DO_CREATE:
			len = snprintf(text + n, sizeof(text) - n, "%screate %s %" PRId64 " t%u", sep, holder,
				       a->record.duration_ms, a->record.transitions);
			break;
		case ELECT_DO_UPDATE:
			len = snprintf(text + n, sizeof(text) - n, "%supdate %s %s %" PRId64 " t%u", sep,
				       a->version, holder, a->record.duration_ms, a->record.transitions);
			break;
		case ELECT_DO_LEAD:
		case ELECT_DO_HOLD:
			len = snprintf(text + n, sizeof(text) - n, "%s%s %" PRId64, sep,
				       a->kind == ELECT_DO_LEAD ? "lead" : "hold", ms_of(a->deadline));
			break;
		case ELECT_DO_FOLLOW:
		case ELECT_DO_GET:
		case ELECT_DO_STOPPED:
			len = snprintf(text + n, sizeof(text) - n, "%s%s", sep,
				       a->kind == ELECT_DO_FOLLOW ? "follow" :
				       a->kind == ELECT_DO_GET	  ? "get" : "stopped");
			break;
		}
		assert_true(len > 0 && n + (size_t)len < sizeof(text));
		n += (size_t)len;
		if (a->kind == ELECT_DO_FOLLOW || a->kind == ELECT_DO_LEAD)
			assert_true(a->why && *a->why);
		if (a->kind == ELECT_DO_CREATE || a->kind == ELECT_DO_UPDATE || a->kind == ELECT_DO_GET)
			assert_int_equal(a->timeout_ms, 375);
	}
	return text;
}

#define TICK(ms) event(ELECT_EV_TICK, ms)
#define ABSENT(ms) event(ELECT_EV_ABSENT, ms)
#define STOP(ms) event(ELECT_EV_STOP, ms)
#define VIEW(ms, on) (struct elect_event){ .kind = ELECT_EV_VIEW, .now = at(ms), .fresh = (on) }
#define FIT(ms, on) (struct elect_event){ .kind = ELECT_EV_FIT, .now = at(ms), .fit = (on) }
#define OK(ms, id, version) outcome(ELECT_EV_WRITE_OK, ms, id, version)
#define CONFLICT(ms, id) outcome(ELECT_EV_WRITE_CONFLICT, ms, id, "")
#define FAILED(ms, id) outcome(ELECT_EV_WRITE_FAILED, ms, id, "")
