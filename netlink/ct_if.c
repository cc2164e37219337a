/* SPDX-License-Identifier: Apache-2.0 */
/* ct_if.c: dumps conntrack's table and deletes what matches.  When to do that is the shell's affair.
 *
 * Not deleted by a filter in the kernel: CTA_FILTER with a tuple is heeded when deleting only since Linux 6.10
 * (net/netfilter/nf_conntrack_netlink.c, ctnetlink_del_conntrack()), libnetfilter_conntrack 1.0.9 cannot build it, it
 * takes one address a pass over the table, and it cannot tell what is masqueraded. */
#include "netlink/ct_if.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/nlsock.h"

#define DUMP_RESTARTS 5
#define REQUEST_MAX 512 /* an original tuple and a zone take some 120 bytes */

/* Which parts of the original tuple a dump is limited to (kernel: net/netfilter/nf_internals.h, no part of its uapi). */
#define FILTER_DESTINATION (1u << 1)
#define FILTER_PROTO (1u << 3)
#define FILTER_DESTINATION_PORT (1u << 5)

/* What of an entry is looked at, in one family. */
struct attrs {
	uint8_t family; /* enum ip_family */
	uint8_t nfproto;
	enum nf_conntrack_attr source, destination, answered_by, answered_to;
};

static const struct attrs families[] = {
	{ IP_V4, AF_INET, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV4_DST },
	{ IP_V6, AF_INET6, ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST, ATTR_REPL_IPV6_SRC, ATTR_REPL_IPV6_DST },
};

/* Deletes by VIPs, or by backends that have gone. */
struct flush {
	const struct ip *vips;
	size_t n;
	const struct ct_gone *gone; /* sorted */
	size_t n_gone;
	struct nlsock *dump, *del;
	size_t deleted;
	struct err_info *err;
};

static void flush_fini(struct flush *f)
{
	nlsock_free(f->dump);
	nlsock_free(f->del);
}

static void free_entry(struct nf_conntrack **ct)
{
	if (*ct)
		nfct_destroy(*ct);
}

static bool address(const struct nf_conntrack *ct, uint8_t family, enum nf_conntrack_attr attr, struct ip *ret)
{
	const void *data = nfct_attr_is_set(ct, attr) > 0 ? nfct_get_attr(ct, attr) : NULL;

	if (!data)
		return false;
	*ret = (struct ip){ .family = family };
	memcpy(ret->b, data, ip_len(ret));
	return true;
}

static bool is_of_vip(const struct flush *f, const struct nf_conntrack *ct, const struct attrs *a)
{
	struct ip source, vip, answered_to;

	if (address(ct, a->family, a->source, &source) && ip_listed(f->vips, f->n, &source))
		return true;
	if (!address(ct, a->family, a->destination, &vip) || !ip_listed(f->vips, f->n, &vip))
		return false;
	if (!(nfct_get_attr_u32(ct, ATTR_STATUS) & IPS_DST_NAT))
		return true;
	return !address(ct, a->family, a->answered_to, &answered_to) || ip_eq(&vip, &answered_to);
}

static int gone_order(const void *a, const void *b)
{
	const struct ct_gone *x = a, *y = b;
	int c = ip_cmp(&x->vip, &y->vip);

	if (c == 0)
		c = (x->proto > y->proto) - (x->proto < y->proto);
	if (c == 0)
		c = (x->port > y->port) - (x->port < y->port);
	return c ? c : ip_port_cmp(&x->backend, &y->backend);
}

static bool is_of_gone(const struct flush *f, const struct nf_conntrack *ct, const struct attrs *a)
{
	struct ct_gone key = { .proto = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO) };

	if (!address(ct, a->family, a->destination, &key.vip) || !address(ct, a->family, a->answered_by, &key.backend.ip) ||
	    nfct_attr_is_set(ct, ATTR_ORIG_PORT_DST) <= 0 || nfct_attr_is_set(ct, ATTR_REPL_PORT_SRC) <= 0)
		return false;
	key.port = ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST));
	key.backend.port = ntohs(nfct_get_attr_u16(ct, ATTR_REPL_PORT_SRC));
	return bsearch(&key, f->gone, f->n_gone, sizeof(key), gone_order) != NULL;
}

static bool matches(const struct flush *f, const struct nf_conntrack *ct, const struct attrs *a)
{
	return f->n_gone > 0 ? is_of_gone(f, ct, a) : is_of_vip(f, ct, a);
}

static struct nlmsghdr *request(unsigned char *buf, uint16_t type, uint16_t flags, uint8_t nfproto)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, REQUEST_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nfg->nfgen_family = nfproto;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

