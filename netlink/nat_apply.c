/* SPDX-License-Identifier: Apache-2.0 */
/* nat_apply.c: brings a plan's ops into the kernel, many groups a transaction, and finds the one that spoils a
 * transaction by halving it.  nat_elem encodes, nat_if.c owns the frame; what to apply is agent/core's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "netlink/batch.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_if.h"

#define BATCH_LEN ((size_t)256 * 1024)
/* Several times what the largest group takes: a frontend with all of its 5003 slots changed is 0.7 MB. */
#define BATCH_LEN_MAX ((size_t)64 * 1024 * 1024)
/* Rounds of leaving out deletions of what is not there; one finds all of them. */
#define ALONE_ROUNDS 3

struct apply {
	struct nlsock *sock;
	const struct nat_op *ops;
	const size_t *ends;
	unsigned char *buf;
	size_t cap;
	size_t done;
	int result; /* the first group's error */
	struct err_info *err;
	unsigned int n_refused; /* messages, of the last transaction */
	int *errors;		/* of each message, while a group is applied op by op; else NULL */
	size_t n_errors;
};

static void apply_fini(struct apply *a)
{
	free(a->buf);
	free(a->errors);
}

static const struct nat_op *group_ops(const struct apply *a, size_t group, size_t *ret_n)
{
	size_t from = group ? a->ends[group - 1] : 0;

	*ret_n = a->ends[group] - from;
	return a->ops + from;
}

/* The first error counts; the rest of the plan goes on. */
static void keep_error(struct apply *a, int r, const struct err_info *err)
{
	if (a->result < 0)
		return;
	a->result = r;
	if (a->err)
		*a->err = *err;
}

static void on_begin(void *ctx)
{
	struct apply *a = ctx;

	a->n_refused = 0;
	if (a->errors)
		memset(a->errors, 0, a->n_errors * sizeof(*a->errors));
}

static void on_refused(void *ctx, uint32_t message, int error, const char *text)
{
	struct apply *a = ctx;

	IGNORE(text); /* nlsock puts the first one's into the error */
	a->n_refused++;
	if (a->errors && message < a->n_errors)
		a->errors[message] = error;
}

static int commit(struct apply *a, struct batch *b, struct err_info *err)
{
	const struct nlsock_refusals refusals = { on_begin, on_refused, a };

	if (batch_count(b) == 0)
		return 0;
	batch_end(b);
	return nlsock_batch(a->sock, b, &refusals, err);
}

static int grow(struct apply *a)
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

/* Encodes groups from 'lo' on, at least one, as many below 'hi' as fit; *ret_hi = the first that is not in. */
static int encode(struct apply *a, struct batch *b, size_t lo, size_t hi, size_t *ret_hi)
{
	size_t i = lo;
	int r = 0;

	batch_init(b, a->buf, a->cap);
	while (i < hi && r == 0) {
		size_t n;
		const struct nat_op *ops = group_ops(a, i, &n);

		r = nat_elem_put(b, ops, n, false);
		if (r == 0) {
			i++;
		} else if (i == lo && r == -ENOSPC) {
			r = grow(a);
			batch_init(b, a->buf, a->cap);
		}
	}
	*ret_hi = i;
	return i > lo ? 0 : r;
}

/* ---- one group, op by op ---- */

/* Appends the ops that are still to do; each is a message.  *ret_bad = the op that cannot be encoded. */
static int encode_alone(struct apply *a, struct batch *b, size_t group, const bool *skip, size_t *ret_bad)
{
	size_t n, i = 0;
	const struct nat_op *ops = group_ops(a, group, &n);
	int r = 0;

	batch_init(b, a->buf, a->cap);
	while (i < n && r == 0) {
		if (!skip[i])
			r = nat_elem_put(b, &ops[i], 1, true);
		if (r != -ENOSPC) {
			i++;
			continue;
		}
		r = grow(a);
		batch_init(b, a->buf, a->cap);
		i = 0;
	}
	*ret_bad = i > 0 ? i - 1 : 0;
	return r;
}

/* Looks at what was refused: deletions of what is not there are done already and are left out from now on.
 * The first other error and, in *ret_bad, its op; 0 = there is none. */
static int sort_refusals(const struct apply *a, size_t group, bool *skip, size_t *ret_bad)
{
	size_t n, message = 0;
	const struct nat_op *ops = group_ops(a, group, &n);
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		int error;

		if (skip[i])
			continue;
		error = a->errors[message++];
		if (error == -ENOENT && nat_op_is_del(ops[i].kind)) {
			skip[i] = true;
		} else if (error != 0 && r == 0) {
			r = error;
			*ret_bad = i;
		}
	}
	return r;
}

