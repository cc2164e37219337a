/* SPDX-License-Identifier: Apache-2.0 */
/* nat_ensure.c: the table's frame in the kernel: compares what is there with nat_layout and the options, and writes what
 * differs in one transaction.  What stands in it is nat_apply.c's (writing) and nat_read.c's (reading). */
#include "netlink/nat_if.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/batch.h"
#include "netlink/nat_chain.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_private.h"

#define FRAME_BATCH_LEN ((size_t)512 * 1024)
#define SCRATCH_LEN ((size_t)128 * 1024)     /* more than the rules of any one chain take */
#define OTHER_LEN ((size_t)8 * 1024)	     /* of any chain that a frontend has of its own */
#define STALE_LEN ((size_t)1024)
#define DUMP_RESTARTS 10

/* ---- what is there ---- */

/* A chain of the table that is none of the frame. */
struct other_chain {
	char name[NAT_NAME_MAX];
	bool nat, base, there;
	unsigned int rules, good, stale; /* all; those of this layout; those of another one of ours */
};

struct stale_rule {
	size_t chain; /* of others */
	uint64_t handle;
};

struct seen {
	bool sets[NAT_SET_N], replaced[NAT_SET_N]; /* there; of an earlier layout's shape */
	bool counters[NAT_DROP_N];
	struct {
		bool there;
		unsigned int rules, good; /* all, those of this layout and these options */
	} chains[NAT_CHAIN_N];
	struct other_chain *others;
	size_t n_others, cap_others, at;
	struct stale_rule *stale;
	size_t n_stale, cap_stale;
	const struct nat_options *options;
	const char *misshapen; /* a set that has our name and a shape that is none of ours */
	int error;	       /* -ENOMEM */
};

static void seen_freep(struct seen **seen)
{
	if (*seen) {
		free((*seen)->others);
		free((*seen)->stale);
		free(*seen);
	}
}

static int on_set(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	const struct nat_set_shape *shape;
	struct nat_seen_set s;

	if (nat_frame_parse_set(nlh, nlh->nlmsg_len, &s) < 0)
		return 0;
	shape = nat_set_named(s.name);
	if (!shape)
		return 0;
	seen->sets[shape - nat_sets] = true;
	/* The kernel gives verdicts a length of its own. */
	if (s.key_len != shape->key_len || s.data_type != shape->data_type ||
	    (shape->data_len && s.data_len != shape->data_len))
		seen->misshapen = shape->name;
	else if (s.flags != nat_set_flags(shape) || s.counts != nat_set_counts(shape))
		seen->replaced[shape - nat_sets] = true;
	return 0;
}

static int on_counter(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	struct nat_seen_counter c;

	if (nat_elem_parse_counter(nlh, nlh->nlmsg_len, &c) < 0)
		return 0;
	for (size_t i = 0; i < NAT_DROP_N; i++)
		if (text_eq(c.name, nat_drop_counters[i]))
			seen->counters[i] = true;
	return 0;
}

/* Room for one more member of 'size' bytes in *v. */
static bool reserve(struct seen *seen, void **v, size_t n, size_t *cap, size_t size)
{
	size_t want = *cap ? *cap * 2 : 64;
	void *p;

	if (n < *cap)
		return true;
	p = reallocarray(*v, want, size);
	if (!p) {
		seen->error = -ENOMEM;
		return false;
	}
	*v = p;
	*cap = want;
	return true;
}

/* The kernel tells of rules in the order in which it told of chains: so the search goes on where the last one ended. */
static struct other_chain *find_other(struct seen *seen, const char *name)
{
	for (size_t i = 0; i < seen->n_others; i++) {
		struct other_chain *c = &seen->others[(seen->at + i) % seen->n_others];

		if (text_eq(c->name, name)) {
			seen->at = (size_t)(c - seen->others);
			return c;
		}
	}
	return NULL;
}

