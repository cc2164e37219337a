/* SPDX-License-Identifier: Apache-2.0 */
/* elect.h: one Lease's state machine.
 *
 * Pure: no clock, no I/O, no allocation, no logging.  The caller gives each event with the CLOCK_BOOTTIME at
 * which it was taken and executes the actions in order; outcomes come back as events.  Same (state, event),
 * same (state, actions).
 *
 *	state		holds VIPs	writes outstanding	leaves by
 *	FOLLOWING	no		none			record expired or free, fit -> CLAIMING
 *	CLAIMING	no		PUT/POST of our record	reply: LEADING, or FOLLOWING; unfit, stop
 *	LEADING		until deadline	renewals		deadline, conflict, foreign record, unfit, stop
 *	RELEASING	no		PUT of an empty holder	reply or timeout -> FOLLOWING / STOPPED
 *	STOPPED		no		none			never
 *
 * Rules (and where they come from):
 *  - Expiry of a foreign record = own time at which it was last *seen to change* + the record's duration, and
 *    it counts only while the view is fresh (watch alive, or a GET): after any gap in the view it starts
 *    again.  A watch may hang without a word, so two thirds into the duration the follower proves its view by
 *    a GET; no answer is a gap.  Wall clocks are never compared.
 *  - Writes carry the resourceVersion whose age was measured; a conflict is a failed try, never a blind retry.
 *  - Deadline of our own = *send* time of the last successful renewal + duration - margin,
 *    margin = max(50 ms, 2 % of the duration).  From the moment a write that shortens the duration is sent:
 *    min(old deadline, send + new duration - margin).  A release counts from its send.
 *  - A record with our own identity that we do not lead by (a reply was lost, the deadline passed), or with our
 *    node's former identity, is re-adopted by a PUT at once: the caller holds the node's lock, so the former
 *    process is gone.  The first such PUT keeps the former duration if that is longer than ours: what the former
 *    process left in the kernel may live that long.  Once a write of ours has succeeded, another identity of our
 *    node is a stranger (two agents under one node name must not fight).
 *    Nor is what we inherited released before we have led by it: it runs out.
 *  - An object that was deleted under a holder stays taken for the record's duration from when we learn of it; the
 *    holder learns of it by its next renewal, which it sends at once, and is the first to create a new one.
 *    What no candidate can know stays open: a process that starts after the deletion, a POST sent before it.
 *  - What the view shows is dropped when it is older than what we know (a lagging watch), except by a follower
 *    in doubt: without a fresh view, or refused (a restored etcd goes back in versions).
 *  - Timers and jitter come from here; the generator's state is part of the state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/base/prng.h"
#include "election/lease.h"

#define ELECT_ACTIONS_MAX 8
#define ELECT_RENEW_MS_MIN 20

struct elect_config {
	char identity[LEASE_HOLDER_MAX];
	int64_t duration_ms; /* LEASE_MS_MIN..LEASE_MS_MAX */
	int64_t renew_ms;    /* ELECT_RENEW_MS_MIN.., < duration / 2 */
	uint64_t seed;	     /* jitter */
};

enum elect_state {
	ELECT_FOLLOWING,
	ELECT_CLAIMING,
	ELECT_LEADING,
	ELECT_RELEASING,
	ELECT_STOPPED,
};

enum elect_event_kind {
	ELECT_EV_TICK,	     /* wake_at has come (or any other time) */
	ELECT_EV_SEEN,	     /* the record as a watch event or GET shows it: record, version */
	ELECT_EV_ABSENT,     /* the view shows that there is no Lease object */
	ELECT_EV_VIEW,	     /* fresh: whether the view (the watch) is alive; false -> true restarts expiry */
	ELECT_EV_WRITE_OK,   /* our write succeeded: version = the new resourceVersion */
	ELECT_EV_WRITE_CONFLICT, /* refused: 409, or 404 on an update */
	ELECT_EV_WRITE_FAILED, /* anything else, timeouts included: it may have been applied */
	ELECT_EV_FIT,	     /* fit: whether this node may hold (interface up, kernel as wanted) */
	ELECT_EV_STOP,	     /* release and end */
};