static int delete_entry(struct flush *f, const struct nf_conntrack *ct, uint8_t nfproto)
{
	unsigned char buf[REQUEST_MAX] __attribute__((aligned(16)));
	AUTO(free_entry) struct nf_conntrack *key = nfct_new();
	struct err_info err = ERR_INFO_INIT;
	struct nlmsghdr *nlh;
	int r;

	if (!key)
		return err_set(f->err, -ENOMEM, "out of memory");
	nfct_copy(key, ct, NFCT_CP_ORIG);
	if (nfct_attr_is_set(ct, ATTR_ZONE) > 0)
		nfct_set_attr_u16(key, ATTR_ZONE, nfct_get_attr_u16(ct, ATTR_ZONE));
	nlh = request(buf, IPCTNL_MSG_CT_DELETE, 0, nfproto);
	if (nfct_nlmsg_build(nlh, key) < 0)
		return err_set(f->err, -EBADMSG, "an entry's tuple cannot be written");
	r = nlsock_request(f->del, nlh, NULL, &err);
	if (r == -ENOENT) /* ended by itself meanwhile */
		return 0;
	if (r < 0)
		return err_set(f->err, r, "deleting an entry: %s", err.text);
	f->deleted++;
	return 0;
}

static int on_entry(void *ctx, const struct nlmsghdr *nlh)
{
	AUTO(free_entry) struct nf_conntrack *ct = nfct_new();
	struct flush *f = ctx;

	if (!ct)
		return err_set(f->err, -ENOMEM, "out of memory");
	if (nfct_nlmsg_parse(nlh, ct) < 0)
		return 0; /* of a protocol that the library does not know: none of ours */
	for (size_t i = 0; i < ARRAY_LEN(families); i++)
		if (matches(f, ct, &families[i]))
			return delete_entry(f, ct, families[i].nfproto);
	return 0;
}

struct tally {
	const struct ip *vips;
	size_t n, open;
	const struct attrs *attrs;
};

/* A connection of TCP is over in TIME_WAIT; an entry without a state was made in this very moment. */
static bool is_open(const struct nf_conntrack *ct)
{
	const uint8_t proto = nfct_get_attr_u8(ct, ATTR_ORIG_L4PROTO);

	if (proto != IPPROTO_TCP || nfct_attr_is_set(ct, ATTR_TCP_STATE) <= 0)
		return proto == IPPROTO_SCTP;
	return nfct_get_attr_u8(ct, ATTR_TCP_STATE) < TCP_CONNTRACK_TIME_WAIT;
}

static int on_counted(void *ctx, const struct nlmsghdr *nlh)
{
	AUTO(free_entry) struct nf_conntrack *ct = nfct_new();
	struct tally *t = ctx;
	struct ip vip;

	if (!ct)
		return -ENOMEM;
	if (nfct_nlmsg_parse(nlh, ct) == 0 && address(ct, t->attrs->family, t->attrs->destination, &vip) &&
	    ip_listed(t->vips, t->n, &vip))
		t->open += is_open(ct);
	return 0;
}

/* Limits a dump to what all of gone[0..n) have in common.  Linux before 5.8 does not look at it and tells of all.  Not by IPv6
 * addresses: the kernel then tells of all others (ctnetlink_filter_match_tuple() takes ipv6_addr_cmp() for "equal"). */
static void put_filter(struct nlmsghdr *nlh, const struct attrs *a, const struct ct_gone *gone, size_t n)
{
	const struct ct_gone *first = &gone[0], *last = &gone[n - 1]; /* sorted: what these two share, all do */
	uint32_t flags = 0;
	struct nlattr *tuple, *part;
	bool one_proto = true, one_vip = ip_eq(&first->vip, &last->vip);

	for (size_t i = 1; i < n; i++)
		one_proto = one_proto && gone[i].proto == first->proto;
	tuple = mnl_attr_nest_start(nlh, CTA_TUPLE_ORIG);
	if (one_vip && a->family == IP_V4) {
		flags |= FILTER_DESTINATION;
		part = mnl_attr_nest_start(nlh, CTA_TUPLE_IP);
		mnl_attr_put(nlh, CTA_IP_V4_DST, ip_len(&first->vip), first->vip.b);
		mnl_attr_nest_end(nlh, part);
	}
	if (one_proto) {
		flags |= FILTER_PROTO;
		part = mnl_attr_nest_start(nlh, CTA_TUPLE_PROTO);
		mnl_attr_put_u8(nlh, CTA_PROTO_NUM, first->proto);
		if (one_vip && first->port == last->port) {
			flags |= FILTER_DESTINATION_PORT;
			mnl_attr_put_u16(nlh, CTA_PROTO_DST_PORT, htons(first->port));
		}
		mnl_attr_nest_end(nlh, part);
	}
	mnl_attr_nest_end(nlh, tuple);
	part = mnl_attr_nest_start(nlh, CTA_FILTER);
	mnl_attr_put_u32(nlh, CTA_FILTER_ORIG_FLAGS, flags);
	mnl_attr_put_u32(nlh, CTA_FILTER_REPLY_FLAGS, 0);
	mnl_attr_nest_end(nlh, part);
}

