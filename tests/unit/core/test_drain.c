/* SPDX-License-Identifier: Apache-2.0 */
/* test_drain.c: the stages of a drain by the clock, and that a stop waits for the removal of addresses no longer than it may,
 * whatever the kernel says, and then releases what others may take over, and nothing else. */
#include "agent/core/drain.h"

#include "tests/unit/core/make.h"

#define START 100000 /* ms; of no meaning */

static mono_t at(int64_t ms)
{
	return mono_add_ms((mono_t){ 0 }, START + ms);
}

/* ---- stages ---- */

struct look {
	int64_t ms; /* since the start */
	bool asked, others;
	enum drain_stage stage;
	int64_t until_ms; /* likewise; -1 = never */
	uint32_t number;
	bool more;
};

static void check(const char *name, int64_t drain_ms, const struct look *v, size_t n)
{
	struct drain d = { 0 };

	for (size_t i = 0; i < n; i++) {
		drain_step(&d, &(struct drain_asks){ v[i].asked, v[i].more, v[i].others }, drain_ms, at(v[i].ms));
		if (d.number != v[i].number)
			fail_msg("%s, look %zu: number %" PRIu32, name, i, d.number);
		if (d.stage == DRAIN_UNDER_WAY)
			assert_int_equal(d.over.ns, d.until.ns);
		if (d.stage == DRAIN_TOLD)
			assert_int_equal(d.over.ns, mono_add_ms(d.until, drain_ms).ns);
		if (d.stage != v[i].stage || d.until.ns != (v[i].until_ms < 0 ? MONO_NEVER : at(v[i].until_ms)).ns)
			fail_msg("%s, look %zu: stage %d until %" PRId64 " ms", name, i, d.stage, mono_diff_ms(d.until, at(0)));
		assert_int_equal(drain_withdraws(&d), v[i].stage == DRAIN_UNDER_WAY || v[i].stage == DRAIN_OVER);
	}
}

#define CHECK(name, drain_ms, ...) \
	do { \
		static const struct look looks_[] = { __VA_ARGS__ }; \
		check(name, drain_ms, looks_, sizeof(looks_) / sizeof(looks_[0])); \
	} while (0)

static void test_stages(void **state)
{
	(void)state;
	CHECK("all of it", 5000,
	      { 0, false, true, DRAIN_NONE, -1, 0, false },
	      { 100, true, true, DRAIN_TOLD, 600, 1, false },
	      { 599, true, true, DRAIN_TOLD, 600, 1, false },
	      { 600, true, true, DRAIN_UNDER_WAY, 5600, 1, false },
	      { 5599, true, true, DRAIN_UNDER_WAY, 5600, 1, false },
	      { 5600, true, true, DRAIN_OVER, -1, 1, false },
	      { 9999, true, true, DRAIN_OVER, -1, 1, false });
	CHECK("nobody to get ready", 5000,
	      { 0, true, false, DRAIN_UNDER_WAY, 5000, 1, false },
	      { 5000, true, false, DRAIN_OVER, -1, 1, false });
	CHECK("the only other one goes", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 100, true, false, DRAIN_UNDER_WAY, 5000, 1, false });
	CHECK("no drain-time", 0,
	      { 0, true, true, DRAIN_OVER, -1, 1, false });
	CHECK("called off, and asked for again", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 400, false, true, DRAIN_NONE, -1, 1, false },
	      { 450, true, true, DRAIN_TOLD, 950, 2, false },
	      { 950, true, true, DRAIN_UNDER_WAY, 5950, 2, false },
	      { 960, false, true, DRAIN_NONE, -1, 2, false });
	CHECK("a VIP that turns with the node", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, true },
	      { 100, true, true, DRAIN_TOLD, 500, 1, true },
	      { 500, true, true, DRAIN_UNDER_WAY, 5500, 1, true },
	      { 501, true, true, DRAIN_UNDER_WAY, 5500, 1, false });
	CHECK("one that turns when all is over", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 9000, true, true, DRAIN_OVER, -1, 1, false },
	      { 9100, true, true, DRAIN_TOLD, 9600, 2, true },
	      { 9200, true, true, DRAIN_TOLD, 9600, 2, true },
	      { 9600, true, true, DRAIN_UNDER_WAY, 14600, 2, true },
	      { 14600, true, true, DRAIN_OVER, -1, 2, false },
	      { 99000, true, true, DRAIN_TOLD, 99500, 3, true });
	CHECK("one that turns while the others are ready", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 500, true, true, DRAIN_UNDER_WAY, 5500, 1, false },
	      { 4999, true, true, DRAIN_UNDER_WAY, 9999, 2, true },
	      { 5500, true, true, DRAIN_UNDER_WAY, 9999, 2, false });
	CHECK("one that turns when they soon are no more", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 500, true, true, DRAIN_UNDER_WAY, 5500, 1, false },
	      { 5000, true, true, DRAIN_TOLD, 5500, 2, true },
	      { 5500, true, true, DRAIN_UNDER_WAY, 10500, 2, true });
	CHECK("one that turns, no drain-time", 0,
	      { 0, true, true, DRAIN_OVER, -1, 1, false },
	      { 9, true, true, DRAIN_OVER, -1, 1, true });
	CHECK("a loop that was late", 5000,
	      { 0, true, true, DRAIN_TOLD, 500, 1, false },
	      { 60000, true, true, DRAIN_OVER, -1, 1, false });
}

