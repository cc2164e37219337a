/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c: which Service is ours and which address it gets.  The book of who has what is claims.c; writing the outcome to
 * the API is the shell's work.
 *
 * Everything is decided in passes over all Services in order, each pass with a better right than the next:
 *	1. allocations that the Service's status shows as well,
 *	2. other allocations (durable, but not live yet),
 *	3. requested addresses,
 *	4. whatever is free.
 * A Service's annotation is writable by whoever may edit the Service, its status by us alone.  That is why status decides
 * between two allocations of one address, and why an address outside the pool counts only when status shows it: else
 * an annotation would be enough to take any address of the network. */
#include "agent/core/pool.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/core/claims.h"
#include "agent/core/phrase.h"
#include "agent/core/sort.h"

#define RANGES_TOLD 3 /* of a pool, in a message */

/* A Service of ours on its way to a decision. */
struct ask {
	const struct service *s;
	struct pool_decision *decision;
	uint32_t key;	 /* sharing key as a number, 0 = none */
	uint8_t fams[2]; /* wanted, primary first */
	size_t n_fams;
	bool all;    /* every family or nothing new */
	bool barred; /* asks for what cannot be: nothing new */
	bool failed;
	/* per index of fams */
	struct claim *kept[2]; /* of the annotation */
	struct claim *got[2];  /* new */
};

struct plan {
	const struct pool_config *cfg;
	struct arena *arena;
	struct ask *asks;
	size_t n_asks;
	uint32_t n_keys;
	struct claims claims;
	const char *exhausted[CLAIMS_FAMILIES]; /* message, made once */
	bool full;				/* the arena has refused: the answer is -ENOSPC */
};

bool pool_same_ask(const struct service *a, const struct service *b)
{
	if (!text_eq(a->meta.uid, b->meta.uid) || a->meta.deleting != b->meta.deleting || !text_eq(a->type, b->type) ||
	    !text_eq(a->load_balancer_class, b->load_balancer_class) || !text_eq(a->sharing_key, b->sharing_key) ||
	    memcmp(a->families, b->families, sizeof(a->families)) != 0 || a->family_policy != b->family_policy ||
	    a->policy_local != b->policy_local || a->n_ports != b->n_ports || a->n_requested != b->n_requested)
		return false;
	for (size_t i = 0; i < a->n_ports; i++)
		if (a->ports[i].port != b->ports[i].port || a->ports[i].proto != b->ports[i].proto)
			return false;
	for (size_t i = 0; i < a->n_requested; i++)
		if (!ip_eq(&a->requested[i], &b->requested[i]))
			return false;
	return true;
}

static const char *family_text(uint8_t family)
{
	return family == IP_V6 ? "IPv6" : "IPv4";
}

static bool has_ip(const struct ip *ips, size_t n, const struct ip *ip)
{
	for (size_t i = 0; i < n; i++)
		if (ip_eq(&ips[i], ip))
			return true;
	return false;
}

/* The first address of the family, or NULL. */
static const struct ip *ip_of(const struct ip *ips, size_t n, uint8_t family)
{
	for (size_t i = 0; i < n; i++)
		if (ips[i].family == family)
			return &ips[i];
	return NULL;
}

static bool range_has_family(const struct pool_config *cfg, uint8_t family)
{
	for (size_t i = 0; i < cfg->n_ranges; i++)
		if (cfg->ranges[i].first.family == family)
			return true;
	return false;
}

/* ---- what to say ---- */

/* Notes what a person should know.  The first failure is told, else the first note. */
static void tell(struct plan *p, struct ask *a, bool failed, const char *reason, const char *message)
{
	if (!message)
		p->full = true;
	if (!a->decision->reason || (failed && !a->failed)) {
		a->decision->reason = reason;
		a->decision->message = message;
	}
	a->failed |= failed;
}

static void tell_in_use(struct plan *p, struct ask *a, const struct claim *c, bool requested)
{
	const struct service *other = c->first;
	char ip[IP_TEXT_MAX];

	ip_format(&c->ip, ip);
	if (a->key && c->key == a->key)
		tell(p, a, requested, "AddressInUse",
		     PHRASE(p->arena, ip, requested ? " was requested but a port of this Service is taken on it by a Service" :
						      " cannot be shared: a port of this Service is taken on it by a Service",
			    " with the same sharing key"));
	else
		tell(p, a, requested, "AddressInUse",
		     PHRASE(p->arena, ip, requested ? " was requested but belongs to Service " : " belongs to Service ",
			    other->meta.ns, "/", other->meta.name,
			    a->key && text_eq(a->s->sharing_key, other->sharing_key) ? ", of another externalTrafficPolicy" :
											    ""));
}

