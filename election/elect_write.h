/* SPDX-License-Identifier: Apache-2.0 */
/* elect_write.h: requests, and the record that we write.  Private to election/. */
#pragma once

#include "election/elect.h"

/* One action more; asserts that there is room. */
struct elect_action *elect_act(struct elect_actions *ret, enum elect_action_kind kind);

/* The pause after a failure: doubles from renew/16, upper half jittered.  A leader has little time and stays quick; who
 * led, and whose record still stands, must be back before a candidate that has seen it expire, a third of the duration
 * after the API; nobody else needs to try more often than a leader would renew. */
int64_t elect_backoff_ms(struct elect *e);

/* Over the version known, or CREATE when we claim and there is no object.  None may be under way. */
void elect_send_write(struct elect *e, mono_t now, const struct lease_record *r, struct elect_actions *ret);

/* Asks for the Lease, because our version was refused or a follower's view is to be proven; asked again if
 * nothing comes of it. */
void elect_send_get(struct elect *e, mono_t now, struct elect_actions *ret);

/* What our next write says. */
struct lease_record elect_own_record(const struct elect *e);

/* The end of our right to hold if the write under way has succeeded. */
mono_t elect_write_deadline(const struct elect *e);
