/* SPDX-License-Identifier: Apache-2.0 */
/* test_nat_event.c: which notifications are about what the agent keeps; cut and changed ones do no harm. */
#include "netlink/nat_event.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "netlink/nat_layout.h"
#include "tests/unit/netlink/bytes.h"

static unsigned char buf[1024] __attribute__((aligned(16)));

/* A notification with a name as attribute 'attr' besides the table's. */
static struct nlmsghdr *event(uint16_t type, const char *table, uint16_t attr, const char *name)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, sizeof(buf));
	nlh = mnl_nlmsg_put_header(buf);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nfg->nfgen_family = NFPROTO_INET;
	mnl_attr_put_strz(nlh, 1, table);
	if (name)
		mnl_attr_put_strz(nlh, attr, name);
	return nlh;
}

static bool is_ours(const struct nlmsghdr *nlh)
{
	return nat_event_is_ours(nlh, nlh->nlmsg_len);
}

static void test_table(void **state)
{
	struct nlmsghdr *nlh = event(NFT_MSG_DELTABLE, "leasehold", 0, NULL);

	(void)state;
	assert_true(is_ours(nlh));
	buf[16] = NFPROTO_IPV4;
	assert_false(is_ours(nlh));
	assert_false(is_ours(event(NFT_MSG_DELTABLE, "other", 0, NULL)));
	assert_true(is_ours(event(26 /* DESTROYTABLE */, "leasehold", 0, NULL)));
	assert_false(is_ours(event(NFT_MSG_NEWGEN, "leasehold", 0, NULL)));
	nlh = event(NFT_MSG_DELTABLE, "leasehold", 0, NULL);
	nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | NFT_MSG_DELTABLE;
	assert_false(is_ours(nlh));
}

static void test_chains_and_rules(void **state)
{
	static const char *const ours[] = { "services", "nat-prerouting", "hash-61", "turn-3-192.0.2.1-tcp-80",
					    "source-61-10800s", "return-61-10800s", "firewall-default/web",
					    "sources-default/web" };
	static const char *const others[] = { "mine", "hash-62", "turn", "" };
	static const uint8_t chain[] = { NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN, 27 /* DESTROYCHAIN */ };
	static const uint8_t rule[] = { NFT_MSG_NEWRULE, NFT_MSG_DELRULE, 28 };

	(void)state;
	for (size_t i = 0; i < sizeof(chain); i++) {
		for (size_t k = 0; k < ARRAY_LEN(ours); k++) {
			assert_true(is_ours(event(chain[i], "leasehold", NFTA_CHAIN_NAME, ours[k])));
			assert_true(is_ours(event(rule[i], "leasehold", NFTA_RULE_CHAIN, ours[k])));
			assert_false(is_ours(event(rule[i], "other", NFTA_RULE_CHAIN, ours[k])));
		}
		for (size_t k = 0; k < ARRAY_LEN(others); k++) {
			assert_false(is_ours(event(chain[i], "leasehold", NFTA_CHAIN_NAME, others[k])));
			assert_false(is_ours(event(rule[i], "leasehold", NFTA_RULE_CHAIN, others[k])));
		}
		assert_true(is_ours(event(chain[i], "leasehold", NFTA_CHAIN_NAME, NAT_USER_CHAIN)));
		assert_false(is_ours(event(rule[i], "leasehold", NFTA_RULE_CHAIN, NAT_USER_CHAIN)));
		assert_false(is_ours(event(rule[i], "leasehold", 0, NULL)));
	}
}

static void test_sets_and_counters(void **state)
{
	(void)state;
	for (size_t i = 0; i < NAT_SET_N; i++) {
		const bool kept = nat_sets[i].kind != NAT_SET_KIND_FORMER && nat_sets[i].kind != NAT_SET_KIND_CLIENTS;

		assert_true(is_ours(event(NFT_MSG_DELSET, "leasehold", NFTA_SET_NAME, nat_sets[i].name)));
		assert_int_equal(is_ours(event(NFT_MSG_NEWSETELEM, "leasehold", 2, nat_sets[i].name)), kept);
		assert_int_equal(is_ours(event(NFT_MSG_DELSETELEM, "leasehold", 2, nat_sets[i].name)), kept);
	}
	assert_true(is_ours(event(NFT_MSG_DELSET, "leasehold", NFTA_SET_NAME, "connections4-default/web")));
	assert_false(is_ours(event(NFT_MSG_DELSETELEM, "leasehold", 2, "connections4-default/web")));
	assert_false(is_ours(event(NFT_MSG_DELSETELEM, "leasehold", 2, "mine")));
	assert_false(is_ours(event(NFT_MSG_NEWSET, "leasehold", NFTA_SET_NAME, "mine")));
	assert_true(is_ours(event(NFT_MSG_DELOBJ, "leasehold", NFTA_OBJ_NAME, "drop-rate")));
	assert_false(is_ours(event(NFT_MSG_DELOBJ, "leasehold", NFTA_OBJ_NAME, "mine")));
}

static int read_event(const void *data, size_t len)
{
	return nat_event_is_ours(data, len) ? -EEXIST : -EBADMSG;
}

static void test_cut_and_changed(void **state)
{
	struct nlmsghdr *nlh = event(NFT_MSG_DELSETELEM, "leasehold", 2, "slots4");

	(void)state;
	assert_no_part(nlh, nlh->nlmsg_len, read_event);
	try_changes(nlh, nlh->nlmsg_len, read_event);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table), cmocka_unit_test(test_chains_and_rules),
		cmocka_unit_test(test_sets_and_counters), cmocka_unit_test(test_cut_and_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
