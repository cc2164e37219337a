/* SPDX-License-Identifier: Apache-2.0 */
/* arp_frame.c: ARP frames to and from bytes.  Pure: announce_if and wire_if send them, wire_if receives. */
#include "netlink/arp_frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* Ethernet: destination, source, EtherType; then RFC 826's fields in their order. */
#define AT_TYPE 12
#define AT_OP 20
#define AT_SHA 22
#define AT_SPA 28
#define AT_THA 32
#define AT_TPA 38

/* EtherType 0x0806; then Ethernet, IPv4 and the lengths of their addresses. */
static const uint8_t arp_fixed[AT_OP - AT_TYPE] = { 0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 6, 4 };

struct arp_frame arp_announcement(enum arp_op op, const uint8_t mac[static ARP_MAC_LEN], const struct ip *vip)
{
	struct arp_frame f = { .op = op, .sender_ip = *vip, .target_ip = *vip };

	memset(f.destination, 0xff, sizeof(f.destination));
	memcpy(f.sender_mac, mac, sizeof(f.sender_mac));
	if (op == ARP_OP_REPLY)
		memcpy(f.target_mac, mac, sizeof(f.target_mac));
	return f;
}

struct arp_frame arp_probe(const uint8_t mac[static ARP_MAC_LEN], const struct ip *vip)
{
	struct arp_frame f = { .op = ARP_OP_REQUEST, .sender_ip = { .family = IP_V4 }, .target_ip = *vip };

	memset(f.destination, 0xff, sizeof(f.destination));
	memcpy(f.sender_mac, mac, sizeof(f.sender_mac));
	return f;
}

void arp_frame_build(const struct arp_frame *f, uint8_t buf[static ARP_FRAME_LEN])
{
	assert(f->sender_ip.family == IP_V4);
	assert(f->target_ip.family == IP_V4);
	memcpy(buf, f->destination, ARP_MAC_LEN);
	memcpy(buf + ARP_MAC_LEN, f->sender_mac, ARP_MAC_LEN);
	memcpy(buf + AT_TYPE, arp_fixed, sizeof(arp_fixed));
	buf[AT_OP] = 0;
	buf[AT_OP + 1] = (uint8_t)f->op;
	memcpy(buf + AT_SHA, f->sender_mac, ARP_MAC_LEN);
	memcpy(buf + AT_SPA, f->sender_ip.b, 4);
	memcpy(buf + AT_THA, f->target_mac, ARP_MAC_LEN);
	memcpy(buf + AT_TPA, f->target_ip.b, 4);
}

int arp_frame_parse(const uint8_t *data, size_t len, struct arp_frame *ret)
{
	struct arp_frame f = { .sender_ip = { .family = IP_V4 }, .target_ip = { .family = IP_V4 } };

	if (len < ARP_FRAME_LEN || memcmp(data + AT_TYPE, arp_fixed, sizeof(arp_fixed)) != 0)
		return -EBADMSG;
	if (data[AT_OP] != 0 || (data[AT_OP + 1] != ARP_OP_REQUEST && data[AT_OP + 1] != ARP_OP_REPLY))
		return -EBADMSG;
	f.op = data[AT_OP + 1] == ARP_OP_REQUEST ? ARP_OP_REQUEST : ARP_OP_REPLY;
	memcpy(f.destination, data, ARP_MAC_LEN);
	memcpy(f.sender_mac, data + AT_SHA, ARP_MAC_LEN);
	memcpy(f.sender_ip.b, data + AT_SPA, 4);
	memcpy(f.target_mac, data + AT_THA, ARP_MAC_LEN);
	memcpy(f.target_ip.b, data + AT_TPA, 4);
	*ret = f;
	return 0;
}
