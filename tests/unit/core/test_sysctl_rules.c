/* SPDX-License-Identifier: Apache-2.0 */
/* Proves which sysctl values are called wrong, with "all" and the interface's own put together as the kernel does it, and
 * that a healthy interface gives no advice at all. */
#include "agent/core/sysctl_rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* What a node has that forwards, and nothing else. */
static struct sysctl_facts healthy(void)
{
	struct sysctl_facts f = { .name = "eth0", .v4 = true, .v6 = true, .nft = true, .gate = true, .subnet_v4 = true };

	f.own[SYSCTL_FORWARD_V4] = f.all[SYSCTL_FORWARD_V4] = 1;
	f.own[SYSCTL_FORWARD_V6] = f.all[SYSCTL_FORWARD_V6] = 1;
	return f;
}

struct row {
	const char *name;
	void (*change)(struct sysctl_facts *f);
	size_t n; /* advices; 1: as told here */
	enum sysctl_key key;
	const char *interface;
	int value, wanted;
	bool error, manageable;
};

#define CHANGE(name, ...)                                      \
	static void name(struct sysctl_facts *f) { __VA_ARGS__; }

CHANGE(nothing, (void)f)
CHANGE(forward_off, f->own[SYSCTL_FORWARD_V4] = 0)
CHANGE(forward_all_off, f->all[SYSCTL_FORWARD_V4] = 0) /* the interface's own decides */
CHANGE(forward_off_announce, f->own[SYSCTL_FORWARD_V4] = 0; f->nft = false)
CHANGE(forward_v6_off, f->all[SYSCTL_FORWARD_V6] = 0)
CHANGE(forward_v6_own_off, f->own[SYSCTL_FORWARD_V6] = 0) /* only "all" decides */
CHANGE(forward_v6_no_vips, f->all[SYSCTL_FORWARD_V6] = 0; f->v6 = false)
/* Of the interface of the default route, "" = not known; this interface's own does not matter. */
static void take_router(struct sysctl_facts *f, const char *link, int accept_ra)
{
	f->all[SYSCTL_FORWARD_V6] = 0;
	f->own[SYSCTL_ACCEPT_RA] = 2;
	f->default_v6_from_ra = true;
	strcpy(f->ra_link, link);
	f->ra_accept = accept_ra;
}

CHANGE(forward_v6_ra, take_router(f, "eth1", 1))
CHANGE(forward_v6_ra_off, take_router(f, "eth1", 0))
CHANGE(forward_v6_ra_unread, take_router(f, "eth1", SYSCTL_UNKNOWN))
CHANGE(forward_v6_ra_nowhere, take_router(f, "", 2))
CHANGE(forward_v6_ra_kept, take_router(f, "eth1", 2))
CHANGE(strict_here, f->own[SYSCTL_RP_FILTER] = 1)
CHANGE(strict, f->own[SYSCTL_RP_FILTER] = 1; f->default_v4_elsewhere = true)
CHANGE(strict_all, f->all[SYSCTL_RP_FILTER] = 1; f->default_v4_elsewhere = true)
CHANGE(loose_wins, f->all[SYSCTL_RP_FILTER] = 1; f->own[SYSCTL_RP_FILTER] = 2; f->default_v4_elsewhere = true)
CHANGE(ignore_1, f->own[SYSCTL_ARP_IGNORE] = 1)
CHANGE(ignore_2, f->own[SYSCTL_ARP_IGNORE] = 2)
CHANGE(ignore_2_bare, f->own[SYSCTL_ARP_IGNORE] = 2; f->subnet_v4 = false)
CHANGE(ignore_8, f->own[SYSCTL_ARP_IGNORE] = 8)
CHANGE(ignore_8_all, f->all[SYSCTL_ARP_IGNORE] = 8)
CHANGE(filter, f->own[SYSCTL_ARP_FILTER] = 1)
CHANGE(filter_bare, f->own[SYSCTL_ARP_FILTER] = 1; f->subnet_v4 = false)
CHANGE(filter_bare_all, f->all[SYSCTL_ARP_FILTER] = 1; f->subnet_v4 = false)
CHANGE(announce_no_gate, f->gate = false)
CHANGE(drop, f->own[SYSCTL_DROP_GRATUITOUS_ARP] = 1)
CHANGE(proxy, f->own[SYSCTL_PROXY_ARP] = f->own[SYSCTL_PROXY_ARP_PVLAN] = f->own[SYSCTL_PROXY_NDP] = 1)
CHANGE(proxy_no_gate, f->own[SYSCTL_PROXY_ARP] = 1; f->gate = false; f->own[SYSCTL_ARP_ANNOUNCE] = 2)
CHANGE(disabled, f->own[SYSCTL_DISABLE_IPV6] = 1)
CHANGE(drop_na, f->own[SYSCTL_DROP_UNSOLICITED_NA] = 1)
CHANGE(routed, f->routed = true; f->own[SYSCTL_RP_FILTER] = 1)
CHANGE(routed_several, f->routed = f->several = true; f->own[SYSCTL_RP_FILTER] = 1)
CHANGE(routed_elsewhere, f->routed = f->default_v4_elsewhere = true; f->all[SYSCTL_RP_FILTER] = 1)
CHANGE(routed_forward_off, f->routed = true; f->own[SYSCTL_FORWARD_V4] = 0)
CHANGE(routed_watched, f->routed = f->watched = true; f->own[SYSCTL_FORWARD_V4] = 0)
CHANGE(routed_watched_strict, f->routed = f->watched = f->several = true; f->own[SYSCTL_RP_FILTER] = 1)
CHANGE(routed_watched_v6, f->routed = f->watched = f->guessed = f->several = true; f->all[SYSCTL_FORWARD_V6] = 0)
CHANGE(guess_strict, f->routed = f->guessed = f->several = f->default_v4_elsewhere = true; f->own[SYSCTL_RP_FILTER] = 1)
CHANGE(guess_off, f->routed = f->guessed = true; f->own[SYSCTL_FORWARD_V4] = 0)
CHANGE(guess_several_off, f->routed = f->guessed = f->several = true; f->own[SYSCTL_FORWARD_V4] = 0)
CHANGE(announced_several, f->several = true; f->own[SYSCTL_RP_FILTER] = 1)
/* Nothing is announced there. */
static void routed_others(struct sysctl_facts *f)
{
	static const enum sysctl_key keys[] = { SYSCTL_ARP_FILTER, SYSCTL_DROP_GRATUITOUS_ARP, SYSCTL_PROXY_ARP,
						SYSCTL_PROXY_ARP_PVLAN, SYSCTL_DISABLE_IPV6, SYSCTL_DROP_UNSOLICITED_NA, SYSCTL_PROXY_NDP };

	f->routed = f->several = f->default_v4_elsewhere = true;
	f->gate = f->subnet_v4 = false;
	f->own[SYSCTL_ARP_IGNORE] = 8;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		f->own[keys[i]] = 1;
}

