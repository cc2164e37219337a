/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane.h: makes the nftables table what the Services want.
 *
 * For each Service two nat_services are kept: the one that the kernel has, and the one wanted; they are the same object
 * most of the time.  A change puts the Service into a queue; the worker takes the queue, compares and applies.  What it
 * costs depends on what changed, not on how much there is.  When the kernel's table is not what it was believed to be
 * (at start, after an error, when somebody else changed it), the worker reads it and applies the difference; slots are
 * verified afterwards, some Services at a time, between other jobs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/tally.h"
#include "agent/dataplane_job.h"
#include "agent/loop.h"
#include "agent/worker.h"
#include "netlink/nat_watch.h"

struct dataplane_entry;

struct dataplane {
	struct worker *worker;
	struct loop *loop;
	bool on;	/* false: no data plane of ours, all calls do nothing */
	struct nat_options options;
	struct dataplane_entry **entries; /* malloc; sorted by key */
	size_t n_entries, cap_entries;
	struct dataplane_entry *queue; /* to be brought into the kernel */
	size_t n_queued;
	uint64_t n_changes, in_flight, in_kernel; /* of what Services want: all so far; up to the job under way; done */
	struct dataplane_entry **flight; /* malloc; those of the job under way */
	size_t n_flight, cap_flight;
	struct tally held; /* VIPs that the kernel's table has */
	struct dataplane_job job;
	struct nat_watch *watch; /* NULL: not yet, or refused */
	struct loop_source watch_source;

	struct ct_gone dead[DATAPLANE_DEAD_MAX]; /* for the next job */
	size_t n_dead;

	mono_t wait_until; /* no job before this; MONO_NEVER = none waits */
	bool complete;	/* all Services were put once: what the kernel has besides may go */
	bool ready;	/* the table is what we believe */
	bool stale;	/* it has to be read (again), even if a reading is under way */
	bool up;	/* was ready once; stays so while single changes are refused */
	bool busy;
	unsigned int failures, lost; /* jobs in a row that failed; readings in a row */
	size_t audit_at;	     /* entries from here on are still to be verified; n_entries = none */
	mono_t retry_at;  /* no job before this */
	mono_t reread_at; /* some elements were refused: everything again then; MONO_NEVER = none was */
	mono_t drift_at; /* a look at everything because of others' changes not before this */
	bool drifted, mending; /* others have changed something; the reading under way is because of that */
	uint64_t elements; /* changed since start */
	uint64_t errors, mended; /* jobs that failed; times that others' changes were undone */
	int64_t job_ms; /* how long the last job took */
	char problem[ERR_TEXT_MAX]; /* what fails at present, "" = nothing */
	void (*changed)(void *ctx); /* a job has ended */
	void *ctx;
};

void dataplane_init(struct dataplane *d, struct worker *worker, struct loop *loop, void (*changed)(void *ctx), void *ctx);
void dataplane_fini(struct dataplane *d); /* the worker is gone already */

/* From now on; a difference is brought into the kernel.  Copied. */
void dataplane_options(struct dataplane *d, const struct nat_options *options);

/* The Service wants this now; copied.  Nothing happens when it is what it wanted before.  -ENOMEM. */
MUST_USE int dataplane_put(struct dataplane *d, const char *ns, const char *name, const struct nat_service *s);

/* It wants nothing any more; unknown ones are no error. */
void dataplane_remove(struct dataplane *d, const char *ns, const char *name);

/* Removes all but those that 'keep' says yes to. */
void dataplane_sweep(struct dataplane *d, bool (*keep)(void *ctx, const char *ns, const char *name), void *ctx);

/* What the Service wants; NULL = nothing. */
const struct nat_service *dataplane_wanted(const struct dataplane *d, const char *ns, const char *name);

/* Connections to these backends hang, and are cut once the kernel's table is without them; at most DATAPLANE_DEAD_MAX, of
 * more the first are forgotten. */
void dataplane_dead(struct dataplane *d, const struct ct_gone *gone, size_t n);

/* Services are about to be put, one after the other: what one lets go another may have already, so nothing is done before
 * they are through, or until then. */
void dataplane_wait(struct dataplane *d, mono_t until);

/* All Services have been put: the table may be made like that. */
void dataplane_complete(struct dataplane *d);

/* The kernel has what the Service wants, as far as it takes it (always true without a data plane of ours). */
bool dataplane_settled(const struct dataplane *d, const char *ns, const char *name);

/* How many changes of what Services want there were so far, and whether the kernel has the first n of them (or later ones
 * in their place), as far as it takes them (always true without a data plane of ours). */
uint64_t dataplane_changes(const struct dataplane *d);
bool dataplane_has(const struct dataplane *d, uint64_t n);

/* Starts what is to be done.  Returns when to call again at the latest. */
mono_t dataplane_sync(struct dataplane *d, mono_t now);

/* The table is not what was believed: it is made sure of and read again with the next dataplane_sync(). */
void dataplane_reread(struct dataplane *d);

/* The kernel's table has the VIP (always true without a data plane of ours). */
bool dataplane_holds(const struct dataplane *d, const struct ip *vip);

/* Nothing is left to do, and nothing was refused. */
bool dataplane_as_wanted(const struct dataplane *d);

/* Nothing is under way: memory that jobs took goes back to the system. */
void dataplane_give_back(struct dataplane *d);
