/* SPDX-License-Identifier: Apache-2.0 */
/* nat_rule.h: the rules of the table's chains as libnftnl objects.  For nat_frame, which frames them. */
#pragma once

#include "netlink/nat_layout.h"

struct nftnl_rule;

/* Rule i < nat_chain_rules(c) of a chain, with its comment; the caller frees it.  NULL: out of memory. */
struct nftnl_rule *nat_rule_new(const struct nat_chain_shape *c, unsigned int i);
