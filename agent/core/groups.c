/* SPDX-License-Identifier: Apache-2.0 */
/* groups.c: reading and making the record of the Lease that governs a VIP. */
#include "agent/core/groups.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/sort.h"

#define UNSET 255 /* no group yet */
#define NOBODY ((size_t)-1)

static_assert(GROUPS_OWN < UNSET, "a group fits beside UNSET");
static_assert(GROUPS_MAX <= 100, "a name has two digits at most");
static_assert(sizeof(GROUPS_OWN_PREFIX) + IP_TEXT_MAX < GROUPS_NAME_MAX, "an address fits behind the prefix");

/* An address, and what governs it. */
struct home {
	struct ip ip;
	uint8_t group;	  /* the present one */
	uint8_t numbered; /* the first numbered one that a Service records; UNSET = none does */
	uint8_t want;
	bool local;	  /* a Service that has it wants traffic on nodes with endpoints alone */
	size_t first;	  /* the Service whose record counts; NOBODY = it is new, or was let go */
	size_t lag;	  /* other Services whose record is not as wanted */
};

/* ---- names ---- */

/* An address in a name of the API: dots and colons become dashes; one behind the last dash, for a name may not end so. */
static void own_name(const struct ip *ip, char name[static GROUPS_NAME_MAX])
{
	size_t n = strlen(GROUPS_OWN_PREFIX);
	char text[IP_TEXT_MAX];

	memcpy(name, GROUPS_OWN_PREFIX, n);
	for (const char *p = ip_format(ip, text); *p; p++)
		name[n++] = *p == '.' || *p == ':' ? '-' : *p;
	if (name[n - 1] == '-')
		name[n++] = '0';
	name[n] = '\0';
}

void groups_name(unsigned int group, const struct ip *ip, char name[static GROUPS_NAME_MAX])
{
	size_t n = strlen(GROUPS_NAME_PREFIX);

	assert(group <= GROUPS_OWN);
	if (group == GROUPS_OWN) {
		own_name(ip, name);
		return;
	}
	memcpy(name, GROUPS_NAME_PREFIX, n);
	if (group >= 10)
		name[n++] = (char)('0' + group / 10);
	name[n++] = (char)('0' + group % 10);
	name[n] = '\0';
}

/* The group that text[0..len) names for the address; 0 for anything else. */
static unsigned int group_of_name(const char *text, size_t len, const struct ip *ip)
{
	const size_t n = strlen(GROUPS_NAME_PREFIX);
	char name[GROUPS_NAME_MAX];
	uint64_t v;

	if (len >= sizeof(name))
		return 0;
	if (!text_starts(text, GROUPS_NAME_PREFIX)) {
		own_name(ip, name);
		return strlen(name) == len && memcmp(name, text, len) == 0 ? GROUPS_OWN : 0;
	}
	if (len <= n || len - n > 2)
		return 0;
	memcpy(name, text, len);
	name[len] = '\0';
	return text_to_u64(name + n, GROUPS_MAX - 1, &v) == 0 ? (unsigned int)v : 0;
}

unsigned int groups_recorded(const struct service *s, size_t k)
{
	const char *at = s->lease;
	size_t len = strcspn(at, ",");

	for (size_t i = 0; i < k && at[len] == ','; i++) {
		at += len + 1;
		len = strcspn(at, ",");
	}
	return group_of_name(at, len, &s->allocated[k]);
}

unsigned int groups_of_ip(const struct service *s, const struct ip *ip)
{
	for (size_t k = 0; k < s->n_allocated; k++)
		if (ip_eq(&s->allocated[k], ip))
			return groups_recorded(s, k);
	return 0;
}

void groups_record(const uint8_t *of, const struct ip *ips, size_t n, char text[static GROUPS_RECORD_MAX])
{
	char name[GROUPS_NAME_MAX];
	size_t at = 0, len;
	bool same = true;

	assert(n <= OBJECT_ADDRESSES_MAX);
	for (size_t k = 0; k < n; k++)
		same &= of[k] == of[0] && of[k] != GROUPS_OWN;
	text[0] = '\0';
	for (size_t k = 0; k < n && (k == 0 || !same); k++) {
		if (k > 0)
			text[at++] = ',';
		groups_name(of[k], &ips[k], name);
		len = strlen(name);
		memcpy(text + at, name, len + 1);
		at += len;
	}
}

/* ---- the addresses ---- */

/* By address, and those with a group first. */
static int home_cmp(const void *a, const void *b)
{
	const struct home *x = a, *y = b;
	int c = ip_cmp(&x->ip, &y->ip);

	return c ? c : (x->group == UNSET) - (y->group == UNSET);
}

static struct home *home_find(struct home *v, size_t n, const struct ip *ip)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (ip_cmp(&v[mid].ip, ip) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	assert(lo < n);
	assert(ip_eq(&v[lo].ip, ip));
	return &v[lo];
}

