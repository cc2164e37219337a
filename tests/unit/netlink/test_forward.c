/* SPDX-License-Identifier: Apache-2.0 */
/* test_forward.c: chains at the forward hook: judgements rule by rule, nf_tables' messages and legacy iptables' tables
 * read as rules, and neither read beyond its end.  (tests/netns/test_forward.py has real rulesets and packets.) */
#include <net/if.h>
#include <netinet/in.h>

#include "netlink/forward_msg.h"
#include "netlink/forward_old_msg.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_mark.h>
#include <linux/netfilter_ipv4/ip_tables.h>

#include "agent/base/auto.h"
#include "tests/unit/netlink/bytes.h"

/* ---- judgements ---- */

#define RULE(w, d) { .when = FORWARD_##w, .what = FORWARD_##d, .target = FORWARD_UNREAD }
#define MARK(m) { .when = FORWARD_MARKED, .what = FORWARD_ACCEPTS, .mark = (m) }
#define JUMP(w, t) { .when = FORWARD_##w, .what = FORWARD_JUMPS, .target = (t) }
#define GOTO(w, t) { .when = FORWARD_##w, .what = FORWARD_GOES_TO, .target = (t) }

static const struct judgement {
	const char *what;
	struct forward_rule hooked[4], first[4]; /* the hooked chain, and chain 1; a rule that is all zero ends them */
	bool policy_drop;
	enum forward_pass pass;
	uint32_t mark;
} judgements[] = {
	{ "nothing", { { 0 } }, { { 0 } }, false, FORWARD_OPEN, 0 },
	{ "policy alone", { { 0 } }, { { 0 } }, true, FORWARD_CLOSED, 0 },
	{ "all accepted", { RULE(ALWAYS, ACCEPTS) }, { { 0 } }, true, FORWARD_OPEN, 0 },
	{ "some accepted", { RULE(SOMETIMES, ACCEPTS) }, { { 0 } }, true, FORWARD_DOUBTFUL, 0 },
	{ "hidden", { RULE(SOMETIMES, HIDDEN) }, { { 0 } }, true, FORWARD_DOUBTFUL, 0 },
	{ "a mark", { MARK(4) }, { { 0 } }, true, FORWARD_BY_MARK, 4 },
	{ "a mark that is not needed", { MARK(4) }, { { 0 } }, false, FORWARD_OPEN, 0 },
	{ "a mark, and some", { RULE(SOMETIMES, ACCEPTS), MARK(4) }, { { 0 } }, true, FORWARD_BY_MARK, 4 },
	{ "a mark too late", { RULE(ALWAYS, DROPS), MARK(4) }, { { 0 } }, false, FORWARD_CLOSED, 0 },
	{ "the first of two", { MARK(4), MARK(8) }, { { 0 } }, true, FORWARD_BY_MARK, 4 },
	{ "a mark elsewhere", { JUMP(ALWAYS, 1) }, { MARK(4) }, true, FORWARD_BY_MARK, 4 },
	{ "a mark elsewhere for some", { JUMP(SOMETIMES, 1) }, { MARK(4) }, true, FORWARD_DOUBTFUL, 0 },
	{ "accepted elsewhere for some", { JUMP(SOMETIMES, 1) }, { RULE(ALWAYS, ACCEPTS) }, true, FORWARD_DOUBTFUL, 0 },
	{ "dropped elsewhere for some", { JUMP(SOMETIMES, 1) }, { RULE(ALWAYS, DROPS) }, false, FORWARD_OPEN, 0 },
	{ "dropped elsewhere", { JUMP(ALWAYS, 1) }, { RULE(ALWAYS, DROPS) }, false, FORWARD_CLOSED, 0 },
	{ "returned", { JUMP(ALWAYS, 1), RULE(ALWAYS, DROPS) }, { RULE(ALWAYS, RETURNS), RULE(ALWAYS, ACCEPTS) }, false,
	  FORWARD_CLOSED, 0 },
	{ "not returned", { JUMP(ALWAYS, 1), RULE(ALWAYS, DROPS) }, { RULE(SOMETIMES, RETURNS), RULE(ALWAYS, ACCEPTS) },
	  false, FORWARD_OPEN, 0 },
	{ "gone to", { GOTO(ALWAYS, 1), RULE(ALWAYS, ACCEPTS) }, { { 0 } }, true, FORWARD_CLOSED, 0 },
	{ "gone to by some", { GOTO(SOMETIMES, 1), RULE(ALWAYS, ACCEPTS) }, { { 0 } }, true, FORWARD_OPEN, 0 },
	{ "unread", { JUMP(ALWAYS, FORWARD_UNREAD) }, { { 0 } }, true, FORWARD_DOUBTFUL, 0 },
	{ "round and round", { JUMP(ALWAYS, 0), JUMP(ALWAYS, 0) }, { { 0 } }, true, FORWARD_DOUBTFUL, 0 },
};

