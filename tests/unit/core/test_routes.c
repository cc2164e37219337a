/* SPDX-License-Identifier: Apache-2.0 */
/* test_routes.c: which routed VIPs a node advertises, for what its Services and the node are just then, that none is withdrawn
 * for less than a reason, and what of it is told. */
#include "agent/core/routes.h"

#include "tests/unit/core/make.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static mono_t at(int64_t ms)
{
	return mono_add_ms((mono_t){ 0 }, 100000 + ms);
}

/* ---- one Service ---- */

#define SERVES .backends = true
#define LOCAL .local = true
#define HERE .ready_here = true
#define ELSEWHERE .ready_elsewhere = true
#define LEAVES .known = true, .leaving = true, .withdraws = true
#define TOLD .known = true, .leaving = true
#define OTHERS .others = true

static void test_services(void **state)
{
	static const struct {
		const char *name;
		struct route_service s;
		struct routes_node n;
		enum route_why why;
	} rows[] = {
		{ "Cluster", { SERVES }, { 0 }, ROUTE_OK },
		{ "Cluster without backends", { 0 }, { 0 }, ROUTE_NO_BACKEND },
		{ "Cluster, ready endpoints do not matter", { HERE, ELSEWHERE }, { 0 }, ROUTE_NO_BACKEND },
		{ "Cluster, leaving, alone", { SERVES, ELSEWHERE }, { LEAVES }, ROUTE_OK },
		{ "Cluster, leaving, others live", { SERVES }, { LEAVES, OTHERS }, ROUTE_LEAVING },
		{ "Cluster, not leaving, others live", { SERVES }, { OTHERS }, ROUTE_OK },
		{ "Local", { SERVES, LOCAL, HERE }, { 0 }, ROUTE_OK },
		{ "Local, not here", { SERVES, LOCAL }, { 0 }, ROUTE_NO_LOCAL_ENDPOINT },
		{ "Local, elsewhere alone", { SERVES, LOCAL, ELSEWHERE }, { OTHERS }, ROUTE_NO_LOCAL_ENDPOINT },
		{ "Local, nowhere", { LOCAL }, { 0 }, ROUTE_NO_LOCAL_ENDPOINT },
		{ "Local, here, none of which is a backend", { LOCAL, HERE }, { 0 }, ROUTE_NO_BACKEND },
		{ "Local, leaving, only here", { SERVES, LOCAL, HERE }, { LEAVES, OTHERS }, ROUTE_OK },
		{ "Local, leaving, elsewhere, too", { SERVES, LOCAL, HERE, ELSEWHERE }, { LEAVES, OTHERS }, ROUTE_LEAVING },
		{ "Local, leaving, elsewhere, where no agent lives", { SERVES, LOCAL, HERE, ELSEWHERE }, { LEAVES }, ROUTE_OK },
		{ "head start", { SERVES }, { TOLD, OTHERS }, ROUTE_LEAVING },
		{ "Local, elsewhere, too, not leaving", { SERVES, LOCAL, HERE, ELSEWHERE }, { OTHERS }, ROUTE_OK },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++)
		if (routes_judge(&rows[i].s, &rows[i].n) != rows[i].why)
			fail_msg("%s: %d", rows[i].name, routes_judge(&rows[i].s, &rows[i].n));
}

/* ---- who else lives ---- */

static void test_others(void **state)
{
	struct route_lease v[] = {
		{ .held = false, .stays = true, .seen_at = at(0), .duration_ms = 3000 },
		{ .held = true, .stays = false, .seen_at = at(0), .duration_ms = 3000 },
		{ .held = true, .stays = true, .seen_at = at(0), .duration_ms = 3000 },
	};

	(void)state;
	assert_false(routes_others(NULL, 0, true, true, at(1)));
	assert_false(routes_others(v, 2, true, true, at(1)));
	assert_true(routes_others(v, 3, true, false, at(1)));
	assert_true(routes_others(v, 3, true, false, at(2999)));
	assert_false(routes_others(v, 3, true, true, at(3000)));
	/* Leases that cannot be seen say nothing. */
	assert_true(routes_others(v, 3, false, true, at(9999)));
	assert_false(routes_others(v, 3, false, false, at(1)));
}

/* ---- one VIP ---- */

#define KNOWN .known = true
#define STOPS LEAVES, .stopping = true

