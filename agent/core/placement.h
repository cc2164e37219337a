/* SPDX-License-Identifier: Apache-2.0 */
/* placement.h: whether this node may hold a group, by where the group's VIPs would be.  Pure.
 *
 *	the group's VIPs here				may hold	another node is to have it
 *	none, or none that was ever up			yes		no
 *	all on interfaces that are usable		yes		no
 *	some usable, some not				yes		yes, if there is a better one
 *	none usable					no		-
 *	none usable, of the allocator's group		let go, then yes	yes, if there is a better one
 *	no interface suits one that was ever up		no		-
 *
 * The allocator's group (number 0) must have a holder: without, no Service gets an address, wherever it would be.  When the
 * interface of all its VIPs dies, its holder lets go at once all the same, so that a node where they are usable takes it; who
 * has nothing better is a candidate again from then on, the last in turn (own_record.c), and whoever takes it like that keeps
 * it. */
#pragma once

#include <stdbool.h>

/* Of the VIPs of one group; begins as zeros. */
struct placement_seen {
	bool usable;  /* one is on an interface that is up with carrier */
	bool dead;    /* one is not, and should be */
	bool missing; /* for one that was up somewhere this node has no interface */
};

/* A group's; begins as PLACEMENT_INIT. */
struct placement {
	bool placed;	 /* this node may hold the group */
	bool impaired;	 /* another one is to have it, if there is a better one */
	bool dark;	 /* none of its VIPs was usable when last looked at */
	bool letting_go; /* it became so while this node held it, and still does */
};

#define PLACEMENT_INIT { .placed = true }

/* One VIP.  here: an interface suits it; usable: and is up with carrier; published: it was up somewhere. */
void placement_see(struct placement_seen *s, bool here, bool usable, bool published);

/* s: all its VIPs.  allocator: it is group 0; holds: this node holds it.  True: look again once it is let go. */
bool placement_look(struct placement *p, const struct placement_seen *s, bool allocator, bool holds);