/* One entry for each time that an address is named. */
static size_t homes_list(const struct groups_input *in, struct home *v)
{
	size_t n = 0;

	for (size_t i = 0; i < in->n_services; i++)
		for (size_t k = 0; k < in->services[i]->n_allocated; k++)
			v[n++] = (struct home){ .ip = in->services[i]->allocated[k], .first = i,
						.group = (uint8_t)groups_recorded(in->services[i], k) };
	for (size_t i = 0; i < in->n_past; i++)
		v[n++] = (struct home){ .ip = in->past[i].ip, .group = in->past[i].group, .first = NOBODY };
	for (size_t i = 0; i < in->n_services; i++)
		for (size_t k = 0; k < in->decisions[i].n_ips; k++)
			v[n++] = (struct home){ .ip = in->decisions[i].ips[k], .group = UNSET, .first = NOBODY };
	return n;
}

/* All addresses known, distinct, sorted. */
static int homes_collect(const struct groups_input *in, struct arena *arena, struct home **ret, size_t *ret_n)
{
	size_t max = in->n_past, n, kept = 0;
	struct home *v;
	int r;

	for (size_t i = 0; i < in->n_services; i++)
		max += in->services[i]->n_allocated + in->decisions[i].n_ips;
	v = arena_take_array(arena, max + 1, sizeof(*v));
	if (!v)
		return -ENOSPC;
	n = homes_list(in, v);
	assert(n == max);
	r = sort_array(v, n, sizeof(*v), home_cmp, arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		uint8_t numbered = v[i].group < GROUPS_MAX ? v[i].group : UNSET;

		if (kept == 0 || !ip_eq(&v[kept - 1].ip, &v[i].ip)) {
			v[kept] = v[i];
			v[kept].want = UNSET;
			v[kept++].numbered = numbered;
		} else if (v[kept - 1].numbered == UNSET) {
			v[kept - 1].numbered = numbered;
		}
	}
	for (size_t i = 0; i < in->n_services; i++)
		for (size_t k = 0; k < in->decisions[i].n_ips; k++)
			home_find(v, kept, &in->decisions[i].ips[k])->local |= in->services[i]->policy_local;
	*ret = v;
	*ret_n = kept;
	return 0;
}

/* ---- the choice ---- */

struct chooser {
	const struct groups_input *in;
	struct home *v;
	size_t n;
	size_t count[GROUPS_MAX]; /* VIPs of each numbered group */
	size_t own;		  /* addresses with a Lease of their own */
};

static uint8_t emptiest(const struct chooser *c)
{
	uint8_t best = 0;

	for (unsigned int g = 1; g < c->in->n_groups; g++)
		if (c->count[g] < c->count[best])
			best = (uint8_t)g;
	return best;
}

/* The numbered group that new addresses of the Service go to: that of its other address, or the emptiest. */
static uint8_t pick_numbered(const struct chooser *c, const struct pool_decision *d)
{
	for (size_t k = 0; k < d->n_ips; k++) {
		const struct home *h = home_find(c->v, c->n, &d->ips[k]);
		uint8_t group = h->want != UNSET ? h->want : h->group;

		if (group < c->in->n_groups)
			return group;
	}
	return emptiest(c);
}

static void choose(struct chooser *c, struct home *h, const struct pool_decision *d)
{
	if (h->local && (h->group == GROUPS_OWN || c->own < GROUPS_OWN_MAX)) {
		c->own += h->group != GROUPS_OWN;
		h->want = GROUPS_OWN;
	} else if (h->numbered != UNSET) {
		h->want = h->numbered;
	} else {
		h->want = pick_numbered(c, d);
		c->count[h->want]++;
	}
	if (h->group == UNSET)
		h->group = h->want;
}

/* The first Service's record is written when those of all others are as wanted. */
static void count_lag(const struct groups_input *in, struct home *v, size_t n)
{
	for (size_t i = 0; i < in->n_services; i++) {
		const struct service *s = in->services[i];

		for (size_t k = 0; k < s->n_allocated; k++) {
			struct home *h = home_find(v, n, &s->allocated[k]);

			h->lag += h->want != UNSET && h->first != i && groups_recorded(s, k) != h->want;
		}
	}
}

int groups_plan(const struct groups_input *in, struct arena *arena, struct groups_choice **ret)
{
	struct groups_choice *out = arena_take_array(arena, in->n_services + 1, sizeof(*out));
	struct chooser c = { .in = in };
	int r;

	assert(in->n_groups >= 1);
	assert(in->n_groups <= GROUPS_MAX);
	if (!out)
		return -ENOSPC;
	r = homes_collect(in, arena, &c.v, &c.n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c.n; i++) {
		c.own += c.v[i].group == GROUPS_OWN;
		if (c.v[i].group < GROUPS_MAX)
			c.count[c.v[i].group]++;
	}
	for (size_t i = 0; i < in->n_services; i++) {
		const struct pool_decision *d = &in->decisions[i];

		for (size_t k = 0; k < d->n_ips; k++) {
			struct home *h = home_find(c.v, c.n, &d->ips[k]);

			if (h->want == UNSET)
				choose(&c, h, d);
			out[i].of[k] = h->group;
			out[i].want[k] = h->want;
		}
	}
	count_lag(in, c.v, c.n);
	for (size_t i = 0; i < in->n_services; i++) {
		for (size_t k = 0; k < in->decisions[i].n_ips; k++) {
			const struct home *h = home_find(c.v, c.n, &in->decisions[i].ips[k]);

			out[i].may[k] = h->first != i || h->lag == 0;
		}
	}
	*ret = out;
	return 0;
}
