/* SPDX-License-Identifier: Apache-2.0 */
/* nft_rule.h: a rule of any table of ours, built expression by expression, in the forms that nft 1.0.6 itself would write,
 * so that it can print them.  Here are the expressions that more than one table needs; the files of the tables append their
 * own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/nat.h"
#include "netlink/batch.h"
#include "netlink/nft_frame.h"

struct nftnl_expr;
struct nftnl_rule;

/* A rule being built.  After the first error nothing is put any more. */
struct nft_rule {
	const struct nft_table *table;
	struct nftnl_rule *rule;
	int error; /* -ENOMEM */
};

/* Between these two its expressions are put.  comment NULL: none.  The end appends it to the batch as its chain's last, but
 * after an error, and returns that; -ENOSPC: the batch is full and is as before. */
struct nft_rule nft_rule_begin(const struct nft_table *t, const char *chain, const char *comment);
MUST_USE int nft_rule_end(struct nft_rule *r, struct batch *b);

/* ---- any expression ---- */

struct nft_value {
	uint16_t attr; /* NFTNL_EXPR_*, one of 32 bits: libnftnl reads as much as the attribute has */
	uint32_t v;
};

/* The expression with these numbers; NULL after an error.  The texts and bytes of none are set. */
struct nftnl_expr *nft_rule_append(struct nft_rule *r, const char *name, const struct nft_value *values, size_t n);
#define NFT_APPEND(r, name, ...)                                                          \
	nft_rule_append((r), (name), (const struct nft_value[]){ __VA_ARGS__ },           \
			sizeof((const struct nft_value[]){ __VA_ARGS__ }) / sizeof(struct nft_value))
void nft_rule_set_text(struct nft_rule *r, struct nftnl_expr *e, uint16_t attr, const char *text);
void nft_rule_set_bytes(struct nft_rule *r, struct nftnl_expr *e, uint16_t attr, const void *data, uint32_t len);

/* ---- those of many ---- */

/* Into a register: bytes of the packet (base: NFT_PAYLOAD_*_HEADER), NFT_META_*, NFT_CT_* of the connection as a whole, or
 * these bytes. */
void nft_put_payload(struct nft_rule *r, uint32_t base, uint32_t offset, uint32_t len, uint32_t reg);
void nft_put_meta(struct nft_rule *r, uint32_t key, uint32_t reg);
void nft_put_ct(struct nft_rule *r, uint32_t key, uint32_t reg);
void nft_put_data(struct nft_rule *r, uint32_t reg, const void *data, uint32_t len);
/* Compares bytes of a register; op: NFT_CMP_*. */
void nft_put_cmp(struct nft_rule *r, uint32_t op, uint32_t reg, const void *data, uint32_t len);
/* Register 1 = (register 1 & mask) ^ xor. */
void nft_put_bitwise(struct nft_rule *r, const void *mask, const void *xor, uint32_t len);
/* What register 1 and those behind it hold stands in the set, unless the caller sets more. */
struct nftnl_expr *nft_put_lookup(struct nft_rule *r, const char *set);
/* Matches what is above the rate. */
void nft_put_limit(struct nft_rule *r, const struct rate *rate);
/* NF_*, NFT_RETURN; chain: of NFT_JUMP and NFT_GOTO, else NULL. */
void nft_put_verdict(struct nft_rule *r, int verdict, const char *chain);
