/* SPDX-License-Identifier: Apache-2.0 */
/* digest.h: 64 bits that stand for a frontend or a firewall.  They are kept in the kernel, where another build of the agent,
 * on a machine of either byte order, reads them back: so their definition may change only together with the layout of
 * the table (a changed one costs rewriting everything once).  Pure. */
#pragma once

#include <stdint.h>

#include "agent/base/nat.h"

/* Of balance, sticky_s, backends and slots; never 0.  'slots' is set. */
uint64_t digest_frontend(const struct frontend *f);

/* Of all limits; never 0. */
uint64_t digest_firewall(const struct nat_firewall *fw);
