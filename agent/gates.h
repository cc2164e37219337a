/* SPDX-License-Identifier: Apache-2.0 */
/* gates.h: the fence of this node: attaches the gate to the interfaces that carry VIPs and keeps its map in line with
 * what the election allows.
 *
 * Two halves.  gates_update() and gates_sync() prepare: rows of the map, filters on interfaces; they may allocate and
 * hand work to the worker thread.  gates_set_group() and gates_set() are the renewal path: one map update for a row that
 * exists, nothing that waits or allocates. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/core/place.h"
#include "agent/loop.h"
#include "agent/worker.h"
#include "netlink/gate_if.h"

/* A row of the map, as last written. */
struct gate_row {
	struct ip ip;
	struct gate_entry entry;
	bool written;  /* the kernel has the entry; a VIP without one is not fenced and gets no address */
	bool leftover; /* no VIP any more; shut until its address is gone */
};

/* An interface that carries VIPs, or will. */
struct gate_port {
	int ifindex;
	uint32_t born; /* of the link: another means that the gate went with it */
	bool wanted;
	bool attached; /* our program stands there first, as last read back; --gate off: nothing of an earlier run is left */
	bool look;     /* somebody changed filters there, or it is new: attach (again) */
	bool told;     /* of the present error */
	int error;     /* of the last try; 0 = none */
	unsigned int tries;
	mono_t retry_at;
	mono_t look_at; /* looked at again by then: a TCX program of another tells nobody that it came */
	char problem[ERR_TEXT_MAX];
};

struct gates_job {
	struct worker_job job; /* first: the worker hands this back */
	struct gates *g;
	struct nlsock *sock; /* the worker's while the job runs */
	int ifindex;
	uint32_t born;
	bool changed;
	int result;
	struct err_info err;
};

struct gates {
	struct gate_if *gate; /* NULL: --gate off */
	struct gate_watch *watch;
	struct loop_source source;
	struct worker *worker;
	struct gate_row *rows; /* malloc; sorted by ip */
	size_t n_rows;
	struct gate_group groups[GATE_GROUPS_MAX]; /* as last written */
	bool taken[GATE_GROUPS_MAX];
	uint32_t next_group; /* in turn, so that a number is long out of use when it comes back */
	struct gate_port *ports; /* malloc */
	size_t n_ports;
	struct gates_job job;
	bool busy;
	uint64_t put_back;   /* filters that others removed or displaced */
	uint64_t set_errors; /* map updates refused */
};

/* An interface that needs the gate. */
struct gate_place {
	int ifindex;
	uint32_t born; /* struct link */
};

/* What a VIP's row is made of. */
struct gate_wish {
	struct ip ip;
	int ifindexes[PLACE_MAX]; /* that carry it; 0 = no more */
	bool ready;   /* data plane and address are up: ARP may be answered */
	bool loaded;  /* the data plane is: IP may come */
	struct ip own; /* what the interface asks neighbours with while ARP is shut; IP_NONE = none */
	uint32_t group; /* gates_group_new(); GATE_GROUP_NONE: it is shut */
	mono_t redirect_until;
	const uint8_t *own_mac;	     /* of the interface; NULL: no redirect */
	const uint8_t *redirect_mac; /* of the node that it moves to; NULL: unknown, no redirect */
};

/* Loads the gate and tests it; 'off' leaves it out.  Errors: as gate_if_new() and gate_if_self_test(), with what this node
 * lacks. */
MUST_USE int gates_init(struct gates *g, bool off, struct loop *loop, struct worker *worker, struct err_info *err);
/* Filters and map stay in the kernel: what was allowed ends by itself. */
void gates_fini(struct gates *g);

/* Takes over the VIPs (sorted): new rows begin shut; a row whose VIP is gone stays, shut, while an address of ours with it
 * is up.  Those beyond GATE_VIPS_MAX get no row.  -ENOMEM: rows as before. */
MUST_USE int gates_update(struct gates *g, const struct ip *vips, size_t n, const struct link_state *links);

/* A number for a group, shut; GATE_GROUP_NONE: there is no gate, or no number is free. */
uint32_t gates_group_new(struct gates *g);
/* Shuts what is still of the group. */
void gates_group_free(struct gates *g, uint32_t group);

/* Until when the group's VIPs may answer, for all of them in one map update.  Never waits, never allocates. */
void gates_set_group(struct gates *g, uint32_t group, mono_t arp_until, mono_t ip_until);

/* Writes a VIP's row if it differs from what is there.  Never waits, never allocates. */
void gates_set(struct gates *g, const struct gate_wish *wish);

/* When ARP and ND for it end; 0 = shut, or no gate. */
mono_t gates_open_until(const struct gates *g, const struct ip *vip);

/* Whether ARP and ND for it are let through at 'now'.  Always true without a gate. */
bool gates_open(const struct gates *g, const struct ip *vip, mono_t now);

/* The VIP has an entry in the kernel's map: its address may be put up, if the gate stands there.  Always true without a
 * gate. */
bool gates_fenced(const struct gates *g, const struct ip *vip);

/* These interfaces need the gate ('n' distinct ones); starts what is missing.  Returns when to call again. */
mono_t gates_sync(struct gates *g, mono_t now, const struct gate_place *places, size_t n);

/* The gate stands on the interface (--gate off: that of an earlier run does not): an address may be put there. */
bool gates_attached(const struct gates *g, int ifindex);

/* What the gate has dropped and sent on, into ret (GATE_COUNT_*), which is returned; zeros without a gate. */
const uint64_t *gates_frames(const struct gates *g, uint64_t ret[static GATE_COUNT_N]);

/* Why an interface that VIPs need has no gate, "" = all is well. */
const char *gates_problem(const struct gates *g);