static size_t count(const struct forward_rule *v)
{
	static const struct forward_rule end;
	size_t n = 0;

	while (n < 4 && memcmp(&v[n], &end, sizeof(end)) != 0)
		n++;
	return n;
}

static void test_judgements(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(judgements); i++) {
		const struct judgement *t = &judgements[i];
		const struct forward_chain chains[2] = { { t->hooked, count(t->hooked) }, { t->first, count(t->first) } };
		struct forward_judgement j = forward_judge(chains, 2, t->policy_drop);

		if (j.pass != t->pass || j.mark != t->mark)
			fail_msg("%s: %d, mark %#x", t->what, (int)j.pass, j.mark);
	}
	assert_int_equal(forward_judge(NULL, 0, true).pass, FORWARD_CLOSED);
}

/* ---- nf_tables ---- */

static unsigned char buf[4096] __attribute__((aligned(16)));

static struct nlmsghdr *begin(uint16_t type)
{
	const struct nfgenmsg nfg = { .nfgen_family = NFPROTO_INET };
	struct nlmsghdr *nlh;

	memset(buf, 0, sizeof(buf));
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(nfg)), &nfg, sizeof(nfg));
	return nlh;
}

static void put_u32(struct nlmsghdr *nlh, uint16_t type, uint32_t value)
{
	mnl_attr_put_u32(nlh, type, htonl(value));
}

static struct nlattr *element, *content;

static void expr(struct nlmsghdr *nlh, const char *name)
{
	element = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	mnl_attr_put_strz(nlh, NFTA_EXPR_NAME, name);
	content = mnl_attr_nest_start(nlh, NFTA_EXPR_DATA);
}

static void expr_end(struct nlmsghdr *nlh)
{
	mnl_attr_nest_end(nlh, content);
	mnl_attr_nest_end(nlh, element);
}

static void put_data(struct nlmsghdr *nlh, uint16_t type, const void *data, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, type);

	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, data);
	mnl_attr_nest_end(nlh, nest);
}

static void load(struct nlmsghdr *nlh, const char *name, uint16_t key_attr, uint16_t dreg_attr, uint32_t key)
{
	expr(nlh, name);
	put_u32(nlh, key_attr, key);
	put_u32(nlh, dreg_attr, NFT_REG_1);
	expr_end(nlh);
}

static void bitwise(struct nlmsghdr *nlh, uint32_t mask, uint32_t flip)
{
	expr(nlh, "bitwise");
	put_u32(nlh, NFTA_BITWISE_SREG, NFT_REG_1);
	put_u32(nlh, NFTA_BITWISE_DREG, NFT_REG_1);
	put_data(nlh, NFTA_BITWISE_MASK, &mask, sizeof(mask));
	put_data(nlh, NFTA_BITWISE_XOR, &flip, sizeof(flip));
	expr_end(nlh);
}

