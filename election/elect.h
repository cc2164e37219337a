/* SPDX-License-Identifier: Apache-2.0 */
/* elect.h: one Lease's state machine.
 *
 * Pure: no clock, no I/O, no allocation, no logging.  The caller gives each event with the CLOCK_BOOTTIME at
 * which it was taken and executes the actions in order; outcomes come back as events.  Same (state, event),
 * same (state, actions).
 *
 *	state		holds VIPs	writes outstanding	leaves by
 *	FOLLOWING	no		none			record expired, free or ours to claim; fit -> CLAIMING
 *	CLAIMING	no		PUT/POST of our record	reply: LEADING, or FOLLOWING; unfit, stop
 *	LEADING		until deadline	renewals		deadline, conflict, foreign record, unfit, stop, handover
 *	RELEASING	no		PUT of an empty holder	reply or timeout -> FOLLOWING / STOPPED
 *	STOPPED		no		none			never
 *
 * What the kernel's gate is to let through is a function of the state alone: elect_gate().  Whoever steps the machine
 * brings the gate in line before it carries out the step's actions: a write that takes away a right leaves only once the
 * gate is shut.
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
 *  - Preference: what is expired, free or absent counts as such delay_ms later, the proof of the view included; what is
 *    ours, our node's or ceded to us does not wait.
 *  - DOUBT: what rests on the passing of time is dropped: a right to hold (our record is then claimed again at once), the
 *    outcome of a write under way, a follower's expiry, a preparation, silence on the wire.
 *  - Timers and jitter come from here; the generator's state is part of the state.
 *
 * Handover (make before break).  The holder A names a successor B in the record (PREPARE) and goes on as before.  B gets
 * everything ready: maps, IP gate open, ARP gate shut, and says so outside of this machine (its node record); A's shell gives
 * PREPARED.  A shuts its ARP gate and writes CLAIM; when that is written it redirects what still comes to B.  B claims over
 * that version at once, opens and announces.  A sees B's record: FOLLOW, and redirects for a while longer.
 * The addresses themselves change over with the CLAIM, on both sides: a node takes a backend's packets to a VIP for its own
 * while it has the address, and drops what another sends with such a source (fib_validate_source()), so while one node
 * balances, the other must not have it.
 *  - PREPARE gives B no right at all; a lost answer costs nothing.  From the moment CLAIM is sent A's ARP gate stays shut
 *    until a later write of A's without it has succeeded (optimistic locking decides between that and B's claim).
 *  - No answer in time, a refusal, another holder: HANDOVER_FAILED or FOLLOW; A opens again as soon as it may.
 *  - A stage has the renew interval (500 ms .. 5 s) from its first send; CLAIM no more than half the duration, so that it is
 *    taken back before the deadline.  While our CLAIM is the record known, nothing is written before that.
 *  - A record by another ends A's move; why "handed over", and a minute of redirect from then, only if it is the successor's.
 *  - At the deadline, or in DOUBT, after CLAIM: FOLLOW; A claims its record again without the stage, not before the
 *    CLAIM's time is over, and is shut until that has succeeded.  There is no overtime after CLAIM.
 *  - Stop or unfit before CLAIM is sent: release as ever.  After: FOLLOW at once, and the release waits for the
 *    successor's claim, half a renew interval at most.
 *  - HANDOVER to nobody, to ourselves, under number 0, in overtime, while looking or before an earlier CLAIM is taken back:
 *    HANDOVER_FAILED at once.  When not LEADING: nothing.
 *  - B gets ready once for each number, and stays so for the record's duration (2 .. 6 s) from the last news of the move.
 *    CLAIM naming B needs neither a fresh view nor that B is ready.  B's claim is the end of the preparation, without
 *    UNPREPARE.
 *
 * Policy hold.  While no write succeeds (failed ones, not conflicts), a LEADING holder whose record says hold goes on
 * past its deadline (overtime), on rolling deadlines of its own, and has the wire probed every renew interval.  It
 * yields when a known candidate answers or announces: FOLLOW; and resumes when the VIPs stay silent for two durations and
 * there is still no word from the API.  Whoever wins an expired hold record leads with its ARP gate shut and has the wire
 * probed; while somebody answers it announces all the same, so that the old holder hears it and yields; it opens when a
 * probe is silent, or after one more duration (not while a holder answers that cannot know us, see INTRODUCED).  A
 * claim over an expired hold record that failed is repeated only after a third of the duration: the holder, who tries
 * far more often, comes first when writes work again.
 *  - Overtime begins 50 ms before the deadline, so that the gate never lapses.  Whoever comes more than 50 ms after it
 *    stood still: somebody may have claimed.  The same when a rolling deadline passes: FOLLOW, as after yielding.  It is two
 *    renew intervals (500 ms .. 5 s) ahead, but no more than half the duration: who stands still when it is announced to
 *    is silent before the new holder opens.  It moves in each step, but not while a write of ours stands refused.
 *  - A view that shows no Lease, another holder, or our record without hold ends overtime.  So do unfit and stop.
 *  - Whoever stops holding with its own hold record as the last known has "yielded".  Silence is a chain of probes with a
 *    silent answer within 200 ms each; one unanswered, one late, DOUBT or a gap between two, and it begins again.
 *    Strangers count as silence: they are for the caller to fight.
 *  - What a claim was sent over decides about looking, not our own policy; and still does when the claim's reply was lost.
 *    An absent Lease that was last seen as another's hold record counts as one.  While looking, an answer is announced to
 *    and asked for again after 50 ms; a probe without an answer in time is repeated; HOLD tells that it is over. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/base/prng.h"
#include "election/lease.h"

#define ELECT_ACTIONS_MAX 8
#define ELECT_RENEW_MS_MIN 20
#define ELECT_WHY_EXPIRED "the holder's lease expired" /* 'why' of a LEAD that another node did not let go of */

