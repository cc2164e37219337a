/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain.h: what rules each chain has.  nat_chain_nat.c, nat_chain_guard.c, nat_chain_firewall.c, nat_chain_count.c and
 * nat_chain_router.c write those of one concern each.  For nat_frame. */
#pragma once

#include "netlink/nat_rule.h"

#define NAT_COMMENT_MAX 64

/* The comment that all rules of a chain of the frame carry: "layout 4", and " options 0123abcd" where they depend on
 * the options. Returns buf. */
char *nat_chain_comment(const struct nat_chain_shape *c, const struct nat_options *options,
			char buf[static NAT_COMMENT_MAX]);

/* The rules of a chain of the frame; none for the user's. */
void nat_chain_write(struct nat_writer *w, const struct nat_chain_shape *c, const struct nat_options *options);

/* ---- of one concern each ---- */

void nat_write_services(struct nat_writer *w);
/* f: balance, n_slots and sticky_s count, and with sticky_s the VIP's family. */
void nat_write_balance(struct nat_writer *w, const struct frontend *f);
void nat_write_return(struct nat_writer *w, const struct frontend *f);
void nat_write_returning(struct nat_writer *w);
/* First packets of connections that were sent on; others leave the chain: nat_write_source() begins with it, too. */
void nat_write_first(struct nat_writer *w, const struct nat_options *options);
void nat_write_source(struct nat_writer *w, const struct nat_options *options);

void nat_write_zone(struct nat_writer *w);
void nat_write_guard(struct nat_writer *w);
void nat_write_input(struct nat_writer *w, const struct nat_options *options);
void nat_write_forward(struct nat_writer *w, const struct nat_options *options);

void nat_write_firewalls(struct nat_writer *w);
/* A Service's chain, and the chain of its sources. */
void nat_write_firewall(struct nat_writer *w, const struct nat_firewall *fw);
void nat_write_sources(struct nat_writer *w, const struct nat_firewall *fw);
/* How many rules both write. */
unsigned int nat_firewall_rules(const struct nat_firewall *fw);

void nat_write_mark(struct nat_writer *w, const struct nat_options *options);
/* hook: NF_INET_*. */
void nat_write_count(struct nat_writer *w, uint32_t hook, const struct nat_options *options);
void nat_write_received(struct nat_writer *w);
void nat_write_backends(struct nat_writer *w);
void nat_write_sent(struct nat_writer *w);
void nat_write_unmark(struct nat_writer *w, const struct nat_options *options);
void nat_write_opened(struct nat_writer *w, const struct nat_options *options);

void nat_write_router_input(struct nat_writer *w, const struct nat_router *router);
void nat_write_router_forward(struct nat_writer *w, const struct nat_router *router);
