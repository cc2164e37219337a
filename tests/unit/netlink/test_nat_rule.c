/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_rule.c: the rules of every chain with every option: how many there are, each within its room, each with the
 * comment that tells whether it is of these options.  What they do, tests/netns/test_dataplane.py shows. */
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "agent/base/text.h"
#include "netlink/nat_chain.h"
#include "netlink/nat_frame.h"
#include "tests/unit/netlink/bytes.h"

#define ROOM 4096 /* what nat_rule.c sets aside for one message */

static unsigned char buf[256 * 1024] __attribute__((aligned(16)));

/* Checks a batch's rules; how many there are. */
static unsigned int check_rules(const struct batch *b, const char *chain, const char *comment)
{
	unsigned int n = 0;

	for (size_t at = 20; at < b->len; n++) {
		const struct nlmsghdr *nlh = (const void *)(b->data + at);
		struct nat_seen_rule rule;

		assert_int_equal(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE);
		assert_in_range(nlh->nlmsg_len, 60, ROOM / 2);
		/* The kernel gives a handle to what it reports, so this message has none: only its texts are looked at. */
		assert_int_equal(nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule), -EBADMSG);
		assert_non_null(memmem(nlh, nlh->nlmsg_len, comment, strlen(comment) + 1));
		assert_non_null(memmem(nlh, nlh->nlmsg_len, chain, strlen(chain) + 1));
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
	return n;
}

static unsigned int rules_of(const char *name, const struct nat_options *options)
{
	const struct nat_chain_shape *c = nat_chain_named(name);
	char comment[NAT_COMMENT_MAX];
	struct batch b;

	assert_non_null(c);
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_rules(&b, c, options), 0);
	assert_int_equal(check_rules(&b, name, nat_chain_comment(c, options, comment)), batch_count(&b));
	return batch_count(&b);
}

static struct ip_net net(const char *text)
{
	struct ip_net n;

	assert_int_equal(ip_net_parse(text, &n), 0);
	return n;
}

static struct nat_options everything(void)
{
	struct nat_options o = { .counters = true, .forward_mark = 0x4000 };

	o.router = (struct nat_router){ .n_interfaces = NAT_ROUTER_INTERFACES_MAX, .n_admins = NAT_ROUTER_ADMINS_MAX,
					.allow = NAT_ROUTER_SSH | NAT_ROUTER_BGP | NAT_ROUTER_ICMP | NAT_ROUTER_VRRP };
	for (unsigned int i = 0; i < NAT_ROUTER_INTERFACES_MAX; i++)
		snprintf(o.router.interfaces[i], sizeof(o.router.interfaces[i]), "interface%u", i);
	for (unsigned int i = 0; i < NAT_ROUTER_ADMINS_MAX; i++)
		o.router.admins[i] = net(i % 2 ? "2001:db8::/33" : "198.51.100.0/25");
	return o;
}

static void test_how_many_rules_a_chain_has(void **state)
{
	static const struct {
		const char *name;
		unsigned int without, with;
	} rows[] = {
		{ "user-forward", 0, 0 }, { "hash-61", 2, 2 }, { "random-13", 2, 2 }, { "source-5003", 2, 2 },
		{ "services", 2, 2 },
		{ "returning", 6, 6 }, { "zone-prerouting", 4, 4 }, { "guard-prerouting", 7, 7 },
		{ "filter-prerouting", 2, 2 },
		{ "mark-prerouting", 0, 2 }, { "nat-prerouting", 1, 1 },
		{ "nat-output", 1, 1 },
		{ "count-prerouting", 0, 4 }, { "count-output", 0, 3 }, { "received", 6, 6 }, { "backends", 2, 2 },
		{ "sent", 6, 6 }, { "unmark-postrouting", 0, 2 },
		{ "nat-postrouting", 18, 20 }, { "nat-input", 2, 4 },
		/* admins; 3 before them, 6 errors and the like; BGP, ICMP twice, VRRP; the drop */
		{ "router-input", 0, 3 + NAT_ROUTER_ADMINS_MAX + 6 + 4 + 1 },
		{ "router-forward", 0, 3 + NAT_ROUTER_ADMINS_MAX + 2 + 1 },
		{ "filter-input", 5, 5 }, { "filter-forward", 7, 7 },
	};
	const struct nat_options none = { .counters = false }, all = everything();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(rules_of(rows[i].name, &none), rows[i].without);
		assert_int_equal(rules_of(rows[i].name, &all), rows[i].with);
	}
}

static void test_unmatched(void **state)
{
	struct nat_options o = { .unmatched = NAT_UNMATCHED_DROP };

	(void)state;
	assert_int_equal(rules_of("filter-input", &o), 3);
	assert_int_equal(rules_of("filter-forward", &o), 5);
	o.unmatched = NAT_UNMATCHED_ACCEPT;
	assert_int_equal(rules_of("filter-input", &o), 0);
	assert_int_equal(rules_of("filter-forward", &o), 2);
}

static void test_ssh_is_for_all_only_without_administrators(void **state)
{
	struct nat_options o = everything();
	unsigned int n = rules_of("router-input", &o);

	(void)state;
	o.router.n_admins = 0;
	assert_int_equal(rules_of("router-input", &o), n - NAT_ROUTER_ADMINS_MAX + 1);
}

