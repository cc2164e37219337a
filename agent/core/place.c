/* SPDX-License-Identifier: Apache-2.0 */
/* place.c: chooses among the links as observed; it does not ask the kernel. */
#include "agent/core/place.h"

#include <string.h>

#include "agent/base/text.h"

struct search {
	const struct link_state *s;
	const struct place_rules *rules;
	const struct ip *ip;
	struct place *ret;
};

/* ---- one link ---- */

/* What an address says of the interface's subnets.  Link-local ones are on every interface (RFC 4291, section 2.5.6;
 * RFC 3927) and say nothing. */
static bool is_subnet(const struct link_addr *a)
{
	static const struct ip v4_local = { IP_V4, { 169, 254 } }, v6_local = { IP_V6, { 0xfe, 0x80 } };

	return !a->ours && a->prefix_len < ip_len(&a->ip) * 8 && !ip_in_prefix(&a->ip, &v4_local, 16) &&
	       !ip_in_prefix(&a->ip, &v6_local, 10);
}

/* The link of that address, if its subnet holds 'ip'.  Addresses come first: a node has hundreds of links for Pods, and
 * hardly any of them. */
static const struct link *link_that_holds(const struct link_state *s, const struct link_addr *a, const struct ip *ip)
{
	const struct link *l;

	/* the cheap ones first: most addresses are our own, or of the other family */
	if (a->ours || a->ip.family != ip->family || !ip_in_prefix(ip, &a->ip, a->prefix_len) || !is_subnet(a))
		return NULL;
	l = link_find(s, a->index);
	return l && !l->loopback ? l : NULL;
}

static bool has_subnet(const struct link_state *s, const struct link *l, uint8_t family)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].index == l->index && s->addrs[i].ip.family == family && is_subnet(&s->addrs[i]))
			return true;
	return false;
}

static bool same_lan(const struct link_state *s, const struct link *a, const struct link *b, uint8_t family)
{
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *x = &s->addrs[i];

		if (x->index != a->index || x->ip.family != family || !is_subnet(x))
			continue;
		for (size_t k = 0; k < s->n_addrs; k++)
			if (s->addrs[k].index == b->index && is_subnet(&s->addrs[k]) && s->addrs[k].prefix_len == x->prefix_len &&
			    ip_in_prefix(&s->addrs[k].ip, &x->ip, x->prefix_len))
				return true;
	}
	return false;
}

static bool is_default_route(const struct link_state *s, const struct link *l, uint8_t family)
{
	return l->index == (family == IP_V4 ? s->default_v4 : s->default_v6);
}

/* ---- one link and the rules ---- */

static bool has_wildcard(const char *pattern)
{
	return pattern[strcspn(pattern, "*?")] != '\0';
}

static bool is_named(const struct place_rules *rules, const struct link *l)
{
	for (size_t i = 0; i < rules->n_names; i++)
		if (text_matches(rules->names[i], l->name))
			return true;
	return false;
}

/* An interface written out is meant, though a pattern among the exclusions happens to match it. */
static bool is_excluded(const struct place_rules *rules, const struct link *l)
{
	bool written_out = false;

	for (size_t i = 0; i < rules->n_names; i++)
		written_out |= strcmp(rules->names[i], l->name) == 0;
	for (size_t i = 0; i < rules->n_excluded; i++)
		if (text_matches(rules->excluded[i], l->name) && !(written_out && has_wildcard(rules->excluded[i])))
			return true;
	return false;
}

/* Whether the link may carry VIPs at all; PLACE_NO_LINK for loopback, which counts as absent. */
static enum place_why link_why(const struct place_rules *rules, const struct link *l)
{
	if (l->loopback)
		return PLACE_NO_LINK;
	if (is_excluded(rules, l))
		return PLACE_EXCLUDED;
	if (l->port)
		return PLACE_PORT;
	/* a VRF's own device has IFF_NOARP (vrf_setup() in drivers/net/vrf.c); its slaves are ordinary */
	if (!l->ethernet || l->kind == LINK_VRF || l->kind == LINK_OTHER)
		return PLACE_NO_ARP;
	return PLACE_OK;
}

/* ---- all links ---- */

static bool is_done(const struct search *q)
{
	return q->ret->n == (q->rules->all ? PLACE_MAX : 1);
}

