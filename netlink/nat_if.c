/* SPDX-License-Identifier: Apache-2.0 */
/* nat_if.c: the table's frame in the kernel: compares what is there with nat_layout, adds what is missing, and
 * removes it all at the end.  Elements are nat_apply.c's (writing) and nat_dump.c's (reading). */
#include "netlink/nat_if.h"

#include <errno.h>
#include <stdlib.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/batch.h"
#include "netlink/nat_frame.h"

#define FRAME_BATCH_LEN ((size_t)256 * 1024)
#define DUMP_RESTARTS 10
#define NAME_MAX_LEN 64

/* Rules of another layout in chains that this one does not have. */
#define STALE_MAX 128 /* more are removed next time */
struct stale {
	char chain[NAME_MAX_LEN];
	uint64_t handle;
};

struct seen {
	bool sets[NAT_SET_N];
	struct {
		bool there;
		unsigned int rules, good; /* all, those of this layout */
	} chains[NAT_CHAIN_N];
	struct stale stale[STALE_MAX];
	size_t n_stale;
	const char *misshapen; /* a set that has our name and another shape */
};

/* ---- what is there ---- */

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
	    (shape->kind == NAT_SET_KIND_SLOTS && s.data_len != shape->data_len))
		seen->misshapen = shape->name;
	return 0;
}

static int on_chain(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	const struct nat_chain_shape *shape;
	struct nat_seen_chain c;

	if (nat_frame_parse_chain(nlh, nlh->nlmsg_len, &c) < 0)
		return 0;
	shape = nat_chain_named(c.name);
	if (shape)
		seen->chains[shape - nat_chains].there = true;
	return 0;
}

static int on_rule(void *ctx, const struct nlmsghdr *nlh)
{
	struct seen *seen = ctx;
	const struct nat_chain_shape *shape;
	struct nat_seen_rule rule;

	if (nat_frame_parse_rule(nlh, nlh->nlmsg_len, &rule) < 0)
		return 0;
	shape = nat_chain_named(rule.chain);
	if (shape) {
		seen->chains[shape - nat_chains].rules++;
		seen->chains[shape - nat_chains].good += text_eq(rule.comment, NAT_LAYOUT);
	} else if (text_starts(rule.comment, NAT_LAYOUT_PREFIX) && seen->n_stale < STALE_MAX &&
		   text_copy(seen->stale[seen->n_stale].chain, NAME_MAX_LEN, rule.chain)) {
		seen->stale[seen->n_stale++].handle = rule.handle;
	}
	return 0;
}

