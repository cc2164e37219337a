/* SPDX-License-Identifier: Apache-2.0 */
/* forward_if.c: reads each chain at the forward hook and those it jumps to, and has forward_rule judge it.  Bounded: what is
 * beyond the bounds is a chain not read, which makes the judgement doubtful, never wrong. */
#include "netlink/forward_if.h"

#include <errno.h>
#include <netinet/in.h> /* before the kernel's own */
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/forward_msg.h"
#include "netlink/forward_old_if.h"
#include "netlink/nat_layout.h"

#define DUMP_RESTARTS 10
#define HOOKED_MAX 16 /* chains at the hook */
#define CHAINS_MAX 64 /* one of those, and what it jumps to */
#define RULES_MAX 4096
#define SETS_MAX 16 /* of states, to be looked into */

#define ACCEPT_TRANSLATED "-m conntrack --ctstate DNAT -j ACCEPT"

struct hooked {
	uint8_t family; /* NFPROTO_* */
	bool policy_drop;
	char table[FORWARD_NAME_MAX], name[FORWARD_NAME_MAX];
};

struct look {
	struct nlsock *s;
	struct hooked hooked[HOOKED_MAX];
	size_t n_hooked;
	/* of one of them */
	uint8_t family; /* of packets */
	char names[CHAINS_MAX][FORWARD_NAME_MAX];
	struct forward_chain chains[CHAINS_MAX];
	size_t n_chains;
	struct forward_rule rules[RULES_MAX];
	size_t n_rules, first_rule; /* first of the chain being read */
	struct {
		char name[FORWARD_NAME_MAX];
		size_t rule; /* that looks it up */
		bool has_new;
	} sets[SETS_MAX]; /* of one chain */
	size_t n_sets, at_set;
};

static void free_look(struct look **l)
{
	free(*l);
}


/* ---- reading ---- */

struct generation {
	uint32_t value;
	bool seen;
};

static int on_generation(void *ctx, const struct nlmsghdr *nlh)
{
	struct generation *g = ctx;

	g->seen = forward_msg_parse_generation(nlh, nlh->nlmsg_len, &g->value) == 0;
	return 0;
}

static int read_generation(struct nlsock *s, uint32_t *ret, struct err_info *err)
{
	unsigned char buf[FORWARD_MSG_MAX] __attribute__((aligned(16)));
	struct generation g = { .seen = false };
	const struct nlsock_reader reader = { on_generation, &g };
	int r = nlsock_request(s, forward_msg_generation(buf), &reader, err);

	if (r == 0 && !g.seen)
		r = err_set(err, -EBADMSG, "no generation in the answer");
	if (r < 0)
		return err_wrap(err, r, "reading the generation of nf_tables");
	*ret = g.value;
	return 0;
}

static int on_chain(void *ctx, const struct nlmsghdr *nlh)
{
	struct look *l = ctx;
	struct forward_seen_chain c;
	struct hooked *h;

	if (forward_msg_parse_chain(nlh, nlh->nlmsg_len, &c) < 0 || !c.forward || l->n_hooked == HOOKED_MAX)
		return 0;
	if (c.family == NFPROTO_INET && text_eq(c.table, NAT_TABLE)) /* ours */
		return 0;
	h = &l->hooked[l->n_hooked];
	h->family = c.family;
	h->policy_drop = c.policy_drop;
	if (text_copy(h->table, sizeof(h->table), c.table) && text_copy(h->name, sizeof(h->name), c.name))
		l->n_hooked++;
	return 0;
}

/* The index of a chain of the table being read; a new one is read later. */
static uint16_t chain_index(struct look *l, const char *name)
{
	for (size_t i = 0; i < l->n_chains; i++)
		if (text_eq(l->names[i], name))
			return (uint16_t)i;
	if (l->n_chains == CHAINS_MAX || !text_copy(l->names[l->n_chains], FORWARD_NAME_MAX, name))
		return FORWARD_UNREAD;
	l->chains[l->n_chains] = (struct forward_chain){ .n = 0 };
	return (uint16_t)l->n_chains++;
}

