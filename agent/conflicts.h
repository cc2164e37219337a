/* SPDX-License-Identifier: Apache-2.0 */
/* conflicts.h: who else uses our VIPs: what is heard on the wire and what stands on this node's interfaces is weighed, named,
 * told, and passed on to the elections.  What is a conflict: core/conflict.h. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/base/mono.h"
#include "agent/core/conflict.h"
#include "agent/core/groups.h"
#include "agent/worker.h"
#include "netlink/neigh_if.h"
#include "netlink/wire_if.h"

struct agent;
struct candidate;
struct group;
struct vip;

#define CONFLICT_NEIGHBOURS_MAX 4 /* addresses of the other host that are told */
#define CONFLICT_TEXT_MAX 512
#define CONFLICT_ROWS_MAX 1024	  /* remembered; beyond that new ones are defended against, but not told */
#define CONFLICT_VIP_MAX 4	  /* of one VIP; the one that was heard longest ago makes room */

/* One who uses a VIP beside its holder.  Goes on while it is heard (or stands there); after some silence it is over. */
struct conflict_row {
	struct ip vip;
	enum conflict_kind kind;
	uint8_t mac[LINK_MAC_LEN];	/* the other's; zero with CONFLICT_ADDRESS */
	char node[254];			/* the candidate node that has this MAC; CONFLICT_ADDRESS: this node; "" = none */
	struct ip neighbours[CONFLICT_NEIGHBOURS_MAX]; /* what the kernel's neighbour table knows of the MAC besides VIPs */
	size_t n_neighbours;
	int ifindex;			/* of this node: where it was heard last, or stands */
	char interface[LINK_NAME_MAX];
	mono_t first, last;		/* heard or seen */
	uint64_t count;			/* times heard; CONFLICT_ADDRESS: 1 */
};

/* The conflict about the VIP that goes on, the gravest if there are several; NULL = none.  Borrowed until the next step.  What
 * a node knows: the VIP's holder what the wire tells, every node what stands on its own interfaces. */
const struct conflict_row *conflicts_of(const struct agent *a, const struct ip *vip);

/* All that go on, in no order; NULL = no more. */
const struct conflict_row *conflicts_at(const struct agent *a, size_t i);

/* What goes on, to be read behind the VIP: "is also answered by 02:00:00:00:00:07 (198.51.100.7) on eth0"; in buf, which is
 * returned. */
const char *conflict_text(const struct conflict_row *row, char *buf, size_t size);

/* VIPs that somebody else uses now; who merely asks (CONFLICT_PROBE) does not count. */
size_t conflicts_n(const struct agent *a);

/* ---- for the agent ---- */

enum conflict_state {
	CONFLICT_SUSPECT, /* heard, and to be confirmed */
	CONFLICT_ON,
	CONFLICT_OVER, /* kept for a while, so that one that comes and goes is not told each time */
};

struct conflict_entry {
	struct conflict_row row;
	enum conflict_state state;
	struct conflict_voice voice;
	struct conflict_doubt doubt; /* SUSPECT */
	bool seen;	   /* CONFLICT_ADDRESS: it stands there in the look under way */
	bool unnamed;	   /* ON: the neighbour table is to be asked first */
	bool telling;	   /* ON: to be logged */
	bool told;	   /* ON: logged as a conflict */
	bool event;	   /* ON: an Event is to be written */
	mono_t told_at;	   /* logged last; ns 0 = never */
};

/* Asks the neighbour table for a MAC. */
struct conflict_lookup {
	struct worker_job job; /* first: the worker hands this back */
	struct agent *a;
	struct neigh_query query;
	int result;
	struct err_info err;
	bool busy; /* belongs to the worker */
};

struct conflicts {
	struct conflict_entry *rows; /* malloc */
	size_t n_rows, cap_rows;
	mono_t tell_at; /* the table is to be looked at */
	mono_t ask_at;	/* a suspect is to be asked */
	bool may_ask;	/* what had come was read in this step */
	struct conflict_sweep sweep;
	struct conflict_lookup lookup;
	size_t n_frames; /* of a round of the sweep: one for each VIP that this node answers for, on each interface */
	uint64_t turned; /* vips.turned when they were counted */
	enum conflict_here groups[GROUPS_MAX + GROUPS_OWN_MAX]; /* likewise: what each was */
	bool held_again; /* what is held has changed, and the wire's filter does not know yet */
	bool again;	 /* VIPs, links or addresses have changed, and the wire does not know yet */
	mono_t again_at; /* it could not be told: not before */
	struct conflict_quota lines, events;
};

/* The wire's sockets.  Errors: as wire_init(). */
MUST_USE int conflicts_open(struct agent *a, struct err_info *err);
/* The workers have ended. */
void conflicts_close(struct agent *a);

/* Ends the elections' probes whose time is over; reads what was sent before a suspect is asked.  Returns when to call again. */
mono_t conflicts_tick(struct agent *a, mono_t now);

/* Follows the VIPs, links and addresses ('again'), asks for the VIPs that this node answers for, and tells what was found.
 * After conflicts_tick().  Never waits, and looks at all VIPs only when something has changed.
 * Returns when to call again. */
mono_t conflicts_step(struct agent *a, mono_t now);

/* For the group's events: ask who has its VIPs; announce them past a shut gate. */
void conflicts_probe(struct agent *a, const struct group *g, uint32_t probe_id);
void conflicts_announce(struct agent *a, const struct group *g);

/* ---- between conflicts.c and conflict_table.c ---- */

/* Asks on the wire who has the VIP, besides the sweep.  False: this node does not hold it just now, the budget has no room, or
 * nothing is ever asked. */
bool conflicts_ask_besides(struct agent *a, const struct vip *vip, mono_t now);

enum conflict_heard conflicts_heard(enum wire_form form);

/* Somebody was heard; who: NULL = a stranger. */
void conflict_note(struct agent *a, const struct wire_claim *c, const struct candidate *who,
		   const struct conflict_verdict *verdict, mono_t now);

/* What stands on this node's interfaces. */
void conflict_look(struct agent *a, const struct link_state *s, mono_t now);

/* Asks suspects; names, tells and ends.  Returns when to call again. */
mono_t conflict_tell(struct agent *a, mono_t now);

/* What the table hangs on has changed: it is looked at in the next step. */
static inline void conflict_tell_soon(struct conflicts *c)
{
	c->tell_at = (mono_t){ 0 };
}
