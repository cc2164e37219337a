/* SPDX-License-Identifier: Apache-2.0 */
/* worker.h: one thread for kernel calls that may wait on others (nft commits, RTNL), so that the loop and with
 * it the renewal of Leases never waits.
 *
 * A job belongs to the worker from worker_submit() until its done() is called, on the loop's thread, from
 * worker_dispatch().  Jobs run one at a time, in order. */
#pragma once

#include "agent/base/err.h"

struct worker;

struct worker_job {
	void (*run)(struct worker_job *job);  /* on the worker's thread */
	void (*done)(struct worker_job *job); /* on the loop's thread */
	struct worker_job *next;	      /* internal */
};

MUST_USE int worker_new(struct worker **ret, struct err_info *err);

/* Waits for the job under way and drops what is queued without calling done(); the jobs stay their submitters'. */
void worker_free(struct worker *w);

/* For the loop: readable when worker_dispatch() has work. */
int worker_fd(const struct worker *w);
void worker_dispatch(struct worker *w);

void worker_submit(struct worker *w, struct worker_job *job);