static int on_chain(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	const struct nat_chain_shape *shape;
	struct nat_seen_chain c;
	void *v = seen->others;

	if (nat_frame_parse_chain(nlh, nlh->nlmsg_len, &c) < 0)
		return 0;
	shape = nat_chain_named(c.name);
	if (shape) {
		seen->chains[shape - nat_chains].there = true;
		return 0;
	}
	if (!reserve(seen, &v, seen->n_others, &seen->cap_others, sizeof(*seen->others)))
		return 0;
	seen->others = v;
	memset(&seen->others[seen->n_others], 0, sizeof(*seen->others));
	seen->others[seen->n_others].base = c.base;
	seen->others[seen->n_others].nat = c.nat;
	if (text_copy(seen->others[seen->n_others].name, NAT_NAME_MAX, c.name))
		seen->n_others++;
	return 0;
}

static void note_other_rule(struct seen *seen, const struct nat_seen_rule *rule)
{
	struct other_chain *c = find_other(seen, rule->chain);
	const bool ours = text_starts(rule->comment, NAT_LAYOUT_PREFIX);
	bool good = text_eq(rule->comment, NAT_LAYOUT) || text_starts(rule->comment, NAT_LAYOUT " ");
	void *v = seen->stale;

	if (!c)
		return; /* made after the chains were read */
	good = good && !c->base; /* no hooked chain comes and goes: it was one of the frame */
	c->rules++;
	c->good += good;
	if (!ours || good || !reserve(seen, &v, seen->n_stale, &seen->cap_stale, sizeof(*seen->stale)))
		return;
	c->stale++;
	seen->stale = v;
	seen->stale[seen->n_stale++] = (struct stale_rule){ (size_t)(c - seen->others), rule->handle };
}

static int on_rule(void *ctx, const struct nlmsghdr *nlh)
{
	char comment[NAT_COMMENT_MAX];
	struct seen *seen = ctx;
	const struct nat_chain_shape *shape;
	struct nat_seen_rule rule;

	if (nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule) < 0)
		return 0;
	shape = nat_chain_named(rule.chain);
	if (!shape) {
		note_other_rule(seen, &rule);
		return 0;
	}
	seen->chains[shape - nat_chains].rules++;
	seen->chains[shape - nat_chains].good += text_eq(rule.comment, nat_chain_comment(shape, seen->options, comment));
	return 0;
}

static int read_frame(struct nlsock *s, struct seen *seen, struct err_info *err)
{
	static const struct {
		enum nat_read_what what;
		int (*message)(void *ctx, const struct nlmsghdr *nlh);
	} parts[] = {
		{ NAT_READ_SETS, on_set }, { NAT_READ_COUNTERS, on_counter },
		{ NAT_READ_CHAINS, on_chain }, { NAT_READ_RULES, on_rule },
	};
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	const struct nat_options *options = seen->options;

	free(seen->others);
	free(seen->stale);
	memset(seen, 0, sizeof(*seen));
	seen->options = options;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const struct nlsock_reader reader = { parts[i].message, seen };
		int r = nlsock_request(s, nat_frame_read(buf, parts[i].what, NULL), &reader, err);

		if (r < 0)
			return r;
	}
	return seen->error < 0 ? err_set(err, seen->error, "out of memory") : 0;
}

/* *ret_there = the table is; then 'seen' tells what of it. */
static int read_all(struct nlsock *s, bool *ret_there, struct seen *seen, struct err_info *err)
{
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	int r = nlsock_request(s, nat_frame_read(buf, NAT_READ_TABLE, NULL), NULL, err);

	if (r == -ENOENT) {
		*ret_there = false;
		return 0;
	}
	/* nfnetlink's answer when no subsystem of that number is there. */
	if (r == -EINVAL || r == -EOPNOTSUPP)
		return err_set(err, -EOPNOTSUPP, "this kernel has no nf_tables (CONFIG_NF_TABLES)");
	if (r < 0)
		return err_wrap(err, r, "reading table inet " NAT_TABLE);
	r = -EINTR;
	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++)
		r = read_frame(s, seen, err);
	if (r < 0)
		return err_wrap(err, r, "reading table inet " NAT_TABLE);
	if (seen->misshapen)
		return err_set(err, -EEXIST,
			       "table inet " NAT_TABLE ": %s has another shape; remove the table (leasehold cleanup)",
			       seen->misshapen);
	*ret_there = true;
	return 0;
}

