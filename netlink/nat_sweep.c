/* SPDX-License-Identifier: Apache-2.0 */
/* nat_sweep.c: chains that come and go, beside a plan's steps: made before them, removed after them. */
#include <errno.h>
#include <stdlib.h>

#include "netlink/nat_apply.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_layout.h"
#include "netlink/nat_list.h"

/* ---- before ---- */

/* Sends what has been made; until a step uses one it is idle. */
static int send_made(struct nat_apply *a, struct batch *b, struct err_info *err)
{
	int r = nat_apply_commit(a, b, false, err);

	if (r < 0)
		nat_apply_forget(a, 0);
	for (size_t i = 0; i < a->n_made; i++)
		nat_own_set_idle(&a->n->own, a->made[i], true);
	a->done += a->n_made;
	a->n_made = 0;
	batch_init(b, a->buf, NAT_BATCH_LEN);
	return a->n_refused > 0 ? 0 : r;
}

int nat_sweep_before(struct nat_apply *a, struct err_info *err)
{
	struct batch b;
	int r;

	batch_init(&b, a->buf, NAT_BATCH_LEN);
	for (size_t i = 0; i < a->plan->n_changes; i++) {
		const struct frontend *f = a->plan->changes[i].now;
		char name[NAT_NAME_MAX];

		if (!f || !nat_balance_is_own(f) || nat_own_find(&a->n->own, nat_balance_name(f, name)))
			continue;
		r = nat_frame_add_balance(&b, f);
		if (r == -ENOSPC && batch_count(&b) > 0) {
			r = send_made(a, &b, err);
			if (r < 0)
				return r;
			r = nat_frame_add_balance(&b, f);
		}
		if (r == 0)
			r = nat_apply_remember(a, name);
		if (r < 0) {
			nat_apply_forget(a, 0);
			return err_errno(err, r, "chain %s", name);
		}
	}
	return send_made(a, &b, err);
}

/* ---- after ---- */

static void mark_gone(struct nat_apply *a)
{
	char name[NAT_NAME_MAX];

	for (size_t i = 0; i < a->plan->n_gone; i++) {
		struct nat_own_chain *c;

		nat_firewall_chain(a->plan->gone[i], name);
		if (nat_own_add(&a->n->own, name) < 0) /* not yet known: one without rules */
			continue;		       /* found again by the next reading */
		c = nat_own_find(&a->n->own, name);
		if (c)
			nat_own_set_idle(&a->n->own, c, true);
	}
}

static void collect_idle(void *ctx, struct nat_own_chain *c)
{
	struct nat_apply *a = ctx;
	void *v = a->made;

	if (!c->idle || c->uses > 0 ||
	    nat_list_reserve(&v, a->n_made + 1, &a->cap_made, sizeof(struct nat_own_chain *)) < 0)
		return;
	a->made = v;
	a->made[a->n_made++] = c;
}

/* Encodes the removal of made[0..n), as many as fit; *ret_n = how many. */
static int encode_removal(struct nat_apply *a, struct batch *b, size_t n, size_t *ret_n)
{
	int r = 0;

	batch_init(b, a->buf, NAT_BATCH_LEN);
	for (*ret_n = 0; *ret_n < n && r == 0; ++*ret_n) {
		uint32_t before = batch_count(b);

		r = nat_frame_del_own(b, a->made[*ret_n]->name);
		if (r == 0)
			r = nat_apply_own_messages(a, b, before, (uint32_t)*ret_n);
		if (r < 0)
			break;
	}
	return *ret_n > 0 ? 0 : r;
}

/* Removes some of made[0..n_made) from the kernel and from that list; what the kernel still has a use for stays for another
 * call, as does all when anything else fails. */
static int remove_some(struct nat_apply *a, struct err_info *err)
{
	size_t n, kept = 0;
	struct batch b;
	int r = encode_removal(a, &b, a->n_made, &n);

	if (r < 0)
		return err_errno(err, r, "removing chain %s", a->made[0]->name);
	a->errors = calloc(n, sizeof(*a->errors));
	a->n_errors = n;
	if (!a->errors)
		return err_set(err, -ENOMEM, "out of memory");
	r = nat_apply_commit(a, &b, true, err);
	if (r < 0 && a->n_refused == 0)
		return r;
	for (size_t i = 0; i < a->n_made; i++) {
		int error = i < n ? a->errors[i] : 0;

		if (i < n && (r == 0 || error == -ENOENT))
			nat_own_del(&a->n->own, a->made[i]->name);
		else if (error == 0)
			a->made[kept++] = a->made[i];
	}
	if (r == 0)
		a->done += n;
	a->n_made = kept;
	free(a->errors);
	a->errors = NULL;
	return 0;
}

void nat_sweep_after(struct nat_apply *a)
{
	struct err_info err = ERR_INFO_INIT;
	int r = 0;

	mark_gone(a);
	if (a->n->own.n_idle == 0)
		return;
	nat_own_walk(&a->n->own, collect_idle, a);
	while (a->n_made > 0 && r == 0)
		r = remove_some(a, &err);
	if (r < 0)
		nat_apply_keep_error(a, r, &err);
}