/* ---- what a stop waits for ---- */

static void test_removal(void **state)
{
	static const struct {
		const char *name;
		struct drain_removal r;
		enum drain_next next;
	} rows[] = {
		{ "nothing was there", { 0 }, DRAIN_RELEASE },
		{ "the kernel is at it", { .under_way = true, .gate = true }, DRAIN_WAIT },
		{ "some are up", { .up = 1, .gate = true }, DRAIN_WAIT },
		{ "an earlier run's gate", { .open = true, .gate = true }, DRAIN_WAIT },
		{ "announced: the kernel never answered", { .under_way = true, .gate = true, .late = true }, DRAIN_RELEASE },
		{ "announced: refused, the gate is shut", { .up = 2, .gate = true, .late = true }, DRAIN_RELEASE },
		{ "announced: refused, without a gate", { .up = 2, .late = true }, DRAIN_KEEP },
		{ "announced: an earlier run's gate to the end", { .open = true, .gate = true, .late = true }, DRAIN_KEEP },
		{ "routed: some are up", { .up = 1, .routed = true }, DRAIN_WAIT },
		{ "routed: the kernel is at it", { .under_way = true, .routed = true }, DRAIN_WAIT },
		{ "routed: refused", { .up = 2, .routed = true, .late = true }, DRAIN_RELEASE },
		{ "routed: the kernel never answered", { .up = 2, .under_way = true, .routed = true, .late = true }, DRAIN_RELEASE },
		{ "routed: an earlier run's gate", { .open = true, .routed = true, .late = true }, DRAIN_RELEASE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (drain_removed(&rows[i].r) != rows[i].next)
			fail_msg("%s: %d", rows[i].name, drain_removed(&rows[i].r));
}

/* Whatever else is so: late ends it, and early nothing that is up is left alone. */
static void test_every_removal(void **state)
{
	(void)state;
	for (unsigned int bits = 0; bits < 64; bits++) {
		const struct drain_removal r = { .up = bits & 1, .under_way = bits & 2, .open = bits & 4, .gate = bits & 8,
						 .routed = bits & 16, .late = bits & 32 };
		enum drain_next next = drain_removed(&r);

		if (r.late)
			assert_true(next != DRAIN_WAIT);
		else
			assert_int_equal(next == DRAIN_WAIT, r.up > 0 || r.under_way || r.open);
		if (r.routed)
			assert_true(next != DRAIN_KEEP);
	}
}

static void test_connections(void **state)
{
	(void)state;
	assert_false(drain_is_empty(2, DRAIN_NOT_COUNTED));
	assert_false(drain_is_empty(2, 1));
	assert_true(drain_is_empty(2, 0));
	assert_true(drain_is_empty(0, DRAIN_NOT_COUNTED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stages),
		cmocka_unit_test(test_removal),
		cmocka_unit_test(test_every_removal),
		cmocka_unit_test(test_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
