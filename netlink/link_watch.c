/* SPDX-License-Identifier: Apache-2.0 */
/* link_watch.c: follows links, addresses and default routes.  libnl sends and receives; reading the messages is
 * link_feed's, because libnl 3.7 knows neither the marks of our addresses nor what a link's master is.  It never changes
 * anything in the kernel, and what an interface is good for the shell decides. */
#include "netlink/link_watch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "agent/base/auto.h"
#include "agent/base/mono.h"
#include "netlink/link_feed.h"

#define DISPATCH_BUDGET 64 /* datagrams */
#define DISCARD_MAX 100000 /* more than RECEIVE_QUEUE holds */
#define DUMP_RESTARTS 10
#define DUMP_TIMEOUT_S 5
#define RETRY_S 1
#define WITHHOLD_MS 1000
#define RECEIVE_LEN ((size_t)32 * 1024)
#define RECEIVE_QUEUE (4 * 1024 * 1024)

struct link_watch {
	struct nl_sock *events;
	int epoll_fd, retry_fd;
	struct link_feed feed;
	struct link_table shown; /* a copy of what the feed had at the end of a dispatch */
	struct link_state state; /* borrows from 'shown' */
	bool stale_all;		 /* everything is to be read anew */
	bool withheld;		 /* a change that hardly matters was not told yet */
	mono_t withhold_until;
};

static int link_error(struct err_info *err, int nle, const char *what)
{
	int r = -EIO;

	if (nle == -NLE_DUMP_INTR)
		r = -EINTR;
	else if (nle == -NLE_AGAIN)
		r = -ETIMEDOUT;
	else if (nle == -NLE_NOMEM)
		r = -ENOBUFS;
	else if (nle == -NLE_PERM)
		r = -EPERM;
	return err_set(err, r, "%s: %s", what, nl_geterror(nle));
}

/* ---- messages ---- */

static int on_dumped(struct nl_msg *msg, void *arg)
{
	const struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct link_watch *w = arg;

	link_feed_dumped(&w->feed, nlh, nlh->nlmsg_len);
	return NL_OK;
}

static int on_notified(struct nl_msg *msg, void *arg)
{
	const struct nlmsghdr *nlh = nlmsg_hdr(msg);
	struct link_watch *w = arg;

	link_feed_notified(&w->feed, nlh, nlh->nlmsg_len);
	return NL_OK;
}

/* ---- reading all ---- */

static void free_sock(struct nl_sock **s)
{
	nl_socket_free(*s); /* NULL-safe; closes */
}

static int open_sock(struct nl_sock **ret, nl_recvmsg_msg_cb_t handler, void *arg, struct err_info *err)
{
	AUTO(free_sock) struct nl_sock *s = nl_socket_alloc();
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "rtnetlink socket: out of memory");
	r = nl_connect(s, NETLINK_ROUTE);
	if (r == 0)
		r = nl_socket_set_msg_buf_size(s, RECEIVE_LEN);
	if (r == 0)
		r = nl_socket_modify_cb(s, NL_CB_VALID, NL_CB_CUSTOM, handler, arg);
	if (r < 0)
		return link_error(err, r, "rtnetlink socket");
	*ret = TAKE(s);
	return 0;
}

static int dump(struct nl_sock *s, int type, const void *header, size_t len)
{
	char copy[64]; /* libnl takes it without const */
	int r;

	memcpy(copy, header, len);
	r = nl_send_simple(s, type, NLM_F_DUMP, copy, len);
	return r < 0 ? r : nl_recvmsgs_default(s);
}

static int dump_routes(struct link_watch *w, struct nl_sock *s)
{
	const struct rtmsg v4 = { .rtm_family = AF_INET, .rtm_table = RT_TABLE_MAIN };
	const struct rtmsg v6 = { .rtm_family = AF_INET6, .rtm_table = RT_TABLE_MAIN };
	int r;

	link_feed_restart_routes(&w->feed);
	r = dump(s, RTM_GETROUTE, &v4, sizeof(v4));
	return r < 0 ? r : dump(s, RTM_GETROUTE, &v6, sizeof(v6));
}

static int dump_all(struct link_watch *w, struct nl_sock *s)
{
	/* Without the counters, which are half of every link. */
	static const struct {
		struct ifinfomsg header;
		struct nlattr mask;
		uint32_t value;
	} links = {
		.header = { .ifi_family = AF_UNSPEC },
		.mask = { .nla_len = sizeof(links.mask) + sizeof(links.value), .nla_type = IFLA_EXT_MASK },
		.value = RTEXT_FILTER_SKIP_STATS,
	};
	static const struct ifaddrmsg addrs = { .ifa_family = AF_UNSPEC };
	int r;

	link_feed_restart(&w->feed);
	r = dump(s, RTM_GETLINK, &links, sizeof(links));
	if (r == 0)
		r = dump(s, RTM_GETADDR, &addrs, sizeof(addrs));
	return r < 0 ? r : dump_routes(w, s);
}

/* Reads what is stale, on a socket of its own: an error leaves nothing behind in it. */
static int refresh(struct link_watch *w, struct err_info *err)
{
	static const struct timeval timeout = { .tv_sec = DUMP_TIMEOUT_S };
	static const int on = 1;
	int r = -NLE_DUMP_INTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -NLE_DUMP_INTR; i++) {
		AUTO(free_sock) struct nl_sock *s = NULL;
		int opened = open_sock(&s, on_dumped, w, err);

		if (opened < 0)
			return opened;
		IGNORE(setsockopt(nl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)));
		/* So that only the main table's routes are sent; older kernels send all. */
		IGNORE(setsockopt(nl_socket_get_fd(s), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)));
		r = w->stale_all ? dump_all(w, s) : dump_routes(w, s);
	}
	if (r < 0)
		return link_error(err, r, "reading interfaces, addresses and routes");
	if (w->feed.out_of_memory)
		return err_set(err, -ENOMEM, "reading interfaces, addresses and routes: out of memory");
	w->stale_all = false;
	w->feed.stale_routes = false;
	return 0;
}

