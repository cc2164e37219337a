/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h: who else answers for our VIPs: hears it and asks for it.  What follows from it is conflicts.c's to decide. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/base/mono.h"
#include "agent/core/conflict.h"
#include "agent/loop.h"
#include "election/elect.h"
#include "netlink/wire_if.h"

#define WIRE_PROBES_MAX 64  /* under way at once, one a group */
#define WIRE_TARGETS_MAX 16 /* VIPs and interfaces of a group that are asked for: they move together */
#define WIRE_WINDOW_MS 40   /* an answer comes within this time, or not */

/* What is known of one VIP; conflicts.c's. */
struct wire_row {
	struct ip vip;
	mono_t held_since; /* this node answers for it; ns 0 = not */
	struct conflict_defence defence;
	mono_t event_at; /* the last Event about it; ns 0 = none yet */
};

struct wire_probe {
	uint32_t id; /* 0 = free */
	unsigned int group;
	mono_t until;
	enum elect_wire found;
};

struct wire_ops {
	/* Somebody else claims the VIP.  Returns who that is. */
	enum elect_wire (*claimed)(void *ctx, const struct wire_claim *c, unsigned int *ret_group);
	/* Somebody else asks whether a VIP is free that this node holds. */
	void (*asked)(void *ctx, const struct wire_claim *c);
	/* A probe's window is over. */
	void (*probed)(void *ctx, unsigned int group, uint32_t probe_id, enum elect_wire found);
};

struct wire {
	struct wire_if *io;
	struct loop_source source;
	const struct wire_ops *ops;
	void *ctx;
	struct wire_row *rows; /* malloc; sorted by vip */
	size_t n_rows;
	struct wire_probe probes[WIRE_PROBES_MAX];
};

/* A VIP to ask for. */
struct wire_target {
	const struct link *link;
	struct ip own; /* v6: link-local address of the interface; IP_NONE = none; v4: unused */
	struct ip vip;
};

MUST_USE int wire_init(struct wire *w, struct loop *loop, const struct wire_ops *ops, void *ctx, struct err_info *err);
void wire_fini(struct wire *w);

/* The VIPs to hear about (sorted), and our own links, whose frames are no news.  -ENOMEM: as before. */
MUST_USE int wire_update(struct wire *w, const struct ip *vips, size_t n, const struct link_state *links);

/* The VIPs that this node holds by its rows (held_since) have changed: others' probes for them are to be heard.  -ENOMEM or a
 * socket's errno: as before. */
MUST_USE int wire_held(struct wire *w);

/* Asks who has the VIP; answers are claims.  Errors: as wire_if_probe(). */
MUST_USE int wire_sweep(struct wire *w, const struct wire_target *target, struct err_info *err);

/* Asks for up to WIRE_TARGETS_MAX VIPs of a group; the outcome comes by ops->probed, from wire_tick().  A probe of the same
 * group that is under way is dropped.  Nothing could be sent: no outcome. */
void wire_ask(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id, const struct wire_target *targets, size_t n);

/* The group has no VIP to ask for: the outcome is silence, from the next wire_tick(). */
void wire_nobody(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id);

/* Reads what has come, as far as WIRE_BUDGET goes; the loop does, too. */
void wire_read(struct wire *w);

/* Ends windows; returns when to call again. */
mono_t wire_tick(struct wire *w, mono_t now);

/* NULL = it is no VIP, as far as wire_update() knows. */
struct wire_row *wire_row(const struct wire *w, const struct ip *vip);
