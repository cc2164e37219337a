/* SPDX-License-Identifier: Apache-2.0 */
/* forward_old_msg.c: entries of legacy iptables to rules.  A chain of the user's begins where a jump leads and goes on to
 * the head of the next one, an entry with the target ERROR; the hooked one ends with its policy. */
#include "netlink/forward_old_msg.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h> /* before the kernel's own */
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdbool.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/forward_msg.h"

#define CHAINS_MAX 64
#define RULES_MAX 4096

struct table {
	uint8_t family;
	const unsigned char *entries;
	size_t len;
	uint32_t begins[CHAINS_MAX]; /* where each chain does */
	struct forward_chain chains[CHAINS_MAX];
	size_t n_chains;
	struct forward_rule rules[RULES_MAX];
	size_t n_rules;
};

static void free_table(struct table **t)
{
	free(*t);
}

/* What the two kinds of entries have in common. */
struct entry {
	size_t head, target, next; /* bytes from its beginning: of its own struct, to the target, to the next entry */
	bool narrow;		   /* it names addresses, interfaces or a protocol */
	bool alien;		   /* its protocol is none that Services have */
};

static bool is_zero(const void *data, size_t len)
{
	const unsigned char *b = data;

	for (size_t i = 0; i < len; i++)
		if (b[i] != 0)
			return false;
	return true;
}

static int open_entry(const struct table *t, size_t at, struct entry *ret)
{
	struct entry e = { .head = t->family == NFPROTO_IPV6 ? sizeof(struct ip6t_entry) : sizeof(struct ipt_entry) };

	if (at > t->len || t->len - at < e.head)
		return -EBADMSG;
	if (t->family == NFPROTO_IPV6) {
		struct ip6t_entry six;

		memcpy(&six, t->entries + at, sizeof(six));
		e.target = six.target_offset;
		e.next = six.next_offset;
		e.narrow = !is_zero(&six.ipv6, sizeof(six.ipv6));
		e.alien = six.ipv6.proto != 0 && !(six.ipv6.invflags & XT_INV_PROTO) && !forward_is_service(six.ipv6.proto);
	} else {
		struct ipt_entry four;

		memcpy(&four, t->entries + at, sizeof(four));
		e.target = four.target_offset;
		e.next = four.next_offset;
		e.narrow = !is_zero(&four.ip, sizeof(four.ip));
		e.alien = four.ip.proto != 0 && !(four.ip.invflags & XT_INV_PROTO) && !forward_is_service(four.ip.proto);
	}
	if (e.target < e.head || e.next < e.target || e.next - e.target < sizeof(struct xt_entry_target) ||
	    e.next > t->len - at)
		return -EBADMSG;
	*ret = e;
	return 0;
}

/* The header that matches and targets have in common: size, name, revision. */
struct part {
	size_t size;
	char name[XT_EXTENSION_MAXNAMELEN];
	unsigned int revision;
};

static int open_part(const unsigned char *data, size_t left, struct part *ret)
{
	struct xt_entry_match m;

	_Static_assert(sizeof(struct xt_entry_match) == sizeof(struct xt_entry_target), "linux/netfilter/x_tables.h");
	if (left < sizeof(m))
		return -EBADMSG;
	memcpy(&m, data, sizeof(m));
	if (m.u.user.match_size < sizeof(m) || m.u.user.match_size > left)
		return -EBADMSG;
	ret->size = m.u.user.match_size;
	ret->revision = m.u.user.revision;
	memcpy(ret->name, m.u.user.name, sizeof(ret->name));
	ret->name[sizeof(ret->name) - 1] = '\0';
	return 0;
}

static uint16_t chain_at(struct table *t, uint32_t begin)
{
	for (size_t i = 0; i < t->n_chains; i++)
		if (t->begins[i] == begin)
			return (uint16_t)i;
	if (t->n_chains == CHAINS_MAX)
		return FORWARD_UNREAD;
	t->begins[t->n_chains] = begin;
	t->chains[t->n_chains] = (struct forward_chain){ .n = 0 };
	return (uint16_t)t->n_chains++;
}

