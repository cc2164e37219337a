/* SPDX-License-Identifier: Apache-2.0 */
/* link_table.c: sorted arrays with insertion and removal; hundreds of entries, thousands where there are many containers,
 * changed one by one.  link_feed fills them, the shell sees a copy. */
#include "netlink/link_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void link_table_fini(struct link_table *t)
{
	free(t->links);
	free(t->addrs);
	*t = (struct link_table){ .links = NULL };
}

void link_table_reset_defaults(struct link_table *t)
{
	t->v4 = (struct link_default){ 0 };
	t->v6 = (struct link_default){ 0 };
	t->v6_from_ra = false;
	t->v6_ra_index = 0;
}

void link_table_reset(struct link_table *t)
{
	/* What was lost may have asked for announcements: links that are read anew get a value they had not before. */
	t->announcements += t->n_links > 0;
	t->n_links = 0;
	t->n_addrs = 0;
	link_table_reset_defaults(t);
}

static bool reserve(void **v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap : 16;
	void *p;

	while (want < n)
		want *= 2;
	if (n <= *cap)
		return true;
	p = reallocarray(*v, want, size);
	if (!p)
		return false;
	*v = p;
	*cap = want;
	return true;
}

static bool reserve_links(struct link_table *t, size_t n)
{
	void *v = t->links;
	bool ok = reserve(&v, n, &t->cap_links, sizeof(*t->links));

	t->links = v;
	return ok;
}

static bool reserve_addrs(struct link_table *t, size_t n)
{
	void *v = t->addrs;
	bool ok = reserve(&v, n, &t->cap_addrs, sizeof(*t->addrs));

	t->addrs = v;
	return ok;
}

static bool link_eq(const struct link *a, const struct link *b)
{
	return a->index == b->index && strcmp(a->name, b->name) == 0 && memcmp(a->mac, b->mac, sizeof(a->mac)) == 0 &&
	       a->kind == b->kind && a->master == b->master && a->lower == b->lower && a->port == b->port &&
	       a->pair == b->pair && a->announcements == b->announcements && a->ethernet == b->ethernet &&
	       a->up == b->up && a->carrier == b->carrier && a->loopback == b->loopback && a->noarp == b->noarp &&
	       a->born == b->born;
}