static void cmp(struct nlmsghdr *nlh, uint32_t op, uint32_t value)
{
	expr(nlh, "cmp");
	put_u32(nlh, NFTA_CMP_SREG, NFT_REG_1);
	put_u32(nlh, NFTA_CMP_OP, op);
	put_data(nlh, NFTA_CMP_DATA, &value, sizeof(value));
	expr_end(nlh);
}

static void verdict(struct nlmsghdr *nlh, int code, const char *chain)
{
	struct nlattr *data, *nest;

	expr(nlh, "immediate");
	put_u32(nlh, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	data = mnl_attr_nest_start(nlh, NFTA_IMMEDIATE_DATA);
	nest = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	put_u32(nlh, NFTA_VERDICT_CODE, (uint32_t)code);
	if (chain)
		mnl_attr_put_strz(nlh, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, data);
	expr_end(nlh);
}

static void match(struct nlmsghdr *nlh, const char *name, uint32_t revision, const void *info, size_t len)
{
	expr(nlh, "match");
	mnl_attr_put_strz(nlh, NFTA_MATCH_NAME, name);
	put_u32(nlh, NFTA_MATCH_REV, revision);
	mnl_attr_put(nlh, NFTA_MATCH_INFO, len, info);
	expr_end(nlh);
}

/* What reads "meta mark & mask == value" in nft, and a jump; with the kernel's other ways to write a match before it. */
static const struct nlmsghdr *mark_rule(uint32_t mask, uint32_t flip, uint32_t op, uint32_t value)
{
	struct nlmsghdr *nlh = begin(NFT_MSG_NEWRULE);
	struct nlattr *list;

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, "filter");
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, "forward");
	list = mnl_attr_nest_start(nlh, NFTA_RULE_EXPRESSIONS);
	match(nlh, "comment", 0, "x", 2);
	load(nlh, "meta", NFTA_META_KEY, NFTA_META_DREG, NFT_META_MARK);
	bitwise(nlh, mask, flip);
	cmp(nlh, op, value);
	expr(nlh, "counter");
	expr_end(nlh);
	verdict(nlh, NFT_JUMP, "other");
	mnl_attr_nest_end(nlh, list);
	return nlh;
}

static struct forward_rule read_rule(const struct nlmsghdr *nlh)
{
	struct forward_rule r;
	struct forward_names names;

	assert_int_equal(forward_msg_parse_rule(nlh, nlh->nlmsg_len, NFPROTO_IPV4, &r, &names), 0);
	assert_string_equal(names.target, "other");
	assert_null(names.set);
	assert_int_equal(r.what, FORWARD_JUMPS);
	return r;
}

static int parse_rule(const void *data, size_t len)
{
	struct forward_rule r;
	struct forward_names names;

	return forward_msg_parse_rule(data, len, NFPROTO_IPV6, &r, &names);
}

static int parse_elements(const void *data, size_t len)
{
	struct forward_rule r;
	const char *target;
	bool has_new;

	return forward_msg_parse_elements(data, len, &has_new, &r, &target);
}

static int parse_chain(const void *data, size_t len)
{
	struct forward_seen_chain c;

	return forward_msg_parse_chain(data, len, &c);
}

static void test_marks(void **state)
{
	const struct nlmsghdr *nlh;
	struct forward_rule r;

	(void)state;
	r = read_rule(mark_rule(0x4000, 0, NFT_CMP_EQ, 0x4000));
	assert_int_equal(r.when, FORWARD_MARKED);
	assert_int_equal(r.mark, 0x4000);
	r = read_rule(mark_rule(0x4000, 0, NFT_CMP_NEQ, 0));
	assert_int_equal(r.when, FORWARD_MARKED);
	/* One of two bits, none, a bit turned round, or the whole mark: not what our bits alone decide. */
	assert_int_equal(read_rule(mark_rule(0xc000, 0, NFT_CMP_NEQ, 0)).when, FORWARD_SOMETIMES);
	assert_int_equal(read_rule(mark_rule(0x4000, 0, NFT_CMP_EQ, 0)).when, FORWARD_SOMETIMES);
	assert_int_equal(read_rule(mark_rule(0x4000, 0x4000, NFT_CMP_EQ, 0x4000)).when, FORWARD_SOMETIMES);
	assert_int_equal(read_rule(mark_rule(UINT32_MAX, 0, NFT_CMP_EQ, UINT32_MAX)).when, FORWARD_SOMETIMES);
	nlh = mark_rule(0x4000, 0, NFT_CMP_EQ, 0x4000);
	assert_no_part(nlh, nlh->nlmsg_len, parse_rule);
	try_changes(nlh, nlh->nlmsg_len, parse_rule);
}

