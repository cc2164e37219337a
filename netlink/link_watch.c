/* SPDX-License-Identifier: Apache-2.0 */
/* link_watch.c: follows links, addresses and default routes.  libnl receives, and parses links and routes;
 * addresses are addr_msg's, because libnl 3.7 knows neither of our marks.  It never changes anything in the
 * kernel, and what an interface is good for the shell decides. */
#include "netlink/link_watch.h"

#include <errno.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <netlink/socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "netlink/addr_msg.h"
#include "netlink/link_table.h"

#define DISPATCH_BUDGET 64 /* datagrams */
#define DISCARD_MAX 100000 /* more than RECEIVE_QUEUE holds */
#define DUMP_RESTARTS 10
#define DUMP_TIMEOUT_S 5
#define RETRY_S 1
#define RECEIVE_LEN ((size_t)32 * 1024)
#define RECEIVE_QUEUE (4 * 1024 * 1024)

struct link_watch {
	struct nl_sock *events;
	int epoll_fd, retry_fd;
	struct link_table now; /* as the kernel says */
	struct link_table shown;
	struct link_state state;	/* borrows from 'shown' */
	bool stale_all, stale_routes;	/* to be read anew */
	bool out_of_memory;		/* in a callback */
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

static void put_link(struct nl_object *object, void *arg)
{
	struct rtnl_link *l = (void *)object;
	struct link_watch *w = arg;
	struct nl_addr *mac = rtnl_link_get_addr(l);
	const char *name = rtnl_link_get_name(l);
	unsigned int flags = rtnl_link_get_flags(l);
	struct link link = { .index = rtnl_link_get_ifindex(l) };

	if (!name || strlen(name) >= sizeof(link.name))
		return;
	memcpy(link.name, name, strlen(name));
	link.ethernet = rtnl_link_get_arptype(l) == ARPHRD_ETHER;
	link.up = flags & IFF_UP;
	link.carrier = flags & IFF_LOWER_UP;
	link.loopback = flags & IFF_LOOPBACK;
	if (link.ethernet && mac && nl_addr_get_len(mac) == LINK_MAC_LEN)
		memcpy(link.mac, nl_addr_get_binary_addr(mac), LINK_MAC_LEN);
	/* The kernel drops IPv4 routes of a link that goes down without a word. */
	switch (link_table_put_link(&w->now, &link)) {
	case LINK_TABLE_SAME:
		break;
	case LINK_TABLE_CHANGED:
		w->stale_routes = true;
		break;
	case LINK_TABLE_NO_MEMORY:
		w->out_of_memory = true;
		break;
	}
}

static void on_link(struct link_watch *w, struct nl_msg *msg)
{
	const struct nlmsghdr *nlh = nlmsg_hdr(msg);
	const struct ifinfomsg *ifi = nlmsg_data(nlh);

	/* AF_BRIDGE: about a port's place in its bridge; such a DELLINK is not the link's end. */
	if (nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*ifi)) || ifi->ifi_family != AF_UNSPEC)
		return;
	if (nlh->nlmsg_type == RTM_NEWLINK) {
		IGNORE(nl_msg_parse(msg, put_link, w)); /* one that libnl cannot read is none of ours */
	} else {
		link_table_del_link(&w->now, ifi->ifi_index);
		w->stale_routes = true;
	}
}

static void on_addr(struct link_watch *w, const struct nlmsghdr *nlh)
{
	struct addr_msg m;

	if (addr_msg_parse(nlh, nlh->nlmsg_len, &m) < 0)
		return;
	if (!m.gone && link_table_put_addr(&w->now, &m.addr) == LINK_TABLE_NO_MEMORY)
		w->out_of_memory = true;
	if (m.gone) {
		link_table_del_addr(&w->now, &m.addr);
		/* Routes that prefer it as source go silently too; none prefers a VIP. */
		if (!m.addr.ours)
			w->stale_routes = true;
	}
}

