/* SPDX-License-Identifier: Apache-2.0 */
/* wire_if.c: two packet sockets, one for ARP and one for IPv6, on all interfaces.  The kernel filters
 * (wire_filter); arp_frame and nd_frame read what passes.  It keeps no record of who claimed what and reacts to nothing: the shell
 * does.
 *
 * Sockets of one protocol are served behind tc ingress, VLAN, bridge, bond and macvlan (__netif_receive_skb_core(),
 * net/core/dev.c), so a frame is heard once, on the device whose IP stack gets it; and never on its way out
 * (dev_queue_xmit_nit() knows sockets for all protocols only). */
#include "netlink/wire_if.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "netlink/arp_frame.h"
#include "netlink/nd_frame.h"
#include "netlink/rawsock.h"
#include "netlink/wire_filter.h"

#define BATCH 16
#define FRAME_MAX WIRE_FILTER_FRAME

_Static_assert(WIRE_BUDGET % BATCH == 0, "whole batches");

struct wire_if {
	int arp_fd, nd_fd;
	int epoll_fd;
	struct ip *vips; /* malloc, sorted */
	size_t n_vips;
	struct ip *held; /* likewise */
	size_t n_held;
	uint8_t (*macs)[LINK_MAC_LEN]; /* malloc, sorted */
	size_t n_macs;
	uint8_t frames[BATCH][FRAME_MAX];
};

/* ---- life ---- */

