/* SPDX-License-Identifier: Apache-2.0 */
/* announce_if.c: sends ARP and NA announcements out of an interface.  The frames are built by arp_frame and
 * nd_frame, rawsock sends them; when and how often is the shell's decision (agent/core/schedule).  It receives
 * nothing. */
#include "netlink/announce_if.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "netlink/arp_frame.h"
#include "netlink/nd_frame.h"
#include "netlink/rawsock.h"

struct announce_if {
	int fd;
	int bypass_fd; /* passes by the qdisc layer */
};

/* Where and how one round goes out. */
struct round {
	int fd;
	const struct link *link;
	const struct ip *vip;
	bool router;
};

int announce_if_new(struct announce_if **ret, struct err_info *err)
{
	static const int on = 1;
	struct announce_if *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "packet socket: out of memory");
	a->fd = -1;
	a->bypass_fd = -1;
	r = rawsock_open("for announcements", &a->fd, err);
	if (r == 0)
		r = rawsock_open("for announcements", &a->bypass_fd, err);
	if (r == 0 && setsockopt(a->bypass_fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)) < 0) {
		r = -errno;
		r = err_errno(err, r, "packet socket for announcements: PACKET_QDISC_BYPASS");
	}
	if (r < 0) {
		announce_if_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

void announce_if_free(struct announce_if *a)
{
	if (!a)
		return;
	close_fdp(&a->fd);
	close_fdp(&a->bypass_fd);
	free(a);
}

static int announce_v4(const struct round *o)
{
	static const enum arp_op forms[] = { ARP_OP_REQUEST, ARP_OP_REPLY };
	uint8_t buf[ARP_FRAME_LEN];
	int result = 0;

	/* The second goes out although the first failed: either may be the one that a neighbour learns from. */
	for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
		const struct arp_frame f = arp_announcement(forms[i], o->link->mac, o->vip);
		int r;

		arp_frame_build(&f, buf);
		r = rawsock_send(o->fd, o->link, buf, sizeof(buf));
		if (result == 0)
			result = r;
	}
	return result;
}

static int announce_v6(const struct round *o)
{
	struct nd_frame f = { .target = *o->vip, .router = o->router };
	uint8_t buf[ND_FRAME_LEN];

	memcpy(f.mac, o->link->mac, sizeof(f.mac));
	nd_frame_build(&f, buf);
	return rawsock_send(o->fd, o->link, buf, sizeof(buf));
}

int announce_if_send(struct announce_if *a, const struct link *link, const struct ip *vip, unsigned int flags,
		     unsigned int *ret_frames, struct err_info *err)
{
	const struct round o = { .fd = flags & ANNOUNCE_PAST_GATE ? a->bypass_fd : a->fd, .link = link, .vip = vip,
				 .router = flags & ANNOUNCE_ROUTER };
	char text[IP_TEXT_MAX];
	int r;

	if (!link->ethernet)
		r = -EPFNOSUPPORT;
	else if (vip->family == IP_V4)
		r = announce_v4(&o);
	else
		r = announce_v6(&o);
	if (r == -EPFNOSUPPORT)
		return err_set(err, r, "announcing %s: %s is not an Ethernet interface", ip_format(vip, text), link->name);
	if (r < 0)
		return err_errno(err, r, "announcing %s on %s", ip_format(vip, text), link->name);
	*ret_frames = vip->family == IP_V4 ? 2 : 1;
	return 0;
}