/* One pass over the table; 'gone' is NULL or those of this family. */
static int flush_family(struct flush *f, const struct attrs *a, const struct ct_gone *gone, size_t n)
{
	const struct nlsock_reader reader = { on_entry, f };
	unsigned char buf[REQUEST_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	/* Deleting twice is no error, so a dump that went wrong is begun again. */
	for (unsigned int i = 0; i <= DUMP_RESTARTS && (r == -EINTR || r == -ENOBUFS); i++) {
		struct nlmsghdr *nlh = request(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, a->nfproto);

		if (f->err)
			*f->err = (struct err_info)ERR_INFO_INIT;
		if (gone)
			put_filter(nlh, a, gone, n);
		r = nlsock_request(f->dump, nlh, &reader, f->err);
	}
	/* nfnetlink's answer when no subsystem of that number is there. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(f->err, -EOPNOTSUPP, "this kernel has no conntrack (CONFIG_NF_CT_NETLINK)");
	return r;
}

static int open_sockets(struct flush *f)
{
	int r = nlsock_new(NETLINK_NETFILTER, &f->dump, f->err);

	return r == 0 ? nlsock_new(NETLINK_NETFILTER, &f->del, f->err) : r;
}

static bool has_family(const struct ip *vips, size_t n, uint8_t family)
{
	return n > 0 && (family == IP_V4 ? vips[0].family == IP_V4 : vips[n - 1].family == IP_V6); /* v4 sorts first */
}

int ct_if_flush(const struct ip *vips, size_t n, size_t *ret_deleted, struct err_info *err)
{
	AUTO(flush_fini) struct flush f = { .vips = vips, .n = n, .err = err };
	int r = open_sockets(&f);

	for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++)
		if (has_family(vips, n, families[i].family))
			r = flush_family(&f, &families[i], NULL, 0);
	*ret_deleted = f.deleted;
	return r < 0 ? err_wrap(err, r, "connections of %zu VIPs in conntrack", n) : 0;
}

/* As many of a family as there are at this moment; a dump that went wrong is begun again. */
static int count_family(struct nlsock *s, struct tally *t, struct err_info *err)
{
	const struct nlsock_reader reader = { on_counted, t };
	unsigned char buf[REQUEST_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && (r == -EINTR || r == -ENOBUFS); i++) {
		t->open = 0;
		r = nlsock_request(s, request(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, t->attrs->nfproto), &reader, err);
	}
	return r;
}

int ct_if_count(const struct ip *vips, size_t n, size_t *ret, struct err_info *err)
{
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	size_t open = 0;
	int r = nlsock_new(NETLINK_NETFILTER, &s, err);

	for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++) {
		struct tally t = { .vips = vips, .n = n, .attrs = &families[i] };

		if (!has_family(vips, n, families[i].family))
			continue;
		r = count_family(s, &t, err);
		open += t.open;
	}
	if (r < 0)
		return err_wrap(err, r, "connections of %zu VIPs in conntrack", n);
	*ret = open;
	return 0;
}

int ct_if_flush_gone(struct ct_gone *gone, size_t n, size_t *ret_deleted, struct err_info *err)
{
	AUTO(flush_fini) struct flush f = { .gone = gone, .n_gone = n, .err = err };
	size_t n_v4 = 0;
	int r = 0;

	*ret_deleted = 0;
	if (n > CT_GONE_MAX)
		return err_set(err, -E2BIG, "connections of %zu backends in conntrack", n);
	if (n == 0)
		return 0;
	qsort(gone, n, sizeof(*gone), gone_order);
	while (n_v4 < n && gone[n_v4].vip.family == IP_V4) /* v4 sorts first */
		n_v4++;
	r = open_sockets(&f);
	if (r == 0 && n_v4 > 0)
		r = flush_family(&f, &families[0], gone, n_v4);
	if (r == 0 && n_v4 < n)
		r = flush_family(&f, &families[1], gone + n_v4, n - n_v4);
	*ret_deleted = f.deleted;
	return r < 0 ? err_wrap(err, r, "connections of %zu backends in conntrack", n) : 0;
}