/* ---- following ---- */

/* Empties the queue unread.  After a loss this must come before reading all: what is still queued is older than
 * what was lost, and worked in afterwards an address would come back whose removal was among the lost. */
static int discard(const struct link_watch *w, struct err_info *err)
{
	char byte;

	for (int i = 0; i < DISCARD_MAX; i++)
		if (recv(nl_socket_get_fd(w->events), &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC) < 0 &&
		    errno == EAGAIN)
			return 0;
	return err_set(err, -EBUSY, "rtnetlink notifications come faster than they can be read");
}

static int drain(struct link_watch *w, struct err_info *err)
{
	for (int i = 0; i < DISPATCH_BUDGET && !w->stale_all; i++) {
		int r = nl_recvmsgs_default(w->events);

		if (r == -NLE_NOMEM || w->feed.out_of_memory) /* ENOBUFS, or no memory to work one in */
			w->stale_all = true;
		else if (r == -NLE_AGAIN)
			break;
		else if (r < 0 && r != -NLE_INTR)
			return link_error(err, r, "rtnetlink notifications");
	}
	return w->stale_all ? discard(w, err) : 0;
}

static void set_retry(struct link_watch *w, time_t in_s)
{
	const struct itimerspec t = { .it_value.tv_sec = in_s };

	IGNORE(timerfd_settime(w->retry_fd, 0, &t, NULL)); /* only fails for values that are wrong */
}

/* Containers that start and end by the dozen wake the caller once a second, whatever it does about it. */
static bool is_told(struct link_watch *w, bool changed)
{
	mono_t now = mono_now();

	w->withheld |= changed;
	if (w->withheld && !w->feed.matters && !mono_reached(now, w->withhold_until)) {
		set_retry(w, RETRY_S);
		return false;
	}
	changed = w->withheld;
	w->withheld = false;
	w->feed.matters = false;
	if (changed)
		w->withhold_until = mono_add_ms(now, WITHHOLD_MS);
	return changed;
}

static int publish(struct link_watch *w, bool *ret_changed)
{
	bool changed = false;
	int r = w->feed.changed ? link_table_copy(&w->shown, &w->feed.now, &changed) : 0;

	w->state = link_table_state(&w->shown); /* its arrays may have moved even on failure */
	if (r < 0)
		return r;
	w->feed.changed = false;
	*ret_changed = is_told(w, changed);
	return 0;
}

int link_watch_dispatch(struct link_watch *w, bool *ret_changed, struct err_info *err)
{
	int r;

	w->feed.out_of_memory = false;
	set_retry(w, 0);
	r = drain(w, err);
	if (r < 0)
		w->stale_all = true;
	w->feed.out_of_memory = false;
	if (r == 0 && (w->stale_all || w->feed.stale_routes))
		r = refresh(w, err);
	if (r == 0)
		r = publish(w, ret_changed);
	if (r == -ENOMEM)
		w->stale_all = true;
	if (r < 0)
		set_retry(w, RETRY_S);
	return r;
}

static int open_events(struct link_watch *w, struct err_info *err)
{
	static const int size = RECEIVE_QUEUE;
	int r = open_sock(&w->events, on_notified, w, err);

	if (r < 0)
		return r;
	nl_socket_disable_seq_check(w->events);
	IGNORE(setsockopt(nl_socket_get_fd(w->events), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)));
	r = nl_socket_set_nonblocking(w->events);
	if (r == 0)
		r = nl_socket_add_memberships(w->events, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
					      RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE, RTNLGRP_NONE);
	return r < 0 ? link_error(err, r, "rtnetlink notifications") : 0;
}

static int open_fds(struct link_watch *w, struct err_info *err)
{
	struct epoll_event ready = { .events = EPOLLIN };
	int r;

	w->retry_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->retry_fd >= 0 && w->epoll_fd >= 0 &&
	    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, w->retry_fd, &ready) == 0 &&
	    epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, nl_socket_get_fd(w->events), &ready) == 0)
		return 0;
	r = -errno;
	return err_errno(err, r, "watching interfaces");
}

static void link_watch_freep(struct link_watch **w)
{
	link_watch_free(*w);
}

int link_watch_new(struct link_watch **ret, struct err_info *err)
{
	AUTO(link_watch_freep) struct link_watch *w = calloc(1, sizeof(*w));
	bool changed;
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "watching interfaces: out of memory");
	w->epoll_fd = -1;
	w->retry_fd = -1;
	w->stale_all = true;
	r = open_events(w, err);
	if (r == 0)
		r = open_fds(w, err);
	if (r == 0)
		r = link_watch_dispatch(w, &changed, err);
	if (r < 0)
		return r;
	*ret = TAKE(w);
	return 0;
}

void link_watch_free(struct link_watch *w)
{
	if (!w)
		return;
	nl_socket_free(w->events);
	close_fdp(&w->epoll_fd);
	close_fdp(&w->retry_fd);
	link_feed_fini(&w->feed);
	link_table_fini(&w->shown);
	free(w);
}

int link_watch_fd(const struct link_watch *w)
{
	return w->epoll_fd;
}

const struct link_state *link_watch_state(const struct link_watch *w)
{
	return &w->state;
}