/* The first link whose index is not below 'index'. */
static size_t find_link(const struct link_table *t, int index)
{
	size_t lo = 0, hi = t->n_links;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (t->links[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct link *link_table_find(const struct link_table *t, int index)
{
	size_t at = find_link(t, index);

	return at < t->n_links && t->links[at].index == index ? &t->links[at] : NULL;
}

static struct link *link_at(struct link_table *t, int index)
{
	size_t at = find_link(t, index);

	return at < t->n_links && t->links[at].index == index ? &t->links[at] : NULL;
}

/* A bridge's way to the network that works.  What leads to a container comes and goes without meaning anything for
 * others; of a bond the kernel itself tells what matters. */
static bool is_uplink(const struct link_table *t, const struct link *l)
{
	const struct link *master = link_table_find(t, l->master);

	return l->port && l->up && l->carrier && !l->pair && master && master->kind == LINK_BRIDGE;
}

/* The kernel hands an event on from a link to the VLANs and macvlans on it, but not from a bridge's port to the bridge
 * (vlan_device_event(), macvlan_device_event(), br_device_event()); so all that stands above is raised here, each link
 * once. */
static void raise_announcements(struct link_table *t, int index, uint32_t to)
{
	struct link *l = link_at(t, index);

	if (!l || l->announcements == to)
		return;
	l->announcements = to;
	if (l->port)
		raise_announcements(t, l->master, to);
	for (size_t i = 0; i < t->n_links; i++)
		if (t->links[i].lower == index)
			raise_announcements(t, t->links[i].index, to);
}

void link_table_announce(struct link_table *t, int index)
{
	raise_announcements(t, index, ++t->announcements);
}

enum link_table_result link_table_put_link(struct link_table *t, const struct link *link)
{
	size_t at = find_link(t, link->index);
	struct link next = *link;

	if (at < t->n_links && t->links[at].index == link->index) {
		const struct link was = t->links[at];

		next.born = was.born;
		next.announcements = was.announcements;
		if (link_eq(&was, &next))
			return LINK_TABLE_SAME;
		t->links[at] = next;
		/* With other ports the bridge itself has had its carrier all the time. */
		if (is_uplink(t, &next) && (was.master != next.master || !is_uplink(t, &was)))
			link_table_announce(t, next.master);
		return LINK_TABLE_CHANGED;
	}
	if (!reserve_links(t, t->n_links + 1))
		return LINK_TABLE_NO_MEMORY;
	memmove(&t->links[at + 1], &t->links[at], (t->n_links - at) * sizeof(*t->links));
	next.born = ++t->births;
	next.announcements = t->announcements;
	t->links[at] = next;
	t->n_links++;
	return LINK_TABLE_CHANGED;
}

enum link_table_result link_table_del_link(struct link_table *t, int index)
{
	size_t at = find_link(t, index), kept = 0;
	bool was = at < t->n_links && t->links[at].index == index;

	if (was) {
		memmove(&t->links[at], &t->links[at + 1], (t->n_links - at - 1) * sizeof(*t->links));
		t->n_links--;
	}
	for (size_t i = 0; i < t->n_addrs; i++)
		if (t->addrs[i].index != index)
			t->addrs[kept++] = t->addrs[i];
	was = was || kept != t->n_addrs;
	t->n_addrs = kept;
	return was ? LINK_TABLE_CHANGED : LINK_TABLE_SAME;
}

static int addr_cmp(const struct link_addr *a, const struct link_addr *b)
{
	int c;

	if (a->index != b->index)
		return a->index < b->index ? -1 : 1;
	c = ip_cmp(&a->ip, &b->ip);
	return c ? c : (a->prefix_len > b->prefix_len) - (a->prefix_len < b->prefix_len);
}

static size_t find_addr(const struct link_table *t, const struct link_addr *addr)
{
	size_t lo = 0, hi = t->n_addrs;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (addr_cmp(&t->addrs[mid], addr) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static bool addr_at(const struct link_table *t, size_t at, const struct link_addr *addr)
{
	return at < t->n_addrs && addr_cmp(&t->addrs[at], addr) == 0;
}

bool link_table_has_addr(const struct link_table *t, int index, bool (*but)(const struct ip *ip))
{
	const struct link_addr first = { .index = index };

	for (size_t i = find_addr(t, &first); i < t->n_addrs && t->addrs[i].index == index; i++)
		if (!but(&t->addrs[i].ip))
			return true;
	return false;
}

enum link_table_result link_table_put_addr(struct link_table *t, const struct link_addr *addr)
{
	size_t at = find_addr(t, addr);

	if (addr_at(t, at, addr)) {
		if (t->addrs[at].ours == addr->ours && t->addrs[at].dynamic == addr->dynamic)
			return LINK_TABLE_SAME;
		t->addrs[at] = *addr;
		return LINK_TABLE_CHANGED;
	}
	if (!reserve_addrs(t, t->n_addrs + 1))
		return LINK_TABLE_NO_MEMORY;
	memmove(&t->addrs[at + 1], &t->addrs[at], (t->n_addrs - at) * sizeof(*t->addrs));
	t->addrs[at] = *addr;
	t->n_addrs++;
	return LINK_TABLE_CHANGED;
}

enum link_table_result link_table_del_addr(struct link_table *t, const struct link_addr *addr)
{
	size_t at = find_addr(t, addr);

	if (!addr_at(t, at, addr))
		return LINK_TABLE_SAME;
	memmove(&t->addrs[at], &t->addrs[at + 1], (t->n_addrs - at - 1) * sizeof(*t->addrs));
	t->n_addrs--;
	return LINK_TABLE_CHANGED;
}

void link_table_put_default(struct link_table *t, enum ip_family family, int index, uint32_t metric, bool from_ra)
{
	struct link_default *d = family == IP_V4 ? &t->v4 : &t->v6;

	if (family == IP_V6 && from_ra) {
		t->v6_ra_index = !t->v6_from_ra || t->v6_ra_index == index ? index : 0;
		t->v6_from_ra = true;
	}
	if (index > 0 && (d->index == 0 || metric < d->metric))
		*d = (struct link_default){ index, metric };
}

/* Address i of 'from' as it is shown: one of several with the same index and ip; *ret_next = behind them. */
static struct link_addr shown_addr(const struct link_table *from, size_t i, size_t *ret_next)
{
	struct link_addr a = from->addrs[i];

	while (++i < from->n_addrs && from->addrs[i].index == a.index && ip_eq(&from->addrs[i].ip, &a.ip))
		if (from->addrs[i].ours)
			a = from->addrs[i];
	*ret_next = i;
	return a;
}

static bool same_default(const struct link_table *a, const struct link_table *b)
{
	return a->v4.index == b->v4.index && a->v6.index == b->v6.index && a->v6_from_ra == b->v6_from_ra &&
	       a->v6_ra_index == b->v6_ra_index;
}

int link_table_copy(struct link_table *to, const struct link_table *from, bool *ret_changed)
{
	bool changed = !same_default(to, from) || to->n_links != from->n_links;
	size_t n = 0;

	if (!reserve_links(to, from->n_links) || !reserve_addrs(to, from->n_addrs))
		return -ENOMEM;
	for (size_t i = 0; i < from->n_links; i++) {
		changed = changed || !link_eq(&to->links[i], &from->links[i]);
		to->links[i] = from->links[i];
	}
	for (size_t i = 0; i < from->n_addrs; n++) {
		struct link_addr a = shown_addr(from, i, &i);

		changed = changed || n >= to->n_addrs || addr_cmp(&to->addrs[n], &a) != 0 || to->addrs[n].ours != a.ours ||
			  to->addrs[n].dynamic != a.dynamic;
		to->addrs[n] = a;
	}
	changed = changed || n != to->n_addrs;
	to->n_links = from->n_links;
	to->n_addrs = n;
	to->v4 = from->v4;
	to->v6 = from->v6;
	to->v6_from_ra = from->v6_from_ra;
	to->v6_ra_index = from->v6_ra_index;
	*ret_changed = changed;
	return 0;
}

struct link_state link_table_state(const struct link_table *t)
{
	return (struct link_state){
		.links = t->links,
		.n_links = t->n_links,
		.addrs = t->addrs,
		.n_addrs = t->n_addrs,
		.default_v4 = t->v4.index,
		.default_v6 = t->v6.index,
		.default_v6_from_ra = t->v6_from_ra,
		.default_v6_ra = t->v6_ra_index,
	};
}
