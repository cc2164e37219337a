/* SPDX-License-Identifier: Apache-2.0 */
/* run.h: many seeds, or all mutants, on all processors. */
#pragma once

#include "tests/sim/sim.h"

#define RUN_JOBS_MAX 64

struct run {
	uint64_t first, seeds;
	int64_t seconds;   /* simulated, each */
	unsigned int jobs; /* processes; 1..RUN_JOBS_MAX */
	struct world_options opt;
};

/* Exit codes: 0, or 1 when the judge found something (or did not find a mutant).  Both print what they found. */
int run_seeds(const struct run *r);
int run_mutants(const struct run *r);
