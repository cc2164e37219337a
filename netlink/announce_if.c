/* SPDX-License-Identifier: Apache-2.0 */
/* announce_if.c: sends ARP and NA announcements out of an interface.  The frames are built by arp_frame and
 * nd_frame; when and how often is the shell's decision (agent/core/schedule).  It receives nothing. */
#include "netlink/announce_if.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink/arp_frame.h"
#include "netlink/nd_frame.h"

struct announce_if {
	int fd;
};

int announce_if_new(struct announce_if **ret, struct err_info *err)
{
	AUTO(freep) struct announce_if *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "packet socket: out of memory");
	/* Protocol 0: the socket only sends, nothing is ever queued to it (packet(7)). */
	a->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (a->fd < 0) {
		r = -errno;
		return err_errno(err, r, "packet socket for announcements%s", r == -EPERM ? " (CAP_NET_RAW)" : "");
	}
	*ret = TAKE(a);
	return 0;
}

void announce_if_free(struct announce_if *a)
{
	if (!a)
		return;
	close_fdp(&a->fd);
	free(a);
}

static int send_frame(const struct announce_if *a, const struct link *link, const uint8_t *frame, size_t len)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = link->index, .sll_halen = LINK_MAC_LEN };

	/* The destination address and EtherType stand in the frame; the kernel wants the type for its own taps. */
	memcpy(to.sll_addr, frame, LINK_MAC_LEN);
	memcpy(&to.sll_protocol, frame + 12, sizeof(to.sll_protocol));
	if (sendto(a->fd, frame, len, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}

static int announce_v4(const struct announce_if *a, const struct link *link, const struct ip *vip)
{
	static const enum arp_op forms[] = { ARP_OP_REQUEST, ARP_OP_REPLY };
	uint8_t buf[ARP_FRAME_LEN];
	int result = 0;

	/* The second goes out although the first failed: either may be the one that a neighbour learns from. */
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		const struct arp_frame f = arp_announcement(forms[i], link->mac, vip);
		int r;

		arp_frame_build(&f, buf);
		r = send_frame(a, link, buf, sizeof(buf));
		if (result == 0)
			result = r;
	}
	return result;
}

static int announce_v6(const struct announce_if *a, const struct link *link, const struct ip *vip, bool router)
{
	struct nd_frame f = { .target = *vip, .router = router };
	uint8_t buf[ND_FRAME_LEN];

	memcpy(f.mac, link->mac, sizeof(f.mac));
	nd_frame_build(&f, buf);
	return send_frame(a, link, buf, sizeof(buf));
}

int announce_if_send(struct announce_if *a, const struct link *link, const struct ip *vip, bool router,
		     unsigned int *ret_frames, struct err_info *err)
{
	char text[IP_TEXT_MAX];
	int r;

	if (!link->ethernet)
		r = -EPFNOSUPPORT;
	else if (vip->family == IP_V4)
		r = announce_v4(a, link, vip);
	else
		r = announce_v6(a, link, vip, router);
	if (r == -EPFNOSUPPORT)
		return err_set(err, r, "announcing %s: %s is not an Ethernet interface", ip_format(vip, text), link->name);
	if (r < 0)
		return err_errno(err, r, "announcing %s on %s", ip_format(vip, text), link->name);
	*ret_frames = vip->family == IP_V4 ? 2 : 1;
	return 0;
}
