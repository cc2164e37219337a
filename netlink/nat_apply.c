/* SPDX-License-Identifier: Apache-2.0 */
/* nat_apply.c: brings a plan into the kernel, many steps a transaction, and finds the one that spoils a transaction by
 * halving it.  nat_step takes the plan apart, nat_elem and nat_frame encode, nat_sweep.c makes and removes chains beside
 * the steps, nat_if.c owns the frame; what to apply is agent/core's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/batch.h"
#include "netlink/nat_apply.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_if.h"
#include "netlink/nat_list.h"
#include "netlink/nat_private.h"
#include "netlink/nat_step.h"

/* Several times what the largest step takes: a frontend with all of its 5003 slots changed, each in a message of its own, is
 * 1.5 MB. */
#define BATCH_LEN_MAX ((size_t)64 * 1024 * 1024)
/* Rounds of doing without deletions of what is not there, and of replacing what is: one finds all of them. */
#define ALONE_ROUNDS 4
/* Steps refused in a row, each isolated, until it is not they that are wrong: the table must be read again. */
#define BAD_MAX 64
#define OP_TEXT_MAX (NAT_ELEM_TEXT_MAX + 16)

static void apply_fini(struct nat_apply *a)
{
	free(a->buf);
	free(a->made);
	free(a->owners);
	free(a->errors);
}

/* The first error counts; the rest of the plan goes on. */
void nat_apply_keep_error(struct nat_apply *a, int r, const struct err_info *err)
{
	if (a->result < 0)
		return;
	a->result = r;
	if (a->err)
		*a->err = *err;
}

/* An error that concerns all goes before those of single steps. */
static void give_up(struct nat_apply *a, int r, const struct err_info *err)
{
	a->result = 0;
	nat_apply_keep_error(a, r, err);
}

/* ---- sending ---- */

static void on_begin(void *ctx)
{
	struct nat_apply *a = ctx;

	a->n_refused = 0;
	if (a->errors)
		memset(a->errors, 0, a->n_errors * sizeof(*a->errors));
}

static void on_refused(void *ctx, uint32_t message, int error, const char *text)
{
	struct nat_apply *a = ctx;

	IGNORE(text); /* nlsock puts the first one's into the error */
	a->n_refused++;
	if (a->errors && message < a->n_owners && a->errors[a->owners[message]] == 0)
		a->errors[a->owners[message]] = error;
}

int nat_apply_commit(struct nat_apply *a, struct batch *b, bool once, struct err_info *err)
{
	const struct nlsock_refusals refusals = { on_begin, on_refused, a };

	if (batch_count(b) == 0)
		return 0;
	batch_end(b);
	if (once)
		return nlsock_batch_once(a->n->sock, b, &refusals, err);
	return nlsock_batch(a->n->sock, b, &refusals, err);
}

static int grow(struct nat_apply *a)
{
	unsigned char *buf;

	if (a->cap >= BATCH_LEN_MAX)
		return -EMSGSIZE;
	buf = realloc(a->buf, a->cap * 2);
	if (!buf)
		return -ENOMEM;
	a->buf = buf;
	a->cap *= 2;
	return 0;
}

/* ---- chains that come and go ---- */

int nat_apply_remember(struct nat_apply *a, const char *chain)
{
	void *v = a->made;

	if (nat_list_reserve(&v, a->n_made + 1, &a->cap_made, sizeof(struct nat_own_chain *)) < 0)
		return -ENOMEM;
	a->made = v;
	if (nat_own_add(&a->n->own, chain) < 0)
		return -ENOMEM;
	a->made[a->n_made++] = nat_own_find(&a->n->own, chain);
	return 0;
}

/* The chains made since there were n_made. */
void nat_apply_forget(struct nat_apply *a, size_t n_made)
{
	while (a->n_made > n_made)
		nat_own_del(&a->n->own, a->made[--a->n_made]->name);
}

static void use(struct nat_apply *a, const char *chain)
{
	struct nat_own_chain *c = nat_own_find(&a->n->own, chain);

	if (!c)
		return;
	c->uses++;
	nat_own_set_idle(&a->n->own, c, false);
}

static void unuse(struct nat_apply *a, const char *chain, bool idle)
{
	struct nat_own_chain *c = nat_own_find(&a->n->own, chain);

	if (!c)
		return;
	c->uses -= c->uses > 0;
	if (c->uses == 0 && idle)
		nat_own_set_idle(&a->n->own, c, true);
}