static void test_up(void **state)
{
	static const struct {
		const char *name;
		struct route before;
		struct routes_node n;
		bool held;
		bool up, drains;
	} rows[] = {
		{ "comes once the data plane has it", { .why = ROUTE_OK }, { KNOWN }, true, true, false },
		{ "not before", { .why = ROUTE_OK }, { KNOWN }, false, false, false },
		{ "nor while nobody has looked at Services", { .why = ROUTE_OK }, { 0 }, true, false, false },
		{ "stays until somebody has", { .why = ROUTE_NO_SERVICE, .up = true }, { 0 }, false, true, false },
		{ "and goes if there is none", { .why = ROUTE_NO_SERVICE, .up = true }, { KNOWN }, true, false, false },
		{ "a data plane that is read again is no reason", { .why = ROUTE_OK, .up = true }, { KNOWN }, false, true, false },
		{ "the last endpoint here has gone", { .why = ROUTE_NO_LOCAL_ENDPOINT, .up = true }, { KNOWN }, true, false, false },
		{ "the last backend has gone", { .why = ROUTE_NO_BACKEND, .up = true }, { LEAVES, OTHERS }, true, false, false },
		{ "leaves, another serves it", { .why = ROUTE_LEAVING, .up = true }, { LEAVES, OTHERS }, true, false, true },
		{ "leaves, nobody else does", { .why = ROUTE_OK, .up = true }, { LEAVES }, true, true, false },
		{ "stops, nobody else does", { .why = ROUTE_OK, .up = true }, { STOPS }, true, false, true },
		{ "stops before anybody has looked", { .why = ROUTE_NO_SERVICE, .up = true }, { .leaving = true, .stopping = true, .withdraws = true }, false, false, true },
		{ "stops, head start", { .why = ROUTE_OK, .up = true }, { TOLD, .stopping = true }, true, true, false },
		{ "leaves, head start", { .why = ROUTE_LEAVING, .up = true }, { TOLD, OTHERS }, true, true, false },
		{ "none comes in a head start", { .why = ROUTE_LEAVING }, { TOLD, OTHERS }, true, false, false },
		{ "goes on draining in another's head start", { .why = ROUTE_LEAVING, .drains = true }, { TOLD, OTHERS }, true, false, true },
		{ "the last endpoint goes in a head start", { .why = ROUTE_NO_LOCAL_ENDPOINT, .up = true }, { TOLD, OTHERS }, true, false, false },
		{ "none comes while it stops", { .why = ROUTE_OK }, { STOPS }, true, false, false },
		{ "goes on draining", { .why = ROUTE_LEAVING, .drains = true }, { LEAVES, OTHERS }, true, false, true },
		{ "stays after all", { .why = ROUTE_OK, .drains = true }, { KNOWN }, false, false, false },
		{ "comes back", { .why = ROUTE_OK, .drains = true }, { LEAVES }, true, true, false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct route r = rows[i].before;

		routes_step(&r, &rows[i].n, rows[i].held);
		if (r.up != rows[i].up || r.drains != rows[i].drains || r.why != rows[i].before.why)
			fail_msg("%s: up %d, drains %d", rows[i].name, r.up, r.drains);
		routes_step(&r, &rows[i].n, rows[i].held); /* the same again changes nothing */
		if (r.up != rows[i].up || r.drains != rows[i].drains)
			fail_msg("%s, again: up %d, drains %d", rows[i].name, r.up, r.drains);
	}
}

/* Those that go because the node leaves, and no others, begin a drain; none that is gone does. */
static void test_turns(void **state)
{
	static const struct {
		const char *name;
		struct route r;
		struct routes_node n;
		bool turns;
	} rows[] = {
		{ "nobody leaves", { .why = ROUTE_OK, .up = true }, { KNOWN }, false },
		{ "another serves it", { .why = ROUTE_LEAVING, .up = true }, { TOLD, OTHERS }, true },
		{ "long after", { .why = ROUTE_LEAVING, .up = true }, { LEAVES, OTHERS }, true },
		{ "nobody else serves it", { .why = ROUTE_OK, .up = true }, { LEAVES }, false },
		{ "gone", { .why = ROUTE_LEAVING, .drains = true }, { LEAVES, OTHERS }, false },
		{ "goes for another reason", { .why = ROUTE_NO_LOCAL_ENDPOINT, .up = true }, { LEAVES, OTHERS }, false },
		{ "stays after all, not looked at yet", { .why = ROUTE_LEAVING, .up = true }, { KNOWN }, false },
		{ "stops", { .why = ROUTE_OK, .up = true }, { TOLD, .stopping = true }, true },
		{ "stops, gone", { .why = ROUTE_OK }, { STOPS }, false },
		{ "stops before anybody has looked", { .why = ROUTE_NO_SERVICE, .up = true }, { .leaving = true, .stopping = true }, true },
		{ "leaves, not looked at yet", { .why = ROUTE_NO_SERVICE, .up = true }, { .leaving = true }, false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++)
		if (routes_turns(&rows[i].r, &rows[i].n) != rows[i].turns)
			fail_msg("%s: %d", rows[i].name, !rows[i].turns);
}

/* ---- what is told ---- */

static void test_report(void **state)
{
	const struct drain none = { .stage = DRAIN_NONE, .until = MONO_NEVER }, over = { .stage = DRAIN_OVER, .over = at(-1), .until = MONO_NEVER };
	const struct drain under_way = { .stage = DRAIN_UNDER_WAY, .over = at(4200), .until = at(4200) };
	const struct drain past = { .stage = DRAIN_UNDER_WAY, .over = at(0), .until = at(0) }, told = { .stage = DRAIN_TOLD, .over = at(4200), .until = at(100) };
	const struct {
		const char *name;
		struct route r;
		struct routes_node n;
		const struct drain *d;
		bool there;
		enum route_state state;
		enum route_why why;
	} rows[] = {
		{ "as it should", { .why = ROUTE_OK, .up = true }, { KNOWN }, &none, true, ROUTE_ADVERTISED, ROUTE_OK },
		{ "on its way", { .why = ROUTE_OK, .up = true }, { KNOWN }, &none, false, ROUTE_COMING, ROUTE_OK },
		{ "not yet", { .why = ROUTE_OK }, { KNOWN }, &none, false, ROUTE_WITHDRAWN, ROUTE_NOT_READY },
		{ "nobody has looked", { .why = ROUTE_NO_SERVICE }, { 0 }, &none, false, ROUTE_WITHDRAWN, ROUTE_UNKNOWN },
		{ "no endpoint here", { .why = ROUTE_NO_LOCAL_ENDPOINT }, { KNOWN }, &none, false, ROUTE_WITHDRAWN, ROUTE_NO_LOCAL_ENDPOINT },
		{ "the kernel has not removed it", { .why = ROUTE_NO_LOCAL_ENDPOINT }, { KNOWN }, &none, true, ROUTE_ADVERTISED,
		  ROUTE_NO_LOCAL_ENDPOINT },
		{ "drained", { .why = ROUTE_LEAVING, .drains = true }, { LEAVES, OTHERS }, &under_way, false, ROUTE_DRAINING, ROUTE_LEAVING },
		{ "drained, no connection is handed back", { .why = ROUTE_LEAVING, .drains = true }, { LEAVES, OTHERS }, &over, false,
		  ROUTE_WITHDRAWN, ROUTE_LEAVING },
		{ "the same, not noticed yet", { .why = ROUTE_LEAVING, .drains = true }, { LEAVES, OTHERS }, &past, false, ROUTE_WITHDRAWN,
		  ROUTE_LEAVING },
		{ "the same, in another's head start", { .why = ROUTE_LEAVING, .drains = true }, { TOLD, OTHERS }, &told, false, ROUTE_DRAINING,
		  ROUTE_LEAVING },
		{ "its own head start", { .why = ROUTE_LEAVING, .up = true }, { TOLD, OTHERS }, &told, true, ROUTE_ADVERTISED, ROUTE_OK },
		{ "it never had any", { .why = ROUTE_LEAVING }, { LEAVES, OTHERS }, &under_way, false, ROUTE_WITHDRAWN, ROUTE_LEAVING },
		{ "stopping", { .why = ROUTE_OK, .drains = true }, { STOPS }, &under_way, false, ROUTE_DRAINING, ROUTE_STOPPING },
		{ "stopping, looked at anew", { .why = ROUTE_LEAVING, .drains = true }, { STOPS, OTHERS }, &under_way, false, ROUTE_DRAINING,
		  ROUTE_STOPPING },
		{ "stopping before anybody has looked", { .why = ROUTE_NO_SERVICE, .drains = true }, { .leaving = true, .stopping = true, .withdraws = true },
		  &under_way, false, ROUTE_DRAINING, ROUTE_STOPPING },
		{ "stopping, and the kernel would not", { .why = ROUTE_OK, .drains = true }, { STOPS }, &under_way, true, ROUTE_ADVERTISED,
		  ROUTE_STOPPING },
		{ "withdrawn before the stop", { .why = ROUTE_NO_BACKEND }, { STOPS }, &under_way, false, ROUTE_WITHDRAWN, ROUTE_NO_BACKEND },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct route_report ret = routes_report(&rows[i].r, &rows[i].n, rows[i].d, rows[i].there, at(0));

		if (ret.state != rows[i].state || ret.why != rows[i].why || ret.drains_ms != (ret.state == ROUTE_DRAINING ? 4200 : 0))
			fail_msg("%s: state %d, why %d, %" PRId64 " ms", rows[i].name, ret.state, ret.why, ret.drains_ms);
	}
}

static void test_texts(void **state)
{
	(void)state;
	for (unsigned int why = 0; why < ROUTE_WHY_N; why++) {
		assert_non_null(routes_why_text((enum route_why)why));
		assert_int_equal(*routes_why_text((enum route_why)why) == '\0', why == ROUTE_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_services), cmocka_unit_test(test_others), cmocka_unit_test(test_up),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_report),	 cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
