/* SPDX-License-Identifier: Apache-2.0 */
/* main.c: the simulation's command line.
 *
 *	sim [--seeds 500] [--first 1] [--seconds 60]	many seeds; a failing one is printed with its trace's end
 *	sim --seed N [--trace]				one seed
 *	sim --mutants					planted bugs: each must be caught
 *	sim --mutant NAME ...				one planted bug under any of the above
 *	sim --skew-ppm N				clock rates differ from true time by up to this (9000)
 *	sim --jobs N					processes (as many as there are processors)
 *
 * Exit code: 0 as it should be, 1 a failure (or an uncaught mutant), 2 usage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/run.h"

#define SKEW_PPM 9000

static int usage(const char *why)
{
	fprintf(stderr,
		"sim: %s\n"
		"usage: sim [--seeds N] [--first N] [--seed N] [--seconds N] [--trace] [--mutants] [--mutant NAME] "
		"[--skew-ppm N] [--jobs N]\n",
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

/* An option with a number; false: there is no such option. */
static bool set(struct run *r, const char *name, uint64_t n)
{
	if (strcmp(name, "--seeds") == 0)
		r->seeds = n;
	else if (strcmp(name, "--first") == 0 || strcmp(name, "--seed") == 0)
		r->first = n;
	else if (strcmp(name, "--seconds") == 0)
		r->seconds = (int64_t)n;
	else if (strcmp(name, "--skew-ppm") == 0)
		r->opt.skew_ppm = (int64_t)n;
	else if (strcmp(name, "--jobs") == 0)
		r->jobs = (unsigned int)n;
	else
		return false;
	if (strcmp(name, "--seed") == 0)
		r->seeds = 1;
	return true;
}

static int parse(int argc, char **argv, struct run *r, bool *ret_mutants)
{
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		uint64_t n = 0;

		if (strcmp(name, "--trace") == 0) {
			r->opt.trace = true;
			continue;
		} else if (strcmp(name, "--mutants") == 0) {
			*ret_mutants = true;
			continue;
		} else if (strcmp(name, "--mutant") == 0) {
			r->opt.mutant = value ? mutant_find(value) : NULL;
			if (!r->opt.mutant)
				return usage("--mutant: no such mutant");
		} else if (!number(value, INT64_C(1000000000), &n) || !set(r, name, n)) {
			return usage(name);
		}
		i++;
	}
	/* Faults and checks come by whole cycles; the clocks' arithmetic is exact for some hours. */
	r->opt.length_ns = r->seconds * NS_PER_S;
	if (r->opt.length_ns < CYCLE_NS || r->seconds > 3600)
		return usage("--seconds: 20 to 3600");
	if (r->opt.skew_ppm > 100000)
		return usage("--skew-ppm: at most 100000");
	if (r->jobs < 1 || r->jobs > RUN_JOBS_MAX)
		return usage("--jobs: 1 to 64");
	return 0;
}

int main(int argc, char **argv)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct run r = { .first = 1, .seeds = 500, .seconds = 60, .opt = { .skew_ppm = SKEW_PPM } };
	bool all_mutants = false;
	int status;

	r.jobs = processors < 1 ? 1 : processors > RUN_JOBS_MAX ? RUN_JOBS_MAX : (unsigned int)processors;
	status = parse(argc, argv, &r, &all_mutants);
	if (status)
		return status;
	if (r.opt.trace)
		setvbuf(stdout, NULL, _IOLBF, 0); /* to the last line, should an assertion fail */
	return all_mutants ? run_mutants(&r) : run_seeds(&r);
}
