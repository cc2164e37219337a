/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect.c: elect_step() as tables: (state, event) -> (state, actions, next wake), every state with every
 * kind of event, those that make no sense included.  Moves and policy hold: test_elect_move.c. */
#include "tests/unit/election/elect_states.h"

#define ROW(...) { __LINE__, __VA_ARGS__, NULL }

static void test_following(void **state)
{
	const struct row rows[] = {
		/* Nothing is known: nothing is done. */
		ROW(new_elect, TICK(0), ELECT_FOLLOWING, "", NEVER),
		ROW(new_elect, FIT(0, true), ELECT_FOLLOWING, "", NEVER),
		ROW(new_elect, VIEW(0, true), ELECT_FOLLOWING, "", NEVER),
		ROW(new_elect, ABSENT(0), ELECT_FOLLOWING, "", NEVER), /* unfit */
		ROW(new_elect, STOP(0), ELECT_STOPPED, "stopped", NEVER),
		ROW(blank, TICK(0), ELECT_FOLLOWING, "", NEVER),
		/* No Lease. */
		ROW(blank, ABSENT(0), ELECT_FOLLOWING, "", ANY),
		ROW(absent, TICK(99), ELECT_FOLLOWING, "", 100),
		ROW(absent, TICK(100), ELECT_CLAIMING, "create self 3000 t0", 475),
		ROW(absent, ABSENT(99), ELECT_FOLLOWING, "", 100), /* no news */
		ROW(absent, seen(50, "10", OTHER), ELECT_FOLLOWING, "", ANY),
		ROW(absent, VIEW(100, false), ELECT_FOLLOWING, "", NEVER),
		ROW(absent, FIT(100, false), ELECT_FOLLOWING, "", NEVER),
		ROW(absent, STOP(100), ELECT_STOPPED, "stopped", NEVER),
		/* A live foreign record. */
		ROW(foreign, TICK(2999), ELECT_FOLLOWING, "", 3010),
		ROW(foreign, TICK(3010), ELECT_CLAIMING, "update 10 self 3000 t5", 3385),
		ROW(foreign, TICK(99999), ELECT_CLAIMING, "update 10 self 3000 t5", 100374),
		ROW(foreign, seen(3010, "10", OTHER), ELECT_CLAIMING, "update 10 self 3000 t5", 3385),
		ROW(foreign, seen(3010, "11", OTHER), ELECT_FOLLOWING, "", ANY),
		ROW(foreign, seen(3010, "9", FORMER), ELECT_CLAIMING, "update 10 self 3000 t5", 3385), /* old */
		ROW(foreign, seen(2000, "", SELF), ELECT_FOLLOWING, "", 3010), /* no version: no Lease of ours */
		ROW(foreign, seen(2000, "11", ""), ELECT_FOLLOWING, "", ANY),
		ROW(foreign, seen(2000, "11", SELF), ELECT_CLAIMING, "update 11 self 3000 t5", 2375),
		ROW(foreign, seen(2000, "11", FORMER), ELECT_CLAIMING, "update 11 self 3000 t6", 2375),
		ROW(foreign, ABSENT(2000), ELECT_FOLLOWING, "", ANY),
		ROW(foreign, VIEW(3010, true), ELECT_CLAIMING, "update 10 self 3000 t5", 3385), /* no news */
		ROW(foreign, VIEW(3010, false), ELECT_FOLLOWING, "", NEVER),
		ROW(foreign, FIT(3010, false), ELECT_FOLLOWING, "", NEVER),
		ROW(foreign, STOP(3010), ELECT_STOPPED, "stopped", NEVER),
		ROW(unfit, TICK(9000), ELECT_FOLLOWING, "", NEVER),
		ROW(unfit, FIT(1000, true), ELECT_FOLLOWING, "", 2000),
		ROW(unfit, FIT(9000, true), ELECT_FOLLOWING, "get", ANY),
		ROW(unfit, seen(9000, "11", SELF), ELECT_FOLLOWING, "", NEVER),
		ROW(stale, TICK(9000), ELECT_FOLLOWING, "", NEVER),
		ROW(stale, VIEW(9000, true), ELECT_FOLLOWING, "", ANY),
		ROW(stale, seen(9000, "9", SELF), ELECT_CLAIMING, "update 9 self 3000 t5", 9375), /* restored etcd */
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_following_doubt(void **state)
{
	const struct row rows[] = {
		/* Expiry counts while the view is proven. */
		ROW(unproven, TICK(1999), ELECT_FOLLOWING, "", 2000),
		ROW(unproven, TICK(2000), ELECT_FOLLOWING, "get", ANY),
		ROW(unproven, TICK(9000), ELECT_FOLLOWING, "get", ANY),
		ROW(unproven, seen(1999, "10", OTHER), ELECT_FOLLOWING, "", 2000), /* too early for a proof */
		ROW(unproven, VIEW(2000, false), ELECT_FOLLOWING, "", NEVER),
		ROW(unproven, FIT(2000, false), ELECT_FOLLOWING, "", NEVER),
		ROW(probing, TICK(2399), ELECT_FOLLOWING, "", 2400),
		ROW(probing, TICK(2400), ELECT_FOLLOWING, "get", ANY),
		ROW(probing, seen(2001, "10", OTHER), ELECT_FOLLOWING, "", 3010),
		ROW(probing, seen(2399, "10", OTHER), ELECT_FOLLOWING, "", 3399), /* a third of the duration more */
		ROW(probing, seen(2999, "10", OTHER), ELECT_FOLLOWING, "", 3999),
		ROW(doubting, seen(2999, "10", OTHER), ELECT_FOLLOWING, "", 3999),
		ROW(doubting, seen(3000, "10", OTHER), ELECT_FOLLOWING, "", 5000), /* too late: begins again */
		ROW(probing, seen(2100, "9", OTHER), ELECT_FOLLOWING, "", 2400),
		ROW(probing, seen(2100, "11", OTHER), ELECT_FOLLOWING, "", 4100),
		ROW(probing, seen(2100, "11", SELF), ELECT_CLAIMING, "update 11 self 3000 t5", 2475),
		ROW(probing, ABSENT(2100), ELECT_FOLLOWING, "", ANY),
		/* Refused: learn before writing again. */
		ROW(refused, TICK(3499), ELECT_FOLLOWING, "", 3500),
		ROW(refused, TICK(3500), ELECT_FOLLOWING, "get", ANY),
		ROW(refused, VIEW(3400, false), ELECT_FOLLOWING, "", 3500),
		ROW(refused, FIT(3500, false), ELECT_FOLLOWING, "", NEVER),
		ROW(refused, seen(3100, "11", OTHER), ELECT_FOLLOWING, "", ANY),
		ROW(refused, seen(3100, "10", OTHER), ELECT_FOLLOWING, "", 3500),
		ROW(refused, seen(3100, "11", SELF), ELECT_CLAIMING, "update 11 self 3000 t5", 3475),
		ROW(refused, ABSENT(3100), ELECT_FOLLOWING, "", ANY),
		/* Our own record, by which we do not lead. */
		ROW(lapsed, TICK(2999), ELECT_FOLLOWING, "", 3000),
		ROW(lapsed, TICK(3000), ELECT_CLAIMING, "update 20 self 3000 t5", 3375),
		ROW(lapsed, VIEW(2990, true), ELECT_FOLLOWING, "", 3000),
		ROW(lapsed, seen(2990, "21", SELF), ELECT_CLAIMING, "update 21 self 3000 t5", 3365),
		ROW(lapsed, seen(2990, "21", OTHER), ELECT_FOLLOWING, "", NEVER),
		ROW(lapsed, seen(2990, "21", FORMER), ELECT_FOLLOWING, "", NEVER), /* a twin, not our past */
		ROW(lapsed, STOP(2990), ELECT_RELEASING, "update 20 nobody 1000 t5", 3365),
		/* Outcomes that nobody waits for. */
		ROW(foreign, OK(100, 0, "11"), ELECT_FOLLOWING, "", 3010),
		ROW(foreign, CONFLICT(100, 0), ELECT_FOLLOWING, "", 3010),
		ROW(foreign, FAILED(100, 1), ELECT_FOLLOWING, "", 3010),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_claiming(void **state)
{
	const struct row rows[] = {
		ROW(claiming, TICK(3300), ELECT_CLAIMING, "", 3385),
		ROW(claiming, TICK(3385), ELECT_FOLLOWING, "", ANY),
		ROW(claiming, OK(3100, 7, "11"), ELECT_LEADING, "lead 5950", 3760),
		ROW(claiming, OK(3380, 7, "11"), ELECT_LEADING, "lead 5950", 3760),
		ROW(claiming, OK(5949, 7, "11"), ELECT_LEADING, "lead 5950; update 11 self 3000 t5", 5950),
		ROW(claiming, OK(5950, 7, "11"), ELECT_FOLLOWING, "", ANY), /* nothing is left of it */
		ROW(claiming, OK(3100, 6, "11"), ELECT_CLAIMING, "", 3385),
		ROW(claiming, OK(3100, 8, "11"), ELECT_CLAIMING, "", 3385),
		ROW(claiming, OK(3100, 7, ""), ELECT_LEADING, "lead 5950; get", ANY), /* a reply without version */
		ROW(claiming, CONFLICT(3100, 7), ELECT_FOLLOWING, "get", ANY),
		ROW(claiming, CONFLICT(3100, 6), ELECT_CLAIMING, "", 3385),
		ROW(claiming, FAILED(3100, 7), ELECT_FOLLOWING, "", ANY),
		ROW(claiming, FAILED(3100, 6), ELECT_CLAIMING, "", 3385),
		ROW(claiming, seen(3100, "10", OTHER), ELECT_CLAIMING, "", 3385),
		ROW(claiming, seen(3100, "9", ""), ELECT_CLAIMING, "", 3385),
		ROW(claiming, seen(3100, "11", SELF), ELECT_CLAIMING, "", 3385), /* ahead of the reply */
		ROW(claiming, seen(3100, "11", OTHER), ELECT_FOLLOWING, "", ANY),
		ROW(claiming, seen(3100, "11", ""), ELECT_FOLLOWING, "", ANY),
		ROW(claiming, seen(3020, "11", FORMER), ELECT_FOLLOWING, "", 3103), /* one write each would be many */
		ROW(claiming, ABSENT(3100), ELECT_CLAIMING, "", 3385),
		ROW(claiming, VIEW(3100, false), ELECT_CLAIMING, "", 3385),
		ROW(claiming, FIT(3100, true), ELECT_CLAIMING, "", 3385),
		ROW(claiming, FIT(3100, false), ELECT_RELEASING, "", 3385), /* it may have been applied */
		ROW(claiming, STOP(3100), ELECT_RELEASING, "", 3385),
		ROW(creating, OK(5, 7, "1"), ELECT_LEADING, "lead 2940", 750),
		ROW(creating, CONFLICT(5, 7), ELECT_FOLLOWING, "get", ANY),
		ROW(creating, ABSENT(5), ELECT_CLAIMING, "", 375),
		ROW(creating, seen(5, "1", SELF), ELECT_CLAIMING, "", 375),
		ROW(creating, seen(5, "1", OTHER), ELECT_FOLLOWING, "", ANY),
		ROW(creating, TICK(375), ELECT_FOLLOWING, "", ANY),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_leading(void **state)
{
	const struct row rows[] = {
		ROW(leading, TICK(749), ELECT_LEADING, "", 750),
		ROW(leading, TICK(750), ELECT_LEADING, "update 20 self 3000 t5", 1125),
		ROW(leading, TICK(2939), ELECT_LEADING, "update 20 self 3000 t5", 2940),
		/* The deadline comes before the event, whatever it is. */
		ROW(leading, TICK(2940), ELECT_CLAIMING, "follow; update 20 self 3000 t5", 3315),
		ROW(leading, seen(2940, "21", OTHER), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, seen(2940, "21", SELF), ELECT_CLAIMING, "follow; update 21 self 3000 t5", 3315),
		ROW(leading, FIT(2940, false), ELECT_FOLLOWING, "follow", NEVER),
		ROW(leading, STOP(2940), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 3315),
		ROW(leading, ABSENT(2940), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, VIEW(2940, false), ELECT_CLAIMING, "follow; update 20 self 3000 t5", 3315),
		ROW(renewing, OK(2940, 7, "21"), ELECT_LEADING, "follow; lead 3690; update 21 self 3000 t5", 3315),
		ROW(renewing, TICK(99999), ELECT_FOLLOWING, "follow", ANY),
		/* Renewal. */
		ROW(renewing, TICK(1124), ELECT_LEADING, "", 1125),
		ROW(renewing, TICK(1125), ELECT_LEADING, "", ANY),
		ROW(renewing, OK(760, 7, "21"), ELECT_LEADING, "hold 3690", 1500),
		ROW(renewing, OK(760, 6, "21"), ELECT_LEADING, "", 1125),
		ROW(renewing, OK(760, 8, "21"), ELECT_LEADING, "", 1125),
		ROW(renewing, OK(760, 7, ""), ELECT_LEADING, "hold 3690; get", ANY),
		ROW(renewing, FAILED(760, 7), ELECT_LEADING, "", ANY),
		ROW(renewing, FAILED(760, 6), ELECT_LEADING, "", 1125),
		ROW(renewing, CONFLICT(760, 7), ELECT_LEADING, "get", ANY),
		ROW(renewing, CONFLICT(760, 6), ELECT_LEADING, "", 1125),
		ROW(leading, OK(100, 6, "99"), ELECT_LEADING, "", 750), /* a second reply to a settled write */
		/* What the view shows. */
		ROW(leading, seen(100, "20", SELF), ELECT_LEADING, "", 750),
		ROW(leading, seen(100, "19", OTHER), ELECT_LEADING, "", 750),
		ROW(leading, seen(100, "21", OTHER), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, seen(100, "21", ""), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, seen(100, "21", FORMER), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, seen(100, "21", SELF), ELECT_LEADING, "", 750), /* and no later deadline */
		ROW(leading, seen(100, "no number", OTHER), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, seen(100, "", OTHER), ELECT_LEADING, "", 750),
		ROW(renewing, seen(760, "21", SELF), ELECT_LEADING, "", 1125),
		ROW(leading, ABSENT(100), ELECT_LEADING, "update 20 self 3000 t5", 475),
		ROW(renewing, ABSENT(760), ELECT_LEADING, "", 1125),
		ROW(leading_absent, CONFLICT(770, 7), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading_absent, OK(770, 7, "21"), ELECT_LEADING, "hold 3690", 1500),
		ROW(leading_refused, TICK(1300), ELECT_LEADING, "get", ANY),
		ROW(leading_refused, seen(800, "21", SELF), ELECT_LEADING, "update 21 self 3000 t5", 1175),
		ROW(leading_refused, seen(800, "21", OTHER), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading_refused, seen(800, "20", SELF), ELECT_LEADING, "", 1300),
		ROW(leading_refused, seen(800, "19", OTHER), ELECT_LEADING, "", 1300),
		ROW(leading_refused, ABSENT(800), ELECT_FOLLOWING, "follow", ANY),
		ROW(leading, VIEW(100, false), ELECT_LEADING, "", 750),
		ROW(leading, VIEW(100, true), ELECT_LEADING, "", 750),
		ROW(leading, FIT(100, true), ELECT_LEADING, "", 750),
		/* Giving up: first withdraw, then write. */
		ROW(leading, FIT(100, false), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 475),
		ROW(leading, STOP(100), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 475),
		ROW(renewing, FIT(800, false), ELECT_RELEASING, "follow", 1125),
		ROW(renewing, STOP(800), ELECT_RELEASING, "follow", 1125),
		ROW(leading_refused, STOP(800), ELECT_RELEASING, "follow; get", ANY),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_releasing(void **state)
{
	const struct row rows[] = {
		ROW(releasing, TICK(1174), ELECT_RELEASING, "", 1175),
		ROW(releasing, TICK(1175), ELECT_RELEASING, "", ANY),
		ROW(releasing, TICK(1550), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing, OK(810, 7, "21"), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing, OK(810, 6, "21"), ELECT_RELEASING, "", 1175),
		ROW(releasing, FAILED(810, 7), ELECT_RELEASING, "", ANY),
		ROW(releasing, CONFLICT(810, 7), ELECT_RELEASING, "get", ANY),
		ROW(releasing, seen(810, "21", OTHER), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing, seen(810, "21", ""), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing, seen(810, "21", SELF), ELECT_RELEASING, "", 1175),
		ROW(releasing, seen(810, "19", OTHER), ELECT_RELEASING, "", 1175),
		ROW(releasing, ABSENT(810), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing, VIEW(810, false), ELECT_RELEASING, "", 1175),
		ROW(releasing, FIT(810, false), ELECT_RELEASING, "", 1175),
		ROW(releasing, STOP(810), ELECT_RELEASING, "", 1175),
		/* The renewal under way tells the version to release. */
		ROW(releasing_renewal, OK(810, 7, "21"), ELECT_RELEASING, "update 21 nobody 1000 t5", 1185),
		ROW(releasing_renewal, CONFLICT(810, 7), ELECT_RELEASING, "get", ANY),
		ROW(releasing_renewal, TICK(1550), ELECT_FOLLOWING, "", NEVER),
		ROW(releasing_renewal, FIT(810, true), ELECT_RELEASING, "", 1125),
		ROW(releasing_renewal, STOP(810), ELECT_RELEASING, "", 1125),
		/* So does the claim; if its outcome is unknown, a GET. */
		ROW(releasing_claim, OK(3110, 7, "11"), ELECT_RELEASING, "update 11 nobody 1000 t5", 3485),
		ROW(releasing_claim, FAILED(3110, 7), ELECT_RELEASING, "get", ANY),
		ROW(releasing_claim, CONFLICT(3110, 7), ELECT_RELEASING, "get", ANY),
		ROW(releasing_claim, seen(3110, "11", OTHER), ELECT_STOPPED, "stopped", NEVER),
		ROW(releasing_claim, TICK(3850), ELECT_STOPPED, "stopped", NEVER),
		/* The end is the end. */
		ROW(stopped, TICK(100), ELECT_STOPPED, "", NEVER),
		ROW(stopped, TICK(99999), ELECT_STOPPED, "", NEVER),
		ROW(stopped, seen(100, "21", SELF), ELECT_STOPPED, "", NEVER),
		ROW(stopped, ABSENT(100), ELECT_STOPPED, "", NEVER),
		ROW(stopped, VIEW(100, true), ELECT_STOPPED, "", NEVER),
		ROW(stopped, FIT(100, false), ELECT_STOPPED, "", NEVER),
		ROW(stopped, OK(100, 6, "21"), ELECT_STOPPED, "", NEVER),
		ROW(stopped, CONFLICT(100, 6), ELECT_STOPPED, "", NEVER),
		ROW(stopped, FAILED(100, 6), ELECT_STOPPED, "", NEVER),
		ROW(stopped, STOP(100), ELECT_STOPPED, "", NEVER),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_following),
		cmocka_unit_test(test_following_doubt),
		cmocka_unit_test(test_claiming),
		cmocka_unit_test(test_leading),
		cmocka_unit_test(test_releasing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
