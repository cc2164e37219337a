/* SPDX-License-Identifier: Apache-2.0 */
/* ct_if.c: dumps conntrack's table and deletes what matches.  When to do that is the shell's affair.
 *
 * Not deleted by a filter in the kernel: CTA_FILTER with a tuple is heeded when deleting only since Linux 6.10
 * (net/netfilter/nf_conntrack_netlink.c, ctnetlink_del_conntrack()), libnetfilter_conntrack 1.0.9 cannot build it, it
 * takes one address a pass over the table, and it cannot tell what is masqueraded. */
#include "netlink/ct_if.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <stdbool.h>
#include <string.h>

#include "netlink/nlsock.h"

#define DUMP_RESTARTS 5
#define REQUEST_MAX 512 /* an original tuple and a zone take some 120 bytes */

struct flush {
	const struct ip *vips;
	size_t n;
	struct nlsock *dump, *del;
	size_t deleted;
	struct err_info *err;
};

/* What of an entry is looked at, in one family. */
struct attrs {
	uint8_t family; /* enum ip_family */
	uint8_t nfproto;
	enum nf_conntrack_attr source, destination, answered_to;
};

static const struct attrs families[] = {
	{ IP_V4, AF_INET, ATTR_ORIG_IPV4_SRC, ATTR_ORIG_IPV4_DST, ATTR_REPL_IPV4_DST },
	{ IP_V6, AF_INET6, ATTR_ORIG_IPV6_SRC, ATTR_ORIG_IPV6_DST, ATTR_REPL_IPV6_DST },
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

static bool matches(const struct flush *f, const struct nf_conntrack *ct, const struct attrs *a)
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

static int flush_family(struct flush *f, uint8_t nfproto)
{
	const struct nlsock_reader reader = { on_entry, f };
	unsigned char buf[REQUEST_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	/* Deleting twice is no error, so a dump that went wrong is begun again. */
	for (unsigned int i = 0; i <= DUMP_RESTARTS && (r == -EINTR || r == -ENOBUFS); i++) {
		if (f->err)
			*f->err = (struct err_info)ERR_INFO_INIT;
		r = nlsock_request(f->dump, request(buf, IPCTNL_MSG_CT_GET, NLM_F_DUMP, nfproto), &reader, f->err);
	}
	/* nfnetlink's answer when no subsystem of that number is there. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(f->err, -EOPNOTSUPP, "this kernel has no conntrack (CONFIG_NF_CT_NETLINK)");
	return r;
}

static bool has_family(const struct ip *vips, size_t n, uint8_t family)
{
	return n > 0 && (family == IP_V4 ? vips[0].family == IP_V4 : vips[n - 1].family == IP_V6); /* v4 sorts first */
}

int ct_if_flush(const struct ip *vips, size_t n, size_t *ret_deleted, struct err_info *err)
{
	AUTO(flush_fini) struct flush f = { .vips = vips, .n = n, .err = err };
	int r = nlsock_new(NETLINK_NETFILTER, &f.dump, err);

	*ret_deleted = 0;
	if (r == 0)
		r = nlsock_new(NETLINK_NETFILTER, &f.del, err);
	for (size_t i = 0; i < ARRAY_LEN(families) && r == 0; i++)
		if (has_family(vips, n, families[i].family))
			r = flush_family(&f, families[i].nfproto);
	*ret_deleted = f.deleted;
	return r < 0 ? err_wrap(err, r, "connections of %zu VIPs in conntrack", n) : 0;
}
