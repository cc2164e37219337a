/* SPDX-License-Identifier: Apache-2.0 */
/* nat_read.c: reads back what stands in the table: the plain sets, where each frontend is sent and behind which firewall,
 * and the firewalls' digests.  Slots are not read: their digest is the dispatch element's comment, nat_verify.c asks for
 * them.  nat_elem and nat_frame decode. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_if.h"
#include "netlink/nat_list.h"
#include "netlink/nat_private.h"

#define DUMP_RESTARTS 10
#define RESTART_PAUSE_MS 10 /* times the number of the attempt */

/* Names are offsets into d.names while that grows. */
struct gate {
	struct frontend key;
	size_t name;
};

struct gates {
	struct gate *v;
	size_t n, cap;
};

struct wall {
	size_t name;
	uint64_t digest; /* that all of its rules have, else 0 */
	unsigned int rules, named; /* how many there are, and should be */
};

struct reading {
	struct nat_if *n;
	struct nat_read d;
	size_t cap_members, cap_partial, cap_frontends;
	size_t n_names, cap_names;
	struct gates firewalls, returns; /* elements of these maps */
	struct wall *walls; /* firewalls' chains */
	size_t n_walls, cap_walls;
	struct wall *last; /* whose rules are coming */
};

void nat_read_free(struct nat_read *r)
{
	free(r->members);
	free(r->partial);
	free(r->frontends);
	free(r->firewalls);
	free(r->names);
	*r = (struct nat_read){ .members = NULL };
}

static void reading_fini(struct reading *x)
{
	nat_read_free(&x->d);
	free(x->firewalls.v);
	free(x->returns.v);
	free(x->walls);
}

static int keep_name(struct reading *x, const char *name, size_t *ret)
{
	size_t len = strlen(name) + 1;
	void *v = x->d.names;
	int r = nat_list_reserve(&v, x->n_names + len, &x->cap_names, 1);

	if (r < 0)
		return r;
	x->d.names = v;
	memcpy(x->d.names + x->n_names, name, len);
	*ret = x->n_names;
	x->n_names += len;
	return 0;
}

/* ---- elements ---- */

static int add_member(struct reading *x, const struct nat_elem *e)
{
	/* The plain sets' kinds are the members'. */
	struct nat_member m = { .ip = e->ip, .kind = (uint8_t)e->set->kind, .proto = e->proto, .port = e->port };
	void *v = x->d.members;
	int r = nat_list_reserve(&v, x->d.n_members + 1, &x->cap_members, sizeof(*x->d.members));

	if (r < 0)
		return r;
	x->d.members = v;
	if (m.kind == NAT_HOME)
		m.ifindex = e->ifindex;
	x->d.members[x->d.n_members++] = m;
	return 0;
}

static int add_frontend(struct reading *x, const struct nat_elem *e)
{
	struct frontend f = { .vip = e->ip, .proto = e->proto, .port = e->port, .digest = e->digest };
	void *v = x->d.frontends;
	char name[NAT_NAME_MAX];
	int r = nat_list_reserve(&v, x->d.n_frontends + 1, &x->cap_frontends, sizeof(*x->d.frontends));

	if (r < 0)
		return r;
	x->d.frontends = v;
	/* Another frontend's own chain is none of this one's. */
	if (!e->chain || !nat_balance_parse(e->chain, &f) || !text_eq(nat_balance_name(&f, name), e->chain))
		f.n_slots = 0;
	x->d.frontends[x->d.n_frontends++] = (struct nat_read_frontend){ .f = f };
	return 0;
}

static int add_gate(struct reading *x, struct gates *gates, const struct nat_elem *e, const char *name)
{
	struct gate g = { .key = { .vip = e->ip, .proto = e->proto, .port = e->port } };
	void *v = gates->v;
	int r = nat_list_reserve(&v, gates->n + 1, &gates->cap, sizeof(*gates->v));

	if (r < 0)
		return r;
	gates->v = v;
	r = keep_name(x, name, &g.name);
	if (r == 0)
		gates->v[gates->n++] = g;
	return r;
}

static int add_firewall(struct reading *x, const struct nat_elem *e)
{
	const bool ours = e->chain && text_starts(e->chain, NAT_FIREWALL_PREFIX);

	return add_gate(x, &x->firewalls, e, ours ? e->chain + strlen(NAT_FIREWALL_PREFIX) : "");
}

