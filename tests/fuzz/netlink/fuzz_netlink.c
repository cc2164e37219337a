/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_netlink.c: every decoder of netlink/.  The first byte picks one, the rest is the message.
 * Beyond "no crash, no read outside": what was accepted and can be built again must say the same when read back. */
#include <assert.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/ack_msg.h"
#include "netlink/addr_msg.h"
#include "netlink/arp_frame.h"
#include "netlink/arp_guard_frame.h"
#include "netlink/attr_walk.h"
#include "netlink/filter_msg.h"
#include "netlink/forward_msg.h"
#include "netlink/forward_old_msg.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_event.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_udata.h"
#include "netlink/nd_frame.h"
#include "netlink/neigh_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char buf[4096] __attribute__((aligned(16)));

static int same_elem(void *ctx, const struct nat_elem *e)
{
	const struct nat_elem *want = ctx;

	assert(e->set == want->set && ip_eq(&e->ip, &want->ip) && ip_eq(&e->client, &want->client));
	assert(e->proto == want->proto && e->port == want->port && e->slot == want->slot && e->ifindex == want->ifindex);
	assert(ip_port_cmp(&e->backend, &want->backend) == 0 && e->digest == want->digest);
	assert(!want->chain || strcmp(e->chain, want->chain) == 0);
	return 0;
}

/* An element that was read, built again and read again. */
static int on_elem(void *ctx, const struct nat_elem *e)
{
	char text[NAT_ELEM_TEXT_MAX];
	struct nat_elem copy = *e;
	struct nat_elem_writer w;
	struct batch b;

	(void)ctx;
	assert(strlen(nat_elem_text(e, text)) < sizeof(text));
	batch_init(&b, buf, sizeof(buf));
	nat_elem_begin(&w, &b);
	if (e->set->data_type == NFT_DATA_VERDICT && !e->chain) {
		assert(nat_elem_put(&w, e, NAT_ELEM_ADD) == -EINVAL);
		return 0;
	}
	assert(nat_elem_put(&w, e, NAT_ELEM_ADD) == 0);
	nat_elem_close(&w);
	assert(nat_elem_parse(b.last, b.last->nlmsg_len, same_elem, &copy) == 0);
	return 0;
}

static void try_events(const void *data, size_t size)
{
	struct nat_seen_counter c;

	if (nat_elem_parse_counter(data, size, &c) == 0)
		assert(strlen(c.name) < size);
	IGNORE(nat_event_is_ours(data, size)); /* any result is right */
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

static void try_probe(const void *data, size_t size)
{
	const struct ip none = { .family = IP_NONE };
	struct nd_claim probe, again;
	uint8_t built[ND_FRAME_LEN];
	size_t len;

	if (nd_probe_parse(data, size, &probe) < 0)
		return;
	assert(probe.target.family == IP_V6 && probe.target.b[0] != 0xff);
	len = nd_solicitation_build(probe.mac, &none, &probe.target, built);
	assert(nd_probe_parse(built, len, &again) == 0);
	assert(ip_eq(&probe.target, &again.target) && memcmp(probe.mac, again.mac, ND_MAC_LEN) == 0);
}

static void try_neighbour(const void *data, size_t size)
{
	struct neigh_msg m;

	if (neigh_msg_parse(data, size, &m) == 0)
		assert(m.ifindex > 0 && ip_len(&m.ip) > 0);
}

static void try_frames(void *data, size_t size)
{
	uint8_t built[ND_FRAME_LEN];
	struct arp_frame arp;
	struct nd_frame nd;

	try_claim(data, size);
	try_probe(data, size);
	mend_checksum(data, size);
	try_claim(data, size);
	try_probe(data, size);
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

static void try_forward(const void *data, size_t size)
{
	struct forward_seen_chain chain;
	struct forward_rule rule = { 0 };
	struct forward_names names;
	const char *target = NULL;
	uint32_t generation;
	bool new = false;

	IGNORE(forward_msg_parse_generation(data, size, &generation)); /* any result is right */
	if (forward_msg_parse_chain(data, size, &chain) == 0)
		assert(strlen(chain.table) + strlen(chain.name) < size);
	for (unsigned int k = 0; k < 2; k++) {
		if (forward_msg_parse_rule(data, size, k ? NFPROTO_IPV6 : NFPROTO_IPV4, &rule, &names) < 0)
			continue;
		assert(!names.target || strlen(names.target) < size);
		assert(!names.set || strlen(names.set) < size);
	}
	if (forward_msg_parse_elements(data, size, &new, &rule, &target) == 0)
		assert(!target || strlen(target) < size);
}

/* The first bytes say where the chain begins and ends, as the kernel would beside the entries. */
static void try_forward_old(const uint8_t *data, size_t size)
{
	const uint8_t family = size > 0 && data[0] % 2 ? NFPROTO_IPV6 : NFPROTO_IPV4;
	struct forward_judgement judgement;
	uint32_t places[2];
	void *entries;

	if (size < 1 + sizeof(places))
		return;
	memcpy(places, data + 1, sizeof(places));
	size -= 1 + sizeof(places);
	entries = malloc(size ? size : 1); /* aligned, as the kernel's are */
	assert(entries);
	memcpy(entries, data + 1 + sizeof(places), size);
	IGNORE(forward_old_msg_judge(family, entries, size, places[0], places[1], &judgement)); /* any result is right */
	free(entries);
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
	switch (data[0] % 9) {
	case 0:
		try_addr(copy, size);
		try_filter(copy, size);
		try_neighbour(copy, size);
		break;
	case 1:
		IGNORE(nat_elem_parse(copy, size, on_elem, NULL)); /* any result is right */
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
	case 6:
		try_events(copy, size);
		break;
	case 7:
		try_forward(copy, size);
		break;
	case 8:
		try_forward_old(copy, size);
		break;
	default:
		if (nat_udata_find_comment(copy, size))
			assert(strlen(nat_udata_find_comment(copy, size)) < size);
	}
	free(copy);
	return 0;
}