static void note_set(struct look *l, const char *name)
{
	if (l->n_sets == SETS_MAX || !text_copy(l->sets[l->n_sets].name, FORWARD_NAME_MAX, name))
		return; /* the rule stays one of which it is not known */
	l->sets[l->n_sets].rule = l->n_rules;
	l->sets[l->n_sets++].has_new = false;
}

static int on_rule(void *ctx, const struct nlmsghdr *nlh)
{
	struct look *l = ctx;
	struct forward_rule *r = &l->rules[l->n_rules];
	struct forward_names names;

	/* The last place is for what stands for all that are not read. */
	if (l->n_rules == RULES_MAX - 1) {
		*r = (struct forward_rule){ .when = FORWARD_SOMETIMES, .what = FORWARD_HIDDEN };
		return 0;
	}
	if (forward_msg_parse_rule(nlh, nlh->nlmsg_len, l->family, r, &names) < 0)
		return 0;
	if (names.target)
		r->target = chain_index(l, names.target);
	if (names.set)
		note_set(l, names.set);
	l->n_rules++;
	return 0;
}

static int on_elements(void *ctx, const struct nlmsghdr *nlh)
{
	struct look *l = ctx;
	struct forward_rule *r = &l->rules[l->sets[l->at_set].rule];
	const char *target = NULL;

	if (forward_msg_parse_elements(nlh, nlh->nlmsg_len, &l->sets[l->at_set].has_new, r, &target) == 0 && target)
		r->target = chain_index(l, target);
	return 0;
}

/* One dump, again when changes interrupt it; 'begin' forgets what an attempt brought. */
static int read_again(struct look *l, struct nlmsghdr *nlh, const struct nlsock_reader *reader,
		      void (*begin)(struct look *l), struct err_info *err)
{
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		begin(l);
		r = nlsock_request(l->s, nlh, reader, err);
	}
	return r == -ENOENT ? 0 : r; /* it has gone meanwhile: the generation tells, too */
}

static void begin_hooked(struct look *l)
{
	l->n_hooked = 0;
}

static void begin_rules(struct look *l)
{
	l->n_rules = l->first_rule;
	l->n_sets = 0;
}

static void begin_elements(struct look *l)
{
	l->sets[l->at_set].has_new = false;
}

/* A rule that looks up the state concerns new connections or does not, as the set has them or has not. */
static int read_sets(struct look *l, const struct hooked *h, struct err_info *err)
{
	unsigned char buf[FORWARD_MSG_MAX] __attribute__((aligned(16)));
	const struct nlsock_reader reader = { on_elements, l };

	for (l->at_set = 0; l->at_set < l->n_sets; l->at_set++) {
		struct nlmsghdr *nlh = forward_msg_elements(buf, h->family, h->table, l->sets[l->at_set].name);
		int r = read_again(l, nlh, &reader, begin_elements, err);

		if (r < 0)
			return err_wrap(err, r, "reading set %.64s of table %.64s", l->sets[l->at_set].name, h->table);
		l->rules[l->sets[l->at_set].rule].when = l->sets[l->at_set].has_new ? FORWARD_ALWAYS : FORWARD_NEVER;
	}
	return 0;
}

static int read_chain(struct look *l, const struct hooked *h, size_t chain, struct err_info *err)
{
	unsigned char buf[FORWARD_MSG_MAX] __attribute__((aligned(16)));
	const struct nlsock_reader reader = { on_rule, l };
	int r;

	l->first_rule = l->n_rules;
	r = read_again(l, forward_msg_rules(buf, h->family, h->table, l->names[chain]), &reader, begin_rules, err);
	if (r < 0)
		return err_wrap(err, r, "reading chain %.64s of table %.64s", l->names[chain], h->table);
	l->chains[chain] = (struct forward_chain){ l->rules + l->first_rule, l->n_rules - l->first_rule };
	if (l->n_rules == RULES_MAX - 1)
		l->chains[chain].n++;
	return read_sets(l, h, err);
}

/* ---- judging ---- */