static void keep_element_error(struct apply *a, int r, const struct nat_op *op)
{
	struct err_info err = ERR_INFO_INIT;
	char text[NAT_ELEM_TEXT_MAX];

	keep_error(a, err_errno(&err, r, "%s element %s", nat_op_is_del(op->kind) ? "deleting" : "adding",
				nat_elem_text(op, text)),
		   &err);
}

/* A group that was refused, each op a message of its own, so that the kernel names every one it refuses.  The
 * group's error is kept, not returned: what is returned concerns all. */
static int apply_alone(struct apply *a, size_t group, bool *skip)
{
	size_t n, bad = 0;
	const struct nat_op *ops = group_ops(a, group, &n);

	for (unsigned int round = 0; round < ALONE_ROUNDS; round++) {
		struct err_info err = ERR_INFO_INIT;
		struct batch b;
		int r = encode_alone(a, &b, group, skip, &bad);

		if (r < 0) {
			keep_element_error(a, r, &ops[bad]);
			return 0;
		}
		r = commit(a, &b, &err);
		if (r == 0) {
			a->done += n;
			return 0;
		}
		if (a->n_refused == 0) {
			keep_error(a, r, &err);
			return r;
		}
		r = sort_refusals(a, group, skip, &bad);
		if (r < 0) {
			keep_element_error(a, r, &ops[bad]);
			return 0;
		}
	}
	keep_element_error(a, -EBUSY, ops); /* somebody deletes what we are deleting, again and again */
	return 0;
}

static int isolate(struct apply *a, size_t group)
{
	struct err_info err = ERR_INFO_INIT;
	bool *skip;
	size_t n;
	int r;

	IGNORE(group_ops(a, group, &n)); /* for the number alone */
	skip = calloc(n, sizeof(*skip));
	a->errors = calloc(n, sizeof(*a->errors));
	a->n_errors = n;
	if (skip && a->errors)
		r = apply_alone(a, group, skip);
	else
		keep_error(a, r = -ENOMEM, &err);
	free(skip);
	free(a->errors);
	a->errors = NULL;
	return r;
}

/* ---- many groups ---- */

/* Applies groups from 'lo' on, as many below 'hi' as one transaction takes; *ret_next = the first that is still to
 * do.  When it is refused, halving finds k bad groups among n in about k * log2(n) transactions. */
static int apply_some(struct apply *a, size_t lo, size_t hi, size_t *ret_next)
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
	r = commit(a, &b, &err);
	if (r == 0) {
		a->done += a->ends[next - 1] - (lo ? a->ends[lo - 1] : 0);
		return 0;
	}
	if (a->n_refused == 0) {
		keep_error(a, r, &err);
		return r;
	}
	if (next - lo == 1)
		return isolate(a, lo);
	mid = lo + (next - lo) / 2;
	r = apply_some(a, lo, mid, &part); /* a part of what fitted fits */
	return r == 0 ? apply_some(a, mid, next, &part) : r;
}

int nat_if_apply(struct nlsock *s, const struct nat_op *ops, const size_t *ends, size_t n_groups, size_t *ret_done,
		 struct err_info *err)
{
	AUTO(apply_fini) struct apply a = { .sock = s, .ops = ops, .ends = ends, .cap = BATCH_LEN, .err = err };
	int r = 0;

	*ret_done = 0;
	a.buf = malloc(a.cap);
	if (!a.buf)
		return err_set(err, -ENOMEM, "table inet " NAT_TABLE ": out of memory");
	for (size_t next = 0; next < n_groups && r == 0;)
		r = apply_some(&a, next, n_groups, &next);
	*ret_done = a.done;
	return a.result < 0 ? err_wrap(err, a.result, "table inet " NAT_TABLE) : 0;
}

int nat_if_former(struct nlsock *s, const struct ip *backends, size_t n, uint32_t timeout_ms, struct err_info *err)
{
	AUTO(apply_fini) struct apply a = { .sock = s, .buf = malloc(BATCH_LEN) };
	struct batch b;
	int r;

	if (n > NAT_FORMER_MAX)
		return err_set(err, -E2BIG, "former4, former6: %zu addresses", n);
	if (!a.buf)
		return err_set(err, -ENOMEM, "former4, former6: out of memory");
	batch_init(&b, a.buf, BATCH_LEN);
	r = nat_elem_put_former(&b, backends, n, timeout_ms);
	if (r < 0)
		return err_errno(err, r, "former4, former6: %zu addresses for %u ms", n, timeout_ms);
	r = commit(&a, &b, err);
	return r < 0 ? err_wrap(err, r, "table inet " NAT_TABLE ", former4, former6") : 0;
}