/* A standard target: where to jump, or -1 - verdict. */
static void read_standard(struct table *t, const unsigned char *target, size_t next, struct forward_rule *r)
{
	struct xt_standard_target standard;

	memcpy(&standard, target, sizeof(standard));
	if (standard.verdict >= 0) {
		if ((size_t)standard.verdict == next) /* to the next entry: no jump at all */
			return;
		r->what = FORWARD_JUMPS;
		r->target = chain_at(t, (uint32_t)standard.verdict);
	} else if (standard.verdict == XT_RETURN) {
		r->what = FORWARD_RETURNS;
	} else {
		r->what = standard.verdict == -NF_ACCEPT - 1 ? FORWARD_ACCEPTS :
			  standard.verdict == -NF_DROP - 1   ? FORWARD_DROPS :
							       FORWARD_HIDDEN;
	}
}

/* *ret_head = the entry is the head of a chain. */
static int read_entry(struct table *t, size_t at, const struct entry *e, struct forward_rule *ret, bool *ret_head)
{
	struct forward_rule rule = { .when = FORWARD_ALWAYS, .what = FORWARD_GOES_ON, .target = FORWARD_UNREAD };
	const unsigned char *entry = t->entries + at;
	struct part p;
	int r;

	if (e->narrow)
		forward_and(&rule, e->alien ? FORWARD_NEVER : FORWARD_SOMETIMES, 0);
	for (size_t i = e->head; i < e->target; i += p.size) {
		r = open_part(entry + i, e->target - i, &p);
		if (r < 0)
			return r;
		forward_xt_match(&rule, p.name, p.revision, entry + i + sizeof(struct xt_entry_match),
				 p.size - sizeof(struct xt_entry_match));
	}
	r = open_part(entry + e->target, e->next - e->target, &p);
	if (r < 0)
		return r;
	*ret_head = text_eq(p.name, XT_ERROR_TARGET);
	if (p.name[0] != '\0')
		rule.what = forward_xt_target(p.name);
	else if (p.size < sizeof(struct xt_standard_target))
		return -EBADMSG;
	else
		read_standard(t, entry + e->target, at + e->next, &rule);
	*ret = rule;
	return 0;
}

/* The entries from begins[chain] to the next chain's head, or to the one at 'last'. */
static int read_chain(struct table *t, size_t chain, uint32_t last)
{
	size_t first = t->n_rules;
	bool head = false;

	for (size_t at = t->begins[chain]; at < t->len && t->n_rules < RULES_MAX;) {
		struct entry e;
		int r = open_entry(t, at, &e);

		if (r == 0)
			r = read_entry(t, at, &e, &t->rules[t->n_rules], &head);
		if (r < 0)
			return r;
		if (head)
			break;
		t->n_rules++;
		if (at == last)
			break;
		at += e.next;
	}
	if (t->n_rules == RULES_MAX)
		t->rules[RULES_MAX - 1] = (struct forward_rule){ .when = FORWARD_SOMETIMES, .what = FORWARD_HIDDEN };
	t->chains[chain] = (struct forward_chain){ t->rules + first, t->n_rules - first };
	return 0;
}

int forward_old_msg_judge(uint8_t family, const void *entries, size_t len, uint32_t hook, uint32_t underflow,
			  struct forward_judgement *ret)
{
	AUTO(free_table) struct table *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->family = family;
	t->entries = entries;
	t->len = len;
	chain_at(t, hook);
	for (size_t i = 0; i < t->n_chains; i++) {
		int r = read_chain(t, i, i == 0 ? underflow : UINT32_MAX);

		if (r < 0)
			return r;
	}
	/* The policy is a rule of its own, the last. */
	*ret = forward_judge(t->chains, t->n_chains, false);
	return 0;
}