/* The way to let what was translated pass: in the words of the program that owns the chain. */
static void name_place(const struct hooked *h, uint8_t family, struct forward_family *f)
{
	static const char *const families[] = { [NFPROTO_IPV4] = "ip", [NFPROTO_IPV6] = "ip6", [NFPROTO_INET] = "inet" };
	const char *iptables = family == NFPROTO_IPV6 ? "ip6tables" : "iptables";

	if (h->family != NFPROTO_INET && text_eq(h->table, "filter") && text_eq(h->name, "FORWARD")) {
		IGNORE(snprintf(f->place, sizeof(f->place), "%s chain FORWARD", iptables));
		IGNORE(snprintf(f->command, sizeof(f->command), "%s -I FORWARD " ACCEPT_TRANSLATED, iptables));
		return;
	}
	/* Names longer than anybody writes are cut: the text is for people. */
	IGNORE(snprintf(f->place, sizeof(f->place), "nft chain %s %.60s %.60s", families[h->family], h->table, h->name));
	IGNORE(snprintf(f->command, sizeof(f->command), "nft insert rule %s %.60s %.60s ct status dnat accept",
			families[h->family], h->table, h->name));
}

static bool concerns(const struct hooked *h, uint8_t family)
{
	return h->family == family || h->family == NFPROTO_INET;
}

static int judge_chain(struct look *l, const struct hooked *h, uint8_t family, struct forward_family *f,
		       struct err_info *err)
{
	struct forward_judgement j;

	l->family = family;
	l->n_rules = l->n_chains = 0;
	chain_index(l, h->name);
	for (size_t i = 0; i < l->n_chains; i++) {
		int r = read_chain(l, h, i, err);

		if (r < 0)
			return r;
	}
	j = forward_judge(l->chains, l->n_chains, h->policy_drop);
	f->mark |= j.mark;
	if (j.pass > f->pass) {
		f->pass = (uint8_t)j.pass;
		name_place(h, family, f);
	}
	return 0;
}

static int judge_family(struct look *l, uint8_t family, struct forward_family *f, struct err_info *err)
{
	struct forward_judgement old;
	int r;

	for (size_t i = 0; i < l->n_hooked; i++) {
		if (!concerns(&l->hooked[i], family))
			continue;
		r = judge_chain(l, &l->hooked[i], family, f, err);
		if (r < 0)
			return r;
	}
	r = forward_old_look(family, &old, err);
	if (r < 0)
		return r;
	f->mark |= old.mark;
	if (old.pass > f->pass) {
		const char *iptables = family == NFPROTO_IPV6 ? "ip6tables-legacy" : "iptables-legacy";

		f->pass = (uint8_t)old.pass;
		IGNORE(snprintf(f->place, sizeof(f->place), "%s chain FORWARD", iptables));
		IGNORE(snprintf(f->command, sizeof(f->command), "%s -I FORWARD " ACCEPT_TRANSLATED, iptables));
	}
	return 0;
}

int forward_if_look(struct nlsock *s, struct forward_view *v, struct err_info *err)
{
	unsigned char buf[FORWARD_MSG_MAX] __attribute__((aligned(16)));
	AUTO(free_look) struct look *l = NULL;
	struct nlsock_reader reader = { on_chain, NULL };
	struct forward_view now = { .seen = true };
	int r = read_generation(s, &now.generation, err);

	if (r < 0)
		return r;
	if (v->seen && v->generation == now.generation && !forward_old_there(NFPROTO_IPV4) &&
	    !forward_old_there(NFPROTO_IPV6))
		return 0;
	l = calloc(1, sizeof(*l));
	if (!l)
		return err_errno(err, -ENOMEM, "looking at the forward hook");
	l->s = s;
	reader.ctx = l;
	r = read_again(l, forward_msg_chains(buf), &reader, begin_hooked, err);
	if (r < 0)
		return err_wrap(err, r, "reading the chains at the forward hook");
	r = judge_family(l, NFPROTO_IPV4, &now.v4, err);
	if (r == 0)
		r = judge_family(l, NFPROTO_IPV6, &now.v6, err);
	if (r == 0)
		*v = now;
	return r;
}
