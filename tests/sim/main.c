/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: the simulation's command line.
 *
 *	sim [--seeds 500] [--first 1] [--seconds 60]	many seeds; a failing one is printed with its trace's end
 *	sim --seed N [--trace]				one seed
 *	sim --mutants					planted bugs: each must be caught
 *	sim --mutant NAME ...				one planted bug under any of the above
 *	sim --skew-ppm N				clock rates differ from true time by up to this (9000)
 *
 * Exit code: 0 as it should be, 1 a failure (or an uncaught mutant), 2 usage. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/sim.h"

#define SKEW_PPM 9000

struct args {
	uint64_t first, seeds;
	int64_t seconds;
	bool all_mutants;
	struct world_options opt;
};

static double wall_seconds(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int usage(const char *why)
{
	fprintf(stderr,
		"sim: %s\n"
		"usage: sim [--seeds N] [--first N] [--seed N] [--seconds N] [--trace] [--mutants] [--mutant NAME] "
		"[--skew-ppm N]\n",
		why);
	return 2;
}

static bool number(const char *text, uint64_t max, uint64_t *ret)
{
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	return errno == 0 && !*end && *ret <= max;
}

static int parse(int argc, char **argv, struct args *a)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		uint64_t n = 0;

		if (strcmp(name, "--trace") == 0) {
			a->opt.trace = true;
			continue;
		} else if (strcmp(name, "--mutants") == 0) {
			a->all_mutants = true;
			continue;
		} else if (strcmp(name, "--mutant") == 0) {
			a->opt.mutant = value ? mutant_find(value) : NULL;
			if (!a->opt.mutant)
				return usage("--mutant: no such mutant");
		} else if (!number(value, INT64_C(1000000000), &n)) {
			return usage(name);
		} else if (strcmp(name, "--seeds") == 0) {
			a->seeds = n;
		} else if (strcmp(name, "--first") == 0) {
			a->first = n;
		} else if (strcmp(name, "--seed") == 0) {
			a->first = n;
			a->seeds = 1;
		} else if (strcmp(name, "--seconds") == 0) {
			a->seconds = (int64_t)n;
		} else if (strcmp(name, "--skew-ppm") == 0) {
			a->opt.skew_ppm = (int64_t)n;
		} else {
			return usage(name);
		}
		i++;
	}
	/* Faults and checks come by whole cycles; the clocks' arithmetic is exact for some hours. */
	a->opt.length_ns = a->seconds * NS_PER_S;
	if (a->opt.length_ns < CYCLE_NS || a->seconds > 3600)
		return usage("--seconds: 20 to 3600");
	if (a->opt.skew_ppm > 100000)
		return usage("--skew-ppm: at most 100000");
	return 0;
}

static void report(struct world *w, uint64_t seed, const struct world_options *opt)
{
	struct world_options again = *opt;

	printf("sim: seed %" PRIu64 " failed at %.6f s: %s\n", seed, (double)w->judge.at_ns / (double)NS_PER_S,
	       w->judge.verdict);
	if (opt->trace)
		return;
	again.keep_trace = true;
	world_run(w, seed, &again);
	world_print_tail(w);
	printf("sim: again with: sim --seed %" PRIu64 " --seconds %" PRId64 " --trace%s%s\n", seed,
	       opt->length_ns / NS_PER_S, opt->mutant ? " --mutant " : "", opt->mutant ? opt->mutant->name : "");
}

static int run_seeds(struct world *w, const struct args *a)
{
	double start = wall_seconds(), hours = 0;
	uint64_t failures = 0, steps = 0;

	for (uint64_t seed = a->first; seed < a->first + a->seeds; seed++) {
		if (!world_run(w, seed, &a->opt) && failures++ < 3)
			report(w, seed, &a->opt);
		hours += (double)a->seconds / 3600;
		steps += w->steps;
	}
	printf("sim: %" PRIu64 " seeds, %" PRIu64 " failures, %.1f simulated hours (%" PRIu64 " steps) in %.1f s\n",
	       a->seeds, failures, hours, steps, wall_seconds() - start);
	return failures > 0;
}

static int run_mutants(struct world *w, const struct args *a)
{
	unsigned int caught = 0;

	printf("%-18s %5s  %10s  %s\n", "mutant", "seed", "at", "caught because");
	for (unsigned int i = 0; i < n_mutants; i++) {
		struct world_options opt = a->opt;
		uint64_t seed = a->first, end = a->first + a->seeds;

		opt.mutant = &mutants[i];
		while (seed < end && world_run(w, seed, &opt))
			seed++;
		if (seed < end)
			printf("%-18s %5" PRIu64 "  %8.3f s  %s (%s)\n", mutants[i].name, seed,
			       (double)w->judge.at_ns / (double)NS_PER_S, w->judge.verdict, mutants[i].what);
		else
			printf("%-18s %5s  %10s  NOT CAUGHT (%s)\n", mutants[i].name, "-", "-", mutants[i].what);
		caught += seed < end;
	}
	printf("sim: %u mutants, %u caught\n", n_mutants, caught);
	return caught < n_mutants;
}

int main(int argc, char **argv)
{
	struct args a = { .first = 1, .seeds = 500, .seconds = 60, .opt = { .skew_ppm = SKEW_PPM } };
	struct world *w;
	int r = parse(argc, argv, &a);

	if (r)
		return r;
	w = world_new();
	if (!w) {
		fprintf(stderr, "sim: out of memory\n");
		return 1;
	}
	r = a.all_mutants ? run_mutants(w, &a) : run_seeds(w, &a);
	world_free(w);
	return r;
}