static int on_element(void *ctx, const struct nat_elem *e)
{
	if (e->set->kind == NAT_SET_KIND_DISPATCH)
		return add_frontend(ctx, e);
	if (e->set->kind == NAT_SET_KIND_FIREWALLS)
		return add_firewall(ctx, e);
	if (e->set->kind == NAT_SET_KIND_RETURNS)
		return add_gate(ctx, &((struct reading *)ctx)->returns, e, e->chain ? e->chain : "");
	return e->set->kind < NAT_SET_KIND_DISPATCH ? add_member(ctx, e) : -EBADMSG;
}

static int on_elements(void *ctx, const struct nlmsghdr *nlh)
{
	return nat_elem_parse(nlh, nlh->nlmsg_len, on_element, ctx);
}

/* ---- chains ---- */

static bool is_firewall(const char *chain)
{
	return text_starts(chain, NAT_FIREWALL_PREFIX) && !nat_chain_named(chain);
}

/* The firewall whose rules stand in the chain, or NULL. */
static const char *firewall_of(const char *chain)
{
	if (is_firewall(chain))
		return chain + strlen(NAT_FIREWALL_PREFIX);
	return text_starts(chain, NAT_SOURCES_PREFIX) ? chain + strlen(NAT_SOURCES_PREFIX) : NULL;
}

static bool is_own(const char *chain)
{
	struct frontend f = { .n_slots = 0 };

	return is_firewall(chain) || (nat_balance_parse(chain, &f) && nat_balance_is_own(&f));
}

static int on_chain(void *ctx, const struct nlmsghdr *nlh)
{
	struct reading *x = ctx;
	struct nat_seen_chain c;
	struct wall wall = { .digest = 0 };
	void *v = x->walls;
	int r = nat_frame_parse_chain(nlh, nlh->nlmsg_len, &c);

	if (r == -ENOENT || (r == 0 && !is_firewall(c.name)))
		return 0;
	if (r == 0)
		r = nat_list_reserve(&v, x->n_walls + 1, &x->cap_walls, sizeof(*x->walls));
	if (r < 0)
		return r;
	x->walls = v;
	r = keep_name(x, c.name + strlen(NAT_FIREWALL_PREFIX), &wall.name);
	if (r == 0)
		x->walls[x->n_walls++] = wall;
	return r;
}

/* Sorted by now. */
static struct wall *find_wall(const struct reading *x, const char *name)
{
	size_t lo = 0, hi = x->n_walls;

	if (x->last && text_eq(x->d.names + x->last->name, name))
		return x->last;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(x->d.names + x->walls[mid].name, name);

