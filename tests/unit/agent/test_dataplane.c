/* SPDX-License-Identifier: Apache-2.0 */
/* What the data plane does next, when things happen while a job is under way.  The test stands in the worker's place: it
 * says when a job ends and how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "agent/dataplane.h"

#define SLOTS 5003

static struct worker_job *submitted;

void worker_submit(struct worker *w, struct worker_job *job)
{
	(void)w;
	assert_null(submitted);
	submitted = job;
}

static void on_changed(void *ctx)
{
	++*(unsigned int *)ctx;
}

struct fixture {
	struct loop loop;
	struct dataplane d;
	unsigned int changes;
};

static int setup(void **state)
{
	static struct fixture f;
	struct err_info err = ERR_INFO_INIT;

	memset(&f, 0, sizeof(f));
	submitted = NULL;
	*state = &f;
	if (loop_init(&f.loop, &err) < 0)
		return -1;
	dataplane_init(&f.d, NULL, &f.loop, on_changed, &f.changes);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	dataplane_fini(&f->d);
	loop_fini(&f->loop);
	return 0;
}

/* ---- Services ---- */

static void put(struct fixture *f, const char *name, unsigned int vip, uint16_t backend_port, uint16_t n_slots)
{
	static const uint16_t slots[SLOTS];
	const struct ip ip = { .family = IP_V4, .b = { 192, 0, 2, (uint8_t)vip } };
	const struct ip_port backends[1] = { { .ip = { .family = IP_V4, .b = { 198, 51, 100, 1 } }, .port = backend_port } };
	const struct frontend frontend = { .vip = ip, .proto = IPPROTO_UDP, .port = 53, .n_backends = 1, .n_slots = n_slots,
					   .backends = backends, .slots = slots, .digest = backend_port };
	const struct nat_member member = { .kind = NAT_VIP, .ip = ip };
	const struct nat_service s = { .frontends = &frontend, .n_frontends = 1, .members = &member, .n_members = 1 };

	assert_int_equal(dataplane_put(&f->d, "default", name, &s), 0);
}

static bool more(struct fixture *f)
{
	IGNORE(dataplane_sync(&f->d, mono_now()));
	return submitted;
}

/* The next job, which has to be such a one. */
static const struct dataplane_job *next(struct fixture *f, enum dataplane_task task)
{
	assert_true(more(f));
	assert_int_equal(f->d.job.task, task);
	return &f->d.job;
}

static void end(struct fixture *f, int result)
{
	struct worker_job *job = submitted;

	submitted = NULL;
	f->d.job.result = result;
	f->d.job.partly = false;
	job->done(job);
}

static void end_audit(struct fixture *f)
{
	while (more(f)) {
		assert_int_equal(f->d.job.task, DATAPLANE_VERIFY);
		end(f, 0);
	}
}

static void begin(struct fixture *f)
{
	dataplane_complete(&f->d);
	next(f, DATAPLANE_READ);
	end(f, 0);
	end_audit(f);
	assert_true(dataplane_as_wanted(&f->d));
}

/* ---- cases ---- */

static void test_options_while_it_reads(void **state)
{
	struct nat_options options = { .forward_mark = 0x4000 };
	struct fixture *f = *state;

	dataplane_complete(&f->d);
	assert_int_equal(next(f, DATAPLANE_READ)->options.forward_mark, 0);
	dataplane_options(&f->d, &options);
	end(f, 0);
	assert_false(dataplane_as_wanted(&f->d));
	assert_int_equal(next(f, DATAPLANE_READ)->options.forward_mark, 0x4000);
	end(f, 0);
	end_audit(f);
	assert_true(dataplane_as_wanted(&f->d));
}

static void test_reread_while_it_reads(void **state)
{
	struct fixture *f = *state;

	dataplane_complete(&f->d);
	next(f, DATAPLANE_READ);
	dataplane_reread(&f->d);
	end(f, 0);
	next(f, DATAPLANE_READ);
	end(f, 0);
	end_audit(f);
}

/* What others change after their set has been read is read the next time. */
static void test_drift_while_it_reads(void **state)
{
	struct fixture *f = *state;

	begin(f);
	f->d.drifted = true;
	next(f, DATAPLANE_READ);
	f->d.drifted = true;
	end(f, 0);
	end_audit(f);
	f->d.drift_at = mono_now();
	next(f, DATAPLANE_READ);
	end(f, 0);
	end_audit(f);
	assert_null(submitted);
}

