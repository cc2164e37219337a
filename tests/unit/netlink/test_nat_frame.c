/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_frame.c: the frame's messages: the notes that nft keeps (bytes that nft 1.0.6 itself wrote for the same
 * sets), names of chains, what is read of the kernel's answers, and nothing of what is cut.  Rules are
 * test_nat_rule.c's.  That the kernel takes them and nft prints them, tests/netns/test_kernel.py shows. */
#include "netlink/nat_frame.h"

#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "netlink/nat_udata.h"
#include "tests/unit/netlink/bytes.h"

#define ROOM 2048 /* what nat_frame.c sets aside for one message */

static unsigned char buf[64 * 1024] __attribute__((aligned(16)));

#define SLOTS(daddr)                                                                                                   \
	"000400000000 010400000000 0360 00040d000000 0158"                                                             \
	"0014 000407000000 010c " daddr                                                                                \
	"010e 000409000000 0106 000410000000" /* meta l4proto */                                                       \
	"0214 000407000000 010c 00040b000000 010402000000" /* th dport */                                              \
	"031a 000417000000 0112 000401000000 01048b130000 020400000000" /* numgen random mod 5003 */                   \
	"0434 00040d000000 012c"                                                                                       \
	"0014 000407000000 010c " daddr                                                                                \
	"0114 000407000000 010c 00040b000000 010402000000"                                                             \
	"060400000000"
#define SLOTS4 SLOTS("00040c000000 01040c000000") /* ip daddr */
#define SLOTS6 SLOTS("00040d000000 010409000000")

static void test_udata_is_nfts_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < NAT_SET_N; i++) {
		const struct nat_set_shape *set = &nat_sets[i];
		const struct nat_udata u = nat_udata_set(set);

		switch (set->kind) {
		case NAT_SET_KIND_VIPS:
		case NAT_SET_KIND_LOCALS:
		case NAT_SET_KIND_KEEPS:
		case NAT_SET_KIND_ROUTED:
		case NAT_SET_KIND_FORMER:
			assert_bytes(u.data, u.len, "000402000000");
			break;
		case NAT_SET_KIND_HOMES:
		case NAT_SET_KIND_GUARDS:
		case NAT_SET_KIND_HAIRPINS:
		case NAT_SET_KIND_RECEIVED:
		case NAT_SET_KIND_SENT:
		case NAT_SET_KIND_BACKENDS:
		case NAT_SET_KIND_OPENED:
			assert_bytes(u.data, u.len, "000400000000 0308 00040d000000 0100");
			break;
		case NAT_SET_KIND_DISPATCH:
		case NAT_SET_KIND_FIREWALLS:
		case NAT_SET_KIND_RETURNS:
			assert_bytes(u.data, u.len, "000400000000 010400000000 0308 00040d000000 0100 060400000000");
			break;
		case NAT_SET_KIND_CLIENTS:
			assert_bytes(u.data, u.len, "000400000000 010400000000 0308 00040d000000 0100 0408 00040d000000 0100"
						    "060400000000");
			break;
		case NAT_SET_KIND_SLOTS:
		case NAT_SET_KIND_TURNS:
			assert_bytes(u.data, u.len, set->family == IP_V4 ? SLOTS4 : SLOTS6);
			break;
		}
	}
}

static void test_comments(void **state)
{
	struct nat_udata u = nat_udata_comment("layout 1");
	static const uint8_t second[] = { 7, 1, 9, 0, 2, 'x', 0 };

	(void)state;
	assert_bytes(u.data, u.len, "00 09 6c61796f75742031 00");
	assert_string_equal(nat_udata_find_comment(u.data, u.len), "layout 1");
	assert_string_equal(nat_udata_find_comment(second, sizeof(second)), "x");
	for (size_t n = 0; n < u.len; n++) {
		void *part = copy_of(u.data, n);

		assert_null(nat_udata_find_comment(part, n));
		free(part);
	}
	u.data[10] = 'x'; /* not terminated */
	assert_null(nat_udata_find_comment(u.data, u.len));
}

