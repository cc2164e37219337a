/* SPDX-License-Identifier: Apache-2.0 */
/* test_placement.c: a node holds what its interfaces can carry, gives up what others can carry better, and somebody holds the
 * allocator's group whatever becomes of its VIPs. */
#include "agent/core/placement.h"

#include "make.h"

/* A group's VIPs, a letter each: u its interface is usable, d it is dead; n no interface suits; capitals: it was up somewhere. */
static struct placement_seen see(const char *vips)
{
	struct placement_seen s = { .usable = false };

	for (; *vips; vips++) {
		const bool published = *vips < 'a';
		const char kind = (char)(published ? *vips + ('a' - 'A') : *vips);

		placement_see(&s, kind != 'n', kind == 'u', published);
	}
	return s;
}

/* What holds for any group, by a node that does not hold it. */
static void test_candidates(void **state)
{
	static const struct {
		const char *vips;
		bool placed, impaired, allocator_placed;
	} rows[] = {
		{ "", true, false, true },
		{ "u", true, false, true },
		{ "U", true, false, true },
		{ "uU", true, false, true },
		{ "d", false, true, true },
		{ "D", false, true, true },
		{ "dD", false, true, true },
		{ "ud", true, true, true },
		{ "du", true, true, true },
		{ "UD", true, true, true },
		{ "Ud", true, true, true }, /* new, and usable elsewhere perhaps */
		{ "n", true, false, true }, /* nobody may have an interface for it */
		{ "nu", true, false, true },
		{ "nd", false, true, true },
		{ "nD", false, true, true },
		{ "N", false, true, false },
		{ "Nu", false, true, false },
		{ "UN", false, true, false },
		{ "ND", false, true, false },
		{ "DN", false, true, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct placement_seen s = see(rows[i].vips);
		struct placement of_others = PLACEMENT_INIT, of_allocator = PLACEMENT_INIT;

		if (placement_look(&of_others, &s, false, false) || placement_look(&of_allocator, &s, true, false))
			fail_msg("\"%s\": nothing is let go that is not held", rows[i].vips);
		if (of_others.placed != rows[i].placed || of_others.impaired != rows[i].impaired ||
		    of_allocator.placed != rows[i].allocator_placed || of_allocator.impaired != rows[i].impaired)
			fail_msg("\"%s\": placed %d impaired %d, the allocator's: %d %d", rows[i].vips, of_others.placed,
				 of_others.impaired, of_allocator.placed, of_allocator.impaired);
	}
}

/* What the holder of the allocator's group comes to see, one look after the other. */
struct look {
	const char *vips;
	bool holds;
	bool placed, again;
};

#define LOOKS_MAX 8

static void test_the_allocator_s_group(void **state)
{
	static const struct {
		const char *what;
		struct look looks[LOOKS_MAX]; /* up to the first without VIPs */
	} rows[] = {
		{ "let go at once; a candidate again when it is gone",
		  { { "U", true, true, false }, { "D", true, false, true }, { "D", false, true, false } } },
		{ "looked at again before it is gone",
		  { { "U", true, true, false }, { "D", true, false, true }, { "D", true, false, true }, { "D", false, true, false } } },
		{ "whoever took it as it was keeps it",
		  { { "U", false, true, false }, { "D", false, true, false }, { "D", true, true, false }, { "DD", true, true, false } } },
		{ "also who had let it go",
		  { { "U", true, true, false }, { "D", true, false, true }, { "D", false, true, false }, { "D", true, true, false } } },
		{ "and lets go again only when it was usable in between",
		  { { "D", false, true, false }, { "D", true, true, false }, { "U", true, true, false }, { "D", true, false, true } } },
		{ "won since it was last looked at",
		  { { "U", false, true, false }, { "D", true, false, true }, { "D", false, true, false } } },
		{ "usable again before it is gone",
		  { { "U", true, true, false }, { "D", true, false, true }, { "U", true, true, false } } },
		{ "one is left: kept, for nobody may have better",
		  { { "UU", true, true, false }, { "UD", true, true, false }, { "DD", true, false, true } } },
		{ "the first VIP is a new one, and dead here",
		  { { "", true, true, false }, { "d", true, false, true }, { "d", false, true, false } } },
		{ "where one that was up has no interface nobody holds it",
		  { { "U", true, true, false }, { "N", true, false, true }, { "N", false, false, false } } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct placement p = PLACEMENT_INIT;

		for (size_t k = 0; k < LOOKS_MAX && rows[i].looks[k].vips; k++) {
			const struct look *l = &rows[i].looks[k];
			const struct placement_seen s = see(l->vips);
			bool again = placement_look(&p, &s, true, l->holds);

			if (p.placed != l->placed || again != l->again)
				fail_msg("%s: look %zu: placed %d, again %d", rows[i].what, k, p.placed, again);
		}
	}
}

/* Another group's holder gives up what is dead here, and stays without: its VIPs are all that it is for. */
static void test_another_group(void **state)
{
	const struct placement_seen usable = see("U"), dead = see("D");
	struct placement p = PLACEMENT_INIT;

	(void)state;
	assert_false(placement_look(&p, &usable, false, true));
	assert_true(p.placed);
	assert_false(placement_look(&p, &dead, false, true));
	assert_false(p.placed);
	assert_false(placement_look(&p, &dead, false, false));
	assert_false(p.placed);
	assert_false(placement_look(&p, &usable, false, false));
	assert_true(p.placed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_candidates), cmocka_unit_test(test_the_allocator_s_group), cmocka_unit_test(test_another_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
