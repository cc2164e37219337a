/* SPDX-License-Identifier: Apache-2.0 */
/* nft_rule.c: expressions through libnftnl, and the finished rule as a message. */
#include "netlink/nft_rule.h"

#include <stdio.h> /* first: libnftnl/expr.h needs it and does not say so */

#include <assert.h>
#include <errno.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter/nf_tables.h>

#include "agent/base/text.h"
#include "netlink/nat_udata.h"

struct nft_rule nft_rule_begin(const struct nft_table *t, const char *chain, const char *comment)
{
	const struct nat_udata note = nat_udata_comment(comment ? comment : "");
	struct nft_rule r = { .table = t, .rule = nftnl_rule_alloc() };

	if (!r.rule || nftnl_rule_set_str(r.rule, NFTNL_RULE_TABLE, t->name) < 0 ||
	    nftnl_rule_set_str(r.rule, NFTNL_RULE_CHAIN, chain) < 0 ||
	    (comment && nftnl_rule_set_data(r.rule, NFTNL_RULE_USERDATA, note.data, (uint32_t)note.len) < 0))
		r.error = -ENOMEM;
	return r;
}

int nft_rule_end(struct nft_rule *r, struct batch *b)
{
	const uint16_t flags = NLM_F_CREATE | NLM_F_APPEND;
	struct nlmsghdr *nlh = r->error ? NULL : nft_frame_message(b, r->table, NFT_MSG_NEWRULE, flags, r->table->room);

	if (nlh) {
		nftnl_rule_nlmsg_build_payload(nlh, r->rule);
		batch_commit(b, nlh);
	} else if (!r->error) {
		r->error = -ENOSPC;
	}
	if (r->rule)
		nftnl_rule_free(r->rule);
	r->rule = NULL;
	return r->error;
}

/* ---- any expression ---- */

struct nftnl_expr *nft_rule_append(struct nft_rule *r, const char *name, const struct nft_value *values, size_t n)
{
	struct nftnl_expr *e = r->error ? NULL : nftnl_expr_alloc(name);

	if (!e) {
		r->error = r->error ? r->error : -ENOMEM;
		return NULL;
	}
	assert(n == 0 || !text_eq(name, "counter")); /* its attributes have 64 bits: libnftnl would read beyond 'v' */
	for (size_t i = 0; i < n; i++)
		nftnl_expr_set_u32(e, values[i].attr, values[i].v);
	nftnl_rule_add_expr(r->rule, e);
	return e;
}

void nft_rule_set_text(struct nft_rule *r, struct nftnl_expr *e, uint16_t attr, const char *text)
{
	if (e && nftnl_expr_set_str(e, attr, text) < 0)
		r->error = -ENOMEM;
}

void nft_rule_set_bytes(struct nft_rule *r, struct nftnl_expr *e, uint16_t attr, const void *data, uint32_t len)
{
	if (e && nftnl_expr_set(e, attr, data, len) < 0)
		r->error = -ENOMEM;
}

/* ---- those of many ---- */

void nft_put_payload(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg)
{
	NFT_APPEND(r, "payload", { NFTNL_EXPR_PAYLOAD_BASE, base }, { NFTNL_EXPR_PAYLOAD_OFFSET, offset },
		   { NFTNL_EXPR_PAYLOAD_LEN, len }, { NFTNL_EXPR_PAYLOAD_DREG, reg });
}

void nft_put_meta(struct nft_rule *r, uint32_t key, uint32_t reg)
{
	NFT_APPEND(r, "meta", { NFTNL_EXPR_META_KEY, key }, { NFTNL_EXPR_META_DREG, reg });
}

void nft_put_ct(struct nft_rule *r, uint32_t key, uint32_t reg)
{
	NFT_APPEND(r, "ct", { NFTNL_EXPR_CT_KEY, key }, { NFTNL_EXPR_CT_DREG, reg });
}

void nft_put_data(struct nft_rule *r, uint32_t reg, const void *data, uint32_t len)
{
	struct nftnl_expr *e = NFT_APPEND(r, "immediate", { NFTNL_EXPR_IMM_DREG, reg });

	nft_rule_set_bytes(r, e, NFTNL_EXPR_IMM_DATA, data, len);
}

void nft_put_cmp(struct nft_rule *r, uint32_t op, uint32_t reg, const void *data, uint32_t len)
{
	struct nftnl_expr *e = NFT_APPEND(r, "cmp", { NFTNL_EXPR_CMP_SREG, reg }, { NFTNL_EXPR_CMP_OP, op });

	nft_rule_set_bytes(r, e, NFTNL_EXPR_CMP_DATA, data, len);
}

void nft_put_bitwise(struct nft_rule *r, const void *mask, const void *xor, uint32_t len)
{
	struct nftnl_expr *e = NFT_APPEND(r, "bitwise", { NFTNL_EXPR_BITWISE_SREG, NFT_REG_1 },
					  { NFTNL_EXPR_BITWISE_DREG, NFT_REG_1 }, { NFTNL_EXPR_BITWISE_LEN, len });

	nft_rule_set_bytes(r, e, NFTNL_EXPR_BITWISE_MASK, mask, len);
	nft_rule_set_bytes(r, e, NFTNL_EXPR_BITWISE_XOR, xor, len);
}

struct nftnl_expr *nft_put_lookup(struct nft_rule *r, const char *set)
{
	struct nftnl_expr *e = NFT_APPEND(r, "lookup", { NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1 });

	nft_rule_set_text(r, e, NFTNL_EXPR_LOOKUP_SET, set);
	return e;
}

void nft_put_limit(struct nft_rule *r, const struct rate *rate)
{
	const uint32_t type = rate->unit == RATE_BYTES ? NFT_LIMIT_PKT_BYTES : NFT_LIMIT_PKTS;
	struct nftnl_expr *e = NFT_APPEND(r, "limit", { NFTNL_EXPR_LIMIT_BURST, rate->burst },
					  { NFTNL_EXPR_LIMIT_TYPE, type }, { NFTNL_EXPR_LIMIT_FLAGS, NFT_LIMIT_F_INV });

	if (e) {
		nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, rate->amount);
		nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, rate->per_s);
	}
}

void nft_put_verdict(struct nft_rule *r, int verdict, const char *chain)
{
	struct nftnl_expr *e = NFT_APPEND(r, "immediate", { NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT },
					  { NFTNL_EXPR_IMM_VERDICT, (uint32_t)verdict });

	if (chain)
		nft_rule_set_text(r, e, NFTNL_EXPR_IMM_CHAIN, chain);
}