/* The tables of shapes agree with the rest of the project. */
static void test_layout(void **state)
{
	static const uint16_t classes[] = NAT_CLASSES;
	static const enum balance balances[] = { BALANCE_HASH, BALANCE_RANDOM, BALANCE_SOURCE };
	char name[NAT_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < NAT_CLASS_N; i++) {
		for (size_t j = 0; j < ARRAY_LEN(balances); j++) {
			const struct frontend f = { .balance = (uint8_t)balances[j], .n_slots = classes[i] };
			const struct nat_chain_shape *c = nat_chain_named(nat_balance_name(&f, name));

			assert_non_null(c);
			assert_int_equal(c->kind, NAT_CHAIN_BALANCE);
			assert_int_equal(c->balance, balances[j]);
			assert_int_equal(c->n_slots, classes[i]);
			assert_false(nat_balance_is_own(&f));
		}
	}
	assert_null(nat_chain_named("hash-14"));
	for (size_t i = 0; i < NAT_SET_N; i++) {
		assert_ptr_equal(nat_set_named(nat_sets[i].name), &nat_sets[i]);
		assert_ptr_equal(nat_set_of(nat_sets[i].kind, nat_sets[i].family), &nat_sets[i]);
	}
	assert_null(nat_set_named("slots"));
	/* The plain sets stand in the order of the members' kinds. */
	assert_int_equal(NAT_SET_KIND_VIPS, NAT_VIP);
	assert_int_equal(NAT_SET_KIND_GUARDS, NAT_GUARD);
	assert_int_equal(NAT_SET_KIND_OPENED, NAT_OPENED);
	assert_int_equal(NAT_SET_KIND_DISPATCH, NAT_MEMBER_KIND_N);
}

static void test_names_of_chains_that_come_and_go(void **state)
{
	static const struct {
		const char *vip;
		uint8_t proto, balance;
		uint16_t port, n_slots;
		uint32_t sticky_s;
		const char *name, *back;
	} rows[] = {
		{ "192.0.2.1", 6, BALANCE_ROUND_ROBIN, 80, 3, 0, "turn-3-192.0.2.1-tcp-80", NULL },
		{ "2001:db8::1", 17, BALANCE_ROUND_ROBIN, 53, 5003, 0, "turn-5003-2001.db8..1-udp-53", NULL },
		{ "192.0.2.1", 132, BALANCE_ROUND_ROBIN, 1, 1, 0, "turn-1-192.0.2.1-sctp-1", NULL },
		{ "192.0.2.1", 253, BALANCE_ROUND_ROBIN, 1, 1, 0, "turn-1-192.0.2.1-253-1", NULL },
		{ "192.0.2.1", 6, BALANCE_SOURCE, 80, 61, 10800, "source-61-10800s", "return-61-10800s" },
		{ "2001:db8::1", 6, BALANCE_SOURCE, 80, 13, UINT32_MAX, "source-13-4294967295s-ip6",
		  "return-13-4294967295s-ip6" },
	};
	char name[NAT_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct frontend f = { .vip = address(rows[i].vip), .proto = rows[i].proto, .balance = rows[i].balance,
					    .port = rows[i].port, .n_slots = rows[i].n_slots, .sticky_s = rows[i].sticky_s };
		struct frontend back = { .port = 7 };

		assert_true(nat_balance_is_own(&f));
		assert_string_equal(nat_balance_name(&f, name), rows[i].name);
		assert_true(nat_balance_parse(name, &back));
		assert_int_equal(back.balance, f.balance);
		assert_int_equal(back.n_slots, f.n_slots);
		assert_int_equal(back.sticky_s, f.sticky_s);
		assert_int_equal(back.port, 7);
		assert_false(nat_return_parse(name, &back));
		if (!rows[i].back)
			continue;
		assert_int_equal(nat_sticky_family(name), f.vip.family);
		assert_string_equal(nat_return_name(&f, name), rows[i].back);
		assert_int_equal(nat_sticky_family(name), f.vip.family);
		assert_true(nat_return_parse(name, &back));
		assert_false(nat_balance_parse(name, &back));
		assert_int_equal(back.sticky_s, f.sticky_s);
	}
	assert_string_equal(nat_firewall_chain("default/web", name), "firewall-default/web");
	assert_string_equal(nat_sources_chain("default/web", name), "sources-default/web");
	assert_string_equal(nat_firewall_set("default/web", IP_V6, name), "connections6-default/web");
}