/* ---- what to do ---- */

/* A transaction, and what its messages are about, for errors. */
struct frame_batch {
	struct batch b;
	unsigned char *data, *scratch;
	struct about {
		uint32_t first; /* message */
		const char *kind, *name;
	} *about;
	size_t n_about;
	int refused; /* error of the first refused message */
	uint32_t refused_at;
};

static void frame_batch_fini(struct frame_batch *f)
{
	free(f->data);
	free(f->scratch);
	free(f->about);
}

/* Room for the frame, for each chain of a frontend's own to be written anew, and for stale rules to go. */
static int frame_batch_init(struct frame_batch *f, const struct seen *seen)
{
	const size_t len = FRAME_BATCH_LEN + seen->n_others * OTHER_LEN + seen->n_stale * STALE_LEN;

	f->data = malloc(len);
	f->scratch = malloc(SCRATCH_LEN);
	f->about = calloc(NAT_DROP_N + 2 * NAT_SET_N + 4 * NAT_CHAIN_N + 2 * seen->n_others + seen->n_stale + 1,
			  sizeof(*f->about));
	if (!f->data || !f->scratch || !f->about)
		return -ENOMEM;
	batch_init(&f->b, f->data, len);
	return 0;
}

/* What the next messages are about. */
static void note(struct frame_batch *f, const char *kind, const char *name)
{
	f->about[f->n_about++] = (struct about){ batch_count(&f->b), kind, name };
}

/* How many rules a chain is to have. */
static int count_rules(struct frame_batch *f, const struct nat_chain_shape *c, const struct nat_options *options)
{
	struct batch b;
	int r;

	batch_init(&b, f->scratch, SCRATCH_LEN);
	r = nat_frame_add_rules(&b, c, options);
	return r < 0 ? r : (int)batch_count(&b);
}

static bool any_replaced(const struct seen *seen)
{
	for (size_t i = 0; i < NAT_SET_N; i++)
		if (seen->replaced[i])
			return true;
	return false;
}

/* Whether the rules of a chain that comes and goes are not all there, or others are; only where they follow from its
 * name: for others -ENOENT. */
static int own_broken(struct frame_batch *f, const struct other_chain *c)
{
	struct batch b;
	int r;

	batch_init(&b, f->scratch, SCRATCH_LEN);
	r = c->base ? -ENOENT : nat_frame_add_own_rules(&b, c->name);
	return r < 0 ? r : c->good != batch_count(&b) || c->rules != c->good;
}

/* Sets of an earlier layout's shape go, and before them the rules that may use them: all of ours. */
static int plan_replacement(struct frame_batch *f, const struct seen *seen)
{
	int r = 0;

	for (size_t i = 0; i < NAT_CHAIN_N && r == 0; i++) {
		if (nat_chains[i].kind == NAT_CHAIN_USER || seen->chains[i].rules == 0)
			continue;
		note(f, "rules of chain", nat_chains[i].name);
		r = nat_frame_del_rules(&f->b, nat_chains[i].name, 0);
	}
	for (size_t i = 0; i < seen->n_others && r == 0; i++) {
		if (own_broken(f, &seen->others[i]) < 0 || seen->others[i].rules == 0)
			continue;
		note(f, "rules of chain", seen->others[i].name);
		r = nat_frame_del_rules(&f->b, seen->others[i].name, 0);
	}
	for (size_t i = 0; i < NAT_SET_N && r == 0; i++) {
		if (!seen->replaced[i])
			continue;
		note(f, "set of an earlier layout", nat_sets[i].name);
		r = nat_frame_del_set(&f->b, nat_sets[i].name);
	}
	return r;
}

