/* SPDX-License-Identifier: Apache-2.0 */
/* nat_apply.h: what nat_apply.c (steps) and nat_sweep.c (chains beside them) share. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/err.h"
#include "agent/base/nat.h"
#include "netlink/batch.h"
#include "netlink/nat_private.h"
#include "netlink/nat_step.h"

#define NAT_BATCH_LEN ((size_t)256 * 1024)

struct nat_apply {
	struct nat_if *n;
	const struct nat_plan *plan;
	struct nat_steps steps; /* the plan's */
	unsigned char *buf;
	size_t cap;
	size_t done, n_ops; /* n_ops: in the batch */
	int result;	    /* the first step's error */
	struct err_info *err;
	unsigned int n_bad; /* steps isolated and refused since one was done */

	/* Chains that the batch makes: known as there while it is being put together, forgotten if it is refused. */
	struct nat_own_chain **made;
	size_t n_made, cap_made;

	/* Of the last transaction.  While ops are sent each in messages of their own: which op each message belongs to, and
	 * each op's error. */
	unsigned int n_refused;
	uint32_t *owners;
	size_t n_owners, cap_owners;
	int *errors;
	size_t n_errors;
};

/* The first error counts; the rest of the plan goes on. */
void nat_apply_keep_error(struct nat_apply *a, int r, const struct err_info *err);

/* Sends the batch, if there is anything in it; 'once': what is busy stays. */
MUST_USE int nat_apply_commit(struct nat_apply *a, struct batch *b, bool once, struct err_info *err);

/* The messages since there were 'from' belong to 'owner'.  -ENOMEM. */
MUST_USE int nat_apply_own_messages(struct nat_apply *a, const struct batch *b, uint32_t from, uint32_t owner);

/* A chain is being made: known as there from now on.  -ENOMEM. */
MUST_USE int nat_apply_remember(struct nat_apply *a, const char *chain);
/* The chains remembered since there were n_made are not there. */
void nat_apply_forget(struct nat_apply *a, size_t n_made);

/* Makes all chains that the plan's changes need, before any of their elements: for each rule that looks into a map the
 * kernel walks all of that (nf_tables_bind_set()), which is expensive when the map is full.  A chain that is refused is left
 * to its step.  An error concerns all. */
MUST_USE int nat_sweep_before(struct nat_apply *a, struct err_info *err);

/* Removes the chains that nothing uses any more; what the kernel still has a use for stays for another call. */
void nat_sweep_after(struct nat_apply *a);
