/* SPDX-License-Identifier: Apache-2.0 */
/* test_arp_guard_frame.c: the ARP guard's messages: within their room for any number of VIPs, the notes that nft keeps
 * (bytes that nft 1.0.6 itself wrote for the same sets), and of rules that are read, ours alone.  That the kernel takes
 * them and nft prints them, tests/netns/test_wire.py shows. */
#include "netlink/arp_guard_frame.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "netlink/attr_walk.h"
#include "tests/unit/netlink/bytes.h"

#define ROOM 1024 /* what arp_guard_frame.c sets aside for one message */

static unsigned char buf[64 * 1024] __attribute__((aligned(16)));

static const struct nlmsghdr *message(const struct batch *b, size_t i)
{
	size_t at = 20; /* behind the begin of the transaction */

	while (i-- > 0)
		at += NLMSG_ALIGN(((const struct nlmsghdr *)(const void *)(b->data + at))->nlmsg_len);
	return (const void *)(b->data + at);
}

static struct batch made(void)
{
	struct batch b;

	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(arp_guard_frame_make(&b), 0);
	return b;
}

static void test_messages(void **state)
{
	static const uint8_t types[] = { NFT_MSG_NEWTABLE, NFT_MSG_NEWSET,  NFT_MSG_NEWSET, NFT_MSG_NEWCHAIN,
					 NFT_MSG_NEWRULE,  NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE };
	struct batch b = made();

	(void)state;
	assert_int_equal(batch_count(&b), ARRAY_LEN(types));
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		const struct nlmsghdr *nlh = message(&b, i);
		const struct nfgenmsg *nfg = (const void *)(nlh + 1);

		assert_int_equal(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | types[i]);
		assert_int_equal(nfg->nfgen_family, NFPROTO_ARP);
		assert_in_range(nlh->nlmsg_len, 24, ROOM / 2); /* well within what was set aside */
	}
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(arp_guard_frame_remove(&b), 0);
	assert_int_equal(batch_count(&b), 2);
	assert_int_equal(message(&b, 0)->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE);
	assert_int_equal(message(&b, 1)->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELTABLE);
}

static void test_notes_are_nfts_own(void **state)
{
	static const char *const notes[] = { "000402000000", "000400000000 0308 00040d000000 0100" };
	struct batch b = made();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		const struct nlattr *tb[NFTA_SET_USERDATA + 1];

		assert_int_equal(attr_table(attr_walk_message(message(&b, 1 + i), sizeof(struct nfgenmsg)), tb,
					    NFTA_SET_USERDATA), 0);
		assert_bytes(attr_data(tb[NFTA_SET_USERDATA]), attr_len(tb[NFTA_SET_USERDATA]), notes[i]);
	}
}

static void test_elements(void **state)
{
	static const struct arp_home homes[] = { { { IP_V4, { 192, 0, 2, 200 } }, 0x0102 },
						 { { IP_V4, { 192, 0, 2, 201 } }, 3 } };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(arp_guard_frame_fill(&b, homes, 2), 0);
	assert_int_equal(batch_count(&b), 4);
	/* Emptied, then filled. */
	assert_bytes(message(&b, 0) + 1, message(&b, 0)->nlmsg_len - 16, "03000000 0e000100 6c65617365686f6c64000000"
		     "09000200 7669707300000000");
	assert_int_equal(message(&b, 0)->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_DELSETELEM);
	assert_int_equal(message(&b, 1)->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM);
	assert_bytes((const uint8_t *)message(&b, 1) + 48, message(&b, 1)->nlmsg_len - 48,
		     "24000380 10000180 0c000180 08000100 c00002c8 10000180 0c000180 08000100 c00002c9");
	assert_bytes((const uint8_t *)message(&b, 3) + 48, message(&b, 3)->nlmsg_len - 48,
		     "2c000380 14000180 10000180 0c000100 c00002c8 02010000 14000180 10000180 0c000100 c00002c9 03000000");
}