/* A step was done: its chains have gained and lost a user. */
static void settle(struct nat_apply *a, size_t step)
{
	const struct nat_change *c = nat_step_change(&a->steps, step);
	char name[NAT_NAME_MAX];

	if (!c)
		return;
	if (c->now && nat_balance_is_own(c->now))
		use(a, nat_balance_name(c->now, name));
	if (c->now_firewall)
		use(a, nat_firewall_chain(c->now_firewall, name));
	if (c->old && c->old->n_slots > 0 && nat_balance_is_own(c->old))
		unuse(a, nat_balance_name(c->old, name), true);
	if (c->old_firewall) /* the plan says when it goes */
		unuse(a, nat_firewall_chain(c->old_firewall, name), false);
}

/* ---- encoding ---- */

static int put_chain(struct nat_apply *a, struct nat_elem_writer *w, const struct nat_op *op)
{
	struct nat_own_chain *exists;
	char name[NAT_NAME_MAX];
	int r;

	if (op->kind == NAT_OP_BALANCE)
		nat_balance_name(op->frontend, name);
	else
		nat_firewall_chain(op->firewall->name, name);
	exists = nat_own_find(&a->n->own, name);
	if (exists && op->kind == NAT_OP_BALANCE)
		return 0;
	if (exists) /* it was to go, perhaps, and could not */
		nat_own_set_idle(&a->n->own, exists, false);
	nat_elem_close(w);
	r = op->kind == NAT_OP_BALANCE ? nat_frame_add_balance(w->b, op->frontend)
				       : nat_frame_add_firewall(w->b, op->firewall, exists);
	if (r == 0 && !exists)
		r = nat_apply_remember(a, name);
	a->n_ops += r == 0;
	return r;
}

static int put_op(struct nat_apply *a, struct nat_elem_writer *w, const struct nat_op *op)
{
	int r;

	if (op->kind != NAT_OP_ELEMENT)
		return put_chain(a, w, op);
	r = nat_elem_put(w, &op->elem, op->verb);
	a->n_ops += r == 0;
	return r;
}

/* Appends a step; on an error the batch is as before. */
static int put_step(struct nat_apply *a, struct nat_elem_writer *w, size_t step)
{
	const struct nat_elem_mark before = nat_elem_mark(w);
	const size_t n_made = a->n_made, n_ops = a->n_ops;
	struct nat_step s;
	struct nat_op op;
	int r = 0;

	nat_step_begin(&s, &a->steps, step);
	while (r == 0 && nat_step_next(&s, &op))
		r = put_op(a, w, &op);
	if (r < 0) {
		nat_elem_rewind(w, &before);
		nat_apply_forget(a, n_made);
		a->n_ops = n_ops;
	}
	return r;
}

static void begin_batch(struct nat_apply *a, struct batch *b, struct nat_elem_writer *w, size_t cap)
{
	batch_init(b, a->buf, cap);
	nat_elem_begin(w, b);
	a->n_ops = 0;
}

/* Encodes steps from 'lo' on, at least one, as many below 'hi' as fit; *ret_hi = the first that is not in.  The buffer
 * grows for a step that does not fit alone, and is used whole for such a one only. */
static int encode(struct nat_apply *a, struct batch *b, size_t lo, size_t hi, size_t *ret_hi)
{
	struct nat_elem_writer w;
	size_t i = lo, cap = NAT_BATCH_LEN;
	int r = 0;

	begin_batch(a, b, &w, cap);
	while (i < hi && r == 0) {
		r = put_step(a, &w, i);
		if (r == 0) {
			i++;
		} else if (i == lo && r == -ENOSPC) {
			r = cap < a->cap ? 0 : grow(a);
			cap = a->cap;
			hi = lo + 1;
			begin_batch(a, b, &w, cap);
		}
	}
	nat_elem_close(&w);
	*ret_hi = i;
	return i > lo ? 0 : r;
}

/* What was in the batch has been done, or has not. */
static void done(struct nat_apply *a, size_t lo, size_t hi)
{
	a->done += a->n_ops;
	a->n_made = 0;
	a->n_bad = 0;
	for (size_t i = lo; i < hi; i++)
		settle(a, i);
}

/* ---- one step, op by op ---- */

enum how {
	HOW_PLAIN,
	HOW_SKIP,    /* it is deleted already */
	HOW_REPLACE, /* it is there with another value */
};

