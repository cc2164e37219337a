/* SPDX-License-Identifier: Apache-2.0 */
/* nat_dump.c: reads the table's elements back and groups them into frontends.  First the dispatch maps, which tell
 * how many slots each frontend has, then the slots straight into their places, so that no second copy is
 * held.  nat_elem decodes.
 *
 * While the kernel resizes a map, which it does by and by after many additions or deletions, a dump may give some
 * elements twice and leave out as many others, without a word (nft_rhash_walk() counts what it skips).  So an
 * element that comes twice means: read all again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/mono.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_if.h"

#define DUMP_RESTARTS 10
#define RESTART_PAUSE_MS 10 /* times the number of the attempt */

struct reading {
	struct nat_dump d;
	size_t cap_vips, cap_guards, cap_locals, cap_homes, cap_frontends, cap_orphans;
	int error;  /* of the callback, which cannot fail */
	bool twice; /* an element came twice */
};

void nat_dump_free(struct nat_dump *d)
{
	free(d->vips);
	free(d->guards);
	free(d->locals);
	free(d->homes);
	free(d->frontends);
	free(d->orphans);
	free(d->storage);
	*d = (struct nat_dump){ .vips = NULL };
}

static void reading_fini(struct reading *x)
{
	nat_dump_free(&x->d);
}

/* Room for one more member of 'size' bytes in *v; false = out of memory. */
static bool reserve(void **v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap * 2 : 64;
	void *p;

	if (n < *cap)
		return true;
	p = reallocarray(*v, want, size);
	if (!p)
		return false;
	*v = p;
	*cap = want;
	return true;
}

static int add_ip(struct ip **ips, size_t *n, size_t *cap, const struct ip *ip)
{
	void *v = *ips;

	if (!reserve(&v, *n, cap, sizeof(*ip)))
		return -ENOMEM;
	*ips = v;
	(*ips)[(*n)++] = *ip;
	return 0;
}

static int add_guard(struct reading *x, const struct nat_op *op)
{
	void *v = x->d.guards;

	if (!reserve(&v, x->d.n_guards, &x->cap_guards, sizeof(*x->d.guards)))
		return -ENOMEM;
	x->d.guards = v;
	x->d.guards[x->d.n_guards++] = (struct nat_guard){ op->vip, op->proto, op->port };
	return 0;
}

static int add_home(struct reading *x, const struct nat_op *op)
{
	void *v = x->d.homes;

	if (!reserve(&v, x->d.n_homes, &x->cap_homes, sizeof(*x->d.homes)))
		return -ENOMEM;
	x->d.homes = v;
	x->d.homes[x->d.n_homes++] = (struct nat_home){ op->vip, op->ifindex };
	return 0;
}

static int add_orphan(struct reading *x, const struct nat_op *op, enum nat_op_kind kind)
{
	void *v = x->d.orphans;

	if (!reserve(&v, x->d.n_orphans, &x->cap_orphans, sizeof(*x->d.orphans)))
		return -ENOMEM;
	x->d.orphans = v;
	x->d.orphans[x->d.n_orphans] = *op;
	x->d.orphans[x->d.n_orphans++].kind = kind;
	return 0;
}

static int add_frontend(struct reading *x, const struct nat_op *op)
{
	void *v = x->d.frontends;

	if (op->n_slots == 0) /* leads elsewhere than to a chain of ours */
		return add_orphan(x, op, NAT_OP_FRONTEND_DEL);
	if (!reserve(&v, x->d.n_frontends, &x->cap_frontends, sizeof(*x->d.frontends)))
		return -ENOMEM;
	x->d.frontends = v;
	x->d.frontends[x->d.n_frontends++] = (struct frontend){
		.vip = op->vip, .proto = op->proto, .port = op->port, .balance = op->balance, .n_slots = op->n_slots
	};
	return 0;
}

static int add_slot(struct reading *x, const struct nat_op *op)
{
	const struct frontend key = { .vip = op->vip, .proto = op->proto, .port = op->port };
	size_t lo = 0, hi = x->d.n_frontends;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct frontend *f = &x->d.frontends[mid];
		int c = frontend_cmp(f, &key);

		if (c == 0 && op->slot < f->n_slots) {
			struct ip_port *slot = &x->d.storage[(size_t)(f->slots - x->d.storage) + op->slot];

			x->twice = x->twice || slot->ip.family != IP_NONE;
			*slot = op->backend;
			return 0;
		}
		if (c == 0)
			break;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return add_orphan(x, op, NAT_OP_SLOT_DEL);
}