static void put_element(struct nlmsghdr *nlh, uint32_t state, int code)
{
	struct nlattr *one = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM), *data, *nest;

	put_data(nlh, NFTA_SET_ELEM_KEY, &state, sizeof(state));
	data = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	nest = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);
	put_u32(nlh, NFTA_VERDICT_CODE, (uint32_t)code);
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, one);
}

static void test_elements(void **state)
{
	struct nlmsghdr *nlh = begin(NFT_MSG_NEWSETELEM);
	struct forward_rule r = { .what = FORWARD_HIDDEN };
	const char *target = NULL;
	struct nlattr *list;
	bool has_new = false;

	(void)state;
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	put_element(nlh, 2, NF_ACCEPT); /* established */
	mnl_attr_nest_end(nlh, list);
	assert_int_equal(forward_msg_parse_elements(nlh, nlh->nlmsg_len, &has_new, &r, &target), 0);
	assert_false(has_new);
	assert_int_equal(r.what, FORWARD_HIDDEN);
	nlh = begin(NFT_MSG_NEWSETELEM);
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	put_element(nlh, 1, NF_ACCEPT); /* invalid */
	put_element(nlh, 8, NF_DROP);	/* new */
	mnl_attr_nest_end(nlh, list);
	assert_int_equal(forward_msg_parse_elements(nlh, nlh->nlmsg_len, &has_new, &r, &target), 0);
	assert_true(has_new);
	assert_int_equal(r.what, FORWARD_DROPS);
	assert_no_part(nlh, nlh->nlmsg_len, parse_elements);
	try_changes(nlh, nlh->nlmsg_len, parse_elements);
}

static void test_conntrack_match(void **state)
{
	static const struct {
		uint16_t flags, inverted, states;
		enum forward_when when;
	} rows[] = {
		{ XT_CONNTRACK_STATE, 0, XT_CONNTRACK_STATE_DNAT, FORWARD_ALWAYS },
		{ XT_CONNTRACK_STATE, 0, XT_CONNTRACK_STATE_BIT(IP_CT_NEW), FORWARD_ALWAYS },
		{ XT_CONNTRACK_STATE, 0, XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED), FORWARD_NEVER },
		{ XT_CONNTRACK_STATE, 0, XT_CONNTRACK_STATE_INVALID, FORWARD_NEVER },
		{ XT_CONNTRACK_STATE, XT_CONNTRACK_STATE, XT_CONNTRACK_STATE_INVALID, FORWARD_ALWAYS },
		{ XT_CONNTRACK_STATE, XT_CONNTRACK_STATE, XT_CONNTRACK_STATE_DNAT, FORWARD_NEVER },
		{ XT_CONNTRACK_STATE | XT_CONNTRACK_ORIGDST, 0, XT_CONNTRACK_STATE_DNAT, FORWARD_SOMETIMES },
		{ XT_CONNTRACK_ORIGDST, 0, 0, FORWARD_SOMETIMES },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct xt_conntrack_mtinfo3 info = { .match_flags = rows[i].flags, .invert_flags = rows[i].inverted,
							   .state_mask = rows[i].states };
		struct forward_rule r = { .when = FORWARD_ALWAYS };

		forward_xt_match(&r, "conntrack", 3, &info, sizeof(info));
		assert_int_equal(r.when, rows[i].when);
		r.when = FORWARD_ALWAYS;
		forward_xt_match(&r, "conntrack", 3, &info, sizeof(info) - 1);
		assert_int_equal(r.when, FORWARD_SOMETIMES);
	}
}

