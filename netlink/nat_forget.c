/* SPDX-License-Identifier: Apache-2.0 */
/* nat_forget.c: finds the clients that would return to a backend which has gone, and deletes them from the maps that rules
 * have put them in.  They are the only elements that are read and not written by nat_apply. */
#include <errno.h>
#include <stdlib.h>

#include "netlink/batch.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_if.h"
#include "netlink/nat_private.h"

#define BATCH_LEN ((size_t)256 * 1024)
#define DUMP_RESTARTS 10
/* Clients held at a time; more of them take another pass. */
#define CLIENTS_MAX 16384
/* Each pass deletes what it finds; after so many there would be more clients than the maps hold (NAT_CLIENTS_MAX). */
#define PASSES_MAX (2 * NAT_CLIENTS_MAX / CLIENTS_MAX)

struct forget {
	struct nat_if *n;
	const struct nat_change **changes; /* sorted by frontend */
	size_t n_changes;
	struct nat_elem *found;
	size_t n_found;
	unsigned char *buf;
	unsigned int n_refused;
};

static void forget_fini(struct forget *f)
{
	free(f->changes);
	free(f->found);
	free(f->buf);
}

static const struct frontend *key_of(const struct nat_change *c)
{
	return c->now ? c->now : c->old;
}

static bool has_backend(const struct frontend *f, const struct ip_port *backend)
{
	size_t lo = 0, hi = f->n_backends;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_port_cmp(&f->backends[mid], backend);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* Whether clients may know a backend that has gone. */
static bool concerns(const struct nat_change *c)
{
	if (!c->old || (c->old->sticky_s == 0 && !(c->now && c->now->sticky_s > 0)))
		return false;
	if (!c->now || !c->old->slots)
		return true;
	for (size_t i = 0; i < c->old->n_backends; i++)
		if (!has_backend(c->now, &c->old->backends[i]))
			return true;
	return false;
}

static int change_order(const void *a, const void *b)
{
	const struct nat_change *const *x = a, *const *y = b;

	return frontend_cmp(key_of(*x), key_of(*y));
}

static int collect(struct forget *f, const struct nat_plan *plan)
{
	for (size_t i = 0; i < plan->n_changes; i++)
		f->n_changes += concerns(&plan->changes[i]);
	if (f->n_changes == 0)
		return 0;
	f->changes = calloc(f->n_changes, sizeof(const struct nat_change *));
	f->found = calloc(CLIENTS_MAX, sizeof(*f->found));
	f->buf = malloc(BATCH_LEN);
	if (!f->changes || !f->found || !f->buf)
		return -ENOMEM;
	for (size_t i = 0, n = 0; i < plan->n_changes; i++)
		if (concerns(&plan->changes[i]))
			f->changes[n++] = &plan->changes[i];
	qsort(f->changes, f->n_changes, sizeof(const struct nat_change *), change_order);
	return 0;
}

static int on_element(void *ctx, const struct nat_elem *e)
{
	const struct frontend f = { .vip = e->ip, .proto = e->proto, .port = e->port };
	const struct nat_change key = { .now = &f }, *pkey = &key;
	const struct nat_change *const *found;
	struct forget *x = ctx;

	if (x->n_found == CLIENTS_MAX || e->set->kind != NAT_SET_KIND_CLIENTS)
		return 0;
	found = bsearch(&pkey, x->changes, x->n_changes, sizeof(const struct nat_change *), change_order);
	if (found && (!(*found)->now || !has_backend((*found)->now, &e->backend)))
		x->found[x->n_found++] = *e;
	return 0;
}

static int on_message(void *ctx, const struct nlmsghdr *nlh)
{
	return nat_elem_parse(nlh, nlh->nlmsg_len, on_element, ctx);
}

static int find(struct forget *f, const struct nat_set_shape *set, struct err_info *err)
{
	const struct nlsock_reader reader = { on_message, f };
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		f->n_found = 0;
		r = nlsock_request(f->n->sock, nat_frame_read(buf, NAT_READ_ELEMENTS, set), &reader, err);
	}
	return r;
}

static void on_begin(void *ctx)
{
	struct forget *f = ctx;

	f->n_refused = 0;
}

static void on_refused(void *ctx, uint32_t message, int error, const char *text)
{
	struct forget *f = ctx;

	IGNORE(message);
	IGNORE(error);
	IGNORE(text);
	f->n_refused++;
}

/* Deletes found[lo..hi), as many as fit; *ret_next = where to go on.  One that has expired meanwhile spoils it for all: then
 * by halves. */
static int delete_some(struct forget *f, size_t lo, size_t hi, size_t *ret_next, struct err_info *err)
{
	const struct nlsock_refusals refusals = { on_begin, on_refused, f };
	struct nat_elem_writer w;
	size_t i = lo, mid, part;
	struct batch b;
	int r;

	batch_init(&b, f->buf, BATCH_LEN);
	nat_elem_begin(&w, &b);
	while (i < hi && nat_elem_put(&w, &f->found[i], NAT_ELEM_DEL) == 0)
		i++;
	nat_elem_close(&w);
	*ret_next = i;
	if (i == lo)
		return -EINVAL; /* none of ours */
	batch_end(&b);
	r = nlsock_batch(f->n->sock, &b, &refusals, err);
	if (r == 0 || f->n_refused == 0)
		return r;
	if (i - lo == 1)
		return r == -ENOENT ? 0 : r;
	mid = lo + (i - lo) / 2;
	r = delete_some(f, lo, mid, &part, err);
	return r == 0 ? delete_some(f, mid, i, &part, err) : r;
}

static int forget_in(struct forget *f, const struct nat_set_shape *set, struct err_info *err)
{
	for (unsigned int pass = 0; pass < PASSES_MAX; pass++) {
		int r = find(f, set, err);

		for (size_t next = 0; next < f->n_found && r == 0;)
			r = delete_some(f, next, f->n_found, &next, err);
		if (r < 0 || f->n_found < CLIENTS_MAX)
			return r;
	}
	return 0;
}

int nat_if_forget_clients(struct nat_if *n, const struct nat_plan *plan, struct err_info *err)
{
	AUTO(forget_fini) struct forget f = { .n = n };
	int r = collect(&f, plan);

	if (r < 0)
		return err_errno(err, r, "clients of %zu frontends", f.n_changes);
	if (f.n_changes == 0)
		return 0;
	r = forget_in(&f, nat_set_of(NAT_SET_KIND_CLIENTS, IP_V4), err);
	if (r == 0)
		r = forget_in(&f, nat_set_of(NAT_SET_KIND_CLIENTS, IP_V6), err);
	return r < 0 ? err_wrap(err, r, "clients in table inet " NAT_TABLE) : 0;
}