struct elect_config {
	char identity[LEASE_HOLDER_MAX];
	int64_t duration_ms; /* LEASE_MS_MIN..LEASE_MS_MAX */
	int64_t renew_ms;    /* ELECT_RENEW_MS_MIN.., < duration / 2 */
	int64_t delay_ms;    /* claims of what is free or expired wait so long: preference of other candidates */
	enum lease_policy policy;
	uint64_t seed; /* jitter */
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
	ELECT_EV_HANDOVER,   /* LEADING: move to 'successor' under 'handover'; a move under way goes on instead */
	ELECT_EV_PREPARED,   /* the successor says that it is ready for 'handover' */
	ELECT_EV_REFUSED,    /* the successor says that it cannot */
	ELECT_EV_WIRE,	     /* 'wire': what a probe found (probe_id), or what was heard unasked (probe_id 0) */
	ELECT_EV_INTRODUCED, /* introduced: whether the holder of the record known can know this node as a candidate; when
			      * that record is ours, what was said of the one before stands */
	ELECT_EV_DOUBT,	     /* this node's clocks have jumped, or it stood still: withdraw first, ask later */
};

/* Who answers for, or announces, the VIPs besides this node. */
enum elect_wire {
	ELECT_WIRE_SILENT,
	ELECT_WIRE_CANDIDATE, /* a known candidate's MAC */
	ELECT_WIRE_STRANGER,
};

struct elect_event {
	enum elect_event_kind kind;
	mono_t now;
	struct lease_record record;	 /* SEEN */
	char version[LEASE_VERSION_MAX]; /* SEEN, WRITE_OK */
	uint32_t write_id;		 /* WRITE_*: as in the action; replies to older writes are ignored where safe */
	bool fresh;			 /* VIEW */
	bool fit;			 /* FIT */
	uint32_t handover;		 /* HANDOVER, PREPARED, REFUSED */
	char successor[LEASE_HOLDER_MAX]; /* HANDOVER */
	enum elect_wire wire;		 /* WIRE */
	uint32_t probe_id;		 /* WIRE */
	bool introduced;		 /* INTRODUCED; until it is said: true */
};

enum elect_action_kind {
	ELECT_DO_CREATE, /* POST 'record' */
	ELECT_DO_UPDATE, /* PUT 'record' with 'version'; give up after timeout_ms */
	ELECT_DO_LEAD,	 /* we hold from now until 'deadline' (a later HOLD moves it); the gate may be shut yet */
	ELECT_DO_HOLD,	 /* the deadline is now 'deadline', or the gate has opened */
	ELECT_DO_FOLLOW, /* stop holding at once: close, withdraw; 'why' */
	ELECT_DO_GET,	 /* read the Lease: the answer is SEEN or ABSENT, a failure nothing */
	ELECT_DO_STOPPED, /* released, or given up releasing: the machine has ended */
	ELECT_DO_PREPARE, /* FOLLOWING, as a successor: everything but the addresses, then say so under 'handover' */
	ELECT_DO_UNPREPARE, /* nothing came of it: as before PREPARE; 'why' */
	ELECT_DO_HANDOVER_FAILED, /* LEADING: we keep the Lease; 'handover', 'why' */
	ELECT_DO_PROBE,	  /* ask on the wire who has the VIPs; the answer is WIRE with 'probe_id' */
	ELECT_DO_ANNOUNCE, /* announce the VIPs although the gate is shut, so that an old holder hears it */
};