/* "no free IPv4 address in the pool (203.0.113.10-203.0.113.20, ...)" */
static const char *exhausted_text(struct plan *p, uint8_t family)
{
	const char **text = &p->exhausted[claims_family(family)];
	const char *list = NULL;
	unsigned int told = 0;

	for (size_t i = 0; !*text && i < p->cfg->n_ranges; i++) {
		const struct ip_range *r = &p->cfg->ranges[i];
		bool one = ip_eq(&r->first, &r->last);
		char first[IP_TEXT_MAX], last[IP_TEXT_MAX];

		if (r->first.family != family || told > RANGES_TOLD)
			continue;
		ip_format(&r->first, first);
		ip_format(&r->last, last);
		if (told++ == RANGES_TOLD)
			list = PHRASE(p->arena, list ? list : "", ", ...");
		else
			list = PHRASE(p->arena, list ? list : "", list ? ", " : "", first, one ? "" : "-", one ? "" : last);
		p->full |= !list;
	}
	if (!*text)
		*text = PHRASE(p->arena, "no free ", family_text(family), " address in the pool (", list ? list : "", ")");
	return *text;
}

/* ---- which Services, which families ---- */

bool pool_is_ours(const struct pool_config *cfg, const struct service *s)
{
	if (s->meta.deleting || !text_eq(s->type, "LoadBalancer"))
		return false;
	if (!*s->load_balancer_class)
		return cfg->default_class;
	return text_eq(s->load_balancer_class, cfg->class_name);
}

/* Without spec.ipFamilies (the API server fills it in for all but odd cases) what is asked for or there decides. */
static uint8_t primary_family(const struct pool_config *cfg, const struct service *s)
{
	if (s->families[0] != IP_NONE)
		return s->families[0];
	if (s->n_requested)
		return s->requested[0].family;
	if (s->n_allocated)
		return s->allocated[0].family;
	return range_has_family(cfg, IP_V4) || !range_has_family(cfg, IP_V6) ? IP_V4 : IP_V6;
}

/* Whether PreferDualStack is to have this family. */
static bool family_possible(const struct pool_config *cfg, const struct service *s, uint8_t family)
{
	return range_has_family(cfg, family) || ip_of(s->allocated, s->n_allocated, family) ||
	       ip_of(s->requested, s->n_requested, family);
}

static void choose_families(const struct pool_config *cfg, struct ask *a)
{
	const struct service *s = a->s;
	const uint8_t primary = primary_family(cfg, s);
	const uint8_t other = primary == IP_V4 ? IP_V6 : IP_V4;
	const bool other_allowed = s->families[0] == IP_NONE || s->families[1] == other;

	switch (s->family_policy) {
	case FAMILY_SINGLE:
		a->fams[a->n_fams++] = primary;
		break;
	case FAMILY_PREFER_DUAL:
		if (family_possible(cfg, s, primary))
			a->fams[a->n_fams++] = primary;
		if (other_allowed && family_possible(cfg, s, other))
			a->fams[a->n_fams++] = other;
		if (a->n_fams == 0)
			a->fams[a->n_fams++] = primary;
		break;
	case FAMILY_REQUIRE_DUAL:
		a->fams[a->n_fams++] = primary;
		a->fams[a->n_fams++] = other;
		a->all = true;
		break;
	}
}

static int key_cmp(const void *a, const void *b)
{
	const struct ask *const *x = a, *const *y = b;
	int c = strcmp((*x)->s->sharing_key, (*y)->s->sharing_key);

	return c ? c : (*x)->s->policy_local - (*y)->s->policy_local;
}

/* Sharing keys become numbers 1..n_keys, in the order of their text.  With another externalTrafficPolicy the same text is
 * another key: whether an address's clients are seen by backends, and which nodes may have it, holds for all of its ports. */