/* Rules of other options have another comment, whatever differs; those that do not depend on them have the same. */
static void test_comments_tell_options_apart(void **state)
{
	const struct nat_chain_shape *input = nat_chain_named("filter-input"), *guard = nat_chain_named("guard-prerouting");
	struct nat_options o[12];
	char a[NAT_COMMENT_MAX], b[NAT_COMMENT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(o); i++)
		o[i] = everything();
	o[1].unmatched = NAT_UNMATCHED_DROP;
	o[2].counters = false;
	o[3].forward_mark = 0x8000;
	o[4].router.n_interfaces--;
	o[5].router.interfaces[3][0] = 'x';
	o[6].router.allow ^= NAT_ROUTER_BGP;
	o[7].router.n_admins--;
	o[8].router.admins[5].len++;
	o[9].router.admins[6].ip.b[1]++;
	o[10].router.n_interfaces = 0;
	o[11] = (struct nat_options){ .counters = false };
	for (size_t i = 0; i < ARRAY_LEN(o); i++) {
		assert_string_equal(nat_chain_comment(guard, &o[i], a), NAT_LAYOUT);
		assert_true(text_starts(nat_chain_comment(input, &o[i], a), NAT_LAYOUT " options "));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(a, nat_chain_comment(input, &o[j], b));
	}
	/* What is not used is not looked at. */
	o[1] = o[10];
	memset(o[1].router.interfaces, 'z', sizeof(o[1].router.interfaces));
	assert_string_equal(nat_chain_comment(input, &o[1], a), nat_chain_comment(input, &o[10], b));
}

static void test_chains_of_frontends(void **state)
{
	static const struct {
		const char *name;
		unsigned int rules;
	} rows[] = { { "turn-3-192.0.2.1-tcp-80", 2 }, { "source-61-5s", 2 }, { "source-61-5s-ip6", 2 },
		     { "return-61-5s", 3 },
		     { "return-61-5s-ip6", 3 } };
	struct batch b;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		batch_init(&b, buf, sizeof(buf));
		assert_int_equal(nat_frame_add_own_rules(&b, rows[i].name), 0);
		assert_int_equal(check_rules(&b, rows[i].name, NAT_LAYOUT), rows[i].rules);
	}
	assert_int_equal(nat_frame_add_own_rules(&b, "hash-61"), -ENOENT);
}

/* Types of the messages, in their order. */
static void assert_types(const struct batch *b, const char *want)
{
	static const char *const names[] = {
		[NFT_MSG_NEWCHAIN] = "+chain", [NFT_MSG_DELCHAIN] = "-chain", [NFT_MSG_NEWRULE] = "+rule",
		[NFT_MSG_DELRULE] = "-rule",   [NFT_MSG_NEWSET] = "+set",     [NFT_MSG_DELSET] = "-set",
	};
	char got[1024] = "";

	for (size_t at = 20; at < b->len;) {
		const struct nlmsghdr *nlh = (const void *)(b->data + at);
		size_t len = strlen(got);

		snprintf(got + len, sizeof(got) - len, "%s%s", len ? " " : "", names[nlh->nlmsg_type & 0xff]);
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
	assert_string_equal(got, want);
}

static void test_firewalls(void **state)
{
	const struct ip_net sources[] = { net("0.0.0.0/0"), net("198.51.100.0/24"), net("198.51.100.0/25"),
					  net("198.51.100.1/32"),
					  net("::/0"), net("2001:db8::/44"), net("2001:db8::/48"), net("2001:db8::1/128") };
	struct nat_firewall fw = { .name = "default/web", .digest = 0x123 };
	struct batch b;

	(void)state;
	fw.client_connections = 3;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_firewall(&b, &fw, false), 0);
	assert_types(&b, "+chain +set +set +rule +rule");
	assert_non_null(memmem(buf, b.len, "layout 4 digest 0000000000000123 rules 2", 41));
	/* No limit any more: what it needed goes, and would also go if it were not there. */
	fw.client_connections = 0;
	fw.n_rates = 2;
	fw.rates[0] = (struct rate){ RATE_PACKETS, 1, 100, 5 };
	fw.rates[1] = (struct rate){ RATE_BYTES, 86400, UINT64_MAX, UINT32_MAX };
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_firewall(&b, &fw, true), 0);
	assert_types(&b, "+chain -rule +set -set +set -set +chain -rule -chain +rule +rule");
	fw.n_rates = 0;
	fw.restricted = true;
	fw.sources = sources;
	fw.n_sources = ARRAY_LEN(sources);
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_firewall(&b, &fw, false), 0);
	assert_types(&b, "+chain +chain -rule +rule +rule +rule +rule +rule +rule +rule +rule +rule +rule");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_del_own(&b, "firewall-default/web"), 0);
	assert_types(&b, "-rule -chain +chain -rule -chain +set -set +set -set");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_del_own(&b, "turn-3-192.0.2.1-tcp-80"), 0);
	assert_types(&b, "-rule -chain");
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_del_own(&b, "source-61-5s"), 0);
	assert_types(&b, "-rule -chain +chain -rule -chain");
}

/* Names as long as they may be. */
static void test_the_longest_name(void **state)
{
	struct nat_firewall fw = { .client_connections = 1, .restricted = true };
	struct batch b;

	(void)state;
	memset(fw.name, 'n', sizeof(fw.name) - 1);
	fw.name[63] = '/';
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_firewall(&b, &fw, true), 0);
	for (size_t at = 20; at < b.len;) {
		const struct nlmsghdr *nlh = (const void *)(b.data + at);

		assert_in_range(nlh->nlmsg_len, 24, ROOM / 2);
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_how_many_rules_a_chain_has),
		cmocka_unit_test(test_unmatched),
		cmocka_unit_test(test_ssh_is_for_all_only_without_administrators),
		cmocka_unit_test(test_comments_tell_options_apart),
		cmocka_unit_test(test_chains_of_frontends),
		cmocka_unit_test(test_firewalls),
		cmocka_unit_test(test_the_longest_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
