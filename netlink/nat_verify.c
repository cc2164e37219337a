/* SPDX-License-Identifier: Apache-2.0 */
/* nat_verify.c: asks the kernel for slots by their keys, hundreds a request, and compares the answers.  Each is a message
 * of its own, in the order asked for; at a key that is not there the kernel stops (nf_tables_getsetelem()).  So nothing is
 * held but one request. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/batch.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_if.h"
#include "netlink/nat_private.h"

#define REQUEST_LEN ((size_t)64 * 1024)
/* What an answer takes of the receive queue: 1 KiB or so, or, if the kernel could not shrink it, the 8 KiB that it was built
 * in (netlink_trim()). */
#define ANSWER_ROOM 8192
#define KEYS_MAX 512
#define KEYS_MIN 16

struct verify {
	struct nat_if *n;
	const struct frontend *const *v;
	size_t n_v;
	bool *good;
	unsigned char *buf;
	unsigned int keys_max;
	size_t frontend; /* the next answer's */
	uint32_t slot;
};

static void verify_fini(struct verify *v)
{
	free(v->buf);
}

/* To the next slot, or with 'next' to the next frontend. */
static void step(struct verify *v, bool next)
{
	v->slot++;
	if (next || v->slot >= v->v[v->frontend]->n_slots) {
		v->frontend++;
		v->slot = 0;
	}
	while (v->frontend < v->n_v && v->v[v->frontend]->n_slots == 0)
		v->frontend++;
}

static struct nat_elem element(const struct frontend *f, uint32_t slot)
{
	return (struct nat_elem){ .set = nat_set_of(nat_slots_kind(f), (enum ip_family)f->vip.family), .ip = f->vip,
				  .proto = f->proto, .port = f->port, .slot = (uint16_t)slot };
}

static int on_element(void *ctx, const struct nat_elem *e)
{
	struct verify *v = ctx;
	const struct frontend *f;

	if (v->frontend >= v->n_v)
		return -EBADMSG;
	f = v->v[v->frontend];
	if (e->set != nat_set_of(nat_slots_kind(f), (enum ip_family)f->vip.family) || !ip_eq(&e->ip, &f->vip) ||
	    e->proto != f->proto || e->port != f->port || e->slot != v->slot)
		return -EBADMSG;
	if (ip_port_cmp(&e->backend, &f->backends[f->slots[v->slot]]) != 0)
		v->good[v->frontend] = false;
	step(v, false);
	return 0;
}

static int on_message(void *ctx, const struct nlmsghdr *nlh)
{
	return nat_elem_parse(nlh, nlh->nlmsg_len, on_element, ctx);
}

/* Keys from the next one on, all of one set. */
static struct nlmsghdr *request(const struct verify *v, struct batch *b)
{
	struct verify at = *v;
	struct nat_elem_writer w;
	const struct nat_set_shape *set = NULL;

	batch_init(b, v->buf, REQUEST_LEN);
	nat_elem_begin(&w, b);
	for (unsigned int i = 0; i < v->keys_max && at.frontend < at.n_v; i++) {
		struct nat_elem e = element(at.v[at.frontend], at.slot);

		if ((set && e.set != set) || nat_elem_put(&w, &e, NAT_ELEM_GET) < 0)
			break;
		set = e.set;
		step(&at, false);
	}
	nat_elem_close(&w);
	return b->last;
}

/* The kernel's answer is the same when the table has gone. */
static int check_table(struct verify *v, struct err_info *err)
{
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));

	return nlsock_request(v->n->sock, nat_frame_read(buf, NAT_READ_TABLE, NULL), NULL, err);
}

static int ask(struct verify *v, struct err_info *err)
{
	const struct nlsock_reader reader = { on_message, v };
	struct batch b;
	struct nlmsghdr *nlh = request(v, &b);
	int r;

	if (!nlh)
		return err_set(err, -EINVAL, "a frontend of no family");
	r = nlsock_request(v->n->sock, nlh, &reader, err);
	if (r == -ENOENT && v->frontend < v->n_v) { /* the one that would have come next */
		v->good[v->frontend] = false;
		step(v, true);
		return check_table(v, err);
	}
	return r;
}

int nat_if_verify(struct nat_if *n, const struct frontend *const *v, size_t n_v, bool *ret_good, struct err_info *err)
{
	AUTO(verify_fini) struct verify x = { .n = n, .v = v, .n_v = n_v, .good = ret_good, .buf = malloc(REQUEST_LEN) };
	size_t room = nlsock_receive_room(n->sock) / ANSWER_ROOM;
	int r = 0;

	if (!x.buf)
		return err_set(err, -ENOMEM, "reading slots: out of memory");
	x.keys_max = room < KEYS_MIN ? KEYS_MIN : room > KEYS_MAX ? KEYS_MAX : (unsigned int)room;
	for (size_t i = 0; i < n_v; i++)
		ret_good[i] = true;
	while (x.frontend < n_v && v[x.frontend]->n_slots == 0)
		x.frontend++;
	while (x.frontend < n_v && r == 0)
		r = ask(&x, err);
	return r < 0 ? err_wrap(err, r, "reading slots of table inet " NAT_TABLE) : 0;
}