/* A reading that takes changes along knows what was there before: flows of its backends are forgotten. */
static void test_changes_that_a_reading_takes_along(void **state)
{
	struct fixture *f = *state;
	const struct dataplane_job *j;

	put(f, "changed", 1, 1000, 13);
	put(f, "gone", 2, 1000, 13);
	put(f, "same", 3, 1000, 13);
	begin(f);
	put(f, "changed", 1, 2000, 13);
	dataplane_remove(&f->d, "default", "gone");
	dataplane_reread(&f->d);
	j = next(f, DATAPLANE_READ);
	assert_int_equal(j->n_pairs, 3);
	assert_int_equal(j->pairs[0].old->frontends[0].backends[0].port, 1000);
	assert_int_equal(j->pairs[0].now->frontends[0].backends[0].port, 2000);
	assert_int_equal(j->pairs[1].old->frontends[0].backends[0].port, 1000);
	assert_null(j->pairs[1].now);
	assert_null(j->pairs[2].old);
	put(f, "changed", 1, 3000, 13); /* the job has what it was given */
	assert_int_equal(j->pairs[0].now->frontends[0].backends[0].port, 2000);
	end(f, 0);
	j = next(f, DATAPLANE_CHANGE);
	assert_int_equal(j->n_pairs, 1);
	assert_int_equal(j->pairs[0].old->frontends[0].backends[0].port, 2000);
	end(f, 0);
	end_audit(f);
	assert_true(dataplane_as_wanted(&f->d));
	assert_null(dataplane_wanted(&f->d, "default", "gone"));
}

/* Changes need not wait for the slots of many large Services, and a look at slots holds up nobody's status. */
static void test_an_audit_in_parts(void **state)
{
	struct fixture *f = *state;
	size_t seen = 0;

	for (unsigned int i = 0; i < 16; i++) {
		char name[16];

		snprintf(name, sizeof(name), "many-%02u", i);
		put(f, name, i + 1, 1000, SLOTS);
	}
	dataplane_complete(&f->d);
	next(f, DATAPLANE_READ);
	end(f, 0);
	while (more(f)) {
		assert_int_equal(f->d.job.task, DATAPLANE_VERIFY);
		assert_in_range(f->d.job.n_pairs, 1, 4);
		assert_true(dataplane_as_wanted(&f->d));
		seen += f->d.job.n_pairs;
		end(f, 0);
	}
	assert_int_equal(seen, 16);
}

/* A change between its parts does not begin it anew, whatever comes or goes before the place it has got to. */
static void test_an_audit_goes_on(void **state)
{
	struct fixture *f = *state;
	size_t seen = 0;

	for (unsigned int i = 0; i < 16; i++) {
		char name[16];

		snprintf(name, sizeof(name), "many-%02u", i);
		put(f, name, i + 1, 1000, SLOTS);
	}
	dataplane_complete(&f->d);
	next(f, DATAPLANE_READ);
	end(f, 0);
	seen += next(f, DATAPLANE_VERIFY)->n_pairs;
	end(f, 0);
	dataplane_remove(&f->d, "default", "many-00");
	put(f, "first", 100, 1000, 13);
	next(f, DATAPLANE_CHANGE);
	end(f, 0);
	while (more(f)) {
		assert_in_range(seen, 0, 16); /* or it would never end */
		seen += f->d.job.n_pairs;
		end(f, 0);
	}
	assert_int_equal(seen, 16);
}

/* A successor asks whether what it knows of is in the kernel; what comes while it is brought there is not waited for. */
static void test_which_changes_the_kernel_has(void **state)
{
	struct fixture *f = *state;
	uint64_t first, second;

	put(f, "web", 1, 1000, 13);
	begin(f);
	assert_true(dataplane_has(&f->d, dataplane_changes(&f->d)));
	put(f, "web", 1, 1000, 13); /* as it was */
	assert_true(dataplane_has(&f->d, dataplane_changes(&f->d)));
	put(f, "web", 1, 2000, 13);
	first = dataplane_changes(&f->d);
	assert_false(dataplane_has(&f->d, first));
	next(f, DATAPLANE_CHANGE);
	dataplane_remove(&f->d, "default", "web");
	second = dataplane_changes(&f->d);
	assert_false(dataplane_has(&f->d, first));
	end(f, 0);
	assert_true(dataplane_has(&f->d, first));
	assert_false(dataplane_has(&f->d, second));
	next(f, DATAPLANE_CHANGE);
	end(f, -ETIMEDOUT);
	assert_false(dataplane_has(&f->d, second));
	f->d.retry_at = mono_now();
	next(f, DATAPLANE_READ);
	assert_false(dataplane_has(&f->d, first));
	end(f, 0);
	assert_true(dataplane_has(&f->d, second));
	end_audit(f);
}

/* Changed and changed back: there is no job, and nothing to wait for. */
static void test_a_change_taken_back_is_in_the_kernel(void **state)
{
	struct fixture *f = *state;

	put(f, "web", 1, 1000, 13);
	begin(f);
	put(f, "other", 2, 1000, 13);
	assert_false(dataplane_has(&f->d, dataplane_changes(&f->d)));
	dataplane_remove(&f->d, "default", "other");
	assert_false(more(f));
	assert_true(dataplane_has(&f->d, dataplane_changes(&f->d)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_options_while_it_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reread_while_it_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drift_while_it_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_changes_that_a_reading_takes_along, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_audit_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_audit_goes_on, setup, teardown),
		cmocka_unit_test_setup_teardown(test_which_changes_the_kernel_has, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_change_taken_back_is_in_the_kernel, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
