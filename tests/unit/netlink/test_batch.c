/* SPDX-License-Identifier: Apache-2.0 */
/* test_batch.c: a transaction's frame: numbering, bounds, going back. */
#include "netlink/batch.h"

#include <linux/netfilter/nf_tables.h>

#include "tests/unit/netlink/bytes.h"

static unsigned char buf[256] __attribute__((aligned(16)));

static void add(struct batch *b, uint16_t type)
{
	struct nlmsghdr *nlh = batch_message(b, type, 0, 16);

	assert_non_null(nlh);
	batch_commit(b, nlh);
}

static void test_numbering(void **state)
{
	struct batch b;
	uint32_t seen[4];

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	add(&b, NFT_MSG_NEWTABLE);
	add(&b, NFT_MSG_NEWSET);
	batch_end(&b);
	for (uint32_t first = 0xfffffffe; first != 1; first++) { /* over the wrap, and twice */
		batch_renumber(&b, first);
		for (size_t i = 0; i < 4; i++)
			seen[i] = ((const struct nlmsghdr *)(const void *)(buf + 20 * i))->nlmsg_seq;
		for (uint32_t i = 0; i < 4; i++)
			assert_int_equal(seen[i], first + i);
		assert_int_equal(b.first_seq, first);
		assert_int_equal(b.seq, first + 2);
		assert_int_equal(batch_count(&b), 2);
	}
}

static void test_only_the_last_message_is_acknowledged(void **state)
{
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	add(&b, NFT_MSG_NEWTABLE);
	add(&b, NFT_MSG_NEWSET);
	batch_end(&b);
	for (size_t i = 0; i < 4; i++) {
		const struct nlmsghdr *nlh = (const void *)(buf + 20 * i);

		assert_int_equal(nlh->nlmsg_flags & NLM_F_ACK, i == 2 ? NLM_F_ACK : 0);
	}
}

static void test_bounds(void **state)
{
	struct batch b, mark;

	(void)state;
	/* begin + one message with 16 bytes + end: 20 + 36 + 20. */
	batch_init(&b, buf, 76);
	assert_null(batch_message(&b, NFT_MSG_NEWTABLE, 0, 17));
	assert_null(batch_message(&b, NFT_MSG_NEWTABLE, 0, SIZE_MAX));
	mark = b;
	assert_non_null(batch_message(&b, NFT_MSG_NEWTABLE, 0, 16));
	add(&b, NFT_MSG_NEWTABLE);
	assert_null(batch_message(&b, NFT_MSG_NEWTABLE, 0, 0xffff));
	batch_rewind(&b, &mark);
	assert_int_equal(batch_count(&b), 0);
	assert_int_equal(b.len, 20);
	add(&b, NFT_MSG_NEWTABLE);
	batch_end(&b);
	assert_int_equal(b.len, 60);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_numbering),
					    cmocka_unit_test(test_only_the_last_message_is_acknowledged),
					    cmocka_unit_test(test_bounds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
