/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_messages.c: libFuzzer over every decoder of netlink/.  The first byte picks one, the rest is the message.
 * Beyond "no crash, no read outside": what was accepted and can be built again must say the same when read back.
 *
 *	clang -fsanitize=fuzzer,address,undefined ... fuzz_messages.c libnetlink.a libbase.a -lmnl -lnftnl
 *	./fuzz_messages -max_total_time=60 corpus */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/ack_msg.h"
#include "netlink/addr_msg.h"
#include "netlink/arp_frame.h"
#include "netlink/arp_guard_frame.h"
#include "netlink/attr_walk.h"
#include "netlink/filter_msg.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_udata.h"
#include "netlink/nd_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char buf[4096] __attribute__((aligned(16)));

static void same_op(void *ctx, const struct nat_op *op)
{
	const struct nat_op *want = ctx;

	assert(op->kind == want->kind && ip_eq(&op->vip, &want->vip));
	assert(op->proto == want->proto && op->port == want->port && op->slot == want->slot);
	assert(op->balance == want->balance && op->n_slots == want->n_slots && op->ifindex == want->ifindex);
	assert(ip_port_cmp(&op->backend, &want->backend) == 0);
}

/* An element that was read, built again and read again. */
static void on_op(void *ctx, const struct nat_op *op)
{
	char text[NAT_ELEM_TEXT_MAX];
	struct nat_op copy = *op;
	struct batch b;

	(void)ctx;
	assert(strlen(nat_elem_text(op, text)) < sizeof(text));
	batch_init(&b, buf, sizeof(buf));
	if (op->kind == NAT_OP_FRONTEND_ADD && op->n_slots == 0) {
		assert(nat_elem_put(&b, op, 1, true) == -EINVAL);
		return;
	}
	assert(nat_elem_put(&b, op, 1, true) == 0);
	assert(nat_elem_parse(b.last, b.last->nlmsg_len, same_op, &copy) == 0);
}

static void try_addr(const void *data, size_t size)
{
	struct addr_msg m, again;
	struct nlmsghdr *nlh;

	if (addr_msg_parse(data, size, &m) < 0)
		return;
	assert(m.addr.index > 0 && m.addr.prefix_len <= ip_len(&m.addr.ip) * 8);
	nlh = addr_msg_put(buf, m.addr.index, &m.addr.ip, m.valid_s, true);
	assert(addr_msg_parse(nlh, nlh->nlmsg_len, &again) == 0);
	assert(ip_eq(&m.addr.ip, &again.addr.ip) && again.addr.index == m.addr.index && again.addr.ours);
}

static void try_filter(const void *data, size_t size)
{
	unsigned int type;
	struct filter_msg m;

	if (filter_msg_parse(data, size, &m) == 0) {
		assert(m.ifindex >= 0 && strlen(m.kind) < sizeof(m.kind) && strlen(m.name) < sizeof(m.name));
		assert(!filter_msg_is_ours(&m) || (m.direct && strcmp(m.name, FILTER_NAME) == 0));
	}
	if (filter_msg_parse_link(data, size, &type) == 0)
		assert(type <= UINT16_MAX);
}

/* Chance does not find checksums: makes the one of a frame of ICMPv6 right (RFC 1071), where its length allows. */
static void mend_checksum(uint8_t *frame, size_t size)
{
	size_t len = size >= 54 ? (size_t)frame[18] << 8 | frame[19] : 0;
	uint64_t sum = len + 58;

	if (len < 4 || len > size - 54)
		return;
	memset(frame + 56, 0, 2);
	for (size_t i = 22; i < 54 + len; i++)
		sum += i % 2 ? frame[i] : (uint64_t)frame[i] << 8;
	sum = 0xffff - sum % 0xffff;
	frame[56] = (uint8_t)(sum >> 8);
	frame[57] = (uint8_t)sum;
}

/* A claim that was read: announced by us it is the same. */
static void try_claim(const void *data, size_t size)
{
	struct nd_claim claim, again;
	struct nd_frame nd;
	uint8_t built[ND_FRAME_LEN];

	if (nd_claim_parse(data, size, &claim) < 0)
		return;
	assert(claim.target.family == IP_V6 && claim.target.b[0] != 0xff);
	nd = (struct nd_frame){ .target = claim.target };
	memcpy(nd.mac, claim.mac, ND_MAC_LEN);
	nd_frame_build(&nd, built);
	assert(nd_claim_parse(built, sizeof(built), &again) == 0);
	assert(ip_eq(&claim.target, &again.target) && memcmp(claim.mac, again.mac, ND_MAC_LEN) == 0);
}

static void try_frames(void *data, size_t size)
{
	uint8_t built[ND_FRAME_LEN];
	struct arp_frame arp;
	struct nd_frame nd;

	try_claim(data, size);
	mend_checksum(data, size);
	try_claim(data, size);
	if (nd_frame_parse(data, size, &nd) == 0) {
		nd_frame_build(&nd, built);
		assert(memcmp(built, data, ND_FRAME_LEN) == 0);
	}
	if (arp_frame_parse(data, size, &arp) == 0) {
		arp_frame_build(&arp, built);
		assert(memcmp(built + 12, (const uint8_t *)data + 12, ARP_FRAME_LEN - 12) == 0);
	}
}

static void try_frame_messages(const void *data, size_t size)
{
	struct nat_seen_set set;
	struct nat_seen_chain chain;
	struct nat_seen_rule rule;
	enum arp_guard_chain guard;

	if (nat_frame_parse_set(data, size, &set) == 0)
		assert(strlen(set.name) < size);
	if (nat_frame_parse_chain(data, size, &chain) == 0)
		assert(strlen(chain.name) < size);
	if (nat_frame_parse_rule(data, size, &rule) == 0)
		assert(strlen(rule.chain) + strlen(rule.comment) < size);
	if (arp_guard_frame_parse(data, size, &guard) == 0)
		assert(guard == ARP_GUARD_INPUT || guard == ARP_GUARD_OUTPUT);
}

static void try_ack(const void *data, size_t size)
{
	const struct nlmsghdr *nlh = attr_message(data, size);
	struct ack_msg m;

	if (nlh && ack_msg_parse(nlh, &m) == 0)
		assert(m.error <= 0 && strlen(m.text) < size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	void *copy;

	if (size == 0)
		return 0;
	/* Aligned as receive buffers are, and ending where the bytes end. */
	copy = malloc(--size ? size : 1);
	assert(copy);
	memcpy(copy, data + 1, size);
	switch (data[0] % 6) {
	case 0:
		try_addr(copy, size);
		try_filter(copy, size);
		break;
	case 1:
		IGNORE(nat_elem_parse(copy, size, on_op, NULL)); /* any result is right */
		break;
	case 2:
		try_frame_messages(copy, size);
		break;
	case 3:
		try_ack(copy, size);
		break;
	case 4:
		try_frames(copy, size);
		break;
	default:
		if (nat_udata_find_comment(copy, size))
			assert(strlen(nat_udata_find_comment(copy, size)) < size);
	}
	free(copy);
	return 0;
}
