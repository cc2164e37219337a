/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.c: the way back to a node without Leasehold. */
#include "agent/cleanup.h"

#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>

#include "netlink/addr_if.h"
#include "netlink/arp_guard_if.h"
#include "netlink/gate_if.h"
#include "netlink/nat_if.h"
#include "netlink/rendezvous_if.h"

#define CLEANUP_ADDRS_MAX 65536

struct found {
	struct link_addr *v;
	size_t n, cap;
	int error;
};

static void found_restart(void *ctx)
{
	struct found *f = ctx;

	f->n = 0;
}

static void found_each(void *ctx, const struct link_addr *a)
{
	struct found *f = ctx;
	size_t cap = f->cap ? f->cap * 2 : 16;
	struct link_addr *v;

	if (!a->ours || f->n == CLEANUP_ADDRS_MAX)
		return;
	if (f->n == f->cap) {
		v = reallocarray(f->v, cap, sizeof(*v));
		if (!v) {
			f->error = -ENOMEM;
			return;
		}
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = *a;
}

static int remove_addrs(unsigned int *ret_addrs, struct err_info *err)
{
	static const struct addr_if_dump_ops ops = { found_restart, found_each };
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct found f = { .n = 0 };
	unsigned int n = 0;
	int r = nlsock_new(NETLINK_ROUTE, &s, err), first = 0;

	if (r == 0)
		r = addr_if_dump(s, &ops, &f, err);
	if (r == 0 && f.error)
		r = err_errno(err, f.error, "addresses");
	for (size_t i = 0; i < f.n && r == 0; i++) {
		struct err_info one = ERR_INFO_INIT;
		int k = addr_if_del(s, f.v[i].index, &f.v[i].ip, &one);

		n += k == 0;
		if (k < 0 && first == 0) {
			first = k;
			if (err)
				*err = one;
		}
	}
	free(f.v);
	*ret_addrs = n;
	return r < 0 ? r : first;
}

int cleanup_gates(struct err_info *err)
{
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct if_nameindex *links = if_nameindex();
	int r = links ? nlsock_new(NETLINK_ROUTE, &s, err) : err_errno(err, -errno, "interfaces");

	for (struct if_nameindex *l = links; r == 0 && l->if_index != 0; l++)
		r = gate_if_detach(s, (int)l->if_index, err);
	if (links)
		if_freenameindex(links);
	return r;
}

static int remove_tables(struct err_info *err)
{
	const struct rendezvous none = { .n_peers = 0 };
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	int r = nlsock_new(NETLINK_NETFILTER, &s, err);

	if (r == 0)
		r = nat_if_remove(s, err);
	if (r == 0)
		r = arp_guard_if_remove(s, err);
	if (r == 0)
		r = rendezvous_if_put(s, &none, err);
	return r;
}

int cleanup_kernel(unsigned int *ret_addrs, struct err_info *err)
{
	static int (*const steps[])(struct err_info *err) = { cleanup_gates, remove_tables };
	int r = remove_addrs(ret_addrs, err);

	/* One that fails keeps none of the others from being done; the first error is told. */
	for (size_t i = r < 0 ? 1u : 0u; i < ARRAY_LEN(steps); i++) { /* an address that stays keeps its gate */
		struct err_info second = ERR_INFO_INIT;
		int k = steps[i](&second);

		if (k < 0 && r == 0) {
			r = k;
			if (err)
				*err = second;
		}
	}
	return r;
}