struct elect_event {
	enum elect_event_kind kind;
	mono_t now;
	struct lease_record record;	 /* SEEN */
	char version[LEASE_VERSION_MAX]; /* SEEN, WRITE_OK */
	uint32_t write_id;		 /* WRITE_*: as in the action; replies to older writes are ignored where safe */
	bool fresh;			 /* VIEW */
	bool fit;			 /* FIT */
};

enum elect_action_kind {
	ELECT_DO_CREATE, /* POST 'record' */
	ELECT_DO_UPDATE, /* PUT 'record' with 'version'; give up after timeout_ms */
	ELECT_DO_LEAD,	 /* we hold from now until 'deadline' (a later HOLD moves it) */
	ELECT_DO_HOLD,	 /* the deadline is now 'deadline' */
	ELECT_DO_FOLLOW, /* stop holding at once: close, withdraw; 'why' */
	ELECT_DO_GET,	 /* read the Lease: the answer is SEEN or ABSENT, a failure nothing */
	ELECT_DO_STOPPED, /* released, or given up releasing: the machine has ended */
};

struct elect_action {
	enum elect_action_kind kind;
	uint32_t write_id;		 /* CREATE, UPDATE */
	struct lease_record record;	 /* CREATE, UPDATE */
	char version[LEASE_VERSION_MAX]; /* UPDATE */
	int64_t timeout_ms;		 /* CREATE, UPDATE, GET: one attempt's bound */
	mono_t deadline;		 /* LEAD, HOLD */
	const char *why;		 /* LEAD, FOLLOW: static text for logs, e.g. "lease expired" */
};

struct elect_actions {
	struct elect_action v[ELECT_ACTIONS_MAX];
	unsigned int n;
	mono_t wake_at; /* step again with TICK no later than this; MONO_NEVER = no need */
};

/* An open value: tests may build any state as a literal. */
struct elect {
	struct elect_config cfg;
	enum elect_state state;
	struct prng prng;
	bool fit, fresh, stopping;
	/* The Lease as last learnt, by the view, by a GET or by our own successful write. */
	bool known;			       /* seen, seen_version, seen_at are valid */
	bool absent;			       /* there is no object; 'seen' is what it last held, if known */
	bool refused;			       /* a write over seen_version was refused: learn, then write again */
	struct lease_record seen;
	char seen_version[LEASE_VERSION_MAX];
	mono_t seen_at;			       /* when it last changed, or the view came back */
	/* FOLLOWING, another's record: */
	unsigned int asked;		       /* GETs sent late in its duration, to prove the view */
	bool proven;			       /* they have shown no change */
	mono_t next_probe;
	/* Our own. */
	bool wrote;		/* a write of ours has succeeded: no former process can be alive in the record */
	bool inherited;		/* we wrote over a former process's record, or could not know of one, and never led */
	mono_t deadline;	/* LEADING: end of our right to hold */
	mono_t next_write;	/* when the state's next request (a write; a GET while 'refused') is due */
	unsigned int failures;	/* of requests, in a row */
	const char *why;	/* CLAIMING: what gives us the Lease */
	unsigned int releases;	/* RELEASING: tries so far */
	mono_t release_until;	/* RELEASING: give up at this time */
	/* The write under way. */
	uint32_t write_id;	/* of the last write; never 0 once there was one */
	bool write_pending;
	mono_t write_sent;
	mono_t write_timeout;
	struct lease_record write_record;	/* holder "" = a release */
	char write_version[LEASE_VERSION_MAX]; /* what it replaces; "" = CREATE */
};

/* cfg is copied; its bounds are the caller's to check (asserted).  The machine begins FOLLOWING, unfit, with no view. */
void elect_init(struct elect *e, const struct elect_config *cfg);

/* ev->now: never earlier than in the step before.  ret->v[0..n) are to be executed in order before the next
 * event is given (one that arises meanwhile, such as a request that cannot be started, may be given at once when
 * it belongs to the last action).  ret->wake_at lies after ev->now. */
void elect_step(struct elect *e, const struct elect_event *ev, struct elect_actions *ret);

/* max(50 ms, 2 % of the duration). */
int64_t elect_margin_ms(int64_t duration_ms);

/* Whether the node holds at 'now': LEADING and before the deadline.  "Believer" of the simulation. */
bool elect_holds(const struct elect *e, mono_t now);

const char *elect_state_name(enum elect_state s);