static int number_keys(struct plan *p)
{
	struct ask **v = arena_take_array(p->arena, p->n_asks, sizeof(struct ask *));
	size_t n = 0;
	int r;

	if (!v)
		return -ENOSPC;
	for (size_t i = 0; i < p->n_asks; i++)
		if (*p->asks[i].s->sharing_key)
			v[n++] = &p->asks[i];
	r = sort_array(v, n, sizeof(struct ask *), key_cmp, p->arena);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || key_cmp(&v[i - 1], &v[i]) != 0)
			p->n_keys++;
		v[i]->key = p->n_keys;
	}
	return 0;
}

/* Opens the book with all addresses that the Services name. */
static int open_claims(struct plan *p)
{
	struct claims_input in = { .ranges = p->cfg->ranges, .n_ranges = p->cfg->n_ranges, .n_keys = p->n_keys };
	struct ip *known;

	for (size_t i = 0; i < p->n_asks; i++) {
		const struct ask *a = &p->asks[i];

		in.n_known += a->s->n_allocated + a->s->n_requested;
		in.n_found += a->n_fams;
		if (a->key) /* each family may have what is kept and what is new */
			in.n_ports += a->s->n_ports * a->n_fams * 2;
	}
	known = arena_take_array(p->arena, in.n_known, sizeof(*known));
	if (!known)
		return -ENOSPC;
	in.n_known = 0;
	for (size_t i = 0; i < p->n_asks; i++) {
		const struct service *s = p->asks[i].s;

		for (size_t j = 0; j < s->n_allocated; j++)
			known[in.n_known++] = s->allocated[j];
		for (size_t j = 0; j < s->n_requested; j++)
			known[in.n_known++] = s->requested[j];
	}
	in.known = known;
	return claims_init(&p->claims, &in, p->arena);
}

/* Decides what is not ours and lists what is. */
static int list_asks(struct plan *p, const struct service *const *services, size_t n, struct pool_decision *decisions)
{
	p->asks = arena_take_array(p->arena, n, sizeof(*p->asks));
	if (!p->asks)
		return -ENOSPC;
	for (size_t i = 0; i < n; i++) {
		struct ask *a = &p->asks[p->n_asks];

		if (!pool_is_ours(p->cfg, services[i])) {
			decisions[i].state = services[i]->n_allocated ? POOL_RELEASE : POOL_FOREIGN;
			continue;
		}
		a->s = services[i];
		a->decision = &decisions[i];
		choose_families(p->cfg, a);
		p->n_asks++;
	}
	return 0;
}

/* ---- passes 1 and 2: what is there ---- */

static void keep_one(struct plan *p, struct ask *a, size_t j, bool shown)
{
	const struct ip *ip = ip_of(a->s->allocated, a->s->n_allocated, a->fams[j]);
	char text[IP_TEXT_MAX];
	struct claim *c;

	if (!ip || has_ip(a->s->ingress, a->s->n_ingress, ip) != shown)
		return;
	ip_format(ip, text);
	if (!claims_in_pool(&p->claims, ip)) {
		bool keep = shown && !ip_is_unusable(ip);

		tell(p, a, false, "AddressOutsidePool",
		     PHRASE(p->arena, text, keep ? " is no longer in the pool; it is kept while the Service lives" :
						   " stands in the annotation leasehold.io/allocated but is not in the pool"));
		if (!keep)
			return;
	}
	c = claims_known(&p->claims, ip);
	if (claims_take(&p->claims, c, a->s, a->key))
		a->kept[j] = c;
	else
		tell_in_use(p, a, c, false);
}

static void keep_pass(struct plan *p, bool shown)
{
	for (size_t i = 0; i < p->n_asks; i++)
		for (size_t j = 0; j < p->asks[i].n_fams; j++)
			keep_one(p, &p->asks[i], j, shown);
}

/* ---- pass 3: what is asked for ---- */