		if (c == 0)
			return &x->walls[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

/* Without a digest when somebody else's rule is among them. */
static void add_to_wall(struct wall *w, const char *comment)
{
	const uint64_t digest = nat_digest_find(comment);

	w->digest = w->rules == 0 || w->digest == digest ? digest : 0;
	w->named = nat_rules_find(comment);
	w->rules++;
}

static int on_rule(void *ctx, const struct nlmsghdr *nlh)
{
	struct reading *x = ctx;
	struct nat_seen_rule rule;
	int r = nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule);

	if (r == -ENOENT)
		return 0;
	if (r == 0 && is_own(rule.chain))
		r = nat_own_add(&x->n->own, rule.chain);
	if (r < 0 || !firewall_of(rule.chain))
		return r;
	x->last = find_wall(x, firewall_of(rule.chain));
	if (x->last) /* else it was made after the chains were read: not this time */
		add_to_wall(x->last, rule.comment);
	return 0;
}

/* ---- members that stand for several elements ---- */

#define KIND_TAKEN NAT_MEMBER_KIND_N /* of one that is dealt with */

/* The members of a kind from some point on. */
struct run {
	struct nat_member *v;
	size_t n;
};

/* But for the kind. */
static int key_order(const struct nat_member *a, const struct nat_member *b)
{
	struct nat_member like_a = *b;

	like_a.kind = a->kind;
	return nat_member_cmp(a, &like_a);
}

static int add_partial(struct reading *x, const struct nat_member *m)
{
	void *v = x->d.partial;
	int r = nat_list_reserve(&v, x->d.n_partial + 1, &x->cap_partial, sizeof(*x->d.partial));

	if (r < 0)
		return r;
	x->d.partial = v;
	x->d.partial[x->d.n_partial++] = *m;
	return 0;
}

/* Of what stands for one member (kinds[0] its own) one element goes on, if all are there, else none. */
static int join_kinds(struct reading *x, struct run *runs, const enum nat_member_kind *kinds, size_t n)
{
	for (;;) {
		const struct nat_member *first = NULL;
		struct nat_member m, *own = NULL;
		size_t there = 0;
		int r;

		for (size_t i = 0; i < n; i++)
			if (runs[kinds[i]].n > 0 && (!first || key_order(runs[kinds[i]].v, first) < 0))
				first = runs[kinds[i]].v;
		if (!first)
			return 0;
		m = *first;
		m.kind = (uint8_t)kinds[0];
		for (size_t i = 0; i < n; i++) {
			struct run *run = &runs[kinds[i]];

			if (run->n == 0 || key_order(run->v, &m) != 0)
				continue;
			own = i == 0 ? run->v : own;
			run->v->kind = KIND_TAKEN;
			run->v++;
			run->n--;
			there++;
		}
		if (there == n) {
			own->kind = m.kind;
			continue;
		}
		r = add_partial(x, &m);
		if (r < 0)
			return r;
	}
}

static int join_counted(struct reading *x)
{
	static const enum nat_member_kind backend[] = { NAT_GUARD, NAT_BACKEND, NAT_OPENED };
	static const enum nat_member_kind frontend[] = { NAT_RECEIVED, NAT_SENT };
	struct run runs[NAT_MEMBER_KIND_N] = { { NULL, 0 } };
	size_t n = 0;
	int r;

	for (size_t i = 0; i < x->d.n_members; i++) {
		struct run *run = &runs[x->d.members[i].kind];

		if (run->n++ == 0)
			run->v = &x->d.members[i];
	}
	r = join_kinds(x, runs, backend, ARRAY_LEN(backend));
	if (r == 0)
		r = join_kinds(x, runs, frontend, ARRAY_LEN(frontend));
	for (size_t i = 0; i < x->d.n_members; i++)
		if (x->d.members[i].kind != KIND_TAKEN)
			x->d.members[n++] = x->d.members[i];
	x->d.n_members = n;
	return r;
}

/* ---- all of it ---- */

static int read_part(struct reading *x, enum nat_read_what what, const struct nat_set_shape *set, struct err_info *err)
{
	static int (*const parts[])(void *ctx, const struct nlmsghdr *nlh) = {
		[NAT_READ_CHAINS] = on_chain, [NAT_READ_RULES] = on_rule, [NAT_READ_ELEMENTS] = on_elements,
	};
	const struct nlsock_reader reader = { parts[what], x };
	const char *name = set ? set->name : what == NAT_READ_CHAINS ? "chains" : "rules";
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	struct err_info inner = ERR_INFO_INIT;
	int r = nlsock_request(x->n->sock, nat_frame_read(buf, what, set), &reader, &inner);

	if (r == 0)
		return 0;
	if (inner.text[0] == '\0') /* ours, not the kernel's */
		return err_errno(err, r, "%s", name);
	return err_set(err, r, "%s: %s", name, inner.text);
}

static int member_order(const void *a, const void *b)
{
	return nat_member_cmp(a, b);
}

static int frontend_order(const void *a, const void *b)
{
	const struct nat_read_frontend *x = a, *y = b;

	return frontend_cmp(&x->f, &y->f);
}

static int gate_order(const void *a, const void *b)
{
	const struct gate *x = a, *y = b;

	return frontend_cmp(&x->key, &y->key);
}

static int wall_order(const void *a, const void *b, void *names)
{
	const struct wall *x = a, *y = b;
	const char *text = names;

	return strcmp(text + x->name, text + y->name);
}

/* Each frontend gets the name of its firewall; those that have nothing else are added.  All are sorted. */
static int join_firewalls(struct reading *x)
{
	const size_t n = x->d.n_frontends;
	void *v = x->d.frontends;
	int r = nat_list_reserve(&v, n + x->firewalls.n, &x->cap_frontends, sizeof(*x->d.frontends));

	x->d.frontends = v;
	if (r < 0)
		return r;
	for (size_t i = 0, j = 0; i < x->firewalls.n; i++) {
		const struct gate *g = &x->firewalls.v[i];
		struct nat_read_frontend *f;

		while (j < n && frontend_cmp(&x->d.frontends[j].f, &g->key) < 0)
			j++;
		if (j < n && frontend_cmp(&x->d.frontends[j].f, &g->key) == 0) {
			f = &x->d.frontends[j];
		} else {
			f = &x->d.frontends[x->d.n_frontends++];
			f->f = g->key;
		}
		f->firewall = x->d.names + g->name;
	}
	if (x->d.n_frontends > n)
		qsort(x->d.frontends, x->d.n_frontends, sizeof(*x->d.frontends), frontend_order);
	return 0;
}

/* One whose clients are not led to where they are remembered has no digest: it is to be made anew. */
static void check_returns(struct reading *x)
{
	char name[NAT_NAME_MAX];

	for (size_t i = 0, j = 0; i < x->d.n_frontends; i++) {
		struct frontend *f = &x->d.frontends[i].f;
		bool there;

		while (j < x->returns.n && frontend_cmp(&x->returns.v[j].key, f) < 0)
			j++;
		there = j < x->returns.n && frontend_cmp(&x->returns.v[j].key, f) == 0;
		if (f->n_slots > 0 && f->sticky_s > 0 &&
		    !(there && text_eq(x->d.names + x->returns.v[j].name, nat_return_name(f, name))))
			f->digest = 0;
	}
}

static int name_walls(struct reading *x)
{
	x->d.firewalls = calloc(x->n_walls ? x->n_walls : 1, sizeof(*x->d.firewalls));
	if (!x->d.firewalls)
		return -ENOMEM;
	for (size_t i = 0; i < x->n_walls; i++) {
		const struct wall *w = &x->walls[i];

		x->d.firewalls[i] = (struct nat_read_firewall){ x->d.names + w->name, w->rules == w->named ? w->digest : 0 };
	}
	x->d.n_firewalls = x->n_walls;
	return 0;
}

static bool is_read(enum nat_set_kind kind)
{
	return kind <= NAT_SET_KIND_DISPATCH || kind == NAT_SET_KIND_FIREWALLS || kind == NAT_SET_KIND_RETURNS;
}

static int read_all(struct reading *x, struct err_info *err)
{
	int r = read_part(x, NAT_READ_CHAINS, NULL, err);

	if (r < 0)
		return r;
	if (x->n_walls > 0)
		qsort_r(x->walls, x->n_walls, sizeof(*x->walls), wall_order, x->d.names);
	r = read_part(x, NAT_READ_RULES, NULL, err);
	for (size_t i = 0; i < NAT_SET_N && r == 0; i++)
		if (is_read(nat_sets[i].kind))
			r = read_part(x, NAT_READ_ELEMENTS, &nat_sets[i], err);
	if (r < 0)
		return r;
	if (nat_list_sort_twice(x->d.members, x->d.n_members, sizeof(*x->d.members), member_order) ||
	    nat_list_sort_twice(x->d.frontends, x->d.n_frontends, sizeof(*x->d.frontends), frontend_order) ||
	    nat_list_sort_twice(x->firewalls.v, x->firewalls.n, sizeof(*x->firewalls.v), gate_order) ||
	    nat_list_sort_twice(x->returns.v, x->returns.n, sizeof(*x->returns.v), gate_order))
		return err_set(err, -EINTR, "the kernel is resizing a set");
	check_returns(x);
	if (x->n->options.counters)
		r = join_counted(x);
	if (r == 0)
		r = join_firewalls(x);
	if (r == 0)
		r = name_walls(x);
	return r < 0 ? err_errno(err, r, "%zu frontends", x->d.n_frontends) : 0;
}

/* ---- which chains are used ---- */

static void clear_uses(void *ctx, struct nat_own_chain *c)
{
	nat_own_set_idle(ctx, c, false);
	c->uses = 0;
}

static void add_use(struct nat_own *o, const char *chain)
{
	struct nat_own_chain *c = nat_own_find(o, chain);

	if (c)
		c->uses++;
}

/* Of a firewall without users the plan says whether it is to go. */
static void idle_unused(void *ctx, struct nat_own_chain *c)
{
	if (c->uses == 0 && !is_firewall(c->name))
		nat_own_set_idle(ctx, c, true);
}

static void count_uses(struct reading *x)
{
	struct nat_own *own = &x->n->own;
	char name[NAT_NAME_MAX];

	nat_own_end(own);
	nat_own_walk(own, clear_uses, own);
	for (size_t i = 0; i < x->d.n_frontends; i++) {
		const struct nat_read_frontend *f = &x->d.frontends[i];

		if (f->f.n_slots > 0 && nat_balance_is_own(&f->f))
			add_use(own, nat_balance_name(&f->f, name));
		if (f->firewall)
			add_use(own, nat_firewall_chain(f->firewall, name));
	}
	nat_own_walk(own, idle_unused, own);
}

int nat_if_read(struct nat_if *n, struct nat_read *ret, struct err_info *err)
{
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		AUTO(reading_fini) struct reading x = { .n = n };
		const struct timespec pause = { .tv_nsec = (long)i * RESTART_PAUSE_MS * NS_PER_MS };

		if (i > 0)
			IGNORE(nanosleep(&pause, NULL)); /* cut short by a signal: a little early */
		nat_own_begin(&n->own);
		r = read_all(&x, err);
		if (r == 0) {
			count_uses(&x);
			*ret = x.d;
			x.d = (struct nat_read){ .members = NULL };
		}
	}
	return r < 0 ? err_wrap(err, r, "reading table inet " NAT_TABLE) : 0;
}
