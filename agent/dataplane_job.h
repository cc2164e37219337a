/* SPDX-License-Identifier: Apache-2.0 */
/* dataplane_job.h: what the worker does for the data plane: compares, and brings the difference into the kernel.  Its fields
 * are the worker's while a job is under way, and the loop's between jobs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/err.h"
#include "agent/core/diff.h"
#include "agent/core/tally.h"
#include "agent/worker.h"
#include "netlink/ct_if.h"
#include "netlink/nat_if.h"

#define DATAPLANE_DEAD_MAX 16

enum dataplane_task {
	DATAPLANE_CHANGE, /* the pairs */
	DATAPLANE_READ,	  /* make sure of the table, read it, make it like the pairs' 'now', which are all there are;
			   * 'old': what is believed to be there, where that is something else */
	DATAPLANE_VERIFY, /* the slots of the pairs' 'now' */
};

struct dataplane_job {
	struct worker_job job; /* first: the worker hands this back */
	void *owner;

	/* in */
	enum dataplane_task task;
	struct nat_options options; /* READ */
	struct ct_gone dead[DATAPLANE_DEAD_MAX]; /* CHANGE: backends whose connections hang, of any protocol: cut afterwards */
	size_t n_dead;
	struct diff_pair *pairs;    /* malloc */
	size_t n_pairs, cap_pairs;

	/* kept between jobs */
	struct nat_if *kernel;
	struct tally tally; /* members of all Services as the kernel has them; memory by malloc */
	struct arena arena;

	/* out */
	int result;
	bool partly; /* 'result' concerns single elements: all the rest is done */
	struct err_info err;
	size_t done;	/* elements and chains changed */
	size_t flushed; /* conntrack entries */
	size_t bad;	/* VERIFY: frontends whose slots were not as believed */
	int64_t ms;
	char flush_problem[ERR_TEXT_MAX]; /* connections of gone backends are still remembered; "" = no */
};

/* struct worker_job.run of the job. */
void dataplane_job_run(struct worker_job *job);

void dataplane_job_fini(struct dataplane_job *j);
