/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.h: when to announce a VIP.  Pure.
 *
 * A burst at 0, 0.1, 0.3, 1.1, 2.2 and 5 s after the VIP went up (1.1 s beats Linux's 1 s ARP locktime), then
 * every 30-60 s, well below the ageing time of switches (300 s): jittered, so that VIPs that went up together are soon spread
 * evenly, and a little late if that saves waking up. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/base/prng.h"

struct schedule {
	mono_t start;	   /* of the burst */
	mono_t next;	   /* when the next round is due */
	unsigned int round; /* rounds done since start */
};

/* Begins a burst: the first round is due at 'now'. */
void schedule_start(struct schedule *s, mono_t now);

/* One more round, at 'at' or sooner; a burst under way goes on with it. */
void schedule_once(struct schedule *s, mono_t at);

/* Call when a round was sent at 'now': moves 's->next' on. */
void schedule_sent(struct schedule *s, mono_t now, struct prng *prng);

/* The burst is over: what is due refreshes only. */
bool schedule_steady(const struct schedule *s);

/* The latest time to wake for the round that is due: refreshing waits up to 250 ms for company. */
mono_t schedule_wake(const struct schedule *s);
