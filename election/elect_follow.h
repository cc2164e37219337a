/* SPDX-License-Identifier: Apache-2.0 */
/* elect_follow.h: what a follower waits for.  Private to election/: elect.c is the only caller. */
#pragma once

#include "election/elect.h"

/* What the Lease, as we know it, means for us. */
enum holder_kind {
	HOLDER_UNKNOWN, /* never seen */
	HOLDER_ABSENT,	/* no object */
	HOLDER_NOBODY,	/* released */
	HOLDER_SELF,
	HOLDER_FORMER, /* an earlier process on this node */
	HOLDER_CEDED, /* another, who has shut its ARP and names us: ours to claim */
	HOLDER_OTHER,
};

/* Whose the record last known is; the object itself may be gone. */
enum holder_kind elect_record_kind(const struct elect *e);
enum holder_kind elect_holder_kind(const struct elect *e);

/* Sets when a follower may write, and when it must first prove its view, from what is known. */
void elect_follow_plan(struct elect *e, mono_t now);

/* When a follower sends its next request; MONO_NEVER: not as things stand. */
mono_t elect_follow_due(const struct elect *e);

/* Whether that request is a GET (else it is a write). */
bool elect_follow_asks(const struct elect *e);

/* The GET is sent now. */
void elect_follow_asked(struct elect *e, mono_t now);

/* The version known was shown again. */
void elect_follow_unchanged(struct elect *e, mono_t now);

/* Uniform in 0..max. */
int64_t elect_jitter_ms(struct elect *e, int64_t max_ms);
