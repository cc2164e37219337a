/* SPDX-License-Identifier: Apache-2.0 */
/* claims.c: the book of addresses in one plan.  Who is asked first, and what becomes of those who get nothing, is
 * decided in pool.c. */
#include "agent/core/claims.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "agent/core/sort.h"

#define SHARED_TRIES_MAX 64

static int claim_cmp(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	return ip_cmp(&x->ip, &y->ip);
}

static int take_tables(struct claims *c, const struct claims_input *in, struct arena *arena)
{
	size_t lists = (in->n_keys + 1) * CLAIMS_FAMILIES, slots = 16;

	while (slots < in->n_ports * 2)
		slots *= 2;
	c->heads = arena_take_array(arena, lists, sizeof(struct claim *));
	c->tails = arena_take_array(arena, lists, sizeof(struct claim *));
	c->taken = arena_take_array(arena, slots, sizeof(*c->taken));
	c->taken_mask = slots - 1;
	return c->heads && c->tails && c->taken ? 0 : -ENOSPC;
}

int claims_init(struct claims *c, const struct claims_input *in, struct arena *arena)
{
	int r;

	*c = (struct claims){ .ranges = in->ranges, .n_ranges = in->n_ranges };
	c->cap = in->n_known + in->n_found;
	c->v = arena_take_array(arena, c->cap, sizeof(*c->v));
	if (!c->v)
		return -ENOSPC;
	for (size_t i = 0; i < in->n_known; i++)
		c->v[i].ip = in->known[i];
	r = sort_array(c->v, in->n_known, sizeof(*c->v), claim_cmp, arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < in->n_known; i++)
		if (i == 0 || !ip_eq(&c->v[c->n - 1].ip, &c->v[i].ip))
			c->v[c->n++] = c->v[i];
	for (size_t i = c->n; i < in->n_known; i++)
		c->v[i] = (struct claim){ 0 };
	c->n_sorted = c->n;
	return take_tables(c, in, arena);
}

bool claims_has_family(const struct claims *c, uint8_t family)
{
	for (size_t i = 0; i < c->n_ranges; i++)
		if (c->ranges[i].first.family == family)
			return true;
	return false;
}

/* The first range that holds the address; n_ranges = none does. */
static size_t range_of(const struct claims *c, const struct ip *ip)
{
	size_t i = 0;

	while (i < c->n_ranges && !ip_in_range(ip, &c->ranges[i]))
		i++;
	return i;
}

bool claims_in_pool(const struct claims *c, const struct ip *ip)
{
	return !ip_is_unusable(ip) && range_of(c, ip) < c->n_ranges;
}

static struct claim *find(const struct claims *c, const struct ip *ip)
{
	size_t lo = 0, hi = c->n_sorted;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int cmp = ip_cmp(&c->v[mid].ip, ip);

		if (cmp == 0)
			return &c->v[mid];
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct claim *claims_known(const struct claims *c, const struct ip *ip)
{
	struct claim *claim = find(c, ip);

	assert(claim); /* pool.c names every address it will ask for at the start */
	return claim;
}

/* ---- sharing ---- */

/* One (claim, protocol, port); never 0. */
static uint64_t taken_item(const struct claims *c, const struct claim *claim, const struct service_port *port)
{
	return ((uint64_t)(claim - c->v) + 1) << 24 | (uint64_t)port->proto << 16 | port->port;
}

/* Where the item stands in the set, or the empty place where it would. */
static uint64_t *taken_at(const struct claims *c, uint64_t item)
{
	uint64_t h = (item ^ item >> 29) * UINT64_C(0xbf58476d1ce4e5b9); /* the constant is splitmix64's */
	size_t at = (size_t)(h ^ h >> 32) & c->taken_mask;

	while (c->taken[at] && c->taken[at] != item)
		at = (at + 1) & c->taken_mask;
	return &c->taken[at];
}

bool claims_may_take(const struct claims *c, const struct claim *claim, const struct service *s, uint32_t key)
{
	if (!claim->first)
		return true;
	if (key == 0 || claim->key != key)
		return false;
	for (size_t i = 0; i < s->n_ports; i++)
		if (*taken_at(c, taken_item(c, claim, &s->ports[i])))
			return false;
	return true;
}

bool claims_take(struct claims *c, struct claim *claim, const struct service *s, uint32_t key)
{
	size_t list = key * CLAIMS_FAMILIES + claims_family(claim->ip.family);

	if (!claims_may_take(c, claim, s, key))
		return false;
	for (size_t i = 0; key && i < s->n_ports; i++) {
		const uint64_t item = taken_item(c, claim, &s->ports[i]);

		*taken_at(c, item) = item;
	}
	if (claim->first)
		return true;
	claim->first = s;
	claim->key = key;
	if (key && claims_in_pool(c, &claim->ip)) {
		if (c->tails[list])
			c->tails[list]->next_of_key = claim;
		else
			c->heads[list] = claim;
		c->tails[list] = claim;
	}
	return true;
}

struct claim *claims_shared(const struct claims *c, const struct service *s, uint32_t key, uint8_t family)
{
	struct claim *claim = key ? c->heads[key * CLAIMS_FAMILIES + claims_family(family)] : NULL;

	for (unsigned int i = 0; claim && i < SHARED_TRIES_MAX; i++) {
		if (!claim->leaving && claims_may_take(c, claim, s, key))
			return claim;
		claim = claim->next_of_key;
	}
	return NULL;
}

/* ---- free addresses ---- */

static void cursor_next_range(struct claims_cursor *cur)
{
	cur->range++;
	cur->next = (struct ip){ 0 };
}

/* Moves behind 'ip' within the range, or on to the next range. */
static void cursor_pass(struct claims_cursor *cur, const struct ip_range *r, const struct ip *ip)
{
	struct ip next;

	if (ip_cmp(ip, &r->last) < 0 && ip_next(ip, &next))
		cur->next = next;
	else
		cursor_next_range(cur);
}

/* The claim of a free address that the cursor stands on. */
static struct claim *offer(struct claims *c, const struct ip *ip)
{
	struct claim *claim = find(c, ip);

	if (!claim) {
		assert(c->n < c->cap); /* claims_input.n_found is the caller's promise */
		claim = &c->v[c->n++];
		claim->ip = *ip;
	}
	return claim;
}

struct claim *claims_next_free(struct claims *c, uint8_t family)
{
	struct claims_cursor *cur = &c->cursors[claims_family(family)];

	if (cur->offered && !cur->offered->first)
		return cur->offered;
	while (cur->range < c->n_ranges) {
		const struct ip_range *r = &c->ranges[cur->range];
		const struct claim *claim;
		size_t earlier;

		if (cur->next.family == IP_NONE)
			cur->next = r->first;
		/* a range that runs into addresses no host may have ends there */
		if (r->first.family != family || ip_is_unusable(&cur->next)) {
			cursor_next_range(cur);
			continue;
		}
		earlier = range_of(c, &cur->next);
		claim = find(c, &cur->next);
		if (earlier < cur->range) { /* ranges may overlap: that part was walked already */
			cursor_pass(cur, r, &c->ranges[earlier].last);
		} else if ((claim && claim->first) || (cur->offered && ip_eq(&cur->offered->ip, &cur->next))) {
			cursor_pass(cur, r, &cur->next);
		} else {
			cur->offered = offer(c, &cur->next);
			return cur->offered;
		}
	}
	cur->offered = NULL;
	return NULL;
}
