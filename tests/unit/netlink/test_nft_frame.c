/* SPDX-License-Identifier: Apache-2.0 */
/* test_nft_frame.c: elements of a set on their way into messages: each is there once and in order however many there are, no
 * list is longer than an attribute can be, they fit the room that is asked for, and a batch that is full refuses the rest.
 * The other messages are checked where tables are made of them: test_nat_frame.c, test_arp_guard_frame.c,
 * test_rendezvous_frame.c. */
#include "netlink/nft_frame.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "netlink/attr_walk.h"
#include "tests/unit/netlink/bytes.h"

static const struct nft_table table = { "t", NFPROTO_INET, 256 };

/* A kind of element: what it takes exactly, and how many of them an attribute can hold by that. */
static const struct row {
	struct nft_set set;
	uint32_t timeout_ms, room;
	size_t fit;
} rows[] = {
	{ { "s", NFT_TYPE_IPV4, 4 }, 0, 16, 4094 },
	{ { "s", NFT_TYPE_ETHER, 6 }, 0, 20, 3275 },
	{ { "s", NFT_TYPE_IPV6, 16 }, 5500, 40, 1637 },
};

static void key_of(size_t i, uint8_t key[static 16])
{
	memset(key, 0x5a, 16);
	key[0] = (uint8_t)(i >> 16);
	key[1] = (uint8_t)(i >> 8);
	key[2] = (uint8_t)i;
}

static int put(struct batch *b, const struct row *row, size_t n)
{
	struct nft_elements e = { .b = b, .table = &table, .set = &row->set, .timeout_ms = row->timeout_ms,
				  .room = row->room };
	uint8_t key[16];
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		key_of(i, key);
		r = nft_frame_put_element(&e, key);
	}
	nft_frame_end_elements(&e);
	return r;
}

/* The elements of one message, from number 'at' on; how many. */
static size_t check_list(const struct nlmsghdr *nlh, const struct row *row, size_t at)
{
	const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1], *list, *elem;
	struct attr_walk w;
	uint8_t want[16];
	size_t n = 0;

	assert_int_equal(nft_frame_open(nlh, &table, NFT_MSG_NEWSETELEM, tb, NFTA_SET_ELEM_LIST_ELEMENTS), 0);
	assert_string_equal(attr_text(tb[NFTA_SET_ELEM_LIST_SET]), "s");
	list = tb[NFTA_SET_ELEM_LIST_ELEMENTS];
	w = attr_walk_nested(list);
	for (; (elem = attr_next(&w)) != NULL; n++) {
		const struct nlattr *of[NFTA_SET_ELEM_TIMEOUT + 1], *key[NFTA_DATA_VALUE + 1];
		uint64_t timeout = 0;

		assert_int_equal(attr_table(attr_walk_nested(elem), of, NFTA_SET_ELEM_TIMEOUT), 0);
		assert_int_equal(attr_table(attr_walk_nested(of[NFTA_SET_ELEM_KEY]), key, NFTA_DATA_VALUE), 0);
		assert_int_equal(attr_len(key[NFTA_DATA_VALUE]), row->set.key_len);
		key_of(at + n, want);
		assert_memory_equal(attr_data(key[NFTA_DATA_VALUE]), want, row->set.key_len);
		assert_int_equal(attr_u64_be(of[NFTA_SET_ELEM_TIMEOUT], &timeout), row->timeout_ms != 0);
		assert_int_equal(timeout, row->timeout_ms);
	}
	assert_int_equal(w.left, 0);
	/* The list ends where the message does. */
	assert_ptr_equal((const uint8_t *)attr_data(list) + attr_len(list), (const uint8_t *)nlh + nlh->nlmsg_len);
	return n;
}

static void check(const struct row *row, size_t n)
{
	size_t cap = BATCH_OVERHEAD + nft_frame_elements_room(n, row->room), done = 0;
	unsigned char *buf = malloc(cap);
	struct batch b;

	assert_non_null(buf);
	batch_init(&b, buf, cap);
	assert_int_equal(put(&b, row, n), 0);
	for (size_t at = 20; at < b.len;) {
		const struct nlmsghdr *nlh = (const void *)(buf + at);

		done += check_list(nlh, row, done);
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
	assert_int_equal(done, n);
	assert_int_equal(batch_count(&b), (n + row->fit - 1) / row->fit);
	free(buf);
}

static void test_all_are_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check(&rows[i], 0);
		check(&rows[i], 1);
		for (size_t lists = 1; lists <= 3; lists++)
			for (size_t n = lists * rows[i].fit - 1; n <= lists * rows[i].fit + 1; n++)
				check(&rows[i], n);
	}
}

static void test_a_full_batch_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t room = BATCH_OVERHEAD + nft_frame_elements_room(3, rows[i].room);

		for (size_t cap = BATCH_OVERHEAD; cap <= room; cap += 4) {
			unsigned char *buf = malloc(cap); /* of that size, so that sanitizers see what is beyond */
			struct batch b;
			int r;

			assert_non_null(buf);
			batch_init(&b, buf, cap);
			r = put(&b, &rows[i], 3);
			assert_in_range(b.len, 0, cap - BATCH_OVERHEAD / 2); /* the end still fits */
			if (r == 0)
				assert_int_equal(check_list(b.last, &rows[i], 0), 3);
			else
				assert_int_equal(r, -ENOSPC);
			assert_true(r == 0 || cap < room);
			free(buf);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_there),
		cmocka_unit_test(test_a_full_batch_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
