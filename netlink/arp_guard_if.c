/* SPDX-License-Identifier: Apache-2.0 */
/* arp_guard_if.c: brings the ARP guard's table to what is wanted.  arp_guard_frame has its form; which VIP is at home
 * where the shell knows. */
#include "netlink/arp_guard_if.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "netlink/batch.h"

#define TABLE "table arp " ARP_GUARD_TABLE
#define DUMP_RESTARTS 10

struct seen {
	unsigned int good[ARP_GUARD_CHAIN_N]; /* rules of ours */
	unsigned int others;
};

static int on_rule(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	enum arp_guard_chain chain;

	if (arp_guard_frame_parse(nlh, nlh->nlmsg_len, &chain) == 0)
		seen->good[chain]++;
	else
		seen->others++;
	return 0;
}

/* *ret_whole = the rules are there, and so are the chains and sets that they need. */
static int look(struct nlsock *s, bool *ret_whole, struct err_info *err)
{
	unsigned char buf[ARP_GUARD_READ_MAX] __attribute__((aligned(16)));
	struct seen seen;
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		const struct nlsock_reader reader = { on_rule, &seen };

		seen = (struct seen){ .others = 0 };
		r = nlsock_request(s, arp_guard_frame_read(buf), &reader, err);
	}
	/* nfnetlink's answer when no subsystem of that number is there. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(err, -EOPNOTSUPP, TABLE ": this kernel has no nf_tables (CONFIG_NF_TABLES)");
	if (r < 0)
		return err_wrap(err, r, "reading " TABLE);
	*ret_whole = seen.good[ARP_GUARD_INPUT] == 1 && seen.good[ARP_GUARD_OUTPUT] == 1 && seen.others == 0;
	return 0;
}

static int commit(struct nlsock *s, struct batch *b, struct err_info *err)
{
	batch_end(b);
	return nlsock_batch(s, b, NULL, err);
}

/* 'anew': whatever is there goes first. */
static int put(struct nlsock *s, bool anew, const struct arp_home *homes, size_t n, struct err_info *err)
{
	size_t room = arp_guard_frame_room(n);
	AUTO(freep) void *buf = malloc(room);
	struct batch b;
	int r = 0;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	batch_init(&b, buf, room);
	if (anew)
		r = arp_guard_frame_remove(&b);
	if (anew && r == 0)
		r = arp_guard_frame_make(&b);
	if (r == 0)
		r = arp_guard_frame_fill(&b, homes, n);
	return r < 0 ? err_errno(err, r, "building") : commit(s, &b, err);
}

int arp_guard_if_put(struct nlsock *s, const struct arp_home *homes, size_t n, struct err_info *err)
{
	bool whole = false;
	int r = look(s, &whole, err);

	if (r < 0)
		return r;
	r = put(s, !whole, homes, n, err);
	if (r == -ENOENT && whole) /* somebody removed it just now */
		r = put(s, true, homes, n, err);
	/* ENOENT: no module provides chains of that family. */
	if (r == -ENOENT || r == -EOPNOTSUPP || r == -EAFNOSUPPORT)
		return err_set(err, -EOPNOTSUPP, TABLE ": this kernel cannot filter ARP (CONFIG_NF_TABLES_ARP)");
	return r < 0 ? err_wrap(err, r, TABLE) : 0;
}

int arp_guard_if_remove(struct nlsock *s, struct err_info *err)
{
	unsigned char buf[4096] __attribute__((aligned(16)));
	struct batch b;
	int r;

	batch_init(&b, buf, sizeof(buf));
	r = arp_guard_frame_remove(&b);
	if (r == 0)
		r = commit(s, &b, err);
	else
		r = err_errno(err, r, "building");
	return r < 0 ? err_wrap(err, r, "removing " TABLE) : 0;
}