CHANGE(unknown, memset(f->own, 0xff, sizeof(f->own)); memset(f->all, 0xff, sizeof(f->all)))

static const struct row rows[] = {
	{ .name = "healthy", .change = nothing },
	{ "forwarding off", forward_off, 1, SYSCTL_FORWARD_V4, "eth0", 0, 1, true, true },
	{ .name = "forwarding of all off", .change = forward_all_off },
	{ .name = "forwarding off, others balance", .change = forward_off_announce },
	{ "IPv6 forwarding off", forward_v6_off, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, true },
	{ .name = "IPv6 forwarding of the interface off", .change = forward_v6_own_off },
	{ .name = "IPv6 forwarding off, no VIP", .change = forward_v6_no_vips },
	{ "IPv6 forwarding off, default route of a router", forward_v6_ra, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, false },
	{ "the same, accept_ra unreadable", forward_v6_ra_unread, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, false },
	{ "the same with accept_ra 0", forward_v6_ra_off, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, false },
	{ "the same, interface unknown", forward_v6_ra_nowhere, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, false },
	{ "the same with accept_ra 2", forward_v6_ra_kept, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, true },
	{ .name = "rp_filter strict, default route here", .change = strict_here },
	{ "rp_filter strict, default route elsewhere", strict, 1, SYSCTL_RP_FILTER, "eth0", 1, 2, true, true },
	{ "rp_filter strict by all", strict_all, 1, SYSCTL_RP_FILTER, "eth0", 1, 2, true, true },
	{ .name = "rp_filter loose is above", .change = loose_wins },
	{ .name = "arp_ignore 1", .change = ignore_1 },
	{ .name = "arp_ignore 2 in the subnet", .change = ignore_2 },
	{ "arp_ignore 2 without a subnet", ignore_2_bare, 1, SYSCTL_ARP_IGNORE, "eth0", 2, 1, true, false },
	{ "arp_ignore 8", ignore_8, 1, SYSCTL_ARP_IGNORE, "eth0", 8, 1, true, false },
	{ "arp_ignore 8 of all", ignore_8_all, 1, SYSCTL_ARP_IGNORE, "all", 8, 1, true, false },
	{ .name = "arp_filter in the subnet", .change = filter },
	{ "arp_filter without a subnet", filter_bare, 1, SYSCTL_ARP_FILTER, "eth0", 1, 0, true, false },
	{ "arp_filter of all", filter_bare_all, 1, SYSCTL_ARP_FILTER, "all", 1, 0, true, false },
	{ "arp_announce 0 without the gate", announce_no_gate, 1, SYSCTL_ARP_ANNOUNCE, "eth0", 0, 2, false, false },
	{ "drop_gratuitous_arp", drop, 1, SYSCTL_DROP_GRATUITOUS_ARP, "eth0", 1, 0, false, false },
	{ .name = "proxies behind the gate", .change = proxy },
	{ "proxy_arp without the gate", proxy_no_gate, 1, SYSCTL_PROXY_ARP, "eth0", 1, 0, false, false },
	{ "disable_ipv6", disabled, 1, SYSCTL_DISABLE_IPV6, "eth0", 1, 0, true, false },
	{ "drop_unsolicited_na", drop_na, 1, SYSCTL_DROP_UNSOLICITED_NA, "eth0", 1, 0, false, false },
	{ .name = "routed: rp_filter strict, one way in, and out", .change = routed },
	{ "routed: rp_filter strict, several ways in", routed_several, 1, SYSCTL_RP_FILTER, "eth0", 1, 2, false, false },
	{ "routed: rp_filter strict, default route elsewhere", routed_elsewhere, 1, SYSCTL_RP_FILTER, "eth0", 1, 2, false, false },
	{ "routed: forwarding off", routed_forward_off, 1, SYSCTL_FORWARD_V4, "eth0", 0, 1, true, false },
	{ "routed: forwarding off, the agent looks", routed_watched, 1, SYSCTL_FORWARD_V4, "eth0", 0, 1, true, true },
	{ "routed: rp_filter strict, the agent looks", routed_watched_strict, 1, SYSCTL_RP_FILTER, "eth0", 1, 2, false, false },
	{ "routed: IPv6 forwarding off, whichever the way", routed_watched_v6, 1, SYSCTL_FORWARD_V6, "all", 0, 1, true, true },
	{ .name = "routed: rp_filter strict, perhaps no way in", .change = guess_strict },
	{ "routed: forwarding off, the only way in", guess_off, 1, SYSCTL_FORWARD_V4, "eth0", 0, 1, true, false },
	{ "routed: forwarding off, perhaps no way in", guess_several_off, 1, SYSCTL_FORWARD_V4, "eth0", 0, 1, false, false },
	{ .name = "routed: what is about announcing", .change = routed_others },
	{ .name = "rp_filter strict, several interfaces with VIPs", .change = announced_several },
	{ .name = "nothing can be read", .change = unknown },
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];
		struct sysctl_facts f = healthy();
		struct sysctl_advice advice[SYSCTL_ADVICE_MAX];
		size_t n;

		r->change(&f);
		n = sysctl_judge(&f, advice);
		if (n != r->n)
			fail_msg("%s: %zu advices", r->name, n);
		if (n == 0)
			continue;
		if (advice[0].key != r->key || strcmp(advice[0].interface, r->interface) != 0 || advice[0].value != r->value ||
		    advice[0].wanted != r->wanted || advice[0].error != r->error || advice[0].manageable != r->manageable ||
		    !advice[0].why)
			fail_msg("%s: %s %d is %d, wants %d, %s%s", r->name, advice[0].interface, (int)advice[0].key,
				 advice[0].value, advice[0].wanted, advice[0].error ? "error " : "",
				 advice[0].manageable ? "manageable" : "");
		assert_int_equal(advice[0].accept_ra_first, f.default_v6_from_ra && !r->manageable);
	}
}

