/* SPDX-License-Identifier: Apache-2.0 */
/* feature_if.h: whether this kernel takes what the data plane and the ARP guard are made of: transactions without their
 * end, which nf_tables checks as a whole and then takes back (nfnetlink_rcv_batch(), as nft --check has it).  Modules that
 * they need are loaded as for the real ones; nothing else changes, not even for a moment. */
#pragma once

#include "agent/base/err.h"
#include "netlink/nlsock.h"

/* A table of the inet family with a chain of type nat.  's' is NETLINK_NETFILTER.  -EOPNOTSUPP, -EPERM ... may wait for the
 * namespace's commit mutex. */
MUST_USE int feature_if_nat(struct nlsock *s, struct err_info *err);
/* A table of the arp family with a filter chain. */
MUST_USE int feature_if_arp(struct nlsock *s, struct err_info *err);
