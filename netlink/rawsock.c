/* SPDX-License-Identifier: Apache-2.0 */
/* rawsock.c: opens packet sockets and sends frames on them.  What stands in the frames is arp_frame's and nd_frame's
 * business; receiving is wire_if's. */
#include "netlink/rawsock.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>

#define AT_TYPE 12 /* of the EtherType, behind both addresses */

int rawsock_open(const char *purpose, int *ret_fd, struct err_info *err)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0) {
		int r = -errno;

		return err_errno(err, r, "packet socket %s%s", purpose, r == -EPERM ? " (CAP_NET_RAW)" : "");
	}
	*ret_fd = fd;
	return 0;
}

int rawsock_send(int fd, const struct link *link, const uint8_t *frame, size_t len)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = link->index, .sll_halen = LINK_MAC_LEN };

	/* The destination address and EtherType stand in the frame; the kernel wants the type for its own taps. */
	memcpy(to.sll_addr, frame, LINK_MAC_LEN);
	memcpy(&to.sll_protocol, frame + AT_TYPE, sizeof(to.sll_protocol));
	if (sendto(fd, frame, len, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}