/* The messages since there were 'from' belong to 'owner'. */
int nat_apply_own_messages(struct nat_apply *a, const struct batch *b, uint32_t from, uint32_t owner)
{
	a->n_owners = from;
	while (a->n_owners < batch_count(b)) {
		void *v = a->owners;

		if (nat_list_reserve(&v, a->n_owners + 1, &a->cap_owners, sizeof(*a->owners)) < 0)
			return -ENOMEM;
		a->owners = v;
		a->owners[a->n_owners++] = owner;
	}
	return 0;
}

static int put_alone(struct nat_apply *a, struct nat_elem_writer *w, const struct nat_op *op, enum how how)
{
	int r = 0;

	if (how == HOW_SKIP)
		return 0;
	if (how == HOW_REPLACE) {
		r = nat_elem_put(w, &op->elem, NAT_ELEM_DEL);
		nat_elem_close(w);
	}
	if (r == 0)
		r = put_op(a, w, op);
	nat_elem_close(w);
	return r;
}

/* Appends the ops that are still to do, each in messages of its own.  *ret_bad = the op that cannot be encoded. */
static int encode_alone(struct nat_apply *a, struct batch *b, size_t step, const uint8_t *how, size_t *ret_bad)
{
	struct nat_elem_writer w;
	struct nat_step s;
	struct nat_op op;
	uint32_t i = 0;
	int r = 0;

	begin_batch(a, b, &w, a->cap);
	nat_step_begin(&s, &a->steps, step);
	while (r == 0 && nat_step_next(&s, &op)) {
		uint32_t before = batch_count(b);

		*ret_bad = i;
		r = put_alone(a, &w, &op, (enum how)how[i]);
		if (r == 0)
			r = nat_apply_own_messages(a, b, before, i++);
	}
	return r;
}

static void op_text(const struct nat_apply *a, size_t step, size_t i, char text[static OP_TEXT_MAX])
{
	char name[NAT_ELEM_TEXT_MAX];
	struct nat_step s;
	struct nat_op op = { .kind = NAT_OP_ELEMENT };

	nat_step_begin(&s, &a->steps, step);
	while (nat_step_next(&s, &op) && i-- > 0)
		;
	if (op.kind == NAT_OP_ELEMENT)
		snprintf(text, OP_TEXT_MAX, "%s element %s", op.verb == NAT_ELEM_DEL ? "deleting" : "adding",
			 nat_elem_text(&op.elem, name));
	else
		snprintf(text, OP_TEXT_MAX, "chain %s", op.kind == NAT_OP_BALANCE ? nat_balance_name(op.frontend, name)
				: nat_firewall_chain(op.firewall->name, name));
}

static void keep_op_error(struct nat_apply *a, int r, size_t step, size_t i)
{
	struct err_info err = ERR_INFO_INIT;
	char text[OP_TEXT_MAX];

	op_text(a, step, i, text);
	nat_apply_keep_error(a, err_errno(&err, r, "%s", text), &err);
}

/* Looks at what was refused: deletions of what is not there are done already, additions of what is there have to
 * replace it.  The first other error and, in *ret_bad, its op; 0 = there is none. */
static int sort_refusals(const struct nat_apply *a, size_t step, uint8_t *how, size_t *ret_bad)
{
	struct nat_step s;
	struct nat_op op;
	int r = 0;

	nat_step_begin(&s, &a->steps, step);
	for (size_t i = 0; i < a->n_errors && nat_step_next(&s, &op); i++) {
		const bool element = op.kind == NAT_OP_ELEMENT, del = op.verb == NAT_ELEM_DEL;

		if (a->errors[i] == -ENOENT && element && del) {
			how[i] = HOW_SKIP;
		} else if (a->errors[i] == -ENOENT && how[i] == HOW_REPLACE) {
			how[i] = HOW_PLAIN;
		} else if (a->errors[i] == -EEXIST && element && !del && how[i] == HOW_PLAIN) {
			how[i] = HOW_REPLACE;
		} else if (a->errors[i] != 0 && r == 0) {
			r = a->errors[i];
			*ret_bad = i;
		}
	}
	return r;
}

/* A step that was refused, each op in messages of its own, so that the kernel names every one it refuses.  The step's
 * error is kept, not returned: what is returned concerns all. */
