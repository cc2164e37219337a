/* SPDX-License-Identifier: Apache-2.0 */
/* neigh_if.c: reads the neighbour table of one interface for one MAC; neigh_msg says what the messages look like. */
#include "netlink/neigh_if.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "netlink/neigh_msg.h"

#define DUMP_RESTARTS 3

struct look {
	struct neigh_query *q;
	size_t looked;
};

static int order(const struct ip *a, const struct ip *b)
{
	static const struct ip link_local = { IP_V6, { 0xfe, 0x80 } };
	bool local_a = ip_in_prefix(a, &link_local, 10), local_b = ip_in_prefix(b, &link_local, 10);

	return local_a != local_b ? (local_a ? 1 : -1) : ip_cmp(a, b);
}

/* Keeps the first NEIGH_FOUND_MAX in order. */
static void keep(struct neigh_query *q, const struct ip *ip)
{
	size_t at = 0;

	while (at < q->n_found && order(&q->found[at], ip) < 0)
		at++;
	if (at == NEIGH_FOUND_MAX || (at < q->n_found && ip_eq(&q->found[at], ip)))
		return;
	if (q->n_found < NEIGH_FOUND_MAX)
		q->n_found++;
	memmove(&q->found[at + 1], &q->found[at], (q->n_found - at - 1) * sizeof(q->found[0]));
	q->found[at] = *ip;
}

static int on_neighbour(void *ctx, const struct nlmsghdr *nlh)
{
	struct look *l = ctx;
	struct neigh_msg m;

	if (l->looked++ < NEIGH_LOOK_MAX && neigh_msg_parse(nlh, nlh->nlmsg_len, &m) == 0 && m.ifindex == l->q->ifindex &&
	    memcmp(m.mac, l->q->mac, sizeof(m.mac)) == 0)
		keep(l->q, &m.ip);
	return 0;
}

int neigh_if_find(struct nlsock *s, struct neigh_query *q, struct err_info *err)
{
	unsigned char buf[NEIGH_MSG_MAX] __attribute__((aligned(16)));
	struct look l = { .q = q };
	const struct nlsock_reader reader = { on_neighbour, &l };
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		q->n_found = l.looked = 0;
		r = nlsock_request(s, neigh_msg_dump(buf, q->ifindex), &reader, err);
	}
	return r < 0 ? err_wrap(err, r, "reading neighbours") : 0;
}