/* True when the request can be looked at: a family of the Service, an address of the pool. */
static bool request_valid(struct plan *p, struct ask *a, const struct ip *ip, size_t *ret_j)
{
	char text[IP_TEXT_MAX];
	size_t j = 0;

	ip_format(ip, text);
	while (j < a->n_fams && a->fams[j] != ip->family)
		j++;
	if (j == a->n_fams) {
		tell(p, a, true, "FamilyMismatch",
		     PHRASE(p->arena, text, " was requested but the Service is ", family_text(a->fams[0]),
			    " only (spec.ipFamilies, spec.ipFamilyPolicy)"));
		a->barred = true;
		return false;
	}
	*ret_j = j;
	if (a->kept[j] && ip_eq(&a->kept[j]->ip, ip))
		return true;
	if (claims_in_pool(&p->claims, ip))
		return true;
	tell(p, a, true, "AddressOutsidePool", PHRASE(p->arena, text, " was requested but is not in the pool"));
	a->barred = true;
	return false;
}

static void request_one(struct plan *p, struct ask *a, const struct ip *ip)
{
	struct claim *c;
	size_t j;

	if (!request_valid(p, a, ip, &j))
		return;
	c = claims_known(&p->claims, ip);
	if (a->kept[j] == c || a->got[j] == c)
		return;
	if (!claims_take(&p->claims, c, a->s, a->key)) {
		tell_in_use(p, a, c, true);
		return;
	}
	a->got[j] = c;
	if (a->kept[j])
		a->kept[j]->leaving = true;
}

static void request_pass(struct plan *p)
{
	for (size_t i = 0; i < p->n_asks; i++)
		for (size_t k = 0; k < p->asks[i].s->n_requested; k++)
			request_one(p, &p->asks[i], &p->asks[i].s->requested[k]);
}

/* ---- pass 4: what is free ---- */

static void fill_one(struct plan *p, struct ask *a)
{
	struct claim *pick[2] = { NULL, NULL };
	bool short_of = false;

	for (size_t j = 0; j < a->n_fams; j++) {
		const uint8_t family = a->fams[j];

		if (a->kept[j] || a->got[j] || a->barred)
			continue;
		pick[j] = claims_shared(&p->claims, a->s, a->key, family);
		if (!pick[j])
			pick[j] = claims_next_free(&p->claims, family);
		if (pick[j])
			continue;
		short_of = true;
		/* with one family of two the Service is served: a note; else it fails */
		if (claims_has_family(&p->claims, family))
			tell(p, a, a->all || a->n_fams == 1, "PoolExhausted", exhausted_text(p, family));
		else
			tell(p, a, true, "NoPoolForFamily",
			     PHRASE(p->arena, "the pool has no ", family_text(family), " addresses"));
	}
	for (size_t j = 0; j < a->n_fams; j++) {
		if (a->all && short_of)
			a->got[j] = NULL; /* both or nothing new */
		else if (pick[j] && claims_take(&p->claims, pick[j], a->s, a->key))
			a->got[j] = pick[j];
	}
}

static void conclude(struct ask *a)
{
	const struct service *s = a->s;
	struct pool_decision *d = a->decision;

	for (size_t j = 0; j < a->n_fams; j++) {
		const struct claim *c = a->got[j] ? a->got[j] : a->kept[j];

		if (c)
			d->ips[d->n_ips++] = c->ip;
	}
	d->state = d->n_ips == s->n_allocated ? POOL_KEEP : POOL_ASSIGN;
	for (size_t j = 0; d->state == POOL_KEEP && j < d->n_ips; j++)
		if (!ip_eq(&d->ips[j], &s->allocated[j]))
			d->state = POOL_ASSIGN;
	if (a->failed || d->n_ips == 0)
		d->state = POOL_FAILED;
}

int pool_plan(const struct pool_config *cfg, const struct service *const *services, size_t n, struct arena *arena,
	      struct pool_decision **ret)
{
	struct plan p = { .cfg = cfg, .arena = arena };
	struct pool_decision *decisions = arena_take_array(arena, n, sizeof(*decisions));
	int r;

	if (!decisions)
		return -ENOSPC;
	r = list_asks(&p, services, n, decisions);
	if (r == 0)
		r = number_keys(&p);
	if (r == 0)
		r = open_claims(&p);
	if (r < 0)
		return r;
	keep_pass(&p, true);
	keep_pass(&p, false);
	request_pass(&p);
	for (size_t i = 0; i < p.n_asks; i++) {
		fill_one(&p, &p.asks[i]);
		conclude(&p.asks[i]);
	}
	if (p.full)
		return -ENOSPC;
	*ret = decisions;
	return 0;
}
