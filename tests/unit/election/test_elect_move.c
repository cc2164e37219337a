/* SPDX-License-Identifier: Apache-2.0 */
/* test_elect_move.c: planned moves and policy hold as tables, with the gate: (state, event) -> (state, actions, next
 * wake, "arp ip redirect").  Every state of theirs with every kind of event. */
#include "tests/unit/election/elect_move_states.h"

#define ROW(...) { __LINE__, __VA_ARGS__ }

static void test_holder(void **state)
{
	const struct row rows[] = {
		/* A move begins with a write, at once or after the one under way. */
		ROW(leading, HANDOVER(500, 9, OTHER), ELECT_LEADING,
		    "update 20 self 3000 t5 prepare 9 other", 875, "2940 2940 -"),
		ROW(renewing, HANDOVER(800, 9, OTHER), ELECT_LEADING, "", 1125, "2940 2940 -"),
		ROW(leading_refused, HANDOVER(800, 9, OTHER), ELECT_LEADING, "", 1300, "2940 2940 -"),
		ROW(leading, HANDOVER(500, 9, SELF), ELECT_LEADING, "failed 9", 750, "2940 2940 -"),
		ROW(leading, HANDOVER(500, 9, ""), ELECT_LEADING, "failed 9", 750, "2940 2940 -"),
		ROW(leading, HANDOVER(500, 0, OTHER), ELECT_LEADING, "failed 0", 750, "2940 2940 -"),
		ROW(overtime, HANDOVER(3010, 9, OTHER), ELECT_LEADING, "failed 9", 3050, "4510 4510 -"),
		ROW(looking, HANDOVER(20, 9, OTHER), ELECT_LEADING, "failed 9", 210, "- 2940 -"),
		ROW(foreign, HANDOVER(500, 9, OTHER), ELECT_FOLLOWING, "", 3010, "- - -"),
		ROW(claiming, HANDOVER(3020, 9, OTHER), ELECT_CLAIMING, "", 3385, "- - -"),
		ROW(releasing, HANDOVER(810, 9, OTHER), ELECT_RELEASING, "", 1175, "- - -"),
		ROW(stopped, HANDOVER(810, 9, OTHER), ELECT_STOPPED, "", NEVER, "- - -"),
		ROW(leading, PREPARED(500, 0), ELECT_LEADING, "", 750, "2940 2940 -"),
		ROW(leading, PREPARED(500, 9), ELECT_LEADING, "", 750, "2940 2940 -"),
		ROW(leading, REFUSED(500, 0), ELECT_LEADING, "", 750, "2940 2940 -"),
		ROW(foreign, PREPARED(500, 9), ELECT_FOLLOWING, "", 3010, "- - -"),
		ROW(foreign, REFUSED(500, 0), ELECT_FOLLOWING, "", 3010, "- - -"),
		ROW(claiming, PREPARED(3020, 0), ELECT_CLAIMING, "", 3385, "- - -"),
		ROW(releasing, PREPARED(810, 0), ELECT_RELEASING, "", 1175, "- - -"),
		ROW(stopped, REFUSED(810, 0), ELECT_STOPPED, "", NEVER, "- - -"),
		/* The successor is asked: we hold as before. */
		ROW(preparing_other, TICK(1249), ELECT_LEADING, "", 1250, "3440 3440 -"),
		ROW(preparing_other, TICK(1250), ELECT_LEADING, "failed 9; update 21 self 3000 t5", 1625, "3440 3440 -"),
		ROW(preparing_other, PREPARED(600, 8), ELECT_LEADING, "", 1250, "3440 3440 -"),
		ROW(preparing_other, PREPARED(600, 9), ELECT_LEADING,
		    "update 21 self 3000 t5 claim 9 other", 975, "- 3440 -"),
		ROW(preparing_other, REFUSED(600, 8), ELECT_LEADING, "", 1250, "3440 3440 -"),
		ROW(preparing_other, REFUSED(600, 9), ELECT_LEADING, "failed 9", 1250, "3440 3440 -"),
		ROW(preparing_other, HANDOVER(600, 10, "x"), ELECT_LEADING, "", 1250, "3440 3440 -"), /* this one goes on */
		ROW(preparing_other, seen(600, "22", SELF), ELECT_LEADING, "", 1250, "3440 3440 -"),
		ROW(preparing_other, seen(600, "22", OTHER), ELECT_FOLLOWING, "follow", ANY, "- - 60600 other"),
		ROW(preparing_other, seen(600, "22", "stranger"), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(preparing_other, seen(600, "22", ""), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(preparing_other, FIT(600, false), ELECT_RELEASING, "follow; update 21 nobody 1000 t5", 975, "- - -"),
		ROW(preparing_other, STOP(600), ELECT_RELEASING, "follow; update 21 nobody 1000 t5", 975, "- - -"),
		ROW(preparing_other, DOUBT(600), ELECT_CLAIMING, "follow; update 21 self 3000 t5", 975, "- - -"),
		ROW(preparing_other, TICK(3440), ELECT_CLAIMING, "follow; update 21 self 3000 t5", 3815, "- - -"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_claim_out(void **state)
{
	const struct row rows[] = {
		/* CLAIM is on its way: ARP is shut whatever becomes of it. */
		ROW(ceding, TICK(974), ELECT_LEADING, "", 975, "- 3440 -"),
		ROW(ceding, TICK(975), ELECT_LEADING, "", ANY, "- 3440 -"),
		ROW(ceding, OK(610, 8, "22"), ELECT_LEADING, "hold 3540", 1350, "- 3540 60610 other"),
		ROW(ceding, FAILED(610, 8), ELECT_LEADING, "", ANY, "- 3440 -"),
		ROW(ceding, CONFLICT(610, 8), ELECT_LEADING, "get", ANY, "- 3440 -"),
		ROW(ceding, PREPARED(610, 9), ELECT_LEADING, "", 975, "- 3440 -"),
		ROW(ceding, REFUSED(610, 9), ELECT_LEADING, "", 975, "- 3440 -"),
		ROW(ceding, STOP(610), ELECT_RELEASING, "follow", 975, "- - -"),
		ROW(ceding, FIT(610, false), ELECT_RELEASING, "follow", 975, "- - -"),
		/* It is known: nothing is written before its time. */
		ROW(ceded, TICK(1349), ELECT_LEADING, "", 1350, "- 3540 60610 other"),
		ROW(ceded, TICK(1350), ELECT_LEADING, "update 22 self 3000 t5", 1725, "- 3540 60610 other"),
		ROW(ceded, REFUSED(700, 9), ELECT_LEADING, "update 22 self 3000 t5", 1075, "- 3540 60610 other"),
		ROW(ceded, HANDOVER(700, 10, "x"), ELECT_LEADING, "", 1350, "- 3540 60610 other"),
		ROW(ceded, seen(700, "23", OTHER), ELECT_FOLLOWING, "follow", ANY, "- - 60700 other"),
		ROW(ceded, seen(700, "23", "stranger"), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(ceded, ABSENT(700), ELECT_LEADING, "update 22 self 3000 t5 claim 9 other", 1075, "- 3540 60610 other"),
		ROW(ceded, STOP(700), ELECT_RELEASING, "follow", 1075, "- - 60610 other"),
		ROW(ceded, FIT(700, false), ELECT_RELEASING, "follow", 1075, "- - 60610 other"),
		ROW(ceded, DOUBT(700), ELECT_FOLLOWING, "follow", 1350, "- - 60610 other"), /* the successor's turn */
		ROW(ceded, VIEW(700, false), ELECT_LEADING, "", 1350, "- 3540 60610 other"),
		/* Taken back: shut until that is known. */
		ROW(taking_back, TICK(1725), ELECT_LEADING, "", ANY, "- 3540 60610 other"),
		ROW(taking_back, OK(1360, 9, "23"), ELECT_LEADING, "hold 4290; failed 9", 2100, "4290 4290 -"),
		ROW(taking_back, FAILED(1360, 9), ELECT_LEADING, "", ANY, "- 3540 60610 other"),
		ROW(taking_back, CONFLICT(1360, 9), ELECT_LEADING, "get", ANY, "- 3540 60610 other"),
		ROW(taking_back, seen(1360, "23", OTHER), ELECT_FOLLOWING, "follow", ANY, "- - 61360 other"),
		ROW(taking_back, seen(1360, "23", SELF), ELECT_LEADING, "", 1725, "- 3540 60610 other"),
		ROW(taking_back, REFUSED(1360, 9), ELECT_LEADING, "", 1725, "- 3540 60610 other"),
		ROW(taking_back, HANDOVER(1360, 10, OTHER), ELECT_LEADING, "", 1725, "- 3540 60610 other"),
		ROW(taking_back, TICK(3540), ELECT_FOLLOWING, "follow", ANY, "- - 60610 other"),
		ROW(taking_back, STOP(1360), ELECT_RELEASING, "follow", 1725, "- - 60610 other"),
		/* Afterwards: only the redirect is left. */
		ROW(handed_over, TICK(701), ELECT_FOLLOWING, "", 2700, "- - 60700 other"),
		ROW(handed_over, seen(1400, "24", OTHER), ELECT_FOLLOWING, "", 3400, "- - 60700 other"), /* no longer */
		ROW(handed_over, seen(1400, "24", "stranger"), ELECT_FOLLOWING, "", 3400, "- - 60700 other"), /* who sends it on */
		ROW(handed_over, seen(1400, "24", SELF), ELECT_CLAIMING, "update 24 self 3000 t5", 1775, "- - 60700 other"),
		ROW(handed_over, ASKS(1400, "24", 1, SELF), ELECT_FOLLOWING, "prepare 1", 3400, "- 4400 -"),
		ROW(handed_over, STOP(1400), ELECT_STOPPED, "stopped", NEVER, "- - 60700 other"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_successor(void **state)
{
	const struct row rows[] = {
		/* Asked: addresses up, IP open, ARP shut; whether the view is fresh or not. */
		ROW(foreign, ASKS(500, "11", 9, SELF), ELECT_FOLLOWING, "prepare 9", 2500, "- 3500 -"),
		ROW(stale, ASKS(500, "11", 9, SELF), ELECT_FOLLOWING, "prepare 9", 3500, "- 3500 -"),
		ROW(foreign, ASKS(500, "11", 9, "x"), ELECT_FOLLOWING, "", 2500, "- - -"),
		ROW(foreign, ASKS(500, "11", 9, FORMER), ELECT_FOLLOWING, "", 2500, "- - -"),
		ROW(foreign, ASKS(500, "11", 0, SELF), ELECT_FOLLOWING, "", 2500, "- - -"),
		ROW(foreign, ASKS(500, "9", 9, SELF), ELECT_FOLLOWING, "", 3010, "- - -"), /* old */
		ROW(unfit, ASKS(500, "11", 9, SELF), ELECT_FOLLOWING, "", NEVER, "- - -"),
		ROW(releasing, ASKS(810, "21", 9, SELF), ELECT_STOPPED, "stopped", NEVER, "- - -"),
		ROW(stopped, ASKS(500, "21", 9, SELF), ELECT_STOPPED, "", NEVER, "- - -"),
		ROW(claiming, ASKS(3100, "11", 9, SELF), ELECT_FOLLOWING, "prepare 9", 5100, "- 6100 -"),
		ROW(leading, ASKS(100, "21", 9, SELF), ELECT_FOLLOWING, "follow; prepare 9", 2100, "- 3100 -"),
		/* Ceded, with or without having been asked: ours at once, and no fresh view is needed. */
		ROW(foreign, CEDES(500, "11", 9, SELF), ELECT_CLAIMING, "update 11 self 3000 t6", 875, "- - -"),
		ROW(stale, CEDES(500, "11", 9, SELF), ELECT_CLAIMING, "update 11 self 3000 t6", 875, "- - -"),
		ROW(foreign, CEDES(500, "11", 9, "x"), ELECT_FOLLOWING, "", 2500, "- - -"),
		ROW(foreign, CEDES(500, "11", 0, SELF), ELECT_FOLLOWING, "", 2500, "- - -"),
		ROW(unfit, CEDES(500, "11", 9, SELF), ELECT_FOLLOWING, "", NEVER, "- - -"),
		/* Ready. */
		ROW(successor, TICK(2499), ELECT_FOLLOWING, "", 2500, "- 3500 -"),
		ROW(successor, TICK(2500), ELECT_FOLLOWING, "get", ANY, "- 3500 -"),
		ROW(successor, TICK(3500), ELECT_FOLLOWING, "unprepare; get", ANY, "- - -"),
		ROW(successor, ASKS(600, "12", 9, SELF), ELECT_FOLLOWING, "", 2600, "- 3600 -"),
		ROW(successor, ASKS(600, "12", 10, SELF), ELECT_FOLLOWING, "prepare 10", 2600, "- 3600 -"),
		ROW(successor, ASKS(600, "12", 9, "x"), ELECT_FOLLOWING, "unprepare", 2600, "- - -"),
		ROW(successor, CEDES(600, "12", 9, SELF), ELECT_CLAIMING, "update 12 self 3000 t6", 975, "- 3600 -"),
		ROW(successor, seen(600, "12", OTHER), ELECT_FOLLOWING, "unprepare", 2600, "- - -"),
		ROW(successor, seen(600, "12", ""), ELECT_FOLLOWING, "unprepare", ANY, "- - -"),
		ROW(successor, ABSENT(600), ELECT_FOLLOWING, "unprepare", ANY, "- - -"),
		ROW(successor, FIT(600, false), ELECT_FOLLOWING, "unprepare", NEVER, "- - -"),
		ROW(successor, VIEW(600, false), ELECT_FOLLOWING, "", 3500, "- 3500 -"),
		ROW(successor, DOUBT(600), ELECT_FOLLOWING, "unprepare", 2600, "- - -"),
		ROW(successor, STOP(600), ELECT_STOPPED, "unprepare; stopped", NEVER, "- - -"),
		/* Claiming it. */
		ROW(succeeding, OK(610, 7, "13"), ELECT_LEADING, "lead 3540", 1350, "3540 3540 -"),
		ROW(succeeding, CONFLICT(610, 7), ELECT_FOLLOWING, "get", ANY, "- 3500 -"),
		ROW(succeeding, FAILED(610, 7), ELECT_FOLLOWING, "", ANY, "- 3500 -"),
		ROW(succeeding, seen(610, "13", SELF), ELECT_CLAIMING, "", 975, "- 3500 -"), /* ahead of the reply */
		ROW(succeeding, seen(610, "13", OTHER), ELECT_FOLLOWING, "unprepare", 2610, "- - -"), /* taken back */
		ROW(succeeding, CEDES(610, "13", 9, SELF), ELECT_FOLLOWING, "", 693, "- 3610 -"),
		ROW(succeeding, FIT(610, false), ELECT_RELEASING, "unprepare", 975, "- - -"),
		ROW(succeeding, STOP(610), ELECT_RELEASING, "unprepare", 975, "- - -"),
		ROW(succeeding, DOUBT(610), ELECT_FOLLOWING, "unprepare", 693, "- - -"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_hold(void **state)
{
	const struct row rows[] = {
		/* Just before the deadline, so that the gate never lapses. */
		ROW(failing, TICK(2889), ELECT_LEADING, "", 2890, "2940 2940 -"),
		ROW(failing, TICK(2890), ELECT_LEADING, "probe 1", 2950, "4390 4390 -"),
		ROW(failing, TICK(2940), ELECT_LEADING, "probe 1", 2950, "4440 4440 -"),
		ROW(failing, TICK(2990), ELECT_CLAIMING,
		    "follow; update 20 self 3000 t5 hold", 3365, "- - -"), /* too late */
		ROW(failing, seen(2900, "21", OTHER), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(leading, TICK(2940), ELECT_CLAIMING, "follow; update 20 self 3000 t5", 3315, "- - -"),
		/* Beyond it. */
		ROW(overtime, TICK(3049), ELECT_LEADING, "", 3050, "4549 4549 -"),
		ROW(overtime, TICK(3050), ELECT_LEADING, "update 20 self 3000 t5 hold", 3090, "4550 4550 -"),
		ROW(overtime, TICK(4499), ELECT_LEADING, "probe 4; update 20 self 3000 t5 hold", 4699, "5999 5999 -"),
		ROW(overtime, TICK(4500), ELECT_CLAIMING,
		    "follow; update 20 self 3000 t5 hold", 4875, "- - -"), /* stood still */
		ROW(overtime, SILENT(3040, 3), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, STRANGER(3040, 3), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, STRANGER(3040, 0), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, SILENT(3040, 0), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, CANDIDATE(3040, 3), ELECT_FOLLOWING, "follow", 3050, "- - -"),
		ROW(overtime, CANDIDATE(3040, 0), ELECT_FOLLOWING, "follow", 3050, "- - -"),
		ROW(overtime, CANDIDATE(3040, 2), ELECT_LEADING, "", 3050, "4540 4540 -"), /* an answer of long ago */
		ROW(overtime, seen(3040, "21", SELF), ELECT_FOLLOWING, "follow", ANY, "- - -"), /* no longer says hold */
		ROW(overtime, seen(3040, "21", OTHER), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(overtime, ABSENT(3040), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		ROW(overtime, VIEW(3040, false), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, FIT(3040, false), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 3415, "- - -"),
		ROW(overtime, STOP(3040), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 3415, "- - -"),
		ROW(overtime, DOUBT(3040), ELECT_FOLLOWING, "follow", 3050, "- - -"),
		ROW(overtime, PREPARED(3040, 0), ELECT_LEADING, "", 3050, "4540 4540 -"),
		ROW(overtime, REFUSED(3040, 0), ELECT_LEADING, "", 3050, "4540 4540 -"),
		/* Refused: until we know by whom, the rolling deadline stands. */
		ROW(overtime_refused, TICK(3089), ELECT_LEADING, "", 3090, "4500 4500 -"),
		ROW(overtime_refused, TICK(3500), ELECT_LEADING, "get", ANY, "4500 4500 -"),
		ROW(overtime_refused, TICK(4500), ELECT_FOLLOWING, "follow; get", ANY, "- - -"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_yielded(void **state)
{
	const struct row rows[] = {
		/* Yielded: only silence without a gap brings it back. */
		ROW(yielded, SILENT(9999, 3), ELECT_FOLLOWING, "", 10500, "- - -"),
		ROW(yielded, SILENT(10000, 3), ELECT_LEADING, "lead 11500", 10375, "11500 11500 -"),
		ROW(yielded, STRANGER(10000, 3), ELECT_LEADING, "lead 11500", 10375, "11500 11500 -"),
		ROW(yielded, SILENT(10180, 3), ELECT_FOLLOWING, "", 10500, "- - -"), /* too late to say anything */
		ROW(yielded, SILENT(10000, 2), ELECT_FOLLOWING, "", 10180, "- - -"),
		ROW(yielded, CANDIDATE(10000, 3), ELECT_FOLLOWING, "", 10500, "- - -"),
		ROW(yielded, TICK(10500), ELECT_CLAIMING, "update 20 self 3000 t5 hold", 10730, "- - -"),
		ROW(yielded, TICK(10730), ELECT_CLAIMING, "probe 4; update 20 self 3000 t5 hold", 10930, "- - -"),
		ROW(yielded, seen(10000, "21", OTHER), ELECT_FOLLOWING, "", 12000, "- - -"),
		ROW(yielded, ABSENT(10000), ELECT_FOLLOWING, "", ANY, "- - -"),
		ROW(yielded, FIT(10000, false), ELECT_FOLLOWING, "", NEVER, "- - -"),
		ROW(yielded, STOP(10000), ELECT_RELEASING, "update 20 nobody 1000 t5", 10375, "- - -"),
		ROW(yielded, DOUBT(10000), ELECT_FOLLOWING, "", 10500, "- - -"),
		/* Looking, before opening on what another may hold in overtime. */
		ROW(looking, TICK(209), ELECT_LEADING, "", 210, "- 2940 -"),
		ROW(looking, TICK(210), ELECT_LEADING, "probe 4", 410, "- 2940 -"),
		ROW(looking, SILENT(50, 3), ELECT_LEADING, "hold 2940", 750, "2940 2940 -"),
		ROW(looking, STRANGER(50, 3), ELECT_LEADING, "hold 2940", 750, "2940 2940 -"),
		ROW(looking, SILENT(50, 2), ELECT_LEADING, "", 210, "- 2940 -"),
		ROW(looking, SILENT(50, 0), ELECT_LEADING, "", 210, "- 2940 -"),
		ROW(looking, CANDIDATE(50, 0), ELECT_LEADING, "", 210, "- 2940 -"),
		ROW(looking, CANDIDATE(50, 3), ELECT_LEADING, "announce", 100, "- 2940 -"),
		/* One that cannot know us will not yield: it is looked on, in silence, while it answers. */
		ROW(looked, TICK(200), ELECT_LEADING, "hold 2940", ANY, "2940 2940 -"),
		ROW(looked_unknown, TICK(200), ELECT_LEADING, "", ANY, "- 2940 -"),
		ROW(looked_unanswered, TICK(200), ELECT_LEADING, "hold 2940", ANY, "2940 2940 -"),
		ROW(looking_on, CANDIDATE(50, 3), ELECT_LEADING, "", ANY, "- 2940 -"),
		ROW(looking_on, SILENT(50, 3), ELECT_LEADING, "hold 2940", 750, "2940 2940 -"),
		ROW(looked, INTRODUCED(50, false), ELECT_LEADING, "", 200, "- 2940 -"),
		ROW(foreign, INTRODUCED(50, false), ELECT_FOLLOWING, "", ANY, "- - -"),
		ROW(looking, seen(50, "21", OTHER), ELECT_FOLLOWING, "follow", 2050, "- - -"),
		ROW(looking, seen(50, "21", SELF), ELECT_LEADING, "", 210, "- 2940 -"),
		ROW(looking, ABSENT(50), ELECT_LEADING, "update 20 self 3000 t5 hold", 210, "- 2940 -"),
		ROW(looking, FIT(50, false), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 425, "- - -"),
		ROW(looking, STOP(50), ELECT_RELEASING, "follow; update 20 nobody 1000 t5", 425, "- - -"),
		ROW(looking, DOUBT(50), ELECT_CLAIMING, "follow; update 20 self 3000 t5 hold", 425, "- - -"),
		/* Nobody asked. */
		ROW(leading, CANDIDATE(100, 0), ELECT_LEADING, "", 750, "2940 2940 -"),
		ROW(leading, SILENT(100, 1), ELECT_LEADING, "", 750, "2940 2940 -"),
		ROW(foreign, CANDIDATE(100, 0), ELECT_FOLLOWING, "", 3010, "- - -"),
		ROW(claiming, CANDIDATE(3100, 0), ELECT_CLAIMING, "", 3385, "- - -"),
		ROW(releasing, CANDIDATE(810, 0), ELECT_RELEASING, "", 1175, "- - -"),
		ROW(stopped, CANDIDATE(810, 0), ELECT_STOPPED, "", NEVER, "- - -"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

static void test_doubt(void **state)
{
	const struct row rows[] = {
		/* Withdraw first; our own record is claimed again. */
		ROW(leading, DOUBT(100), ELECT_CLAIMING, "follow; update 20 self 3000 t5", 475, "- - -"),
		ROW(renewing, DOUBT(760), ELECT_FOLLOWING, "follow", 843, "- - -"),
		ROW(leading_refused, DOUBT(800), ELECT_FOLLOWING, "follow", ANY, "- - -"),
		/* Nothing was proven. */
		ROW(foreign, DOUBT(3010), ELECT_FOLLOWING, "", 5010, "- - -"),
		ROW(claiming, DOUBT(3100), ELECT_FOLLOWING, "", 5100, "- - -"),
		ROW(absent, DOUBT(100), ELECT_FOLLOWING, "", ANY, "- - -"),
		ROW(refused, DOUBT(3400), ELECT_FOLLOWING, "", 3500, "- - -"),
		ROW(blank, DOUBT(0), ELECT_FOLLOWING, "", NEVER, "- - -"),
		ROW(releasing, DOUBT(810), ELECT_RELEASING, "", 1175, "- - -"),
		ROW(stopped, DOUBT(810), ELECT_STOPPED, "", NEVER, "- - -"),
	};

	(void)state;
	run_rows(rows, ARRAY_LEN(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holder),
		cmocka_unit_test(test_claim_out),
		cmocka_unit_test(test_successor),
		cmocka_unit_test(test_hold),
		cmocka_unit_test(test_yielded),
		cmocka_unit_test(test_doubt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