static void test_names_that_are_none_of_ours(void **state)
{
	static const char *const names[] = {
		"", "hash", "hash-", "hash-14", "hash-061", "hash-61x", "hash-61-", "hash-61-5s", "random-61-5s",
		"source-61-", "source-61-0s", "source-61-5", "source-61-5sx", "source-61-4294967296s", "source-61-5s-ip4",
		"source-14-5s", "turn-3", "turn-0-192.0.2.1-tcp-80", "turn-5004-192.0.2.1-tcp-80", "turn--1",
		"hash-99999999999999999999", "services", "return-61-5s", "user-forward", "sourcery-61",
	};
	struct frontend f = { .n_slots = 1 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_false(nat_balance_parse(names[i], &f));
	assert_false(nat_return_parse("return-61", &f));
	assert_false(nat_return_parse("return-", &f));
	assert_false(nat_return_parse("return-61-0s", &f));
	assert_int_equal(f.n_slots, 1);
}

static void assert_messages(const struct batch *b, size_t from, uint8_t type)
{
	for (size_t at = from; at < b->len;) {
		const struct nlmsghdr *nlh = (const void *)(b->data + at);
		const struct nfgenmsg *nfg = (const void *)(nlh + 1);

		assert_int_equal(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | type);
		assert_int_equal(nfg->nfgen_family, NFPROTO_INET);
		assert_in_range(nlh->nlmsg_len, 24, ROOM / 2); /* well within what was set aside */
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
}

static void test_building(void **state)
{
	struct batch b;
	size_t from;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_table(&b), 0);
	assert_messages(&b, 20, NFT_MSG_NEWTABLE);
	from = b.len;
	for (size_t i = 0; i < NAT_SET_N; i++) {
		const struct nlmsghdr *nlh = (const void *)(buf + b.len);
		struct nat_seen_set s;
		bool counts = nat_set_counts(&nat_sets[i]);

		assert_int_equal(nat_frame_add_set(&b, &nat_sets[i]), 0);
		assert_int_equal(nat_frame_parse_set(nlh, nlh->nlmsg_len, &s), 0);
		assert_string_equal(s.name, nat_sets[i].name);
		assert_int_equal(s.key_type, nat_sets[i].key_type);
		assert_int_equal(s.key_len, nat_sets[i].key_len);
		assert_int_equal(s.data_type, nat_sets[i].data_type);
		assert_int_equal(s.data_len, nat_sets[i].data_len);
		assert_int_equal(s.flags, nat_set_flags(&nat_sets[i]));
		assert_int_equal(s.counts, counts);
	}
	assert_messages(&b, from, NFT_MSG_NEWSET);
	from = b.len;
	for (size_t i = 0; i < NAT_CHAIN_N; i++) {
		const struct nlmsghdr *nlh = (const void *)(buf + b.len);
		struct nat_seen_chain c;

		assert_int_equal(nat_frame_add_chain(&b, &nat_chains[i]), 0);
		assert_int_equal(nat_frame_parse_chain(nlh, nlh->nlmsg_len, &c), 0);
		assert_string_equal(c.name, nat_chains[i].name);
		assert_int_equal(c.base, nat_chain_type(&nat_chains[i]) != NULL);
		assert_int_equal(c.nat, c.base && strcmp(nat_chain_type(&nat_chains[i]), "nat") == 0);
	}
	assert_messages(&b, from, NFT_MSG_NEWCHAIN);
	from = b.len;
	for (size_t i = 0; i < NAT_DROP_N; i++)
		assert_int_equal(nat_frame_add_counter(&b, (enum nat_drop)i), 0);
	assert_messages(&b, from, NFT_MSG_NEWOBJ);
}

static void test_full_batch_is_left_as_it_was(void **state)
{
	static const struct nat_options options;
	static const struct nat_firewall fw = { .name = "default/web", .client_connections = 1 };
	const struct frontend f = { .balance = BALANCE_SOURCE, .n_slots = 61, .sticky_s = 5 };
	struct batch b, before;

	(void)state;
	batch_init(&b, buf, 2 * ROOM + 100); /* room for one rule, not for two */
	before = b;
	assert_int_equal(nat_frame_add_rules(&b, nat_chain_named("hash-61"), &options), -ENOSPC);
	assert_int_equal(b.len, before.len);
	assert_int_equal(batch_count(&b), 0);
	batch_init(&b, buf, ROOM + 500);
	assert_int_equal(nat_frame_add_balance(&b, &f), -ENOSPC);
	assert_int_equal(nat_frame_add_firewall(&b, &fw, true), -ENOSPC);
	assert_int_equal(nat_frame_del_own(&b, "firewall-default/web"), -ENOSPC);
	assert_int_equal(batch_count(&b), 0);
	assert_int_equal(nat_frame_add_own_rules(&b, "firewall-default/web"), -ENOENT);
	batch_init(&b, buf, 64);
	assert_int_equal(nat_frame_add_table(&b), -ENOSPC);
	assert_int_equal(nat_frame_add_set(&b, &nat_sets[0]), -ENOSPC);
	assert_int_equal(nat_frame_add_chain(&b, &nat_chains[0]), -ENOSPC);
	assert_int_equal(nat_frame_del_rules(&b, "services", 0), -ENOSPC);
	assert_int_equal(nat_frame_del_table(&b), -ENOSPC);
	assert_int_equal(nat_frame_del_chain(&b, "services"), -ENOSPC);
	assert_int_equal(nat_frame_del_set(&b, "vips4"), -ENOSPC);
	assert_int_equal(nat_frame_add_counter(&b, NAT_DROP_RATE), -ENOSPC);
	assert_int_equal(batch_count(&b), 0);
}

static void test_reading_requests(void **state)
{
	unsigned char request[NAT_READ_MAX] __attribute__((aligned(16)));
	struct nlmsghdr *nlh = nat_frame_read(request, NAT_READ_ELEMENTS, nat_set_of(NAT_SET_KIND_DISPATCH, IP_V4));

	(void)state;
	assert_bytes(request, nlh->nlmsg_len, "34000000 0d0a 0103 00000000 00000000 01 00 0000"
		     "0e00 0100 6c656173 65686f6c 64000000 0e00 0200 64697370 61746368 34000000");
	nlh = nat_frame_read(request, NAT_READ_CHAINS, NULL);
	assert_bytes(request, nlh->nlmsg_len, "14000000 040a 0103 00000000 00000000 01 00 0000");
}

/* A rule as the kernel reports it, cut down to what is read of it. */
static struct nlmsghdr *rule_message(const char *table, const char *chain, const char *comment)
{
	struct nat_udata u = nat_udata_comment(comment);
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, 512);
	nlh = mnl_nlmsg_put_header(buf);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE;
	nfg->nfgen_family = NFPROTO_INET;
	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	mnl_attr_put_u64(nlh, NFTA_RULE_HANDLE, htobe64(0x1122334455667788));
	mnl_attr_put(nlh, NFTA_RULE_USERDATA, u.len, u.data);
	return nlh;
}

