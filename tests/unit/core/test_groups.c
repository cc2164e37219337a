/* SPDX-License-Identifier: Apache-2.0 */
/* Each address has one group, the recorded one as long as it is allocated; new ones go where the fewest are. */
#include "agent/core/groups.h"

#include <errno.h>

#include "make.h"

#define SERVICES_MAX 8

struct world {
	struct service services[SERVICES_MAX];
	const struct service *list[SERVICES_MAX];
	struct pool_decision decisions[SERVICES_MAX];
	size_t n;
};

/* allocated, wanted: "A[,B]" or "". */
static size_t ips_of(const char *text, struct ip *ret)
{
	char copy[128], *at = copy, *one;
	size_t n = 0;

	assert_true(text_copy(copy, sizeof(copy), text));
	while ((one = strsep(&at, ",")) && *one)
		ret[n++] = make_ip(one);
	return n;
}

static void add(struct world *w, const char *allocated, const char *lease, const char *wanted)
{
	struct service *s = &w->services[w->n];
	struct pool_decision *d = &w->decisions[w->n];

	assert_true(w->n < SERVICES_MAX);
	*s = (struct service){ .lease = lease };
	s->n_allocated = ips_of(allocated, s->allocated);
	*d = (struct pool_decision){ .state = POOL_KEEP };
	d->n_ips = ips_of(wanted, d->ips);
	w->list[w->n++] = s;
}

/* Groups of all Services, one after the other, as "0 1,2 -"; "1>2": to move; "1.2": to move when others have. */
static void check(const struct world *w, unsigned int n_groups, const char *want)
{
	struct groups_input in = { .services = w->list, .decisions = w->decisions, .n_services = w->n, .n_groups = n_groups };
	struct arena arena = make_arena(64 * 1024);
	struct groups_choice *c;
	char got[256] = "", one[16];

	assert_int_equal(groups_plan(&in, &arena, &c), 0);
	for (size_t i = 0; i < w->n; i++) {
		strcat(got, i ? " " : "");
		for (size_t k = 0; k < w->decisions[i].n_ips; k++) {
			snprintf(one, sizeof(one), "%s%u", k ? "," : "", c[i].of[k]);
			strcat(got, one);
			if (c[i].want[k] != c[i].of[k]) {
				snprintf(one, sizeof(one), "%c%u", c[i].may[k] ? '>' : '.', c[i].want[k]);
				strcat(got, one);
			}
		}
		strcat(got, w->decisions[i].n_ips ? "" : "-");
	}
	assert_string_equal(got, want);
	drop_arena(&arena);
}

static void test_names(void **state)
{
	static const struct {
		const char *ip, *name;
	} rows[] = {
		{ "192.0.2.10", "leasehold-vip-192-0-2-10" },
		{ "2001:db8:1::10", "leasehold-vip-2001-db8-1--10" },
		{ "2001:db8:1::", "leasehold-vip-2001-db8-1--0" }, /* a name must not end with a dash */
		{ "2001:db8:1111:2222:3333:4444:5555:6666", "leasehold-vip-2001-db8-1111-2222-3333-4444-5555-6666" },
	};
	char name[GROUPS_NAME_MAX];
	struct ip ip;

	(void)state;
	groups_name(0, NULL, name);
	assert_string_equal(name, "leasehold-group-0");
	groups_name(GROUPS_MAX - 1, NULL, name);
	assert_string_equal(name, "leasehold-group-63");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ip = make_ip(rows[i].ip);
		groups_name(GROUPS_OWN, &ip, name);
		assert_string_equal(name, rows[i].name);
	}
}