/* Two interfaces with the same subnet are on one LAN, where one MAC is to answer. */
static void take(struct search *q, const struct link *l)
{
	struct place *ret = q->ret;

	if (is_done(q))
		return;
	for (size_t i = 0; i < ret->n; i++)
		if (ret->links[i] == l || same_lan(q->s, ret->links[i], l, q->ip->family))
			return;
	ret->links[ret->n++] = l;
}

static void refuse(struct search *q, enum place_why why, const struct link *l)
{
	if (why > q->ret->why) {
		q->ret->why = why;
		q->ret->refused = l;
	}
}

/* The link of that address, if it may carry VIPs, has that name (NULL = any) and holds the VIP in the address's subnet. */
static const struct link *suits_by(const struct search *q, const struct link_addr *a, const char *pattern)
{
	const struct link *l = link_that_holds(q->s, a, q->ip);

	return l && (!pattern || text_matches(pattern, l->name)) && link_why(q->rules, l) == PLACE_OK ? l : NULL;
}

/* The one with the longest subnet first. */
static void take_held(struct search *q, const char *pattern)
{
	const struct link *best = NULL;
	unsigned int best_len = 0;

	for (size_t i = 0; i < q->s->n_addrs; i++) {
		const struct link_addr *a = &q->s->addrs[i];
		const struct link *l = suits_by(q, a, pattern);

		if (l && a->prefix_len > best_len) {
			best = l;
			best_len = a->prefix_len;
		}
	}
	if (best)
		take(q, best);
	for (size_t i = 0; best && q->rules->all && i < q->s->n_addrs; i++) {
		const struct link *l = suits_by(q, &q->s->addrs[i], pattern);

		if (l)
			take(q, l);
	}
}

static bool held_by_any(const struct search *q)
{
	for (size_t i = 0; i < q->s->n_addrs; i++)
		if (link_that_holds(q->s, &q->s->addrs[i], q->ip))
			return true;
	return false;
}

/* The links whose subnets do not hold the address, and need not: those that have none; as the last resort those of which that
 * is allowed, or where auto would put it. */
static void take_others(struct search *q, bool last)
{
	bool by_route = last && !q->rules->any_subnet && !held_by_any(q);

	for (size_t i = 0; i < q->rules->n_names; i++)
		for (size_t k = 0; k < q->s->n_links; k++) {
			const struct link *l = &q->s->links[k];

			if (!text_matches(q->rules->names[i], l->name) || link_why(q->rules, l) != PLACE_OK)
				continue;
			if (last ? q->rules->any_subnet || (by_route && is_default_route(q->s, l, q->ip->family)) :
				   !has_subnet(q->s, l, q->ip->family))
				take(q, l);
		}
}

static void place_named(struct search *q)
{
	const struct place_rules *rules = q->rules;

	for (size_t i = 0; i < rules->n_names; i++)
		take_held(q, rules->names[i]);
	if (!is_done(q))
		take_others(q, false);
	if (!is_done(q))
		take_others(q, true);
	for (size_t i = 0; q->ret->n == 0 && i < rules->n_names; i++)
		for (size_t k = 0; k < q->s->n_links; k++) {
			const struct link *l = &q->s->links[k];
			enum place_why why;

			if (!text_matches(rules->names[i], l->name))
				continue;
			why = link_why(rules, l);
			refuse(q, why == PLACE_OK ? PLACE_SUBNET : why, l);
		}
}

/* Where the subnet's own link is refused, that of the default route leads to another network. */
static void place_auto(struct search *q)
{
	bool on_refused = false;

	take_held(q, NULL);
	for (size_t i = 0; q->ret->n == 0 && i < q->s->n_addrs; i++) {
		const struct link *l = link_that_holds(q->s, &q->s->addrs[i], q->ip);

		if (l) {
			refuse(q, link_why(q->rules, l), l);
			on_refused = true;
		}
	}
	for (size_t i = 0; q->ret->n == 0 && !on_refused && i < q->s->n_links; i++) {
		const struct link *l = &q->s->links[i];
		enum place_why why;

		if (!is_default_route(q->s, l, q->ip->family))
			continue;
		why = link_why(q->rules, l);
		if (why == PLACE_OK)
			take(q, l);
		else
			refuse(q, why, l);
	}
}