static bool is_default_route(const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = nlmsg_data(nlh);

	return nlh->nlmsg_len >= NLMSG_LENGTH(sizeof(*rtm)) && rtm->rtm_dst_len == 0 &&
	       rtm->rtm_table == RT_TABLE_MAIN && !(rtm->rtm_flags & RTM_F_CLONED);
}

static void on_route(struct link_watch *w, struct nlmsghdr *nlh)
{
	struct rtnl_route *route = NULL;
	struct rtnl_nexthop *hop;

	if (nlh->nlmsg_type != RTM_NEWROUTE || !is_default_route(nlh) || rtnl_route_parse(nlh, &route) < 0)
		return;
	/* Of several next hops the first counts: an interface is wanted, not a path. */
	hop = rtnl_route_nexthop_n(route, 0);
	if (hop && rtnl_route_get_type(route) == RTN_UNICAST && !(rtnl_route_nh_get_flags(hop) & RTNH_F_DEAD))
		link_table_put_default(&w->now, rtnl_route_get_family(route) == AF_INET ? IP_V4 : IP_V6,
				       rtnl_route_nh_get_ifindex(hop), rtnl_route_get_priority(route),
				       rtnl_route_get_protocol(route) == RTPROT_RA);
	rtnl_route_put(route);
}

static int on_dumped(struct nl_msg *msg, void *arg)
{
	struct link_watch *w = arg;
	struct nlmsghdr *nlh = nlmsg_hdr(msg);

	if (nlh->nlmsg_type == RTM_NEWLINK)
		on_link(w, msg);
	else if (nlh->nlmsg_type == RTM_NEWADDR)
		on_addr(w, nlh);
	else if (nlh->nlmsg_type == RTM_NEWROUTE)
		on_route(w, nlh);
	return NL_OK;
}

static int on_notified(struct nl_msg *msg, void *arg)
{
	struct link_watch *w = arg;
	const struct nlmsghdr *nlh = nlmsg_hdr(msg);

	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		on_link(w, msg);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		on_addr(w, nlh);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		/* A replacement is not told apart from an addition: read them all, it is rare. */
		if (is_default_route(nlh))
			w->stale_routes = true;
		break;
	default:
		break;
	}
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
	char copy[sizeof(struct rtmsg) + sizeof(struct ifinfomsg)]; /* libnl takes it without const */
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

	link_table_reset_defaults(&w->now);
	r = dump(s, RTM_GETROUTE, &v4, sizeof(v4));
	return r < 0 ? r : dump(s, RTM_GETROUTE, &v6, sizeof(v6));
}

static int dump_all(struct link_watch *w, struct nl_sock *s)
{
	const struct ifinfomsg links = { .ifi_family = AF_UNSPEC };
	const struct ifaddrmsg addrs = { .ifa_family = AF_UNSPEC };
	int r;

	link_table_reset(&w->now);
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
	if (w->out_of_memory)
		return err_set(err, -ENOMEM, "reading interfaces, addresses and routes: out of memory");
	w->stale_all = false;
	w->stale_routes = false;
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

		if (r == -NLE_NOMEM || w->out_of_memory) /* ENOBUFS, or no memory to work one in */
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

static int publish(struct link_watch *w, bool *ret_changed)
{
	bool changed;
	int r = link_table_copy(&w->shown, &w->now, &changed);

	w->state = link_table_state(&w->shown); /* its arrays may have moved even on failure */
	if (r == 0)
		*ret_changed = changed;
	return r;
}

int link_watch_dispatch(struct link_watch *w, bool *ret_changed, struct err_info *err)
{
	int r;

	w->out_of_memory = false;
	set_retry(w, 0);
	r = drain(w, err);
	if (r < 0)
		w->stale_all = true;
	w->out_of_memory = false;
	if (r == 0 && (w->stale_all || w->stale_routes))
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
	link_table_fini(&w->now);
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
