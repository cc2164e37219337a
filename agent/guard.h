/* SPDX-License-Identifier: Apache-2.0 */
/* guard.h: sees to it that no interface of this node but a VIP's own answers ARP for it (netlink/arp_guard_if.h).  The
 * nft transaction runs on the worker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/kernel.h"
#include "agent/worker.h"
#include "netlink/arp_guard_if.h"

struct guard_job {
	struct worker_job job; /* first: the worker hands this back */
	struct guard *g;
	struct nlsock *sock; /* the worker's while the job runs */
	struct arp_home *homes; /* malloc; as last handed over */
	size_t n_homes, cap_homes;
	int result;
	struct err_info err;
};

struct guard {
	struct worker *worker;
	struct guard_job job;
	bool busy, dirty; /* dirty: not put since it changed or failed */
	bool is_put;	  /* it was put at least once */
	bool without;	  /* this kernel has no nftables for ARP */
	struct arp_home *put; /* malloc; as the kernel has them; sorted */
	size_t n_put, cap_put;
	mono_t retry_at;
	uint64_t jobs; /* that have ended */
	char problem[ERR_TEXT_MAX]; /* "" = none */
};

void guard_init(struct guard *g, struct worker *worker);
/* After the worker's end. */
void guard_fini(struct guard *g);

/* The places of all VIPs, sorted by ip, whether this node holds them or not; v6 ones are left out.  Starts what is missing;
 * returns when to call again. */
mono_t guard_sync(struct guard *g, mono_t now, const struct kernel_addr *addrs, size_t n);

/* The guard knows this place, or this kernel has none. */
bool guard_stands(const struct guard *g, const struct kernel_addr *a);

/* Why the guard cannot be put, "" = it can, or this kernel has none. */
const char *guard_problem(const struct guard *g);

/* It was put once, and should be there. */
bool guard_is_put(const struct guard *g);

/* It is not there any more: put again with the next guard_sync(). */
void guard_again(struct guard *g);
