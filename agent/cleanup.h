/* SPDX-License-Identifier: Apache-2.0 */
/* cleanup.h: removes what a former agent left in this node's kernel: the table and the addresses with our mark. */
#pragma once

#include "agent/base/err.h"

/* *ret_addrs: addresses removed.  Goes on after an error and returns the first.  Absent things are no error. */
MUST_USE int cleanup_kernel(unsigned int *ret_addrs, struct err_info *err);

/* The gate's filters on all interfaces: for when nothing is left to fence.  May wait for RTNL. */
MUST_USE int cleanup_gates(struct err_info *err);