static int watch_fd(int epoll_fd, int fd)
{
	struct epoll_event e = { .events = EPOLLIN };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

int wire_if_new(struct wire_if **ret, struct err_info *err)
{
	struct wire_if *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return err_set(err, -ENOMEM, "packet socket: out of memory");
	w->arp_fd = -1;
	w->nd_fd = -1;
	w->epoll_fd = -1;
	r = rawsock_open("for listening", &w->arp_fd, err);
	if (r == 0)
		r = rawsock_open("for listening", &w->nd_fd, err);
	if (r == 0) {
		w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		r = w->epoll_fd < 0 ? -errno : watch_fd(w->epoll_fd, w->arp_fd);
		if (r == 0)
			r = watch_fd(w->epoll_fd, w->nd_fd);
		if (r < 0)
			r = err_errno(err, r, "packet socket for listening: epoll");
	}
	if (r < 0) {
		wire_if_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void wire_if_free(struct wire_if *w)
{
	if (!w)
		return;
	close_fdp(&w->epoll_fd);
	close_fdp(&w->arp_fd);
	close_fdp(&w->nd_fd);
	free(w->vips);
	free(w->held);
	free(w->macs);
	free(w);
}

int wire_if_fd(const struct wire_if *w)
{
	return w->epoll_fd;
}

/* ---- what the kernel lets through ---- */

typedef void filter_fn(const struct wire_set *vips, const struct wire_set *held, size_t room, struct wire_filter *ret);

/* Where the kernel has no room for the program beside the one it replaces (net.core.optmem_max), a coarser one does, too. */
static int set_filter(int fd, filter_fn *build, const struct wire_set *vips, const struct wire_set *held,
		      struct wire_filter *f)
{
	int r = -ENOMEM;

	for (size_t room = WIRE_FILTER_ROOM; room > 0 && r == -ENOMEM; room /= 2) {
		struct sock_fprog program = { .filter = f->code };

		build(vips, held, room, f);
		program.len = f->n;
		r = setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
	}
	return r;
}

/* From now on the kernel queues frames of that protocol; again is no change. */
static int receive_from_now(int fd, uint16_t protocol)
{
	const struct sockaddr_ll all = { .sll_family = AF_PACKET, .sll_protocol = htobe16(protocol) };

	return bind(fd, (const struct sockaddr *)&all, sizeof(all)) < 0 ? -errno : 0;
}

static size_t count_v4(const struct ip *vips, size_t n)
{
	size_t n_v4 = 0;

	while (n_v4 < n && vips[n_v4].family == IP_V4)
		n_v4++;
	return n_v4;
}

/* A socket for whose family there was never a VIP costs nothing: it is not bound. */
static int apply_filters(const struct wire_if *w, const struct wire_set *vips, const struct wire_set *held)
{
	size_t n_v4 = count_v4(vips->v, vips->n), held_v4 = count_v4(held->v, held->n);
	struct wire_filter *f = malloc(sizeof(*f));
	int r;

	if (!f)
		return -ENOMEM;
	r = set_filter(w->arp_fd, wire_filter_arp, &(struct wire_set){ vips->v, n_v4 },
		       &(struct wire_set){ held->v, held_v4 }, f);
	if (r == 0 && n_v4 > 0)
		r = receive_from_now(w->arp_fd, ETH_P_ARP);
	if (r == 0)
		r = set_filter(w->nd_fd, wire_filter_nd, &(struct wire_set){ vips->v + n_v4, vips->n - n_v4 },
			       &(struct wire_set){ held->v + held_v4, held->n - held_v4 }, f);
	if (r == 0 && n_v4 < vips->n)
		r = receive_from_now(w->nd_fd, ETH_P_IPV6);
	free(f);
	return r;
}

/* ---- VIPs and links ---- */

static int compare_macs(const void *a, const void *b)
{
	return memcmp(a, b, LINK_MAC_LEN);
}

static struct ip *copy_ips(const struct ip *ips, size_t n)
{
	struct ip *copy = malloc((n + 1) * sizeof(*copy)); /* never of no bytes */

	for (size_t i = 0; copy && i < n; i++) {
		assert(i == 0 || ip_cmp(&ips[i - 1], &ips[i]) <= 0);
		copy[i] = ips[i];
	}
	return copy;
}

int wire_if_vips(struct wire_if *w, const struct ip *vips, size_t n)
{
	const struct wire_set held = { w->held, w->n_held };
	struct ip *copy = copy_ips(vips, n);
	int r = copy ? apply_filters(w, &(struct wire_set){ copy, n }, &held) : -ENOMEM;

	if (r < 0) {
		free(copy);
		return r;
	}
	free(w->vips);
	w->vips = copy;
	w->n_vips = n;
	return 0;
}

int wire_if_held(struct wire_if *w, const struct ip *held, size_t n)
{
	const struct wire_set vips = { w->vips, w->n_vips };
	struct ip *copy = copy_ips(held, n);
	int r = copy ? apply_filters(w, &vips, &(struct wire_set){ copy, n }) : -ENOMEM;

	if (r < 0) {
		free(copy);
		return r;
	}
	free(w->held);
	w->held = copy;
	w->n_held = n;
	return 0;
}

int wire_if_links(struct wire_if *w, const struct link *links, size_t n)
{
	uint8_t(*copy)[LINK_MAC_LEN] = malloc((n + 1) * sizeof(*copy));
	size_t n_macs = 0;

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		if (links[i].ethernet)
			memcpy(copy[n_macs++], links[i].mac, LINK_MAC_LEN);
	qsort(copy, n_macs, sizeof(*copy), compare_macs);
	free(w->macs);
	w->macs = copy;
	w->n_macs = n_macs;
	return 0;
}

static bool is_own(const struct wire_if *w, const uint8_t *mac)
{
	return w->n_macs > 0 && bsearch(mac, w->macs, w->n_macs, sizeof(*w->macs), compare_macs);
}

/* ---- hearing ---- */

struct listener {
	void (*claim)(void *ctx, const struct wire_claim *c);
	void *ctx;
};

static int read_arp(const uint8_t *frame, size_t len, struct wire_claim *c)
{
	static const struct ip nobody = { .family = IP_V4 };
	struct arp_frame f;
	int r = arp_frame_parse(frame, len, &f);

	if (r < 0)
		return r;
	memcpy(c->mac, f.sender_mac, LINK_MAC_LEN);
	c->vip = f.sender_ip;
	if (ip_eq(&f.sender_ip, &nobody)) {
		c->vip = f.target_ip;
		c->form = WIRE_PROBE;
		return f.op == ARP_OP_REQUEST ? 0 : -EBADMSG;
	}
	if (ip_eq(&f.sender_ip, &f.target_ip))
		c->form = f.op == ARP_OP_REQUEST ? WIRE_REQUEST : WIRE_REPLY;
	else
		c->form = f.op == ARP_OP_REQUEST ? WIRE_USE : WIRE_ANSWER;
	return 0;
}

static int read_nd(const uint8_t *frame, size_t len, struct wire_claim *c)
{
	struct nd_claim f;
	int r = nd_claim_parse(frame, len, &f);

	c->form = r == 0 && f.solicited ? WIRE_ANSWER : WIRE_ADVERT;
	if (r < 0) {
		c->form = WIRE_PROBE;
		r = nd_probe_parse(frame, len, &f);
	}
	if (r < 0)
		return r;
	c->vip = f.target;
	memcpy(c->mac, f.mac, LINK_MAC_LEN);
	return 0;
}

static void take_frame(const struct wire_if *w, const struct sockaddr_ll *from, const uint8_t *frame, size_t len,
		       const struct listener *l)
{
	struct wire_claim c = { .ifindex = from->sll_ifindex, .reply = from->sll_pkttype == PACKET_HOST };
	int r = from->sll_protocol == htobe16(ETH_P_ARP) ? read_arp(frame, len, &c) : read_nd(frame, len, &c);
	bool probe = r == 0 && c.form == WIRE_PROBE;

	/* The filter may let through more, and frames that were queued before the VIPs changed are still there. */
	if (r < 0 || !ip_listed(probe ? w->held : w->vips, probe ? w->n_held : w->n_vips, &c.vip) ||
	    is_own(w, from->sll_addr) || is_own(w, c.mac))
		return;
	l->claim(l->ctx, &c);
}

/* Up to BATCH frames in one call; *ret_n = how many there were. */
static int read_batch(struct wire_if *w, int fd, const struct listener *l, size_t *ret_n)
{
	struct sockaddr_ll from[BATCH] = { 0 };
	struct mmsghdr m[BATCH] = { 0 };
	struct iovec io[BATCH];
	int n;

	for (size_t i = 0; i < BATCH; i++) {
		io[i] = (struct iovec){ w->frames[i], FRAME_MAX };
		m[i].msg_hdr = (struct msghdr){ .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &io[i],
						.msg_iovlen = 1 };
	}
	n = recvmmsg(fd, m, BATCH, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	*ret_n = n < 0 ? 0 : (size_t)n;
	for (size_t i = 0; i < *ret_n; i++)
		take_frame(w, &from[i], w->frames[i], m[i].msg_len, l);
	return 0;
}

static int read_socket(struct wire_if *w, int fd, const struct listener *l)
{
	size_t n = BATCH;
	int r = 0;

	for (size_t read = 0; read < WIRE_BUDGET && n == BATCH && r == 0; read += n)
		r = read_batch(w, fd, l, &n);
	return r;
}

int wire_if_dispatch(struct wire_if *w, void (*claim)(void *ctx, const struct wire_claim *c), void *ctx,
		     struct err_info *err)
{
	const struct listener l = { claim, ctx };
	int r = read_socket(w, w->arp_fd, &l);

	if (r < 0)
		return err_errno(err, r, "listening for ARP");
	r = read_socket(w, w->nd_fd, &l);
	return r < 0 ? err_errno(err, r, "listening for neighbour discovery") : 0;
}

/* ---- asking ---- */

static int probe_v4(const struct wire_if *w, const struct link *link, const struct ip *vip)
{
	const struct arp_frame f = arp_probe(link->mac, vip);
	uint8_t buf[ARP_FRAME_LEN];

	arp_frame_build(&f, buf);
	return rawsock_send(w->arp_fd, link, buf, sizeof(buf));
}

static int probe_v6(const struct wire_if *w, const struct link *link, const struct ip *own, const struct ip *vip)
{
	uint8_t buf[ND_FRAME_LEN];
	size_t len = nd_solicitation_build(link->mac, own, vip, buf);

	return rawsock_send(w->nd_fd, link, buf, len);
}

int wire_if_probe(struct wire_if *w, const struct link *link, const struct ip *own, const struct ip *vip,
		  struct err_info *err)
{
	char text[IP_TEXT_MAX];
	int r;

	if (!link->ethernet)
		return err_set(err, -EPFNOSUPPORT, "probing %s: %s is not an Ethernet interface", ip_format(vip, text),
			       link->name);
	r = vip->family == IP_V4 ? probe_v4(w, link, vip) : probe_v6(w, link, own, vip);
	return r < 0 ? err_errno(err, r, "probing %s on %s", ip_format(vip, text), link->name) : 0;
}