static void test_recorded(void **state)
{
	static const struct {
		const char *lease;
		unsigned int first, second;
	} rows[] = {
		{ "", 0, 0 },
		{ "leasehold-group-0", 0, 0 },
		{ "leasehold-group-3", 3, 3 },
		{ "leasehold-group-63", 63, 63 },
		{ "leasehold-group-64", 0, 0 },
		{ "leasehold-group-", 0, 0 },
		{ "leasehold-group--1", 0, 0 },
		{ "leasehold-group-1 ", 0, 0 },
		{ "leasehold-group-0001", 0, 0 },
		{ "leasehold-group-1,leasehold-group-2", 1, 2 },
		{ "leasehold-group-1,leasehold-group-2,leasehold-group-3", 1, 2 },
		{ "leasehold-group-1,", 1, 0 },
		{ ",leasehold-group-2", 0, 2 },
		{ "other", 0, 0 },
		{ "leasehold-vip-198-18-0-1,leasehold-vip-2001-db8--1", GROUPS_OWN, GROUPS_OWN },
		{ "leasehold-vip-198-18-0-1", GROUPS_OWN, 0 }, /* another address's own Lease is none for this one */
		{ "leasehold-group-7,leasehold-vip-2001-db8--1", 7, GROUPS_OWN },
		{ "leasehold-vip-198-18-0-2", 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct service s = { .lease = rows[i].lease, .allocated = { make_v4(1), make_v6(1) }, .n_allocated = 2 };
		const struct ip other = make_v4(2);

		if (groups_recorded(&s, 0) != rows[i].first || groups_recorded(&s, 1) != rows[i].second)
			fail_msg("\"%s\"", rows[i].lease);
		assert_int_equal(groups_of_ip(&s, &s.allocated[1]), rows[i].second);
		assert_int_equal(groups_of_ip(&s, &other), 0);
	}
}

static void test_record(void **state)
{
	const struct ip ips[] = { make_ip("192.0.2.1"), make_ip("2001:db8::1") };
	char text[GROUPS_RECORD_MAX];

	(void)state;
	groups_record((const uint8_t[]){ 1, 1 }, ips, 2, text);
	assert_string_equal(text, "leasehold-group-1");
	groups_record((const uint8_t[]){ 62, 63 }, ips, 2, text);
	assert_string_equal(text, "leasehold-group-62,leasehold-group-63");
	groups_record((const uint8_t[]){ GROUPS_OWN, GROUPS_OWN }, ips, 2, text);
	assert_string_equal(text, "leasehold-vip-192-0-2-1,leasehold-vip-2001-db8--1");
	groups_record((const uint8_t[]){ 5, 63 }, ips, 1, text);
	assert_string_equal(text, "leasehold-group-5");
	groups_record((const uint8_t[]){ 5, 63 }, ips, 0, text);
	assert_string_equal(text, "");
}

static void test_spread(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "", "", "192.0.2.1");
	add(&w, "", "", "192.0.2.2");
	add(&w, "", "", "192.0.2.3");
	add(&w, "", "", "192.0.2.4");
	check(&w, 4, "0 1 2 3");
	check(&w, 3, "0 1 2 0");
	check(&w, 1, "0 0 0 0");
	add(&w, "", "", "192.0.2.5,2001:db8::5"); /* both together, and they count as two */
	add(&w, "", "", "192.0.2.6");
	add(&w, "", "", "");
	check(&w, 3, "0 1 2 0 1,1 2 -");
}

static void test_recorded_stay(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "192.0.2.1", "leasehold-group-3", "192.0.2.1");
	add(&w, "192.0.2.2", "", "192.0.2.2");
	add(&w, "", "", "192.0.2.3");
	check(&w, 4, "3 0 1");
	check(&w, 1, "3 0 0"); /* fewer groups than recorded: nothing moves */
	add(&w, "192.0.2.5,2001:db8::5", "leasehold-group-2,leasehold-group-1", "2001:db8::5,192.0.2.5");
	check(&w, 4, "3 0 0 1,2");
}

/* Whoever shares an address takes its group; so does who moves to it, and who is planned in the same turn. */
static void test_shared(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "", "", "192.0.2.1");
	add(&w, "192.0.2.1", "leasehold-group-2", "192.0.2.1");
	add(&w, "", "", "192.0.2.1,2001:db8::1");
	add(&w, "192.0.2.7", "leasehold-group-1", "192.0.2.1");
	add(&w, "", "", "2001:db8::1");
	check(&w, 3, "2 2 2,2 2 2");
}

/* Records that contradict each other: the first Service's counts, on every node. */
static void test_contradiction(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "192.0.2.1", "leasehold-group-2", "192.0.2.1");
	add(&w, "192.0.2.1", "leasehold-group-1", "192.0.2.1");
	check(&w, 3, "2 2");
}

