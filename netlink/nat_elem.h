/* SPDX-License-Identifier: Apache-2.0 */
/* nat_elem.h: elements of the table's sets and maps as bytes.  A key is daddr . l4proto . dport [. slot] or
 * part of it, or daddr . interface, each padded to 4 bytes, in network order but for slot and interface, which the
 * kernel computes and thus has in the host's. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/nat.h"
#include "netlink/batch.h"
#include "netlink/nat_layout.h"

/* Appends ops[0..n) in their order: neighbours of one kind and family share a message, unless 'each_alone'.
 * -ENOSPC: they do not fit and the batch is as before; -EINVAL: an op that cannot be (a family, a number of slots
 * that is no class). */
MUST_USE int nat_elem_put(struct batch *b, const struct nat_op *ops, size_t n, bool each_alone);

/* Appends what makes ips[0..n) the whole content of former4 and former6, for timeout_ms > 0 milliseconds.  They are emptied
 * first: up to Linux 6.11 an element that is there already keeps its old timeout (nf_tables_newsetelem()).  Errors as above;
 * -EINVAL also without a timeout: the elements would stay for ever. */
MUST_USE int nat_elem_put_former(struct batch *b, const struct ip *ips, size_t n, uint32_t timeout_ms);

/* Calls 'each' for every element of a NEWSETELEM message of our table, as the op that adds it.  A frontend whose
 * verdict is not one of ours (jumped elsewhere) has n_slots 0.  -EBADMSG: not such a message, or cut, or elements
 * of another shape, or of former4 or former6 (those before it were reported); -ENOENT: of another table or set. */
MUST_USE int nat_elem_parse(const void *data, size_t len, void (*each)(void *ctx, const struct nat_op *op), void *ctx);

/* "192.0.2.1 . tcp . 80 . 7 : 198.51.100.1 . 8080 (map slots4)" for messages; returns buf. */
#define NAT_ELEM_TEXT_MAX 192
char *nat_elem_text(const struct nat_op *op, char buf[static NAT_ELEM_TEXT_MAX]);
