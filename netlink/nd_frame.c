/* SPDX-License-Identifier: Apache-2.0 */
/* nd_frame.c: neighbour advertisements and solicitations to and from bytes.  Pure: announce_if and wire_if send them,
 * wire_if receives.  Answering solicitations is the kernel's. */
#include "netlink/nd_frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define AT_TYPE 12
#define AT_IP 14
#define AT_SOURCE (AT_IP + 8)
#define AT_DEST (AT_IP + 24)
#define AT_ICMP (AT_IP + 40)
#define AT_SUM (AT_ICMP + 2)
#define AT_FLAGS (AT_ICMP + 4)
#define AT_TARGET (AT_ICMP + 8)
#define AT_OPTION (AT_TARGET + 16)
#define ICMP_LEN (ND_FRAME_LEN - AT_ICMP)
#define ICMP_LEN_MIN (AT_OPTION - AT_ICMP)

#define NEXT_ICMPV6 58
#define NS_TYPE 135
#define NA_TYPE 136
#define NA_ROUTER 0x80
#define NA_SOLICITED 0x40
#define NA_OVERRIDE 0x20
#define OPTION_SOURCE_MAC 1
#define OPTION_TARGET_MAC 2
#define OPTION_UNIT 8
#define HOP_LIMIT 255 /* receivers drop others: RFC 4861 section 7.1.2 */

static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 0x01 };
static const uint8_t all_nodes_mac[ND_MAC_LEN] = { 0x33, 0x33, 0, 0, 0, 1 }; /* RFC 2464 section 7 */
/* What stands before the last 24 bits of the address: RFC 4291 section 2.7.1. */
static const uint8_t solicited_node[13] = { 0xff, 0x02, [11] = 0x01, 0xff };
static const uint8_t solicited_mac[3] = { 0x33, 0x33, 0xff };

static uint32_t sum_words(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	return sum;
}

/* Over the pseudo header of RFC 8200 section 8.1 and the message of 'len' < 64 KiB; 0 when the checksum within is
 * right. */