static void on_element(void *ctx, const struct nat_op *op)
{
	struct reading *x = ctx;
	int r = 0;

	if (x->error < 0)
		return;
	if (op->kind == NAT_OP_VIP_ADD)
		r = add_ip(&x->d.vips, &x->d.n_vips, &x->cap_vips, &op->vip);
	else if (op->kind == NAT_OP_LOCAL_ADD)
		r = add_ip(&x->d.locals, &x->d.n_locals, &x->cap_locals, &op->vip);
	else if (op->kind == NAT_OP_GUARD_ADD)
		r = add_guard(x, op);
	else if (op->kind == NAT_OP_HOME_ADD)
		r = add_home(x, op);
	else if (op->kind == NAT_OP_FRONTEND_ADD)
		r = add_frontend(x, op);
	else
		r = add_slot(x, op);
	x->error = r;
}

static int on_message(void *ctx, const struct nlmsghdr *nlh)
{
	struct reading *x = ctx;
	int r = nat_elem_parse(nlh, nlh->nlmsg_len, on_element, x);

	return r < 0 ? r : x->error;
}

static int read_set(struct nlsock *s, enum nat_set set, struct reading *x, struct err_info *err)
{
	const struct nlsock_reader reader = { on_message, x };
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	struct err_info inner = ERR_INFO_INIT;
	int r = nlsock_request(s, nat_frame_read(buf, NAT_READ_ELEMENTS, &nat_sets[set]), &reader, &inner);

	if (r == 0)
		return 0;
	if (inner.text[0] == '\0') /* ours, not the kernel's */
		return err_errno(err, r, "%s", nat_sets[set].name);
	return err_set(err, r, "%s: %s", nat_sets[set].name, inner.text);
}

static int ip_order(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

static int guard_order(const void *a, const void *b)
{
	return nat_guard_cmp(a, b);
}

static int home_order(const void *a, const void *b)
{
	return nat_home_cmp(a, b);
}

static int frontend_order(const void *a, const void *b)
{
	return frontend_cmp(a, b);
}

/* Sorts; true when a member is there twice. */
static bool sort_twice(void *v, size_t n, size_t size, int (*order)(const void *, const void *))
{
	const unsigned char *at = v;

	if (n == 0)
		return false;
	qsort(v, n, size, order);
	for (size_t i = 1; i < n; i++)
		if (order(at + (i - 1) * size, at + i * size) == 0)
			return true;
	return false;
}

/* A place for each slot, empty (IP_NONE). */
static int give_slots(struct nat_dump *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_frontends; i++)
		n += d->frontends[i].n_slots;
	d->storage = calloc(n ? n : 1, sizeof(*d->storage));
	if (!d->storage)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < d->n_frontends; i++) {
		d->frontends[i].slots = d->storage + n;
		n += d->frontends[i].n_slots;
	}
	return 0;
}

static int read_all(struct nlsock *s, struct reading *x, struct err_info *err)
{
	int r = 0;

	for (enum nat_set set = NAT_SET_VIPS4; set <= NAT_SET_DISPATCH6 && r == 0; set++)
		r = read_set(s, set, x, err);
	if (r < 0)
		return r;
	if (sort_twice(x->d.vips, x->d.n_vips, sizeof(*x->d.vips), ip_order) ||
	    sort_twice(x->d.locals, x->d.n_locals, sizeof(*x->d.locals), ip_order) ||
	    sort_twice(x->d.homes, x->d.n_homes, sizeof(*x->d.homes), home_order) ||
	    sort_twice(x->d.guards, x->d.n_guards, sizeof(*x->d.guards), guard_order) ||
	    sort_twice(x->d.frontends, x->d.n_frontends, sizeof(*x->d.frontends), frontend_order))
		return err_set(err, -EINTR, "the kernel is resizing a map");
	r = give_slots(&x->d);
	if (r < 0)
		return err_errno(err, r, "%zu frontends", x->d.n_frontends);
	for (enum nat_set set = NAT_SET_SLOTS4; set <= NAT_SET_SLOTS6 && r == 0; set++)
		r = read_set(s, set, x, err);
	return r == 0 && x->twice ? err_set(err, -EINTR, "the kernel is resizing a map") : r;
}

int nat_if_dump(struct nlsock *s, struct nat_dump *ret, struct err_info *err)
{
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		AUTO(reading_fini) struct reading x = { .error = 0 };
		const struct timespec pause = { .tv_nsec = (long)i * RESTART_PAUSE_MS * NS_PER_MS };

		if (i > 0)
			IGNORE(nanosleep(&pause, NULL)); /* cut short by a signal: a little early */
		r = read_all(s, &x, err);
		if (r == 0) {
			*ret = x.d;
			x.d = (struct nat_dump){ .vips = NULL };
		}
	}
	return r < 0 ? err_wrap(err, r, "reading table inet " NAT_TABLE) : 0;
}
