/* SPDX-License-Identifier: Apache-2.0 */
/* gate_watch.c: listens for changes of qdiscs and filters by anybody, ours included (RTNLGRP_TC).  It says where, not
 * what: whether the gate still stands first, gate_if_attach() reads back.  Programs attached by TCX are not told of. */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "netlink/attr_walk.h"
#include "netlink/filter_msg.h"
#include "netlink/gate_if.h"

#define DATAGRAM_MAX ((size_t)16 * 1024) /* the kernel's are of a page or two (NLMSG_GOODSIZE) */
#define DATAGRAMS_MAX 256		 /* in one call; the rest stays readable */
#define NAMED_MAX 64			 /* interfaces in one call; more count as all */

struct gate_watch {
	struct mnl_socket *mnl;
	int named[NAMED_MAX];
	size_t n_named;
	bool all;
	unsigned char datagram[DATAGRAM_MAX] __attribute__((aligned(16)));
};

int gate_watch_new(struct gate_watch **ret, struct err_info *err)
{
	struct gate_watch *w = calloc(1, sizeof(*w));
	int group = RTNLGRP_TC, r;

	if (!w)
		return err_set(err, -ENOMEM, "watch over filters: out of memory");
	w->mnl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!w->mnl || mnl_socket_bind(w->mnl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(w->mnl, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0) {
		r = -errno;
		gate_watch_free(w);
		return err_errno(err, r, "watch over filters");
	}
	*ret = w;
	return 0;
}

void gate_watch_free(struct gate_watch *w)
{
	if (!w)
		return;
	if (w->mnl)
		IGNORE(mnl_socket_close(w->mnl)); /* nothing can be done about a failed close */
	free(w);
}

int gate_watch_fd(const struct gate_watch *w)
{
	return mnl_socket_get_fd(w->mnl);
}

static void name(struct gate_watch *w, int ifindex)
{
	for (size_t i = 0; i < w->n_named; i++)
		if (w->named[i] == ifindex)
			return;
	if (ifindex == 0 || w->n_named == NAMED_MAX)
		w->all = true;
	else
		w->named[w->n_named++] = ifindex;
}

static void read_datagram(struct gate_watch *w, size_t left)
{
	const unsigned char *at = w->datagram;
	const struct nlmsghdr *nlh;
	struct filter_msg m;

	while ((nlh = attr_message(at, left)) != NULL) {
		size_t step = NLMSG_ALIGN((size_t)nlh->nlmsg_len);

		switch (nlh->nlmsg_type) {
		case RTM_NEWQDISC:
		case RTM_DELQDISC:
		case RTM_NEWTFILTER:
		case RTM_DELTFILTER:
			name(w, filter_msg_parse(nlh, nlh->nlmsg_len, &m) < 0 ? 0 : m.ifindex);
			break;
		default: /* classes, actions, chains: a filter that goes with its chain is told of by itself */
			break;
		}
		if (step > left)
			step = left;
		at += step;
		left -= step;
	}
}

/* 0: nothing more is there. */
static ssize_t receive(struct gate_watch *w)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec io = { w->datagram, sizeof(w->datagram) };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io, .msg_iovlen = 1 };
		ssize_t n = recvmsg(gate_watch_fd(w), &m, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n == 0 || from.nl_pid != 0) /* another process's: not for us */
			continue;
		return m.msg_flags & MSG_TRUNC ? -ENOBUFS : n;
	}
}

int gate_watch_dispatch(struct gate_watch *w, void (*changed)(void *ctx, int ifindex), void *ctx, struct err_info *err)
{
	ssize_t n = 0;

	w->n_named = 0;
	w->all = false;
	for (unsigned int i = 0; i < DATAGRAMS_MAX; i++) {
		n = receive(w);
		if (n > 0)
			read_datagram(w, (size_t)n);
		else if (n == -ENOBUFS)
			w->all = true;
		else
			break;
	}
	if (w->all)
		changed(ctx, 0);
	else
		for (size_t i = 0; i < w->n_named; i++)
			changed(ctx, w->named[i]);
	return n < 0 && n != -ENOBUFS ? err_errno(err, (int)n, "watch over filters") : 0;
}