void place_vip(const struct link_state *s, const struct place_rules *rules, const struct ip *ip, struct place *ret)
{
	struct search q = { s, rules, ip, ret };

	memset(ret, 0, sizeof(*ret));
	if (rules->undecided) {
		ret->why = PLACE_UNDECIDED;
		return;
	}
	ret->why = rules->n_names > 0 ? PLACE_NO_LINK : PLACE_NO_ROUTE;
	if (rules->n_names > 0)
		place_named(&q);
	else
		place_auto(&q);
	if (ret->n > 0) {
		ret->why = PLACE_OK;
		ret->refused = NULL;
	}
}

bool place_may_carry(const struct link_state *s, const struct place_rules *rules, const struct link *l)
{
	if (rules->undecided || link_why(rules, l) != PLACE_OK)
		return false;
	if (rules->n_names > 0)
		return is_named(rules, l);
	return is_default_route(s, l, IP_V4) || is_default_route(s, l, IP_V6) || has_subnet(s, l, IP_V4) || has_subnet(s, l, IP_V6);
}

bool place_usable(const struct link *l)
{
	return l->up && l->carrier;
}

/* ---- in words ---- */

struct sentence {
	char *buf;
	size_t size, len;
};

static void say(struct sentence *t, const char *words)
{
	size_t n = strlen(words), room = t->size - t->len - 1;

	n = n < room ? n : room;
	memcpy(t->buf + t->len, words, n);
	t->len += n;
	t->buf[t->len] = '\0';
}

static void say_number(struct sentence *t, unsigned int n)
{
	char digits[12], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	say(t, at);
}

/* The network of an address as people write it: 192.0.2.0/24. */
static void say_subnet(struct sentence *t, const struct link_addr *a)
{
	char text[IP_TEXT_MAX];
	struct ip net = a->ip;

	for (unsigned int i = a->prefix_len; i < ip_len(&net) * 8; i++)
		net.b[i / 8] = (uint8_t)(net.b[i / 8] & ~(0x80u >> (i % 8)));
	say(t, ip_format(&net, text));
	say(t, "/");
	say_number(t, a->prefix_len);
}

static void say_subnets(struct sentence *t, const struct link_state *s, const struct link *l, uint8_t family)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->n_addrs && n < 4; i++) {
		const struct link_addr *a = &s->addrs[i];

		if (a->index != l->index || a->ip.family != family || !is_subnet(a))
			continue;
		say(t, n++ == 0 ? " (" : ", ");
		if (n == 4)
			say(t, "...");
		else
			say_subnet(t, a);
	}
	if (n > 0)
		say(t, ")");
}

static void say_refused(struct sentence *t, const struct link_state *s, const struct place *p, const struct ip *ip)
{
	const struct link *l = p->refused, *master = link_find(s, l->master);
	char text[IP_TEXT_MAX];

	if (p->why == PLACE_SUBNET) {
		say(t, ip_format(ip, text));
		say(t, " is in no subnet of ");
		say(t, l->name);
		say_subnets(t, s, l, ip->family);
		say(t, ": name another interface, or set interface-subnet any");
		return;
	}
	say(t, l->name);
	if (p->why == PLACE_EXCLUDED) {
		say(t, " is excluded: name it in interface, or change interface-exclude");
	} else if (p->why == PLACE_PORT) {
		say(t, " is a port of ");
		say(t, master ? master->name : "a bridge or bond");
		say(t, ": name ");
		say(t, master ? master->name : "that");
		say(t, " instead");
	} else {
		say(t, " is a tunnel or has no ARP: name an Ethernet interface");
	}
}

const char *place_why_text(const struct link_state *s, const struct place *p, const struct ip *ip, char *buf, size_t size)
{
	struct sentence t = { buf, size, 0 };
	char text[IP_TEXT_MAX];

	buf[0] = '\0';
	if (p->refused) {
		say_refused(&t, s, p, ip);
	} else if (p->why == PLACE_UNDECIDED) {
		say(&t, "interface-for asks for labels of this node's Node, which has not been read yet");
	} else if (p->why == PLACE_NO_LINK) {
		say(&t, "this node has none of the interfaces named in interface or interface-for");
	} else if (p->why == PLACE_NO_ROUTE) {
		say(&t, "no interface has a subnet that holds ");
		say(&t, ip_format(ip, text));
		say(&t, ", and there is no default route: name one in interface");
	} else if (p->n == 0 && p->why != PLACE_OK) {
		say(&t, "the interface has gone");
	}
	return buf;
}