static void test_chain(void **state)
{
	struct nlmsghdr *nlh = begin(NFT_MSG_NEWCHAIN);
	struct forward_seen_chain c;
	struct nlattr *hook;

	(void)state;
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, "filter");
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, "forward");
	hook = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);
	put_u32(nlh, NFTA_HOOK_HOOKNUM, NF_INET_FORWARD);
	mnl_attr_nest_end(nlh, hook);
	put_u32(nlh, NFTA_CHAIN_POLICY, NF_DROP);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, "filter");
	assert_int_equal(forward_msg_parse_chain(nlh, nlh->nlmsg_len, &c), 0);
	assert_true(c.forward && c.policy_drop);
	assert_int_equal(c.family, NFPROTO_INET);
	assert_no_part(nlh, nlh->nlmsg_len, parse_chain);
	try_changes(nlh, nlh->nlmsg_len, parse_chain);
}

/* ---- legacy iptables ---- */

/* An entry without matches but the mark's, with a standard target. */
static size_t put_entry(unsigned char *at, bool marked, int verdict_or_place)
{
	const struct xt_mark_mtinfo1 mark = { .mark = 0x4000, .mask = 0x4000 };
	const size_t match_size = sizeof(struct xt_entry_match) + XT_ALIGN(sizeof(mark));
	size_t target = sizeof(struct ipt_entry) + (marked ? match_size : 0);
	struct ipt_entry e = { .target_offset = (uint16_t)target,
			       .next_offset = (uint16_t)(target + sizeof(struct xt_standard_target)) };
	struct xt_standard_target t = { .verdict = verdict_or_place };

	t.target.u.user.target_size = sizeof(t);
	memcpy(at, &e, sizeof(e));
	if (marked) {
		struct xt_entry_match m = { .u.user.match_size = (uint16_t)match_size };

		strcpy(m.u.user.name, "mark");
		m.u.user.revision = 1;
		memcpy(at + sizeof(e), &m, sizeof(m));
		memcpy(at + sizeof(e) + sizeof(m), &mark, sizeof(mark));
	}
	memcpy(at + target, &t, sizeof(t));
	return e.next_offset;
}

static uint32_t old_hook, old_policy;

static int judge_old(const void *data, size_t len)
{
	struct forward_judgement j;

	return forward_old_msg_judge(NFPROTO_IPV4, data, len, old_hook, old_policy, &j);
}

/* FORWARD: jump to the chain behind; policy DROP.  The chain: accept what is marked; return. */
static void test_old(void **state)
{
	unsigned char *table = calloc(1, 4096);
	struct forward_judgement j;
	size_t len, chain;

	(void)state;
	assert_non_null(table);
	len = put_entry(table, false, 0);
	old_policy = (uint32_t)len;
	len += put_entry(table + len, false, -NF_DROP - 1);
	chain = len;
	len += put_entry(table + len, true, -NF_ACCEPT - 1);
	len += put_entry(table + len, false, XT_RETURN);
	put_entry(table, false, (int)chain);
	assert_int_equal(forward_old_msg_judge(NFPROTO_IPV4, table, len, old_hook, old_policy, &j), 0);
	assert_int_equal(j.pass, FORWARD_BY_MARK);
	assert_int_equal(j.mark, 0x4000);
	/* Cut at an entry's end it is a shorter table; anywhere else it is none. */
	for (size_t n = 1; n < len; n++) {
		void *part = copy_of(table, n);

		IGNORE(judge_old(part, n));
		free(part);
	}
	try_changes(table, len, judge_old);
	free(table);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_judgements), cmocka_unit_test(test_marks), cmocka_unit_test(test_conntrack_match),
		cmocka_unit_test(test_chain),	   cmocka_unit_test(test_elements),
		cmocka_unit_test(test_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
