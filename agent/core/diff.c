/* SPDX-License-Identifier: Apache-2.0 */
/* diff.c: one merge walk over two sorted states, done twice: to count, then to write.  What is wanted is wanted.c's
 * affair, putting it into netlink messages that of netlink/. */
#include "agent/core/diff.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Where ops go; with 'plan' still without storage they are only counted. */
struct writer {
	struct nat_op *ops; /* NULL = count only */
	size_t *ends;
	size_t n_ops, n_groups;
};

static void put(struct writer *w, const struct nat_op *op)
{
	if (w->ops)
		w->ops[w->n_ops] = *op;
	w->n_ops++;
}

/* Ends the group if it has any op. */
static void end_group(struct writer *w, size_t begin)
{
	if (w->n_ops == begin)
		return;
	if (w->ends)
		w->ends[w->n_groups] = w->n_ops;
	w->n_groups++;
}

static void put_frontend(struct writer *w, enum nat_op_kind kind, const struct frontend *f)
{
	struct nat_op op = { .kind = kind, .vip = f->vip, .proto = f->proto, .port = f->port, .balance = f->balance,
			     .n_slots = f->n_slots };

	put(w, &op);
}

static void put_slot(struct writer *w, enum nat_op_kind kind, const struct frontend *f, uint16_t slot)
{
	struct nat_op op = { .kind = kind, .vip = f->vip, .proto = f->proto, .port = f->port, .slot = slot,
			     .backend = f->slots[slot] };

	if (op.backend.ip.family != IP_NONE) /* observed: missing in the kernel */
		put(w, &op);
}

static void put_slots(struct writer *w, enum nat_op_kind kind, const struct frontend *f, unsigned int from)
{
	for (unsigned int i = from; i < f->n_slots; i++)
		put_slot(w, kind, f, (uint16_t)i);
}

static void add_frontend(struct writer *w, const struct frontend *f)
{
	put_slots(w, NAT_OP_SLOT_ADD, f, 0);
	put_frontend(w, NAT_OP_FRONTEND_ADD, f);
}

static void del_frontend(struct writer *w, const struct frontend *f)
{
	put_frontend(w, NAT_OP_FRONTEND_DEL, f);
	put_slots(w, NAT_OP_SLOT_DEL, f, 0);
}

/* The same vip, protocol and port on both sides.  Slots that the new dispatch needs come before it, those that only the
 * old one needed go after it. */
static void change_frontend(struct writer *w, const struct frontend *now, const struct frontend *old)
{
	const unsigned int both = now->n_slots < old->n_slots ? now->n_slots : old->n_slots;

	for (unsigned int i = 0; i < both; i++) {
		if (ip_port_cmp(&now->slots[i], &old->slots[i]) == 0)
			continue;
		put_slot(w, NAT_OP_SLOT_DEL, old, (uint16_t)i);
		put_slot(w, NAT_OP_SLOT_ADD, now, (uint16_t)i);
	}
	put_slots(w, NAT_OP_SLOT_ADD, now, both);
	if (now->balance != old->balance || now->n_slots != old->n_slots) {
		put_frontend(w, NAT_OP_FRONTEND_DEL, old);
		put_frontend(w, NAT_OP_FRONTEND_ADD, now);
	}
	put_slots(w, NAT_OP_SLOT_DEL, old, both);
}

static void walk_frontends(struct writer *w, const struct nat_state *now, const struct nat_state *old)
{
	size_t i = 0, j = 0;

	while (i < now->n_frontends || j < old->n_frontends) {
		const size_t begin = w->n_ops;
		int c = i == now->n_frontends ? 1 :
			j == old->n_frontends ? -1 : frontend_cmp(&now->frontends[i], &old->frontends[j]);

		if (c < 0)
			add_frontend(w, &now->frontends[i++]);
		else if (c > 0)
			del_frontend(w, &old->frontends[j++]);
		else
			change_frontend(w, &now->frontends[i++], &old->frontends[j++]);
		end_group(w, begin);
	}
}

/* The elements of a[0..n_a) that are not in b[0..n_b), in order. */
struct gone {
	const struct ip *a, *b;
	size_t n_a, n_b, i, j;
};

static const struct ip *next_gone(struct gone *g)
{
	while (g->i < g->n_a) {
		const struct ip *ip = &g->a[g->i++];

		while (g->j < g->n_b && ip_cmp(&g->b[g->j], ip) < 0)
			g->j++;
		if (g->j == g->n_b || ip_cmp(&g->b[g->j], ip) != 0)
			return ip;
	}
	return NULL;
}

static void walk_vips(struct writer *w, enum nat_op_kind kind, struct gone g)
{
	const size_t begin = w->n_ops;
	const struct ip *ip;

	while ((ip = next_gone(&g))) {
		struct nat_op op = { .kind = kind, .vip = *ip };

		put(w, &op);
	}
	end_group(w, begin);
}

static void walk(struct writer *w, const struct nat_state *now, const struct nat_state *old)
{
	struct gone add = { .a = now->vips, .n_a = now->n_vips, .b = old->vips, .n_b = old->n_vips };
	struct gone del = { .a = old->vips, .n_a = old->n_vips, .b = now->vips, .n_b = now->n_vips };

	walk_vips(w, NAT_OP_VIP_ADD, add);
	walk_frontends(w, now, old);
	walk_vips(w, NAT_OP_VIP_DEL, del);
}

int diff_nat(const struct nat_state *wanted, const struct nat_state *observed, struct arena *arena,
	     struct nat_plan *ret)
{
	struct writer count = { 0 }, w = { 0 };

	walk(&count, wanted, observed);
	w.ops = arena_take_array(arena, count.n_ops, sizeof(*w.ops));
	w.ends = arena_take_array(arena, count.n_groups, sizeof(*w.ends));
	if (!w.ops || !w.ends)
		return -ENOSPC;
	walk(&w, wanted, observed);
	*ret = (struct nat_plan){ .ops = w.ops, .n_ops = w.n_ops, .ends = w.ends, .n_groups = w.n_groups };
	return 0;
}

static size_t fill(struct gone g, struct ip *to)
{
	const struct ip *ip;
	size_t n = 0;

	for (; (ip = next_gone(&g)); n++)
		if (to)
			to[n] = *ip;
	return n;
}

int diff_addrs(const struct ip *wanted, size_t n_wanted, const struct ip *observed, size_t n_observed,
	       struct arena *arena, struct addr_diff *ret)
{
	struct gone add = { .a = wanted, .n_a = n_wanted, .b = observed, .n_b = n_observed };
	struct gone del = { .a = observed, .n_a = n_observed, .b = wanted, .n_b = n_wanted };
	struct addr_diff d = { .n_add = fill(add, NULL), .n_del = fill(del, NULL) };

	d.add = arena_take_array(arena, d.n_add, sizeof(*d.add));
	d.del = arena_take_array(arena, d.n_del, sizeof(*d.del));
	if (!d.add || !d.del)
		return -ENOSPC;
	fill(add, d.add);
	fill(del, d.del);
	*ret = d;
	return 0;
}
