/* SPDX-License-Identifier: Apache-2.0 */
/* noip6.c: a library to preload, which shows a program a kernel without IPv6: there are no sockets of AF_INET6.
 *
 * LEASEHOLD_NO_FAMILIES names what nf_tables lacks besides ("ip6", "inet", both or neither): messages about one of them go out
 * with the number of a family that no kernel has, so the kernel itself refuses them, as it refuses what it was built without
 * (nft_supported_family() in net/netfilter/nf_tables_api.c).  What /proc/sys has not is the test's to hide. */
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NO_FAMILY 12 /* NFPROTO_DECNET, which nf_tables never had */

int socket(int domain, int type, int protocol)
{
	if (domain == AF_INET6) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	return (int)syscall(SYS_socket, domain, type, protocol);
}

static int is_netfilter(int fd)
{
	int domain = 0, protocol = -1;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_NETLINK)
		return 0;
	len = sizeof(protocol);
	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == NETLINK_NETFILTER;
}

static int is_missing(uint8_t family)
{
	const char *missing = getenv("LEASEHOLD_NO_FAMILIES");
	const char *name = family == NFPROTO_IPV6 ? "ip6" : family == NFPROTO_INET ? "inet" : NULL;

	return missing && name && strstr(missing, name) != NULL;
}

static void rename_families(unsigned char *data, size_t len)
{
	struct nlmsghdr h;
	struct nfgenmsg g;

	for (size_t at = 0; at + NLMSG_LENGTH(sizeof(g)) <= len; at += NLMSG_ALIGN(h.nlmsg_len)) {
		memcpy(&h, data + at, sizeof(h));
		memcpy(&g, data + at + NLMSG_HDRLEN, sizeof(g));
		if (h.nlmsg_len < NLMSG_HDRLEN)
			return;
		if (h.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES || !is_missing(g.nfgen_family))
			continue;
		g.nfgen_family = NO_FAMILY;
		memcpy(data + at + NLMSG_HDRLEN, &g, sizeof(g));
	}
}

ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	unsigned char *copy = is_netfilter(fd) ? malloc(len) : NULL;
	ssize_t n;
	int error;

	if (copy) {
		memcpy(copy, data, len);
		rename_families(copy, len);
	}
	n = syscall(SYS_sendto, fd, copy ? copy : data, len, flags, to, to_len);
	error = errno;
	free(copy);
	errno = error;
	return n;
}
