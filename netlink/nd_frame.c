/* SPDX-License-Identifier: Apache-2.0 */
/* nd_frame.c: unsolicited neighbour advertisements to and from bytes.  Pure: announce_if sends them.
 * Solicitations and solicited answers are the kernel's. */
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

#define NEXT_ICMPV6 58
#define NA_TYPE 136
#define NA_ROUTER 0x80
#define NA_OVERRIDE 0x20
#define OPTION_TARGET_MAC 2
#define HOP_LIMIT 255 /* receivers drop others: RFC 4861 section 7.1.2 */

static const uint8_t all_nodes[16] = { 0xff, 0x02, [15] = 0x01 };
static const uint8_t all_nodes_mac[ND_MAC_LEN] = { 0x33, 0x33, 0, 0, 0, 1 }; /* RFC 2464 section 7 */

static uint32_t sum_words(uint32_t sum, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	return sum;
}

/* Over the pseudo header of RFC 8200 section 8.1 and the message; 0 when the checksum within is right. */
static uint16_t icmp_checksum(const uint8_t *frame)
{
	uint32_t sum = ICMP_LEN + NEXT_ICMPV6;

	sum = sum_words(sum, frame + AT_SOURCE, 32);
	sum = sum_words(sum, frame + AT_ICMP, ICMP_LEN);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void nd_frame_build(const struct nd_frame *f, uint8_t buf[static ND_FRAME_LEN])
{
	uint16_t sum;

	assert(f->target.family == IP_V6);
	memset(buf, 0, ND_FRAME_LEN);
	memcpy(buf, all_nodes_mac, ND_MAC_LEN);
	memcpy(buf + ND_MAC_LEN, f->mac, ND_MAC_LEN);
	buf[AT_TYPE] = 0x86;
	buf[AT_TYPE + 1] = 0xdd;
	buf[AT_IP] = 0x60;
	buf[AT_IP + 5] = ICMP_LEN;
	buf[AT_IP + 6] = NEXT_ICMPV6;
	buf[AT_IP + 7] = HOP_LIMIT;
	memcpy(buf + AT_SOURCE, f->target.b, 16);
	memcpy(buf + AT_DEST, all_nodes, 16);
	buf[AT_ICMP] = NA_TYPE;
	buf[AT_FLAGS] = (uint8_t)(NA_OVERRIDE | (f->router ? NA_ROUTER : 0));
	memcpy(buf + AT_TARGET, f->target.b, 16);
	buf[AT_OPTION] = OPTION_TARGET_MAC;
	buf[AT_OPTION + 1] = 1; /* in units of 8 octets */
	memcpy(buf + AT_OPTION + 2, f->mac, ND_MAC_LEN);
	sum = icmp_checksum(buf);
	buf[AT_SUM] = (uint8_t)(sum >> 8);
	buf[AT_SUM + 1] = (uint8_t)sum;
}

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
