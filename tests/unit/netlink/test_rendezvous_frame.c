/* SPDX-License-Identifier: Apache-2.0 */
/* test_rendezvous_frame.c: the messages of the tables that hand strays on: which there are for each family, within their
 * room for any number of VIPs, and the bytes of what must not be wrong: keys, lifetimes, the peer's address and interface.
 * That the kernel takes them, nft prints them and connections live on by them, tests/e2e/test_bgp.py shows. */
#include "netlink/rendezvous_frame.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "netlink/attr_walk.h"
#include "tests/unit/netlink/bytes.h"

#define ROOM 1024 /* what rendezvous_frame.c sets aside for one message */

static unsigned char buf[256 * 1024] __attribute__((aligned(16)));

static const struct ip vips[] = { { IP_V4, { 203, 0, 113, 10 } }, { IP_V4, { 203, 0, 113, 11 } },
				  { IP_V6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x10 } } };
static const struct rendezvous_peer four = { { IP_V4, { 192, 0, 2, 12 } }, 0x0203 },
				    six = { { IP_V6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 0x12 } }, 3 };

static const struct nlmsghdr *message(const struct batch *b, size_t i)
{
	size_t at = 20; /* behind the begin of the transaction */

	while (i-- > 0)
		at += NLMSG_ALIGN(((const struct nlmsghdr *)(const void *)(b->data + at))->nlmsg_len);
	return (const void *)(b->data + at);
}

static struct rendezvous plan(void)
{
	struct rendezvous r;

	memset(&r, 0, sizeof(r));
	r.vips = vips;
	r.n_vips = ARRAY_LEN(vips);
	r.timeout_ms = 5500;
	return r;
}

static struct batch made(const struct rendezvous *r)
{
	struct batch b;

	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(rendezvous_frame_make(&b, r, IP_V4), 0);
	assert_int_equal(rendezvous_frame_make(&b, r, IP_V6), 0);
	return b;
}

static bool holds(const struct nlmsghdr *nlh, const void *data, size_t len)
{
	return memmem(nlh, nlh->nlmsg_len, data, len) != NULL;
}

static void assert_types(const struct batch *b, size_t from, uint8_t family, const uint8_t *types, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct nlmsghdr *nlh = message(b, from + i);
		const struct nfgenmsg *nfg = (const void *)(nlh + 1);

		assert_int_equal(nlh->nlmsg_type, NFNL_SUBSYS_NFTABLES << 8 | types[i]);
		assert_int_equal(nfg->nfgen_family, family);
		assert_in_range(nlh->nlmsg_len, 24, ROOM * 3 / 4); /* well within what was set aside */
	}
}

/* table, VIPs, MACs, strays with a rule for the MACs, the TTL, the limit, the peer and the end; the hooked chain and its
 * rule. */
static const uint8_t types[] = { NFT_MSG_NEWTABLE, NFT_MSG_NEWSET,  NFT_MSG_NEWSETELEM, NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM,
				 NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWRULE,	NFT_MSG_NEWRULE, NFT_MSG_NEWRULE,
				 NFT_MSG_NEWRULE,  NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE };

static void test_each_family_that_has_a_peer(void **state)
{
	static const uint8_t macs[2][LINK_MAC_LEN] = { { 0x02, 0x00, 0x5e, 0x10, 0x20, 0x30 },
						       { 0x02, 0x00, 0x5e, 0x10, 0x20, 0x31 } };
	const uint32_t dev = 0x0203;
	struct rendezvous r = plan();
	struct batch b;

	(void)state;
	b = made(&r);
	assert_int_equal(batch_count(&b), 0);
	r.macs = macs;
	r.n_macs = 2;
	r.peers[r.n_peers++] = four;
	b = made(&r);
	assert_int_equal(batch_count(&b), ARRAY_LEN(types));
	assert_types(&b, 0, NFPROTO_IPV4, types, ARRAY_LEN(types));
	/* Both MACs, for as long as the table. */
	assert_bytes((const uint8_t *)message(&b, 4) + 52, message(&b, 4)->nlmsg_len - 52,
		     "2c000380 14000180 10000180 0a000100 02005e1020300000 14000180 10000180 0a000100 02005e1020310000");
	assert_true(holds(message(&b, 9), four.ip.b, 4));
	assert_true(holds(message(&b, 9), &dev, sizeof(dev)));
	r.peers[r.n_peers++] = six;
	b = made(&r);
	assert_int_equal(batch_count(&b), 2 * ARRAY_LEN(types));
	assert_types(&b, 0, NFPROTO_IPV4, types, ARRAY_LEN(types));
	assert_types(&b, ARRAY_LEN(types), NFPROTO_IPV6, types, ARRAY_LEN(types));
	assert_true(holds(message(&b, ARRAY_LEN(types) + 9), six.ip.b, 16));
}

