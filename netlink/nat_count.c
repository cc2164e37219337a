/* SPDX-License-Identifier: Apache-2.0 */
/* nat_count.c: dumps the counted sets, the dispatch maps and the named counters.  Nothing is reset.  nat_elem decodes. */
#include "netlink/nat_count.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_list.h"

#define DUMP_RESTARTS 10
#define RESTART_PAUSE_MS 10 /* times the number of the attempt */

struct reading {
	struct nat_counts c;
	size_t max, cap, cap_frontends;
	bool backends;
};

const char *nat_drop_name(enum nat_drop why)
{
	static const char *const names[NAT_DROP_N] = {
		[NAT_DROP_INVALID] = "invalid",		[NAT_DROP_SOURCE] = "source-range",
		[NAT_DROP_RATE] = "rate",		[NAT_DROP_CONNECTIONS] = "connections",
		[NAT_DROP_UNMATCHED] = "unmatched",	[NAT_DROP_ROUTER] = "router",
	};

	return names[why];
}

void nat_counts_free(struct nat_counts *c)
{
	free(c->v);
	free(c->frontends);
	*c = (struct nat_counts){ .v = NULL };
}

static void reading_fini(struct reading *x)
{
	nat_counts_free(&x->c);
}

static int add_frontend(struct reading *x, const struct nat_elem *e)
{
	void *v = x->c.frontends;

	if (x->c.n_frontends >= x->max)
		return 0;
	if (nat_list_reserve(&v, x->c.n_frontends + 1, &x->cap_frontends, sizeof(*x->c.frontends)) < 0)
		return -ENOMEM;
	x->c.frontends = v;
	x->c.frontends[x->c.n_frontends++] = (struct frontend_count){ e->ip, e->proto, e->port, e->packets };
	return 0;
}

static int on_element(void *ctx, const struct nat_elem *e)
{
	struct reading *x = ctx;
	void *v = x->c.v;

	if (e->set->kind == NAT_SET_KIND_DISPATCH)
		return add_frontend(x, e);
	if (x->c.n >= x->max)
		return 0;
	if (nat_list_reserve(&v, x->c.n + 1, &x->cap, sizeof(*x->c.v)) < 0)
		return -ENOMEM;
	x->c.v = v;
	/* The plain sets' kinds are the members'. */
	x->c.v[x->c.n++] = (struct nat_count){
		.member = { .ip = e->ip, .kind = (uint8_t)e->set->kind, .proto = e->proto, .port = e->port },
		.tick = { e->packets, e->bytes },
	};
	return 0;
}

static int on_elements(void *ctx, const struct nlmsghdr *nlh)
{
	return nat_elem_parse(nlh, nlh->nlmsg_len, on_element, ctx);
}

static int on_counter(void *ctx, const struct nlmsghdr *nlh)
{
	struct reading *x = ctx;
	struct nat_seen_counter c;
	int r = nat_elem_parse_counter(nlh, nlh->nlmsg_len, &c);

	if (r == -ENOENT) /* of another table */
		return 0;
	for (size_t i = 0; i < NAT_DROP_N && r == 0; i++)
		if (text_eq(c.name, nat_drop_counters[i]))
			x->c.drops[i] = (struct nat_tick){ c.packets, c.bytes };
	return r;
}

static int read_part(struct nlsock *s, const struct nat_set_shape *set, struct reading *x, struct err_info *err)
{
	const struct nlsock_reader reader = { set ? on_elements : on_counter, x };
	const char *name = set ? set->name : "counters";
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	struct err_info inner = ERR_INFO_INIT;
	int r = nlsock_request(s, nat_frame_read(buf, set ? NAT_READ_ELEMENTS : NAT_READ_COUNTERS, set), &reader, &inner);

	if (r == 0)
		return 0;
	if (inner.text[0] == '\0') /* ours, not the kernel's */
		return err_errno(err, r, "%s", name);
	return err_set(err, r, "%s: %s", name, inner.text);
}

static int count_order(const void *a, const void *b)
{
	const struct nat_count *x = a, *y = b;

	return nat_member_cmp(&x->member, &y->member);
}

static int frontend_order(const void *a, const void *b)
{
	const struct frontend_count *x = a, *y = b;
	int c = ip_cmp(&x->vip, &y->vip);

	if (c == 0)
		c = (x->proto > y->proto) - (x->proto < y->proto);
	return c ? c : (x->port > y->port) - (x->port < y->port);
}

static bool is_counted(const struct reading *x, enum nat_set_kind kind)
{
	if (!x->backends && (kind == NAT_SET_KIND_BACKENDS || kind == NAT_SET_KIND_OPENED))
		return false;
	return kind >= NAT_SET_KIND_RECEIVED && kind <= NAT_SET_KIND_DISPATCH;
}

static int read_all(struct nlsock *s, struct reading *x, struct err_info *err)
{
	int r = 0;

	for (size_t i = 0; i < NAT_SET_N && r == 0; i++)
		if (is_counted(x, nat_sets[i].kind))
			r = read_part(s, &nat_sets[i], x, err);
	if (r == 0)
		r = read_part(s, NULL, x, err);
	if (r == 0 && (nat_list_sort_twice(x->c.v, x->c.n, sizeof(*x->c.v), count_order) ||
		       nat_list_sort_twice(x->c.frontends, x->c.n_frontends, sizeof(*x->c.frontends), frontend_order)))
		return err_set(err, -EINTR, "the kernel is resizing a set");
	return r;
}

static int read_counts(struct nlsock *s, bool backends, size_t max, struct nat_counts *ret, struct err_info *err)
{
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		AUTO(reading_fini) struct reading x = { .max = max, .backends = backends };
		const struct timespec pause = { .tv_nsec = (long)i * RESTART_PAUSE_MS * NS_PER_MS };

		if (i > 0)
			IGNORE(nanosleep(&pause, NULL)); /* cut short by a signal: a little early */
		r = read_all(s, &x, err);
		if (r == 0) {
			*ret = x.c;
			x.c = (struct nat_counts){ .v = NULL };
		}
	}
	return r < 0 ? err_wrap(err, r, "counters of table inet " NAT_TABLE) : 0;
}

int nat_count_read(struct nlsock *s, size_t max, struct nat_counts *ret, struct err_info *err)
{
	return read_counts(s, true, max, ret, err);
}

int nat_count_read_frontends(struct nlsock *s, size_t max, struct nat_counts *ret, struct err_info *err)
{
	return read_counts(s, false, max, ret, err);
}