static int plan_sets(struct frame_batch *f, const struct seen *seen)
{
	int r = 0;

	for (size_t i = 0; i < NAT_DROP_N && r == 0; i++) {
		if (seen->counters[i])
			continue;
		note(f, "counter", nat_drop_counters[i]);
		r = nat_frame_add_counter(&f->b, (enum nat_drop)i);
	}
	if (r == 0 && any_replaced(seen))
		r = plan_replacement(f, seen);
	for (size_t i = 0; i < NAT_SET_N && r == 0; i++) {
		if (seen->sets[i] && !seen->replaced[i])
			continue;
		note(f, "set", nat_sets[i].name);
		r = nat_frame_add_set(&f->b, &nat_sets[i]);
	}
	return r;
}

/* One chain of the frame; those that it jumps to are there by now. */
static int plan_chain(struct frame_batch *f, const struct seen *seen, size_t i)
{
	const struct nat_chain_shape *c = &nat_chains[i];
	const bool filter = nat_chain_type(c) && text_eq(nat_chain_type(c), "filter");
	const int rules = count_rules(f, c, seen->options);
	const bool wanted = rules > 0 || !filter, replaced = any_replaced(seen);
	int r = rules < 0 ? rules : 0;

	note(f, "chain", c->name);
	if (r == 0 && wanted && !seen->chains[i].there)
		r = nat_frame_add_chain(&f->b, c);
	if (r < 0 || c->kind == NAT_CHAIN_USER)
		return r;
	if (wanted && !replaced && seen->chains[i].good == (unsigned int)rules &&
	    seen->chains[i].rules == seen->chains[i].good)
		return 0;
	note(f, "rules of chain", c->name);
	if (seen->chains[i].rules > 0 && !replaced)
		r = nat_frame_del_rules(&f->b, c->name, 0);
	if (r == 0)
		r = nat_frame_add_rules(&f->b, c, seen->options);
	if (r == 0 && !wanted && seen->chains[i].there)
		r = nat_frame_del_chain(&f->b, c->name);
	return r;
}

static int plan_own(struct frame_batch *f, const struct seen *seen)
{
	int r = 0;

	for (size_t i = 0; i < seen->n_others && r == 0; i++) {
		const struct other_chain *c = &seen->others[i];
		const int broken = own_broken(f, c);

		if (broken == -ENOENT || (broken == 0 && !any_replaced(seen)))
			continue;
		note(f, "rules of chain", c->name);
		r = broken < 0 ? broken : nat_frame_del_rules(&f->b, c->name, 0);
		if (r == 0)
			r = nat_frame_add_own_rules(&f->b, c->name);
	}
	return r;
}

static int plan_frame(struct frame_batch *f, bool there, const struct seen *seen)
{
	int r = 0;

	note(f, "table", NAT_TABLE);
	if (!there)
		r = nat_frame_add_table(&f->b);
	for (size_t i = 0; i < seen->n_stale && r == 0; i++) {
		note(f, "rule of another layout in chain", seen->others[seen->stale[i].chain].name);
		r = nat_frame_del_rules(&f->b, seen->others[seen->stale[i].chain].name, seen->stale[i].handle);
	}
	if (r == 0)
		r = plan_sets(f, seen);
	for (size_t i = 0; i < NAT_CHAIN_N && r == 0; i++)
		r = plan_chain(f, seen, i);
	return r == 0 ? plan_own(f, seen) : r;
}

/* ---- doing it ---- */

static void on_begin(void *ctx)
{
	struct frame_batch *f = ctx;

	f->refused = 0;
}

static void on_refused(void *ctx, uint32_t message, int error, const char *text)
{
	struct frame_batch *f = ctx;

	IGNORE(text); /* nlsock puts the first one's into the error */
	if (f->refused == 0) {
		f->refused = error;
		f->refused_at = message;
	}
}

