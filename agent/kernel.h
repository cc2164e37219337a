/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h: makes this node's addresses what the core wants: compares with what is observed, hands the plan to the
 * worker, takes the outcome back.  Level-triggered: kernel_sync_addrs() may be called at any time and does nothing when all
 * is as wanted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/dataplane.h"
#include "agent/worker.h"
#include "netlink/link_watch.h"
#include "netlink/nlsock.h"

/* Where a VIP should be. */
struct kernel_addr {
	struct ip ip;
	int ifindex;
};

enum addr_op_kind {
	ADDR_OP_DEL,
	ADDR_OP_ADD,
	ADDR_OP_REFRESH, /* it was seen with our mark */
};

struct addr_op {
	struct kernel_addr addr;
	enum addr_op_kind kind;
	uint32_t rank; /* of those to be added the lowest goes first */
	bool seen;     /* the interface has it, from us or another */
	bool stays;    /* DEL: it is up on another interface, and stays there */
	int result;
};

struct addr_job {
	struct worker_job job;
	struct kernel *k;
	struct nlsock *sock;
	struct addr_op *ops; /* malloc */
	size_t n_ops, cap_ops;
	uint32_t valid_s;
	bool with_nat; /* there are connections of ours to flush */
	struct err_info err; /* of the first that failed */
	struct ip failed;
	struct ip *gone;     /* malloc, cap_ops; VIPs whose address was removed: their connections end here */
	size_t n_gone;
	struct ip *stale;    /* malloc; VIPs whose address went by itself */
	size_t n_stale;
	size_t flushed;	     /* conntrack entries */
	struct err_info flush_err;
};

/* An address that the kernel would not add or remove.  It waits alone: others go on meanwhile. */
struct addr_refusal {
	struct kernel_addr addr;
	bool del;
	int error; /* negative errno */
	unsigned int tries;
	mono_t retry_at;
};

struct kernel_config {
	struct worker *addr_worker; /* of its own: the end of an address must not wait for an nft commit */
	const struct dataplane *dataplane;
	uint32_t valid_s; /* lifetime of a VIP's address, whole seconds; where the gate stands that of many is longer (core/lifetime.h) */
	bool gate;
	void (*changed)(void *ctx); /* a job has ended that did more than refresh */
	/* Whether the address may be added now (the gate stands on its interface); one that is up stays. */
	bool (*may_add)(void *ctx, const struct kernel_addr *a);
	/* How urgent the VIP is: the lowest goes first. */
	uint32_t (*rank)(void *ctx, const struct ip *vip);
	void *ctx;
};

struct kernel {
	struct worker *addr_worker;
	const struct dataplane *dataplane;
	struct link_watch *links;
	uint32_t valid_s;
	bool gate;

	struct ip *stale; /* malloc; for the next job */
	size_t n_stale, cap_stale;
	bool addr_busy;
	mono_t addr_refresh_at; /* of lifetimes */
	struct addr_refusal *refusals; /* malloc */
	size_t n_refusals;

	struct addr_job addr;
	char problem[ERR_TEXT_MAX]; /* what fails at present, "" = nothing */
	uint64_t netlink_errors;
	uint64_t addr_ops_applied, flushed;
	void (*changed)(void *ctx);
	bool (*may_add)(void *ctx, const struct kernel_addr *a);
	uint32_t (*rank)(void *ctx, const struct ip *vip);
	void *ctx;
};

MUST_USE int kernel_init(struct kernel *k, const struct kernel_config *cfg, struct err_info *err);
void kernel_fini(struct kernel *k);

/* Starts what is missing between addrs[0..n), sorted by ip, and the kernel.  n = 0 withdraws all of ours.  Returns when to call
 * again at the latest. */
mono_t kernel_sync_addrs(struct kernel *k, mono_t now, const struct kernel_addr *addrs, size_t n);

/* How long addresses stay up whose agent has died, when there are n on the node. */
uint32_t kernel_lifetime_s(const struct kernel *k, size_t n);

/* The VIP's address has gone without our doing (it expired, somebody removed it), or may have before this agent began: what
 * conntrack remembers of its connections goes, too, with the next kernel_sync_addrs(). */
void kernel_forget(struct kernel *k, const struct ip *vip);

/* The address is on that interface, carrying our mark. */
bool kernel_has_addr(const struct kernel *k, const struct kernel_addr *a);

/* 0, or why the kernel would not add it when last tried: -EEXIST: it is there, and not ours; ... */
int kernel_refuses_addr(const struct kernel *k, const struct kernel_addr *a);
