/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.h: makes this node's kernel what the core wants: diffs against what is observed, hands the plan to the
 * worker, takes the outcome back.  Level-triggered: kernel_sync() may be called at any time and does nothing when all
 * is as wanted.
 *
 * Three wanted states are kept: the next one (being built), the one in flight, the one observed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/arena.h"
#include "agent/base/mono.h"
#include "agent/core/diff.h"
#include "agent/core/wanted.h"
#include "agent/worker.h"
#include "netlink/link_watch.h"
#include "netlink/nat_if.h"
#include "netlink/nlsock.h"

/* Where a VIP should be. */
struct kernel_addr {
	struct ip ip;
	int ifindex;
};

struct kernel_slot {
	struct arena arena;
	struct wanted wanted;
};

struct nat_job {
	struct worker_job job; /* first: the worker hands this back */
	struct kernel *k;
	struct nlsock *sock; /* the worker's while the job runs */
	bool ready;	     /* the table was made sure of and read */
	bool reread;	     /* make sure and read again before anything else */
	struct nat_plan plan;
	struct nat_dump dump;
	int result;
	size_t done;
	struct err_info err;
};

enum addr_op_kind {
	ADDR_OP_DEL,
	ADDR_OP_ADD,
	ADDR_OP_REFRESH, /* it was seen with our mark */
};

struct addr_op {
	struct kernel_addr addr;
	enum addr_op_kind kind;
	int result;
};

struct addr_job {
	struct worker_job job;
	struct kernel *k;
	struct nlsock *sock;
	struct addr_op *ops; /* malloc */
	size_t n_ops, cap_ops;
	uint32_t valid_s;
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
	struct worker *nat_worker, *addr_worker; /* two: the end of an address must not wait for an nft commit */
	bool use_nat;	  /* data plane nft */
	uint32_t valid_s; /* lifetime of a VIP's address, whole seconds */
	void (*changed)(void *ctx); /* a job has ended */
	/* Whether the address may be added now (the gate stands on its interface); one that is up stays. */
	bool (*may_add)(void *ctx, const struct kernel_addr *a);
	void *ctx;
};

struct kernel {
	struct worker *nat_worker, *addr_worker;
	struct link_watch *links;
	uint32_t valid_s;
	bool use_nat;

	struct kernel_slot slots[3];
	struct kernel_slot *next, *flight, *seen; /* permutation of slots */
	struct nat_state observed; /* points into 'seen', or into 'dump' right after reading */
	struct nat_state pending;  /* of the job in flight; points into 'flight' */
	bool next_built;	   /* 'next' holds a wanted state that is not in flight yet */
	bool need_build;	   /* the owner is to build 'next' again: what is observed has changed */
	struct nat_dump dump;
	struct arena plan_arena;
	bool nat_ready;	  /* table there, observed valid */
	bool nat_up;	  /* was ready once; stays so while single changes are refused */
	bool nat_busy, nat_as_wanted;
	unsigned int nat_failures, nat_lost; /* jobs in a row that failed; readings in a row */
	mono_t nat_retry_at;

	struct ip *stale; /* malloc; for the next job */
	size_t n_stale, cap_stale;
	bool addr_busy;
	mono_t addr_refresh_at; /* of lifetimes */
	struct addr_refusal *refusals; /* malloc */
	size_t n_refusals;

	struct nat_job nat;
	struct addr_job addr;
	char nat_problem[ERR_TEXT_MAX], addr_problem[ERR_TEXT_MAX]; /* what fails at present, "" = nothing */
	uint64_t netlink_errors;
	uint64_t nat_ops_applied, addr_ops_applied, flushed;
	void (*changed)(void *ctx);
	bool (*may_add)(void *ctx, const struct kernel_addr *a);
	void *ctx;
};

MUST_USE int kernel_init(struct kernel *k, const struct kernel_config *cfg, struct err_info *err);
void kernel_fini(struct kernel *k);

/* Where the owner builds the wanted state (arena and result); then it sets next_built.  May be done again before the
 * last one went into flight. */
static inline struct kernel_slot *kernel_next(struct kernel *k)
{
	return k->next;
}

/* Starts what is missing between the wanted state and the kernel.  Returns when to call again at the latest. */
mono_t kernel_sync_nat(struct kernel *k, mono_t now);

/* The table is not what was observed: it is made sure of and read again with the next kernel_sync_nat(). */
void kernel_reread_nat(struct kernel *k);

/* Nothing is under way: the pages of wanted states that are of no use any more go back to the system. */
void kernel_give_back(struct kernel *k);

/* Addresses likewise; addrs sorted by ip.  n = 0 withdraws all of ours. */
mono_t kernel_sync_addrs(struct kernel *k, mono_t now, const struct kernel_addr *addrs, size_t n);

/* The VIP's address has gone without our doing (it expired, somebody removed it), or may have before this agent began: what
 * conntrack remembers of its connections goes, too, with the next kernel_sync_addrs(). */
void kernel_forget(struct kernel *k, const struct ip *vip);

/* The address is on that interface, carrying our mark. */
bool kernel_has_addr(const struct kernel *k, const struct kernel_addr *a);

/* 0, or why the kernel would not add it when last tried: -EEXIST: it is there, and not ours; ... */
int kernel_refuses_addr(const struct kernel *k, const struct kernel_addr *a);

/* The data plane knows the VIP (always true without one). */
bool kernel_nat_holds(const struct kernel *k, const struct ip *ip);

/* What fails at present, "" = nothing. */
static inline const char *kernel_problem(const struct kernel *k)
{
	return *k->nat_problem ? k->nat_problem : k->addr_problem;
}

/* For callers of the pure core that got -ENOSPC: an empty arena of twice the size.  -ENOMEM also past 256 MiB. */
MUST_USE int arena_grow(struct arena *a);
