/* SPDX-License-Identifier: Apache-2.0 */
/* run.c: divides seeds or mutants among processes.  Each writes what it found into a pipe, in messages smaller than
 * PIPE_BUF, so they do not mix; the parent prints.  A failing seed is run again to keep its trace. */
#include "tests/sim/run.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REPORTS_MAX 3 /* failing seeds that are printed in full */
#define MUTANTS_MAX 64

/* One world's end; or, of a mutant, the first that caught it. */
struct found {
	unsigned int mutant;
	bool failed;
	uint64_t seed, steps;
	int64_t at_ns;
	char verdict[VERDICT_MAX];
};

static_assert(sizeof(struct found) <= PIPE_BUF, "written in one piece");

typedef void (*share_fn)(struct world *w, const struct run *r, unsigned int job, int out);

static double wall_seconds(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static struct world *must_world(void)
{
	struct world *w = world_new();

	if (!w) {
		fprintf(stderr, "sim: out of memory\n");
		exit(1);
	}
	return w;
}

static struct found found_in(const struct world *w)
{
	struct found f = { .failed = w->judge.failed, .seed = w->seed, .steps = w->steps, .at_ns = w->judge.at_ns };

	snprintf(f.verdict, sizeof(f.verdict), "%s", w->judge.verdict);
	return f;
}

/* An assertion of the election's fails: which seed was it? */
static char epitaph[80];

static void on_abort(int number)
{
	(void)number;
	if (write(STDERR_FILENO, epitaph, strlen(epitaph)) < 0)
		_exit(2);
	_exit(1);
}

static void run_one(struct world *w, uint64_t seed, const struct world_options *opt)
{
	snprintf(epitaph, sizeof(epitaph), "sim: that was seed %" PRIu64 "%s%s\n", seed, opt->mutant ? " of " : "",
		 opt->mutant ? opt->mutant->name : "");
	world_run(w, seed, opt);
}

static void tell(int out, const struct found *f)
{
	if (write(out, f, sizeof(*f)) != (ssize_t)sizeof(*f))
		exit(1);
}

/* Starts the shares; what they find can be read from the result. */
static FILE *share_out(const struct run *r, share_fn share)
{
	int ends[2];

	fflush(stdout);
	if (pipe(ends) < 0) {
		perror("sim: pipe");
		exit(1);
	}
	for (unsigned int job = 0; job < r->jobs; job++) {
		pid_t child = fork();

		if (child < 0) {
			perror("sim: fork");
			exit(1);
		} else if (child == 0) {
			struct world *w = must_world();

			close(ends[0]);
			signal(SIGABRT, on_abort);
			share(w, r, job, ends[1]);
			world_free(w);
			fflush(stdout);
			_exit(0);
		}
	}
	close(ends[1]);
	return fdopen(ends[0], "r");
}

/* False when a share did not come to its end. */
static bool shares_ended(FILE *in, const struct run *r)
{
	bool good = true;
	int status;

	fclose(in);
	for (unsigned int job = 0; job < r->jobs; job++)
		good &= wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	if (!good)
		printf("sim: a process did not come to its end\n");
	return good;
}

/* --- seeds -------------------------------------------------------------------------------------------------- */

static void seeds_share(struct world *w, const struct run *r, unsigned int job, int out)
{
	for (uint64_t seed = r->first + job; seed < r->first + r->seeds; seed += r->jobs) {
		struct found f;

		run_one(w, seed, &r->opt);
		f = found_in(w);
		tell(out, &f);
	}
}

static void report(const struct found *f, const struct run *r)
{
	struct world_options again = r->opt;
	struct world *w;

	printf("sim: seed %" PRIu64 " failed at %.6f s: %s\n", f->seed, (double)f->at_ns / (double)NS_PER_S, f->verdict);
	if (r->opt.trace)
		return;
	w = must_world();
	again.keep_trace = true;
	world_run(w, f->seed, &again);
	world_print_tail(w);
	world_free(w);
	printf("sim: again with: sim --seed %" PRIu64 " --seconds %" PRId64 " --skew-ppm %" PRId64 " --trace%s%s\n", f->seed,
	       r->seconds, r->opt.skew_ppm, r->opt.mutant ? " --mutant " : "", r->opt.mutant ? r->opt.mutant->name : "");
}

int run_seeds(const struct run *r)
{
	double start = wall_seconds();
	uint64_t failures = 0, steps = 0, ended = 0;
	FILE *in = share_out(r, seeds_share);
	struct found f;

	for (; in && fread(&f, sizeof(f), 1, in) == 1; ended++) {
		if (f.failed && failures++ < REPORTS_MAX)
			report(&f, r);
		else if (f.failed)
			printf("sim: seed %" PRIu64 " failed: %s\n", f.seed, f.verdict);
		steps += f.steps;
	}
	if (!in || !shares_ended(in, r))
		return 1;
	printf("sim: %" PRIu64 " seeds, %" PRIu64 " failures, %.1f simulated hours (%" PRIu64 " steps) in %.1f s\n",
	       ended, failures, (double)ended * (double)r->seconds / 3600, steps, wall_seconds() - start);
	return failures > 0 || ended < r->seeds;
}

/* --- mutants ------------------------------------------------------------------------------------------------ */

/* A change of the election moves the seeds that catch a mutant; one that is caught much later than it was is a judge
 * that sees less. */
static uint64_t patience(const struct mutant *m)
{
	return m->first_seed ? m->first_seed * 4 + 50 : 2000;
}

static void mutants_share(struct world *w, const struct run *r, unsigned int job, int out)
{
	for (unsigned int i = job; i < n_mutants; i += r->jobs) {
		struct world_options opt = r->opt;
		struct found f = { 0 };

		opt.mutant = &mutants[i];
		for (uint64_t seed = 1; seed <= patience(&mutants[i]) && !f.failed; seed++) {
			run_one(w, seed, &opt);
			f = found_in(w);
		}
		f.mutant = i;
		tell(out, &f);
	}
}

int run_mutants(const struct run *r)
{
	struct found found[MUTANTS_MAX] = { 0 }, f;
	FILE *in = share_out(r, mutants_share);
	unsigned int caught = 0;

	while (in && fread(&f, sizeof(f), 1, in) == 1)
		if (f.mutant < MUTANTS_MAX)
			found[f.mutant] = f;
	if (!in || !shares_ended(in, r))
		return 1;
	printf("%-17s %5s %8s  %9s  %s\n", "mutant", "seed", "recorded", "at", "what it does: caught because");
	for (unsigned int i = 0; i < n_mutants; i++) {
		const struct mutant *m = &mutants[i];

		if (found[i].failed)
			printf("%-17s %5" PRIu64 " %8" PRIu64 "  %7.3f s  %s: %s\n", m->name, found[i].seed,
			       m->first_seed, (double)found[i].at_ns / (double)NS_PER_S, m->what, found[i].verdict);
		else
			printf("%-17s %5s %8" PRIu64 "  %9s  %s: NOT CAUGHT\n", m->name, "-", m->first_seed, "-", m->what);
		caught += found[i].failed;
	}
	printf("sim: %u mutants, %u caught\n", n_mutants, caught);
	return caught < n_mutants;
}
