/* SPDX-License-Identifier: Apache-2.0 */
/* elect_hold.h: policy hold: past the deadline, and over another's expired hold record.  Private to election/: elect.c is
 * the only caller, and struct elect_overtime is written here alone. */
#pragma once

#include "election/elect.h"

/* Looking ends at its time, whoever answers. */
void elect_hold_look(struct elect *e, mono_t now, struct elect_actions *ret);

/* LEADING: whether the time has come to go on without the Lease, and we may. */
bool elect_hold_begins(const struct elect *e, mono_t now);

/* LEADING: from now on without the Lease. */
void elect_hold_begin(struct elect *e, mono_t now);

/* In overtime: whether the rolling deadline has come, or our record no longer says hold. */
bool elect_hold_lapsed(const struct elect *e, mono_t now);

/* Overtime or looking is over because we no longer lead.  'resume': it may begin again, once the wire is silent. */
void elect_hold_left(struct elect *e, mono_t now, bool resume);

/* Nobody is to begin again: another's right, or none wanted. */
void elect_hold_ends(struct elect *e);

/* Whether the holder of the record known can know us for a candidate; of ours it says nothing. */
void elect_hold_introduced(struct elect *e, bool introduced);

/* A claim is about to be sent over what is known. */
void elect_hold_claims(struct elect *e);

/* It failed: the earliest time for the next. */
mono_t elect_hold_retry(struct elect *e, mono_t now);

/* A write of ours has succeeded; lead: by it we begin to lead. */
void elect_hold_written(struct elect *e, mono_t now, bool lead);

/* WIRE.  True: somebody else answers, we must yield. */
bool elect_hold_wire(struct elect *e, const struct elect_event *ev, struct elect_actions *ret);

/* The view of the wire cannot be trusted: silence begins again. */
void elect_hold_doubt(struct elect *e);

/* What is due by now; and when the next thing will be. */
void elect_hold_due(struct elect *e, mono_t now, struct elect_actions *ret);
mono_t elect_hold_wake(const struct elect *e, mono_t now);