static void test_past(void **state)
{
	const struct groups_past past[] = { { make_ip("192.0.2.9"), 3 } };
	struct world w = { .n = 0 };
	struct groups_input in = { .services = w.list, .decisions = w.decisions, .n_groups = 2, .past = past, .n_past = 1 };
	struct arena arena = make_arena(4096);
	struct groups_choice *c;

	(void)state;
	add(&w, "", "", "192.0.2.8");
	add(&w, "", "", "192.0.2.9");
	in.n_services = w.n;
	assert_int_equal(groups_plan(&in, &arena, &c), 0);
	assert_int_equal(c[0].of[0], 0);
	assert_int_equal(c[1].of[0], 3);
	drop_arena(&arena);
}

/* Too small an arena: said so, whatever its size, and nothing is written past it. */
static void test_arena(void **state)
{
	struct world w = { .n = 0 };
	struct groups_input in = { .services = w.list, .decisions = w.decisions, .n_groups = 2 };
	int r = -ENOSPC;

	(void)state;
	for (size_t i = 0; i < SERVICES_MAX; i++)
		add(&w, "", "", "192.0.2.8,2001:db8::1");
	in.n_services = w.n;
	for (size_t size = 0; r == -ENOSPC; size += 8) {
		struct arena arena = make_arena(size);
		struct groups_choice *c;

		assert_true(size < 64 * 1024);
		r = groups_plan(&in, &arena, &c);
		drop_arena(&arena);
	}
	assert_int_equal(r, 0);
}

static void local(struct world *w, bool on)
{
	w->services[w->n - 1].policy_local = on;
}

/* Traffic policy Local: a Lease of its own, from the start or by a move; and back. */
static void test_own(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "", "", "192.0.2.1,2001:db8::1");
	local(&w, true);
	add(&w, "192.0.2.2", "leasehold-group-1", "192.0.2.2");
	local(&w, true);
	add(&w, "192.0.2.3", "leasehold-vip-192-0-2-3", "192.0.2.3");
	local(&w, true);
	check(&w, 2, "64,64 1>64 64");
	local(&w, false);
	check(&w, 2, "64,64 1>64 64>0");
}

/* Sharers: one that is Local is enough; the first one's record counts, and is written last. */
static void test_own_shared(void **state)
{
	struct world w = { .n = 0 };

	(void)state;
	add(&w, "192.0.2.1", "leasehold-group-1", "192.0.2.1");
	add(&w, "192.0.2.1", "leasehold-group-1", "192.0.2.1");
	local(&w, true);
	check(&w, 2, "1.64 1>64");
	w.services[1].lease = "leasehold-vip-192-0-2-1";
	check(&w, 2, "1>64 1>64");
	w.services[0].lease = "leasehold-vip-192-0-2-1";
	check(&w, 2, "64 64");
	/* Back: all go where the first of them that was rewritten went. */
	local(&w, false);
	check(&w, 2, "64.0 64>0");
	w.services[1].lease = "leasehold-group-1";
	check(&w, 2, "64>1 64>1");
	w.services[0].lease = "leasehold-group-1";
	check(&w, 2, "1 1");
}

/* More own Leases than the bound: further VIPs stay in numbered groups, and none waits for a move that never comes. */
static void test_own_bound(void **state)
{
	enum { N = GROUPS_OWN_MAX + 2 };
	static struct service services[N];
	static const struct service *list[N];
	static struct pool_decision decisions[N];
	struct groups_input in = { .services = list, .decisions = decisions, .n_services = N, .n_groups = 1 };
	struct arena arena = make_arena(256 * 1024);
	struct groups_choice *c;

	(void)state;
	for (size_t i = 0; i < N; i++) {
		services[i] = (struct service){ .lease = "", .policy_local = true, .allocated = { make_v4((uint32_t)i) },
						.n_allocated = i % 2 };
		decisions[i] = (struct pool_decision){ .ips = { make_v4((uint32_t)i) }, .n_ips = 1 };
		list[i] = &services[i];
	}
	assert_int_equal(groups_plan(&in, &arena, &c), 0);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(c[i].want[0], i < GROUPS_OWN_MAX ? GROUPS_OWN : 0);
	assert_int_equal(c[N - 1].of[0], 0);
	drop_arena(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),	      cmocka_unit_test(test_recorded), cmocka_unit_test(test_record),
		cmocka_unit_test(test_spread),	      cmocka_unit_test(test_recorded_stay), cmocka_unit_test(test_shared),
		cmocka_unit_test(test_contradiction), cmocka_unit_test(test_past), cmocka_unit_test(test_arena),
		cmocka_unit_test(test_own),	      cmocka_unit_test(test_own_shared), cmocka_unit_test(test_own_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
