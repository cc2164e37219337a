/* SPDX-License-Identifier: Apache-2.0 */
/* elect_handover.h: planned moves, of the holder and of its successor.  Private to election/: elect.c is the only caller,
 * and struct elect_move is written here alone. */
#pragma once

#include "election/elect.h"

/* HANDOVER, PREPARED, REFUSED. */
void elect_handover_event(struct elect *e, const struct elect_event *ev, struct elect_actions *ret);

/* Adds the move to our next record; only a leader's has one. */
void elect_handover_record(const struct elect *e, struct lease_record *r);

/* 'r' is about to be sent: its stage has its time from then, the first time. */
void elect_handover_sends(struct elect *e, mono_t now, const struct lease_record *r);

/* A write of ours has succeeded, by which we lead. */
void elect_handover_written(struct elect *e, mono_t now, struct elect_actions *ret);

/* Whether the last write said something else about the move than the next is to: that is then due at once. */
bool elect_handover_urgent(const struct elect *e);

/* Whether the record known is our CLAIM: no write before move.until, it would only spoil the successor's. */
bool elect_handover_waits(const struct elect *e);

/* Something new is known, not yet acted upon.  True: it is the record of the successor of our move. */
bool elect_handover_known(struct elect *e, mono_t now);

/* The same, for the successor: PREPARE, or the end of it. */
void elect_handover_asked(struct elect *e, mono_t now, struct elect_actions *ret);

/* Ends a successor's preparation, if there is one. */
void elect_handover_unprepare(struct elect *e, struct elect_actions *ret, const char *why);

/* The move under way, if there is one, ends at once: no CLAIM was sent. */
void elect_handover_fail(struct elect *e, struct elect_actions *ret, const char *why);

/* We lead from now on; we no longer lead; we no longer lead, and give the Lease up. */
void elect_handover_lead(struct elect *e);
void elect_handover_left(struct elect *e);
void elect_handover_release(struct elect *e, mono_t now);

/* What has run out by now.  When the next thing will. */
void elect_handover_due(struct elect *e, mono_t now, struct elect_actions *ret);
mono_t elect_handover_wake(const struct elect *e);