static uint16_t icmp_checksum(const uint8_t *frame, size_t len)
{
	uint32_t sum = (uint32_t)len + NEXT_ICMPV6;

	sum = sum_words(sum, frame + AT_SOURCE, 32);
	sum = sum_words(sum, frame + AT_ICMP, len);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* ---- building ---- */

/* Ethernet and IPv6 headers, source address not yet, and type and target of the message; the rest of the frame is 0. */
static void put_headers(uint8_t *buf, size_t icmp_len, uint8_t type, const struct ip *target)
{
	assert(target->family == IP_V6);
	memset(buf, 0, AT_ICMP + icmp_len);
	buf[AT_TYPE] = 0x86;
	buf[AT_TYPE + 1] = 0xdd;
	buf[AT_IP] = 0x60;
	buf[AT_IP + 5] = (uint8_t)icmp_len;
	buf[AT_IP + 6] = NEXT_ICMPV6;
	buf[AT_IP + 7] = HOP_LIMIT;
	buf[AT_ICMP] = type;
	memcpy(buf + AT_TARGET, target->b, 16);
}

static void put_option(uint8_t *buf, uint8_t type, const uint8_t *mac)
{
	buf[AT_OPTION] = type;
	buf[AT_OPTION + 1] = 1; /* in units of 8 octets */
	memcpy(buf + AT_OPTION + 2, mac, ND_MAC_LEN);
}

static void put_checksum(uint8_t *buf, size_t icmp_len)
{
	uint16_t sum = icmp_checksum(buf, icmp_len);

	buf[AT_SUM] = (uint8_t)(sum >> 8);
	buf[AT_SUM + 1] = (uint8_t)sum;
}

void nd_frame_build(const struct nd_frame *f, uint8_t buf[static ND_FRAME_LEN])
{
	put_headers(buf, ICMP_LEN, NA_TYPE, &f->target);
	memcpy(buf, all_nodes_mac, ND_MAC_LEN);
	memcpy(buf + ND_MAC_LEN, f->mac, ND_MAC_LEN);
	memcpy(buf + AT_SOURCE, f->target.b, 16);
	memcpy(buf + AT_DEST, all_nodes, 16);
	buf[AT_FLAGS] = (uint8_t)(NA_OVERRIDE | (f->router ? NA_ROUTER : 0));
	put_option(buf, OPTION_TARGET_MAC, f->mac);
	put_checksum(buf, ICMP_LEN);
}

size_t nd_solicitation_build(const uint8_t mac[static ND_MAC_LEN], const struct ip *own, const struct ip *target,
			     uint8_t buf[static ND_FRAME_LEN])
{
	size_t icmp_len = own->family == IP_V6 ? ICMP_LEN : ICMP_LEN_MIN;

	put_headers(buf, icmp_len, NS_TYPE, target);
	memcpy(buf, solicited_mac, sizeof(solicited_mac));
	memcpy(buf + sizeof(solicited_mac), target->b + 13, 3);
	memcpy(buf + ND_MAC_LEN, mac, ND_MAC_LEN);
	memcpy(buf + AT_DEST, solicited_node, sizeof(solicited_node));
	memcpy(buf + AT_DEST + sizeof(solicited_node), target->b + 13, 3);
	if (own->family == IP_V6) { /* RFC 4861 section 4.3: from :: no such option */
		memcpy(buf + AT_SOURCE, own->b, 16);
		put_option(buf, OPTION_SOURCE_MAC, mac);
	}
	put_checksum(buf, icmp_len);
	return AT_ICMP + icmp_len;
}

/* ---- reading ---- */

int nd_frame_parse(const uint8_t *data, size_t len, struct nd_frame *ret)
{
	struct nd_frame f = { .target = { .family = IP_V6 } };
	uint8_t want[ND_FRAME_LEN];

	if (len != ND_FRAME_LEN)
		return -EBADMSG;
	memcpy(f.mac, data + AT_OPTION + 2, ND_MAC_LEN);
	memcpy(f.target.b, data + AT_TARGET, 16);
	f.router = data[AT_FLAGS] & NA_ROUTER;
	/* There is one right frame for these three values. */
	nd_frame_build(&f, want);
	if (memcmp(data, want, ND_FRAME_LEN) != 0)
		return -EBADMSG;
	*ret = f;
	return 0;
}

/* Length of the ICMPv6 message when headers and checksum are those of a message of that type, else 0. */
static size_t message_len(const uint8_t *data, size_t len, uint8_t type)
{
	size_t icmp_len;

	if (len < AT_OPTION || data[AT_TYPE] != 0x86 || data[AT_TYPE + 1] != 0xdd || data[AT_IP] >> 4 != 6 ||
	    data[AT_IP + 6] != NEXT_ICMPV6 || data[AT_IP + 7] != HOP_LIMIT)
		return 0;
	icmp_len = (size_t)data[AT_IP + 4] << 8 | data[AT_IP + 5];
	if (icmp_len < ICMP_LEN_MIN || icmp_len > len - AT_ICMP)
		return 0;
	if (data[AT_ICMP] != type || data[AT_ICMP + 1] != 0 || icmp_checksum(data, icmp_len) != 0)
		return 0;
	return icmp_len;
}

int nd_claim_parse(const uint8_t *data, size_t len, struct nd_claim *ret)
{
	struct nd_claim c = { .target = { .family = IP_V6 } };
	size_t icmp_len = message_len(data, len, NA_TYPE), step;
	bool found = false;

	if (icmp_len == 0 || data[AT_TARGET] == 0xff || (data[AT_DEST] == 0xff && (data[AT_FLAGS] & NA_SOLICITED)))
		return -EBADMSG;
	memcpy(c.target.b, data + AT_TARGET, 16);
	memcpy(c.mac, data + ND_MAC_LEN, ND_MAC_LEN);
	c.solicited = data[AT_FLAGS] & NA_SOLICITED;
	for (size_t at = AT_OPTION, end = AT_ICMP + icmp_len; at < end; at += step) {
		if (end - at < OPTION_UNIT || data[at + 1] == 0)
			return -EBADMSG;
		step = (size_t)data[at + 1] * OPTION_UNIT;
		if (step > end - at)
			return -EBADMSG;
		if (data[at] != OPTION_TARGET_MAC || found)
			continue;
		if (step != OPTION_UNIT) /* not a MAC address of 6 bytes: Linux drops the packet, too */
			return -EBADMSG;
		memcpy(c.mac, data + at + 2, ND_MAC_LEN);
		found = true;
	}
	*ret = c;
	return 0;
}

int nd_probe_parse(const uint8_t *data, size_t len, struct nd_claim *ret)
{
	static const uint8_t nobody[16];
	struct nd_claim c = { .target = { .family = IP_V6 } };
	size_t icmp_len = message_len(data, len, NS_TYPE), step;

	if (icmp_len == 0 || memcmp(data + AT_SOURCE, nobody, sizeof(nobody)) != 0 || data[AT_TARGET] == 0xff ||
	    memcmp(data + AT_DEST, solicited_node, sizeof(solicited_node)) != 0)
		return -EBADMSG;
	for (size_t at = AT_OPTION, end = AT_ICMP + icmp_len; at < end; at += step) {
		if (end - at < OPTION_UNIT || data[at + 1] == 0 || data[at] == OPTION_SOURCE_MAC)
			return -EBADMSG;
		step = (size_t)data[at + 1] * OPTION_UNIT;
		if (step > end - at)
			return -EBADMSG;
	}
	memcpy(c.target.b, data + AT_TARGET, 16);
	memcpy(c.mac, data + ND_MAC_LEN, ND_MAC_LEN);
	*ret = c;
	return 0;
}