static int parse_rule(const void *data, size_t len)
{
	struct nat_seen_rule r;

	return nat_frame_parse_rule(data, len, &r);
}

static int parse_set(const void *data, size_t len)
{
	struct nat_seen_set s;

	return nat_frame_parse_set(data, len, &s);
}

static int parse_chain(const void *data, size_t len)
{
	struct nat_seen_chain c;

	return nat_frame_parse_chain(data, len, &c);
}

static void test_reading_rules(void **state)
{
	struct nlmsghdr *nlh = rule_message("leasehold", "services", "layout 1");
	struct nat_seen_rule rule;

	(void)state;
	assert_int_equal(nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule), 0);
	assert_string_equal(rule.chain, "services");
	assert_int_equal(rule.handle, 0x1122334455667788);
	assert_string_equal(rule.comment, "layout 1");
	assert_no_part(nlh, nlh->nlmsg_len, parse_rule);
	try_changes(nlh, nlh->nlmsg_len, parse_rule);
	nlh->nlmsg_len -= 16; /* without userdata */
	assert_int_equal(nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule), 0);
	assert_string_equal(rule.comment, "");
	nlh = rule_message("other", "services", "layout 1");
	assert_int_equal(parse_rule(nlh, nlh->nlmsg_len), -ENOENT);
}

static void test_cut_sets_and_chains(void **state)
{
	const struct nlmsghdr *nlh = (const void *)(buf + 20);
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_set(&b, nat_set_of(NAT_SET_KIND_SLOTS, IP_V4)), 0);
	assert_no_part(nlh, nlh->nlmsg_len, parse_set);
	try_changes(nlh, nlh->nlmsg_len, parse_set);
	assert_int_equal(parse_chain(nlh, nlh->nlmsg_len), -EBADMSG);
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(nat_frame_add_chain(&b, &nat_chains[NAT_CHAIN_N - 1]), 0);
	assert_no_part(nlh, nlh->nlmsg_len, parse_chain);
	try_changes(nlh, nlh->nlmsg_len, parse_chain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udata_is_nfts_own),
		cmocka_unit_test(test_comments),
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_names_of_chains_that_come_and_go),
		cmocka_unit_test(test_names_that_are_none_of_ours),
		cmocka_unit_test(test_building),
		cmocka_unit_test(test_full_batch_is_left_as_it_was),
		cmocka_unit_test(test_reading_requests),
		cmocka_unit_test(test_reading_rules),
		cmocka_unit_test(test_cut_sets_and_chains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