/* What is advised, once done, is right: on the interface and on "all", from every value of every key. */
static void test_advice_mends(void **state)
{
	(void)state;
	for (unsigned int key = 0; key < SYSCTL_KEY_N; key++)
		for (int own = -1; own <= 8; own++)
			for (int all = -1; all <= 8; all++)
				for (unsigned int bits = 0; bits < 64; bits++) {
					struct sysctl_facts f = healthy();
					struct sysctl_advice advice[SYSCTL_ADVICE_MAX];
					size_t n;

					f.gate = bits & 1;
					f.subnet_v4 = bits & 2;
					f.default_v4_elsewhere = bits & 4;
					f.routed = bits & 8;
					f.several = bits & 16;
					f.guessed = bits & 32;
					f.own[SYSCTL_ARP_ANNOUNCE] = 2;
					f.own[key] = own;
					f.all[key] = all;
					n = sysctl_judge(&f, advice);
					assert_true(n <= 2);
					for (size_t i = 0; i < n; i++)
						*(strcmp(advice[i].interface, "all") == 0 ? &f.all[advice[i].key] :
							 &f.own[advice[i].key]) = advice[i].wanted;
					assert_int_equal(sysctl_judge(&f, advice), 0);
				}
}

/* A session of IPv6 alone is no second way in for IPv4. */
static void test_ways_in(void **state)
{
	static const struct {
		bool v4;
		size_t n_v4, n;
		bool several, guessed;
	} ways[] = {
		{ true, 1, 1, false, false }, { true, 1, 2, false, false }, { false, 1, 2, true, true },
		{ true, 2, 3, true, false },  { false, 0, 1, false, false }, { false, 0, 2, true, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		struct sysctl_facts f = healthy();

		sysctl_way_in(&f, ways[i].v4, ways[i].n_v4, ways[i].n);
		assert_int_equal(f.several, ways[i].several);
		assert_int_equal(f.guessed, ways[i].guessed);
	}
}

static void test_only_families_that_are_there_are_read(void **state)
{
	(void)state;
	assert_true(sysctl_concerns(SYSCTL_RP_FILTER, true, false));
	assert_false(sysctl_concerns(SYSCTL_RP_FILTER, false, true));
	assert_true(sysctl_concerns(SYSCTL_DISABLE_IPV6, false, true));
	assert_false(sysctl_concerns(SYSCTL_DISABLE_IPV6, true, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_advice_mends),
		cmocka_unit_test(test_ways_in),
		cmocka_unit_test(test_only_families_that_are_there_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
