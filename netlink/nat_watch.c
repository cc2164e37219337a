/* SPDX-License-Identifier: Apache-2.0 */
/* nat_watch.c: the socket that hears of the rules' changes, and its filter.  nat_event tells which are about us.
 *
 * The kernel puts the messages of a transaction into datagrams of their own, each message with the sender's port, so the
 * first message of a datagram stands for all (nft_commit_notify()).  Elements that rules add and those that expire are not
 * told of. */
#include "netlink/nat_watch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "netlink/attr_walk.h"
#include "netlink/nat_event.h"

#define DATAGRAM_MAX ((size_t)16 * 1024) /* the kernel's are of a page or two (NLMSG_GOODSIZE) */
#define DATAGRAMS_MAX 256		 /* in one call; the rest stays readable */

struct nat_watch {
	struct mnl_socket *mnl;
	unsigned char datagram[DATAGRAM_MAX] __attribute__((aligned(16)));
};

/* Drops what these ports have sent: else our own hundreds of thousands of elements would have to be received. */
static int set_filter(int fd, const uint32_t *ports, unsigned int n)
{
	struct sock_filter code[NAT_WATCH_PORTS_MAX + 3];
	struct sock_fprog program = { .filter = code };
	unsigned int at = 0;

	code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid));
	for (unsigned int i = 0; i < n; i++) /* loads are in network order; to the last instruction when equal */
		code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(ports[i]), (uint8_t)(n - i), 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
	program.len = (unsigned short)at;
	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

static int open_watch(struct nat_watch *w, const uint32_t *ports, unsigned int n)
{
	int group = NFNLGRP_NFTABLES, r;

	if (n > NAT_WATCH_PORTS_MAX)
		return -EINVAL;
	w->mnl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!w->mnl || mnl_socket_bind(w->mnl, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	r = set_filter(nat_watch_fd(w), ports, n);
	if (r == 0 && mnl_socket_setsockopt(w->mnl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0)
		r = -errno;
	return r;
}

int nat_watch_new(const uint32_t *ports, unsigned int n, struct nat_watch **ret, struct err_info *err)
{
	struct nat_watch *w = calloc(1, sizeof(*w));
	int r = w ? open_watch(w, ports, n) : -ENOMEM;

	if (r < 0) {
		nat_watch_free(w);
		return err_errno(err, r, "watch over nf_tables");
	}
	*ret = w;
	return 0;
}

void nat_watch_free(struct nat_watch *w)
{
	if (!w)
		return;
	if (w->mnl)
		IGNORE(mnl_socket_close(w->mnl)); /* nothing can be done about a failed close */
	free(w);
}

int nat_watch_fd(const struct nat_watch *w)
{
	return mnl_socket_get_fd(w->mnl);
}

static bool has_ours(const struct nat_watch *w, size_t left)
{
	const unsigned char *at = w->datagram;
	const struct nlmsghdr *nlh;

	while ((nlh = attr_message(at, left)) != NULL) {
		size_t step = NLMSG_ALIGN((size_t)nlh->nlmsg_len);

		if (nat_event_is_ours(nlh, nlh->nlmsg_len))
			return true;
		if (step > left)
			step = left;
		at += step;
		left -= step;
	}
	return false;
}

/* 0: nothing more is there. */
static ssize_t receive(struct nat_watch *w)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec io = { w->datagram, sizeof(w->datagram) };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io, .msg_iovlen = 1 };
		ssize_t n = recvmsg(nat_watch_fd(w), &m, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0 || from.nl_pid != 0) /* another process's: not for us */
			continue;
		return m.msg_flags & MSG_TRUNC ? -ENOBUFS : n;
	}
}

int nat_watch_dispatch(struct nat_watch *w, bool *ret_changed, struct err_info *err)
{
	bool changed = false;
	ssize_t n = 0;

	for (unsigned int i = 0; i < DATAGRAMS_MAX; i++) {
		n = receive(w);
		if (n > 0)
			changed = changed || has_ours(w, (size_t)n);
		else if (n == -ENOBUFS)
			changed = true;
		else
			break;
	}
	*ret_changed = changed;
	return n < 0 && n != -ENOBUFS ? err_errno(err, (int)n, "watch over nf_tables") : 0;
}