static int read_frame(struct nlsock *s, struct seen *seen, struct err_info *err)
{
	static const struct {
		enum nat_read what;
		int (*message)(void *ctx, const struct nlmsghdr *nlh);
	} parts[] = { { NAT_READ_SETS, on_set }, { NAT_READ_CHAINS, on_chain }, { NAT_READ_RULES, on_rule } };
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));

	memset(seen, 0, sizeof(*seen));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const struct nlsock_reader reader = { parts[i].message, seen };
		int r = nlsock_request(s, nat_frame_read(buf, parts[i].what, NULL), &reader, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* *ret_there = the table is; then 'seen' tells what of it. */
static int read_all(struct nlsock *s, bool *ret_there, struct seen *seen, struct err_info *err)
{
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	int r = nlsock_request(s, nat_frame_read(buf, NAT_READ_TABLE, NULL), NULL, err);

	memset(seen, 0, sizeof(*seen));
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
	*ret_there = true;
	return 0;
}

/* ---- what to do ---- */

/* What each message of the batch is about, for errors. */
struct frame_batch {
	struct batch b;
	struct {
		const char *kind, *name;
	} about[STALE_MAX + NAT_SET_N + NAT_CHAIN_N * (NAT_CHAIN_RULES_MAX + 2) + 1];
	int refused; /* error of the first refused message */
	uint32_t refused_at;
};

static void note(struct frame_batch *f, int r, const char *kind, const char *name)
{
	for (uint32_t i = batch_count(&f->b); r == 0 && i-- > 0 && !f->about[i].kind;) {
		f->about[i].kind = kind;
		f->about[i].name = name;
	}
}

static int plan_chains(struct frame_batch *f, const struct seen *seen)
{
	int r = 0;

	for (size_t i = 0; i < NAT_CHAIN_N && r == 0; i++) {
		if (seen->chains[i].there)
			continue;
		r = nat_frame_add_chain(&f->b, &nat_chains[i]);
		note(f, r, "chain", nat_chains[i].name);
	}
	for (size_t i = 0; i < NAT_CHAIN_N && r == 0; i++) {
		const struct nat_chain_shape *c = &nat_chains[i];

		if (seen->chains[i].good == nat_chain_rules(c) && seen->chains[i].rules == seen->chains[i].good)
			continue;
		if (seen->chains[i].rules > 0)
			r = nat_frame_del_rules(&f->b, c->name, 0);
		note(f, r, "rules of chain", c->name);
		if (r == 0)
			r = nat_frame_add_rules(&f->b, c);
		note(f, r, "rules of chain", c->name);
	}
	return r;
}

static int plan_frame(struct frame_batch *f, bool there, const struct seen *seen)
{
	int r = there ? 0 : nat_frame_add_table(&f->b);

	note(f, r, "table", NAT_TABLE);
	for (size_t i = 0; i < NAT_SET_N && r == 0; i++) {
		if (seen->sets[i])
			continue;
		r = nat_frame_add_set(&f->b, &nat_sets[i]);
		note(f, r, "set", nat_sets[i].name);
	}
	if (r == 0)
		r = plan_chains(f, seen);
	for (size_t i = 0; i < seen->n_stale && r == 0; i++) {
		r = nat_frame_del_rules(&f->b, seen->stale[i].chain, seen->stale[i].handle);
		note(f, r, "rule of another layout in chain", seen->stale[i].chain);
	}
	return r;
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
	const char *kind, *name;
	int r;

	batch_end(&f->b);
	r = nlsock_batch(s, &f->b, &refusals, err);
	if (r == 0)
		return 0;
	if (f->refused == 0 || f->refused_at >= ARRAY_LEN(f->about) || !f->about[f->refused_at].kind)
		return err_wrap(err, r, "table inet " NAT_TABLE);
	kind = f->about[f->refused_at].kind;
	name = f->about[f->refused_at].name;
	/* ENOENT: no module provides an expression or the chain type. */
	if (f->refused == -ENOENT || f->refused == -EOPNOTSUPP || f->refused == -EAFNOSUPPORT)
		return err_set(err, -EOPNOTSUPP,
			       "table inet " NAT_TABLE ": this kernel cannot do what %s %s needs "
			       "(CONFIG_NF_TABLES_INET, NFT_NAT, NFT_MASQ, NFT_CT, NFT_HASH, NFT_NUMGEN, NFT_FIB_INET, "
			       "NF_CONNTRACK_ZONES)",
			       kind, name);
	return err_wrap(err, r, "table inet " NAT_TABLE ", %s %s", kind, name);
}

int nat_if_ensure(struct nlsock *s, struct err_info *err)
{
	AUTO(freep) struct seen *seen = malloc(sizeof(*seen));
	AUTO(freep) struct frame_batch *f = calloc(1, sizeof(*f));
	AUTO(freep) unsigned char *buf = malloc(FRAME_BATCH_LEN);
	bool there;
	int r;

	if (!seen || !f || !buf)
		return err_set(err, -ENOMEM, "table inet " NAT_TABLE ": out of memory");
	r = read_all(s, &there, seen, err);
	if (r < 0)
		return r;
	if (seen->misshapen)
		return err_set(err, -EEXIST,
			       "table inet " NAT_TABLE ": %s has another shape; remove the table (leasehold cleanup)",
			       seen->misshapen);
	batch_init(&f->b, buf, FRAME_BATCH_LEN);
	r = plan_frame(f, there, seen);
	if (r < 0)
		return err_errno(err, r, "table inet " NAT_TABLE);
	return batch_count(&f->b) > 0 ? commit(s, f, err) : 0;
}

int nat_if_remove(struct nlsock *s, struct err_info *err)
{
	AUTO(freep) struct frame_batch *f = calloc(1, sizeof(*f));
	unsigned char buf[4096] __attribute__((aligned(16)));
	int r;

	if (!f)
		return err_set(err, -ENOMEM, "removing table inet " NAT_TABLE ": out of memory");
	batch_init(&f->b, buf, sizeof(buf));
	r = nat_frame_del_table(&f->b);
	if (r == 0)
		r = commit(s, f, err);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_wrap(err, r, "removing") : 0;
}

static int present(struct nlsock *s, uint8_t family, bool *ret, struct err_info *err)
{
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	struct nlmsghdr *nlh = nat_frame_read(buf, NAT_READ_TABLE, NULL);
	int r;

	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = family;
	r = nlsock_request(s, nlh, NULL, err);
	*ret = r == 0;
	return r == -ENOENT ? 0 : r;
}

int nat_if_present(struct nlsock *s, bool *ret_inet, bool *ret_arp, struct err_info *err)
{
	int r = present(s, NFPROTO_INET, ret_inet, err);

	return r == 0 ? present(s, NFPROTO_ARP, ret_arp, err) : r;
}