/* The room that is asked for suffices; none of the messages' lists is longer than an attribute can be. */
static void test_room(void **state)
{
	static const size_t counts[] = { 0, 1, 2, 100, 2728, 2729, 2730, 2731, 5460, 20000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		size_t n = counts[i], room = arp_guard_frame_room(n);
		struct arp_home *homes = calloc(n + 1, sizeof(*homes));
		void *data = malloc(room);
		struct batch b;

		assert_non_null(homes);
		assert_non_null(data);
		for (size_t k = 0; k < n; k++)
			homes[k] = (struct arp_home){ { IP_V4, { 198, 18, (uint8_t)(k >> 8), (uint8_t)k } }, 2 };
		batch_init(&b, data, room);
		assert_int_equal(arp_guard_frame_remove(&b), 0);
		assert_int_equal(arp_guard_frame_make(&b), 0);
		assert_int_equal(arp_guard_frame_fill(&b, homes, n), 0);
		batch_end(&b);
		/* The last message's attributes are whole: they end where it does. */
		if (n > 0) {
			const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1];

			assert_int_equal(attr_table(attr_walk_message(b.last, sizeof(struct nfgenmsg)), tb,
						    NFTA_SET_ELEM_LIST_ELEMENTS), 0);
			assert_int_equal((size_t)attr_len(tb[NFTA_SET_ELEM_LIST_ELEMENTS]) + 52, b.last->nlmsg_len);
		}
		free(data);
		free(homes);
	}
}

static void test_a_full_batch_is_refused(void **state)
{
	static const struct arp_home home = { { IP_V4, { 192, 0, 2, 200 } }, 2 };
	size_t need;
	struct batch b = made();

	(void)state;
	need = b.len + BATCH_OVERHEAD;
	for (size_t cap = BATCH_OVERHEAD; cap < need; cap += 4) {
		batch_init(&b, buf, cap);
		assert_int_equal(arp_guard_frame_make(&b), -ENOSPC);
	}
	for (size_t cap = BATCH_OVERHEAD; cap < BATCH_OVERHEAD + 200; cap += 4) {
		batch_init(&b, buf, cap);
		assert_int_equal(arp_guard_frame_fill(&b, &home, 1), -ENOSPC);
	}
}

static int parse(const void *data, size_t len)
{
	enum arp_guard_chain chain;

	return arp_guard_frame_parse(data, len, &chain);
}

static void test_rules_are_read(void **state)
{
	static const size_t rules[] = { [ARP_GUARD_INPUT] = 4, [ARP_GUARD_OUTPUT] = 6 };
	struct batch b = made();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		struct nlmsghdr *copy = copy_of(message(&b, rules[i]), message(&b, rules[i])->nlmsg_len);
		struct nfgenmsg *nfg = (void *)(copy + 1);
		char *text = (char *)copy, *layout;
		size_t len = copy->nlmsg_len;
		enum arp_guard_chain chain;

		assert_int_equal(arp_guard_frame_parse(copy, len, &chain), 0);
		assert_int_equal(chain, i);
		assert_no_part(copy, len, parse);
		try_changes(copy, len, parse);
		nfg->nfgen_family = NFPROTO_INET;
		assert_int_equal(parse(copy, len), -ENOENT);
		nfg->nfgen_family = NFPROTO_ARP;
		text[24] = 'L'; /* of the table's name */
		assert_int_equal(parse(copy, len), -ENOENT);
		text[24] = 'l';
		text[40] = 'X'; /* of the chain's */
		assert_int_equal(parse(copy, len), -ENOENT);
		text[40] = i == ARP_GUARD_INPUT ? 'i' : 'o';
		assert_int_equal(parse(copy, len), 0);
		layout = memmem(copy, len, ARP_GUARD_LAYOUT, strlen(ARP_GUARD_LAYOUT));
		assert_non_null(layout);
		layout[0] = 'L';
		assert_int_equal(parse(copy, len), -ENOENT);
		free(copy);
	}
	assert_int_equal(parse(message(&b, 3), message(&b, 3)->nlmsg_len), -EBADMSG); /* a chain */
}

static void test_request_bytes(void **state)
{
	const struct nlmsghdr *nlh = arp_guard_frame_read(buf);

	(void)state;
	assert_bytes(nlh, nlh->nlmsg_len, "24000000 070a 0103 00000000 00000000 03000000 0e000100 6c65617365686f6c64000000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),       cmocka_unit_test(test_notes_are_nfts_own),
		cmocka_unit_test(test_elements),       cmocka_unit_test(test_room),
		cmocka_unit_test(test_a_full_batch_is_refused), cmocka_unit_test(test_rules_are_read),
		cmocka_unit_test(test_request_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
