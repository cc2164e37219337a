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

/* The elements of a that are not in b, in order. */
struct gone {
	const void *a, *b;
	size_t n_a, n_b;
	size_t size; /* of an element */
	int (*cmp)(const void *a, const void *b);
	size_t i, j;
};

static const void *next_gone(struct gone *g)
{
	const unsigned char *a = g->a, *b = g->b;

	while (g->i < g->n_a) {
		const void *x = a + g->size * g->i++;

		while (g->j < g->n_b && g->cmp(b + g->size * g->j, x) < 0)
			g->j++;
		if (g->j == g->n_b || g->cmp(b + g->size * g->j, x) != 0)
			return x;
	}
	return NULL;
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

static struct gone gone_ips(const struct ip *a, size_t n_a, const struct ip *b, size_t n_b)
{
	return (struct gone){ .a = a, .n_a = n_a, .b = b, .n_b = n_b, .size = sizeof(*a), .cmp = ip_order };
}

static void walk_ips(struct writer *w, enum nat_op_kind kind, struct gone g)
{
	const size_t begin = w->n_ops;
	const struct ip *ip;

	while ((ip = next_gone(&g))) {
		struct nat_op op = { .kind = kind, .vip = *ip };

		put(w, &op);
	}
	end_group(w, begin);
}

static void walk_guards(struct writer *w, enum nat_op_kind kind, const struct nat_state *a, const struct nat_state *b)
{
	struct gone g = { .a = a->guards, .n_a = a->n_guards, .b = b->guards, .n_b = b->n_guards,
			  .size = sizeof(*a->guards), .cmp = guard_order };
	const size_t begin = w->n_ops;
	const struct nat_guard *guard;

	while ((guard = next_gone(&g))) {
		struct nat_op op = { .kind = kind, .vip = guard->ip, .proto = guard->proto, .port = guard->port };

		put(w, &op);
	}
	end_group(w, begin);
}

static void walk_homes(struct writer *w, enum nat_op_kind kind, const struct nat_state *a, const struct nat_state *b)
{
	struct gone g = { .a = a->homes, .n_a = a->n_homes, .b = b->homes, .n_b = b->n_homes,
			  .size = sizeof(*a->homes), .cmp = home_order };
	const size_t begin = w->n_ops;
	const struct nat_home *home;

	while ((home = next_gone(&g))) {
		struct nat_op op = { .kind = kind, .vip = home->vip, .ifindex = home->ifindex };

		put(w, &op);
	}
	end_group(w, begin);
}

static void walk(struct writer *w, const struct nat_state *now, const struct nat_state *old)
{
	walk_ips(w, NAT_OP_VIP_ADD, gone_ips(now->vips, now->n_vips, old->vips, old->n_vips));
	walk_guards(w, NAT_OP_GUARD_ADD, now, old);
	walk_homes(w, NAT_OP_HOME_ADD, now, old);
	walk_ips(w, NAT_OP_LOCAL_ADD, gone_ips(now->locals, now->n_locals, old->locals, old->n_locals));
	walk_frontends(w, now, old);
	walk_ips(w, NAT_OP_LOCAL_DEL, gone_ips(old->locals, old->n_locals, now->locals, now->n_locals));
	walk_homes(w, NAT_OP_HOME_DEL, old, now);
	walk_guards(w, NAT_OP_GUARD_DEL, old, now);
	walk_ips(w, NAT_OP_VIP_DEL, gone_ips(old->vips, old->n_vips, now->vips, now->n_vips));
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
	struct gone add = gone_ips(wanted, n_wanted, observed, n_observed);
	struct gone del = gone_ips(observed, n_observed, wanted, n_wanted);
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
