/* SPDX-License-Identifier: Apache-2.0 */
/* schedule.h: when to announce a VIP.  Pure.
 *
 * A burst at 0, 0.1, 0.3, 1.1, 2.2 and 5 s after the VIP went up (1.1 s beats Linux's 1 s ARP locktime), then
 * every 30-60 s, jittered, well below the ageing time of switches (300 s). */
#pragma once

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

/* Call when a round was sent at 'now': moves 's->next' on. */
void schedule_sent(struct schedule *s, mono_t now, struct prng *prng);