static void test_elements_expire(void **state)
{
	struct rendezvous r = plan();
	struct batch b;

	(void)state;
	r.peers[r.n_peers++] = four;
	r.peers[r.n_peers++] = six;
	b = made(&r);
	/* Both VIPs, each for 5500 ms. */
	assert_bytes((const uint8_t *)message(&b, 2) + 56 - 4, message(&b, 2)->nlmsg_len - 56 + 4,
		     "3c000380 1c000180 0c000180 08000100 cb00710a 0c000400 000000000000157c"
		     "1c000180 0c000180 08000100 cb00710b 0c000400 000000000000157c");
}

/* No number is said of a counter: then the kernel begins with 0. */
static void test_counters_begin_with_nothing(void **state)
{
	struct rendezvous r = plan();
	struct batch b;
	size_t n = 0;

	(void)state;
	r.peers[r.n_peers++] = four;
	b = made(&r);
	for (size_t i = 0; i < batch_count(&b); i++) {
		const struct nlmsghdr *nlh = message(&b, i);
		const uint8_t *at = memmem(nlh, nlh->nlmsg_len, "counter", sizeof("counter"));

		if (at) {
			assert_bytes(at + sizeof("counter"), 4, "04000280"); /* its attributes: none */
			n++;
		}
	}
	assert_int_equal(n, 4); /* the MACs', the TTL's, the limit's, the peer's */
}

static void test_remove(void **state)
{
	static const uint8_t gone[] = { NFT_MSG_NEWTABLE, NFT_MSG_DELTABLE };
	struct batch b;

	(void)state;
	batch_init(&b, buf, sizeof(buf));
	assert_int_equal(rendezvous_frame_remove(&b, IP_V4), 0);
	assert_int_equal(batch_count(&b), 2);
	assert_types(&b, 0, NFPROTO_IPV4, gone, 2);
	assert_int_equal(rendezvous_frame_remove(&b, IP_V6), 0);
	assert_int_equal(batch_count(&b), 4);
	assert_types(&b, 2, NFPROTO_IPV6, gone, 2);
}

/* The room that is asked for suffices, with as many peers as there may be. */
static void test_room(void **state)
{
	static const size_t counts[] = { 0, 1, 1636, 1637, 1638, 3300, 20000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		struct ip *v = calloc(counts[i] + 1, sizeof(*v));
		uint8_t (*macs)[LINK_MAC_LEN] = calloc(counts[i] + 1, sizeof(*macs));
		struct rendezvous r = plan();
		struct batch b;
		void *data;

		assert_non_null(v);
		assert_non_null(macs);
		for (size_t k = 0; k < counts[i]; k++)
			v[k] = (struct ip){ k + 3 < counts[i] ? IP_V4 : IP_V6, { (uint8_t)(k >> 8), (uint8_t)k } };
		r.vips = v;
		r.n_vips = counts[i];
		for (r.n_peers = 0; r.n_peers < RENDEZVOUS_PEERS_MAX; r.n_peers++)
			r.peers[r.n_peers] = r.n_peers > 0 ? four : six;
		r.macs = (const uint8_t (*)[LINK_MAC_LEN])macs;
		r.n_macs = counts[i];
		data = malloc(rendezvous_frame_room(&r));
		assert_non_null(data);
		batch_init(&b, data, rendezvous_frame_room(&r));
		assert_int_equal(rendezvous_frame_remove(&b, IP_V4), 0);
		assert_int_equal(rendezvous_frame_make(&b, &r, IP_V4), 0);
		batch_end(&b);
		batch_init(&b, data, 2048);
		assert_int_equal(rendezvous_frame_make(&b, &r, IP_V4), -ENOSPC);
		free(data);
		free(macs);
		free(v);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_family_that_has_a_peer), cmocka_unit_test(test_elements_expire),
		cmocka_unit_test(test_counters_begin_with_nothing), cmocka_unit_test(test_remove),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
