/* SPDX-License-Identifier: Apache-2.0 */
/* addr_if.c: puts VIPs on interfaces and takes them off.  addr_msg says what the messages look like; when to call
 * and how long a lifetime is, the shell decides.  Changes by others are link_watch's to see. */
#include "netlink/addr_if.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include "netlink/addr_msg.h"

#define DUMP_RESTARTS 10

/* ---- reading ---- */

struct dump {
	const struct addr_if_dump_ops *ops;
	void *ctx;
};

static int on_dumped(void *ctx, const struct nlmsghdr *nlh)
{
	const struct dump *d = ctx;
	struct addr_msg m;

	/* One that we cannot read (another family) is not ours. */
	if (addr_msg_parse(nlh, nlh->nlmsg_len, &m) == 0 && !m.gone)
		d->ops->each(d->ctx, &m.addr);
	return 0;
}

static int dump(struct nlsock *s, uint8_t family, int ifindex, struct dump *d, struct err_info *err)
{
	const struct nlsock_reader reader = { on_dumped, d };
	unsigned char buf[ADDR_MSG_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		d->ops->restart(d->ctx);
		r = nlsock_request(s, addr_msg_dump(buf, family, ifindex), &reader, err);
	}
	return r < 0 ? err_wrap(err, r, "reading addresses") : 0;
}

int addr_if_dump(struct nlsock *s, const struct addr_if_dump_ops *ops, void *ctx, struct err_info *err)
{
	struct dump d = { ops, ctx };

	return dump(s, AF_UNSPEC, 0, &d, err);
}

/* What an interface has of one address. */
struct found {
	int ifindex;
	const struct ip *ip;
	bool ours, others;
};

static void found_restart(void *ctx)
{
	struct found *f = ctx;

	f->ours = false;
	f->others = false;
}

static void found_each(void *ctx, const struct link_addr *a)
{
	struct found *f = ctx;

	if (a->index != f->ifindex || !ip_eq(&a->ip, f->ip))
		return;
	if (a->ours)
		f->ours = true;
	else
		f->others = true;
}

/* IPv4 cannot be asked for a single address. */
static int look(struct nlsock *s, struct found *f, struct err_info *err)
{
	static const struct addr_if_dump_ops ops = { found_restart, found_each };
	unsigned char buf[ADDR_MSG_MAX] __attribute__((aligned(16)));
	struct dump d = { &ops, f };
	const struct nlsock_reader reader = { on_dumped, &d };
	int r;

	if (f->ip->family == IP_V4)
		return dump(s, AF_INET, f->ifindex, &d, err);
	r = nlsock_request(s, addr_msg_get(buf, f->ifindex, f->ip), &reader, err);
	return r == -EADDRNOTAVAIL || r == -ENOENT ? 0 : r;
}

/* ---- changing ---- */

static int explain(struct err_info *err, int r, const char *verb, int ifindex, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	ip_format(ip, text);
	if (r == -EACCES && ip->family == IP_V6)
		return err_set(err, r, "%s %s on interface %d: IPv6 is off there (disable_ipv6)", verb, text, ifindex);
	return err_wrap(err, r, "%s %s on interface %d", verb, text, ifindex);
}

static int send_put(struct nlsock *s, int ifindex, const struct ip *ip, uint32_t valid_s, bool replace,
		    struct err_info *err)
{
	unsigned char buf[ADDR_MSG_MAX] __attribute__((aligned(16)));

	return nlsock_request(s, addr_msg_put(buf, ifindex, ip, valid_s, replace), NULL, err);
}

int addr_if_put(struct nlsock *s, int ifindex, const struct ip *ip, uint32_t valid_s, struct err_info *err)
{
	struct found f = { .ifindex = ifindex, .ip = ip };
	int r;

	assert(valid_s >= 1);
	r = look(s, &f, err);
	if (r == 0 && f.others)
		r = err_set(err, -EEXIST, "the interface has this address already, and not from Leasehold");
	/* Without a claim to replace, one that another adds in this very moment is not taken over. */
	if (r == 0)
		r = send_put(s, ifindex, ip, valid_s, f.ours, err);
	return r < 0 ? explain(err, r, "adding", ifindex, ip) : 0;
}

static int send_del(struct nlsock *s, int ifindex, const struct ip *ip, struct err_info *err)
{
	unsigned char buf[ADDR_MSG_MAX] __attribute__((aligned(16)));
	int r = nlsock_request(s, addr_msg_del(buf, ifindex, ip), NULL, err);

	return r == -EADDRNOTAVAIL || r == -ENODEV ? 0 : r; /* expired meanwhile; interface gone, and with it the address */
}

int addr_if_del(struct nlsock *s, int ifindex, const struct ip *ip, struct err_info *err)
{
	struct found f = { .ifindex = ifindex, .ip = ip };
	int r = look(s, &f, err);

	if (r == -ENODEV)
		return 0;
	if (r == 0 && f.ours)
		r = send_del(s, ifindex, ip, err);
	return r < 0 ? explain(err, r, "removing", ifindex, ip) : 0;
}

/* ---- several at once ---- */

struct changes {
	struct addr_if_change *v;
	size_t n;
	struct err_info *err; /* of the first that failed */
	int first;
};

static void changes_begin(void *ctx)
{
	struct changes *c = ctx;

	for (size_t i = 0; i < c->n; i++)
		c->v[i].result = 0;
	c->first = 0;
}

static void changes_refused(void *ctx, uint32_t message, int error, const char *text)
{
	static const char *const verbs[] = {
		[ADDR_IF_ADD] = "adding", [ADDR_IF_REFRESH] = "refreshing", [ADDR_IF_DROP] = "removing",
	};
	struct changes *c = ctx;
	struct addr_if_change *v = &c->v[message];

	if (v->verb == ADDR_IF_DROP && (error == -EADDRNOTAVAIL || error == -ENODEV))
		return; /* expired meanwhile; the interface is gone, and with it the address */
	v->result = error;
	if (c->first == 0 && !(v->verb == ADDR_IF_ADD && error == -EEXIST)) {
		IGNORE(*text ? err_errno(c->err, error, "%s", text) : err_errno(c->err, error, "the kernel refused")); /* kept: */
		c->first = explain(c->err, error, verbs[v->verb], v->ifindex, &v->ip);
	}
}

int addr_if_change(struct nlsock *s, struct addr_if_change *c, size_t n, uint32_t valid_s, struct err_info *err)
{
	unsigned char data[ADDR_IF_CHANGES_MAX * ADDR_MSG_MAX] __attribute__((aligned(16)));
	struct changes changes = { .v = c, .n = n, .err = err };
	const struct nlsock_refusals refusals = { changes_begin, changes_refused, &changes };
	size_t len = 0;
	int r;

	assert(valid_s >= 1 && n >= 1 && n <= ADDR_IF_CHANGES_MAX);
	for (size_t i = 0; i < n; i++) {
		const struct nlmsghdr *nlh = c[i].verb == ADDR_IF_DROP ?
			addr_msg_del(data + len, c[i].ifindex, &c[i].ip) :
			addr_msg_put(data + len, c[i].ifindex, &c[i].ip, valid_s, c[i].verb == ADDR_IF_REFRESH);

		len += NLMSG_ALIGN(nlh->nlmsg_len);
	}
	r = nlsock_several(s, data, len, &refusals, err);
	for (size_t i = 0; r < 0 && i < n; i++)
		c[i].result = r;
	return r < 0 ? err_wrap(err, r, "changing addresses") : changes.first;
}
