/* SPDX-License-Identifier: Apache-2.0 */
/* Which servers get connections: one that fails is out in time, one that is well is never, and never are all of them. */
#include "agent/core/health.h"

#include "make.h"

#define G VERDICT_GOOD
#define B VERDICT_BAD
#define R VERDICT_REFUSED
#define S VERDICT_SILENT
#define CHECKS_MAX 8

static mono_t at_ms(int64_t ms)
{
	return mono_add_ms((mono_t){ 1 }, ms);
}

static struct ip_port server(unsigned int i)
{
	return (struct ip_port){ make_v4(i), 6443 };
}

/* n servers, the first n_up of them up. */
static struct health make(size_t n, size_t n_up)
{
	struct ip_port list[HEALTH_SERVERS_MAX];
	struct health h = { .n = 0 };

	for (unsigned int i = 0; i < n; i++)
		list[i] = server(i);
	assert_true(health_list(&h, list, n, at_ms(0)));
	for (size_t i = 0; i < n_up; i++)
		assert_true(health_take(&h.v[i], G, "", at_ms(0)));
	return h;
}

/* Each row: what the checks say one after the other, and after each of them whether the server is up (u), down (d), and
 * hangs (U, D). */
static void test_counting(void **state)
{
	static const struct {
		const char *what;
		bool up; /* before */
		enum verdict say[CHECKS_MAX];
		const char *then;
	} rows[] = {
		{ "a new one is up with its first good check", false, { G, G }, "uu" },
		{ "a new one that is bad stays down, and takes two then", false, { B, G, G }, "ddu" },
		{ "a new one that is silent", false, { S, S, G, G }, "dDdu" },
		{ "one failure is none", true, { B, G, S, G, B }, "uuuuu" },
		{ "two in a row are", true, { B, B }, "ud" },
		{ "two different ones, too", true, { S, B }, "ud" },
		{ "silent", true, { S, S, S }, "uDD" },
		{ "refused", true, { R }, "d" },
		{ "refused after a failure", true, { B, R }, "ud" },
		{ "back with two good ones", true, { R, G, G }, "ddu" },
		{ "not with one", true, { R, G, B, G, R, G, G }, "ddddddu" },
		{ "not ready at first, then it hangs", true, { B, B, S, S }, "uddD" },
		{ "hangs, then its node is there again, without it", true, { S, S, R, S, S }, "uDddD" },
		{ "up again, and down again", true, { R, G, G, S, G, S, S }, "dduuuuD" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct health h = make(1, rows[i].up ? 1 : 0);
		struct health_server *s = &h.v[0];

		for (size_t k = 0; rows[i].then[k]; k++) {
			bool before = s->up, changed = health_take(s, rows[i].say[k], "why", at_ms(5));
			char then = s->up ? 'u' : 'd';

			if (s->hung)
				then = (char)(then - 'a' + 'A');
			if (then != rows[i].then[k] || changed != (before != s->up))
				fail_msg("%s: %c after check %zu", rows[i].what, then, k + 1);
			assert_string_equal(s->why, rows[i].say[k] == G ? "" : "why");
		}
	}
}

static void test_since(void **state)
{
	struct health h = make(2, 2);

	(void)state;
	assert_false(health_take(&h.v[0], B, "x", at_ms(1000)));
	assert_true(h.v[0].since.ns == at_ms(0).ns);
	assert_true(health_take(&h.v[0], B, "x", at_ms(2000)));
	assert_true(h.v[0].since.ns == at_ms(2000).ns);
	assert_false(health_take(&h.v[0], B, "x", at_ms(3000)));
	assert_true(h.v[0].since.ns == at_ms(2000).ns);
}

static void test_none_up_means_all(void **state)
{
	struct health h = make(3, 0);

	(void)state;
	assert_true(health_guesses(&h));
	for (size_t i = 0; i < 3; i++)
		assert_true(health_serves(&h, &h.v[i]));
	assert_true(health_take(&h.v[1], G, "", at_ms(1)));
	assert_false(health_guesses(&h));
	for (size_t i = 0; i < 3; i++)
		assert_true(health_serves(&h, &h.v[i]) == (i == 1));
	assert_true(health_take(&h.v[1], R, "x", at_ms(2)));
	assert_true(health_guesses(&h));
	assert_true(health_serves(&h, &h.v[0]));
}

/* When the checks of one that dies take place, by the rules of the loop: the time from its death until it is out. */
static int64_t out_after_ms(enum verdict v, int64_t dies_ms, bool often)
{
	struct health h = make(2, 2);
	struct health_server *s = &h.v[0];
	int64_t takes_ms = v == S ? HEALTH_TIMEOUT_MS : 0, ms = 0;

	for (int checks = 0; s->up; checks++) {
		mono_t due = health_due(s, often);

		assert_true(checks < 50);		ms = due.ns == 0 ? 0 : mono_diff_ms(due, at_ms(0));
		if (ms < mono_diff_ms(s->asked, at_ms(0)))
			fail_msg("checked in the past");
		health_asked(s, at_ms(ms));
		assert_true(mono_is_never(health_due(s, often)));
		if (ms < dies_ms) {
			assert_false(health_take(s, G, "", at_ms(ms)));
			continue;
		}
		ms += takes_ms;
		IGNORE(health_take(s, v, "x", at_ms(ms))); /* the loop looks at 'up' */
	}
	return ms - dies_ms;
}

static void test_out_in_time(void **state)
{
	(void)state;
	for (int64_t dies_ms = 1; dies_ms <= 12000; dies_ms += 37) {
		assert_true(out_after_ms(R, dies_ms, true) <= 1000);
		assert_true(out_after_ms(S, dies_ms, true) <= 3000);
		assert_true(out_after_ms(B, dies_ms, true) <= 2000);
		assert_true(out_after_ms(R, dies_ms, false) <= 5000);
		assert_true(out_after_ms(S, dies_ms, false) <= 7000);
	}
}

static void test_times(void **state)
{
	struct health h = make(1, 0);
	struct health_server *s = &h.v[0];

	(void)state;
	assert_true(mono_reached(at_ms(0), health_due(s, false))); /* a new one at once */
	health_asked(s, at_ms(0));
	health_not_asked(s); /* could not be sent: a second later, not in a circle */
	assert_true(health_due(s, false).ns == at_ms(1000).ns);
	health_asked(s, at_ms(1000));
	assert_true(health_take(s, G, "", at_ms(1100)));
	assert_true(health_due(s, true).ns == at_ms(2000).ns); /* from the beginning of the last one */
	assert_true(health_due(s, false).ns == at_ms(6000).ns);
	health_asked(s, at_ms(6000));
	assert_false(health_take(s, B, "x", at_ms(6100)));
	assert_true(health_due(s, false).ns == at_ms(7000).ns); /* something may be about to change */
}

static void test_hung_is_told_once(void **state)
{
	struct health h = make(3, 3);
	struct ip_port at;

	(void)state;
	for (int i = 0; i < 2; i++)
		IGNORE(health_take(&h.v[1], S, "x", at_ms(i))); /* looked at below */
	assert_true(health_take_hung(&h, &at));
	assert_int_equal(ip_port_cmp(&at, &h.v[1].at), 0);
	assert_false(health_take_hung(&h, &at));
	IGNORE(health_take(&h.v[1], S, "x", at_ms(3))); /* still */
	assert_false(health_take_hung(&h, &at));
	IGNORE(health_take(&h.v[1], R, "x", at_ms(4))); /* it answers: whatever is made from now on may hang again */
	assert_false(health_take_hung(&h, &at));
	for (int i = 0; i < 2; i++)
		IGNORE(health_take(&h.v[1], S, "x", at_ms(5 + i)));
	assert_true(health_take_hung(&h, &at));
}

/* A server that still gets connections, because none is better, keeps them; once another is up they are cut. */
static void test_hung_and_guessed(void **state)
{
	struct health h = make(2, 1);
	struct ip_port at;

	(void)state;
	for (int i = 0; i < 2; i++)
		IGNORE(health_take(&h.v[0], S, "x", at_ms(i))); /* looked at below */
	assert_true(h.v[0].hung && !h.v[0].up);
	assert_false(health_take_hung(&h, &at));
	assert_true(health_take(&h.v[1], G, "", at_ms(3)));
	assert_true(health_take_hung(&h, &at));
	assert_int_equal(ip_port_cmp(&at, &h.v[0].at), 0);
}

static void test_list_changes(void **state)
{
	struct health h = make(3, 3);
	const struct ip_port list[] = { server(0), server(2), server(7) };

	(void)state;
	IGNORE(health_take(&h.v[2], R, "gone", at_ms(9))); /* looked at below */
	assert_false(health_list(&h, (const struct ip_port[]){ server(0), server(1), server(2) }, 3, at_ms(10)));
	assert_true(health_list(&h, list, 3, at_ms(10)));
	assert_null(health_find(&h, &(struct ip_port){ make_v4(1), 6443 }));
	assert_true(h.v[0].up && h.v[0].known);
	assert_false(h.v[1].up);
	assert_string_equal(h.v[1].why, "gone");
	assert_false(h.v[2].known);
	assert_false(health_serves(&h, &h.v[2])); /* listed is not enough */
	assert_true(h.v[2].since.ns == at_ms(10).ns);
	assert_true(health_list(&h, list, 0, at_ms(11)));
	assert_int_equal(h.n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counting),	   cmocka_unit_test(test_since),
		cmocka_unit_test(test_none_up_means_all), cmocka_unit_test(test_out_in_time),
		cmocka_unit_test(test_times),		   cmocka_unit_test(test_hung_is_told_once),
		cmocka_unit_test(test_hung_and_guessed),  cmocka_unit_test(test_list_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