static int commit(struct nlsock *s, struct frame_batch *f, struct err_info *err)
{
	const struct nlsock_refusals refusals = { on_begin, on_refused, f };
	const struct about *about = NULL;
	int r;

	batch_end(&f->b);
	r = nlsock_batch(s, &f->b, &refusals, err);
	if (r == 0)
		return 0;
	for (size_t i = 0; i < f->n_about && f->refused && f->about[i].first <= f->refused_at; i++)
		about = &f->about[i];
	if (!about)
		return err_wrap(err, r, "table inet " NAT_TABLE);
	/* ENOENT: no module provides an expression or the chain type. */
	if (f->refused == -ENOENT || f->refused == -EOPNOTSUPP || f->refused == -EAFNOSUPPORT)
		return err_set(err, -EOPNOTSUPP,
			       "table inet " NAT_TABLE ": this kernel cannot do what %s %s needs "
			       "(CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_CT, NFT_HASH, NFT_NUMGEN, NFT_FIB_INET, "
			       "NFT_REJECT, NFT_LIMIT, NFT_CONNLIMIT, NFT_OBJREF, NF_CONNTRACK_ZONES)",
			       about->kind, about->name);
	return err_wrap(err, r, "table inet " NAT_TABLE ", %s %s", about->kind, about->name);
}

static bool is_firewall(const struct other_chain *c)
{
	return text_starts(c->name, NAT_FIREWALL_PREFIX);
}

/* Chains of another layout that are empty now, but for NAT chains (nat_layout.h).  One that something of somebody else's
 * jumps to stays, as do those that come and go: they are nat_apply.c's. */
static void remove_former_chains(struct nlsock *s, struct frame_batch *f, const struct seen *seen)
{
	for (size_t i = 0; i < seen->n_others; i++) {
		const struct other_chain *c = &seen->others[i];
		unsigned char buf[4096] __attribute__((aligned(16)));
		struct err_info err = ERR_INFO_INIT;
		struct batch b;

		if (c->nat || c->stale == 0 || c->stale != c->rules || is_firewall(c) || own_broken(f, c) != -ENOENT)
			continue;
		batch_init(&b, buf, sizeof(buf));
		if (nat_frame_del_chain(&b, c->name) < 0)
			continue;
		batch_end(&b);
		IGNORE(nlsock_batch_once(s, &b, NULL, &err)); /* it is empty and harms nobody */
	}
}

/* The chains that come and go and are there with their rules now. */
static int remember_own(struct nat_if *n, const struct seen *seen)
{
	struct frontend front;
	int r = 0;

	nat_own_begin(&n->own);
	for (size_t i = 0; i < seen->n_others && r == 0; i++) {
		const struct other_chain *c = &seen->others[i];

		if ((nat_balance_parse(c->name, &front) && nat_balance_is_own(&front)) || (is_firewall(c) && c->good > 0))
			r = nat_own_add(&n->own, c->name);
	}
	nat_own_end(&n->own);
	return r;
}

int nat_if_ensure(struct nat_if *n, const struct nat_options *options, struct err_info *err)
{
	AUTO(seen_freep) struct seen *seen = calloc(1, sizeof(*seen));
	AUTO(frame_batch_fini) struct frame_batch f = { .data = NULL };
	bool there = false;
	int r;

	if (!seen)
		return err_set(err, -ENOMEM, "table inet " NAT_TABLE ": out of memory");
	seen->options = options;
	r = read_all(n->sock, &there, seen, err);
	if (r < 0)
		return r;
	r = frame_batch_init(&f, seen);
	if (r == 0)
		r = plan_frame(&f, there, seen);
	if (r < 0)
		return err_errno(err, r, "table inet " NAT_TABLE);
	if (batch_count(&f.b) > 0) {
		r = commit(n->sock, &f, err);
		if (r < 0)
			return r;
		remove_former_chains(n->sock, &f, seen);
	}
	n->options = *options;
	r = remember_own(n, seen);
	return r < 0 ? err_errno(err, r, "table inet " NAT_TABLE) : 0;
}