struct elect_action {
	enum elect_action_kind kind;
	uint32_t write_id;		 /* CREATE, UPDATE */
	struct lease_record record;	 /* CREATE, UPDATE */
	char version[LEASE_VERSION_MAX]; /* UPDATE */
	int64_t timeout_ms;		 /* CREATE, UPDATE, GET: one attempt's bound */
	mono_t deadline;		 /* LEAD, HOLD */
	const char *why; /* LEAD, FOLLOW, UNPREPARE, HANDOVER_FAILED: static text for logs, e.g. "lease expired" */
	uint32_t handover;		 /* PREPARE, HANDOVER_FAILED */
	uint32_t probe_id;		 /* PROBE; never 0 */
};

/* What this node's kernel may answer.  Times in the past = shut. */
struct elect_gate {
	mono_t arp_until;	/* ARP and ND for the VIPs */
	mono_t ip_until;	/* IP to and from them */
	mono_t redirect_until;	/* what still comes for them goes to redirect_to's node instead */
	const char *redirect_to; /* identity; borrowed from the state; "" = nobody */
	bool local;		 /* the VIPs' addresses are to be up here */
};

struct elect_actions {
	struct elect_action v[ELECT_ACTIONS_MAX];
	unsigned int n;
	mono_t wake_at; /* step again with TICK no later than this; MONO_NEVER = no need */
};

/* A planned move, as holder or as successor. */
struct elect_move {
	/* LEADING: */
	enum lease_stage stage; /* what our next record says */
	uint32_t number;
	char successor[LEASE_HOLDER_MAX]; /* kept after the move for redirect_to */
	mono_t until;		/* give the stage up at this time */
	bool shut;		/* a CLAIM was sent and not yet taken back: ARP stays shut */
	/* FOLLOWING, after a move away: */
	mono_t redirect_until;
	/* FOLLOWING, as a successor: */
	uint32_t preparing;	/* number, 0 = not */
	mono_t ip_until;
	uint32_t noted;		/* number last prepared for: once each */
};

/* Policy hold, past a deadline; and the first moments over another's expired hold record. */
struct elect_overtime {
	bool on;		/* LEADING past the deadline, on rolling deadlines */
	mono_t gate_until;	/* on: the rolling deadline */
	bool yielded;		/* FOLLOWING: to somebody on the wire; resumes after silence */
	mono_t silent_since;	/* yielded */
	int64_t look_ms;	/* claimed over an expired hold record of that duration: look before opening; 0 = no */
	bool looking;		/* LEADING over an expired hold record: ARP shut until the wire is silent */
	mono_t look_until;
	bool answered;		/* looking: a candidate answered the last probe */
	bool patient;		/* looking on past look_until: nothing is announced any more */
	bool unknown;		/* the former holder takes us for a stranger, and will not yield: look on while it answers */
	uint32_t probe_id;
	bool probe_pending;
	mono_t next_probe, probe_timeout;
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
	/* elect_handover.c, elect_hold.c: theirs alone. */
	struct elect_move move;
	struct elect_overtime over;
};

/* cfg is copied; its bounds are the caller's to check (asserted).  The machine begins FOLLOWING, unfit, with no view. */
void elect_init(struct elect *e, const struct elect_config *cfg);

/* ev->now: never earlier than in the step before.  ret->v[0..n) are to be executed in order before the next
 * event is given (one that arises meanwhile, such as a request that cannot be started, may be given at once when
 * it belongs to the last action).  ret->wake_at lies after ev->now. */
void elect_step(struct elect *e, const struct elect_event *ev, struct elect_actions *ret);

/* max(50 ms, 2 % of the duration). */
int64_t elect_margin_ms(int64_t duration_ms);

/* What the gate is to be, whatever the time: its times are absolute. */
struct elect_gate elect_gate(const struct elect *e);

/* Whether the node holds at 'now': LEADING, and before the deadline or in overtime.  "Believer" of the simulation. */
bool elect_holds(const struct elect *e, mono_t now);

const char *elect_state_name(enum elect_state s);