static int apply_alone(struct nat_apply *a, size_t step, uint8_t *how)
{
	size_t bad = 0;

	for (unsigned int round = 0; round < ALONE_ROUNDS;) {
		struct err_info err = ERR_INFO_INIT;
		struct batch b;
		int r = encode_alone(a, &b, step, how, &bad);

		if (r < 0)
			nat_apply_forget(a, 0);
		if (r == -ENOSPC && (r = grow(a)) == 0)
			continue;
		if (r < 0) {
			keep_op_error(a, r, step, bad);
			return 0;
		}
		round++;
		r = nat_apply_commit(a, &b, false, &err);
		if (r == 0) {
			done(a, step, step + 1);
			return 0;
		}
		nat_apply_forget(a, 0);
		if (a->n_refused == 0) {
			nat_apply_keep_error(a, r, &err);
			return r;
		}
		r = sort_refusals(a, step, how, &bad);
		if (r < 0) {
			keep_op_error(a, r, step, bad);
			return 0;
		}
	}
	keep_op_error(a, -EBUSY, step, 0); /* somebody changes what we are changing, again and again */
	return 0;
}

static int isolate(struct nat_apply *a, size_t step)
{
	struct err_info err = ERR_INFO_INIT;
	struct nat_step s;
	struct nat_op op;
	uint8_t *how;
	size_t n = 0;
	int r;

	nat_step_begin(&s, &a->steps, step);
	while (nat_step_next(&s, &op))
		n++;
	how = calloc(n ? n : 1, sizeof(*how));
	a->errors = calloc(n ? n : 1, sizeof(*a->errors));
	a->n_errors = n;
	if (how && a->errors)
		r = apply_alone(a, step, how);
	else
		nat_apply_keep_error(a, r = err_set(&err, -ENOMEM, "out of memory"), &err);
	free(how);
	free(a->errors);
	a->errors = NULL;
	if (r == 0 && ++a->n_bad > BAD_MAX)
		give_up(a, r = err_set(&err, -ECANCELED, "%d changes in a row were refused", BAD_MAX), &err);
	return r;
}

/* Without its table every step is refused: nothing is to be isolated then. */
static int require_table(struct nat_apply *a)
{
	struct err_info err = ERR_INFO_INIT;
	bool there, arp;
	int r = nat_if_present(a->n->sock, &there, &arp, &err);

	if (r == 0 && !there)
		r = err_set(&err, -ENOENT, "it has gone");
	if (r < 0)
		give_up(a, r, &err);
	return r;
}

/* ---- many steps ---- */

/* Applies steps from 'lo' on, as many below 'hi' as one transaction takes; *ret_next = the first that is still to
 * do.  When it is refused, halving finds k bad steps among n in about k * log2(n) transactions. */
static int apply_some(struct nat_apply *a, size_t lo, size_t hi, size_t *ret_next)
{
	struct err_info err = ERR_INFO_INIT;
	struct batch b;
	size_t next, mid, part;
	int r = encode(a, &b, lo, hi, &next);

	if (r < 0) { /* not even the first */
		*ret_next = lo + 1;
		return isolate(a, lo);
	}
	*ret_next = next;
	r = nat_apply_commit(a, &b, false, &err);
	if (r == 0) {
		done(a, lo, next);
		return 0;
	}
	nat_apply_forget(a, 0);
	if (a->n_refused == 0) {
		nat_apply_keep_error(a, r, &err);
		return r;
	}
	r = require_table(a);
	if (r < 0)
		return r;
	if (next - lo == 1)
		return isolate(a, lo);
	mid = lo + (next - lo) / 2;
	r = apply_some(a, lo, mid, &part); /* a part of what fitted fits */
	return r == 0 ? apply_some(a, mid, next, &part) : r;
}

int nat_if_apply(struct nat_if *n, const struct nat_plan *plan, size_t *ret_done, struct err_info *err)
{
	AUTO(apply_fini) struct nat_apply a = { .n = n, .plan = plan, .cap = NAT_BATCH_LEN, .err = err };
	int r = 0;

	*ret_done = 0;
	a.steps = nat_steps_of(plan, n->options.counters);
	a.buf = malloc(a.cap);
	if (!a.buf)
		return err_set(err, -ENOMEM, "table inet " NAT_TABLE ": out of memory");
	r = nat_sweep_before(&a, err);
	if (r < 0)
		return err_wrap(err, r, "table inet " NAT_TABLE);
	for (size_t next = 0; next < a.steps.n && r == 0;)
		r = apply_some(&a, next, a.steps.n, &next);
	if (r == 0)
		nat_sweep_after(&a);
	*ret_done = a.done;
	return a.result < 0 ? err_wrap(err, a.result, "table inet " NAT_TABLE) : 0;
}
