/* SPDX-License-Identifier: Apache-2.0 */
/* wire.h: who else answers for our VIPs: hears it, asks for it, remembers it for the status.  What follows from it is the
 * owner's to decide. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/base/mono.h"
#include "agent/loop.h"
#include "election/elect.h"
#include "netlink/wire_if.h"

#define WIRE_PROBES_MAX 64  /* under way at once, one a group */
#define WIRE_TARGETS_MAX 4  /* VIPs of a group that are asked for: they move together */
#define WIRE_WINDOW_MS 40   /* an answer comes within this time, or not */

/* The last claim of a VIP by somebody else. */
struct wire_row {
	struct ip vip;
	mono_t at; /* ns 0 = never */
	uint8_t mac[LINK_MAC_LEN];
	int ifindex;
	mono_t defended_at;
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
	uint64_t claims; /* by others, since start */
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

/* Asks for up to WIRE_TARGETS_MAX VIPs of a group; the outcome comes by ops->probed, from wire_tick().  A probe of the same
 * group that is under way is dropped.  Nothing could be sent: no outcome. */
void wire_ask(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id, const struct wire_target *targets, size_t n);

/* The group has no VIP to ask for: the outcome is silence, from the next wire_tick(). */
void wire_nobody(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id);

/* Ends windows; returns when to call again. */
mono_t wire_tick(struct wire *w, mono_t now);

/* The last claim of the VIP by somebody else, NULL = none was heard. */
struct wire_row *wire_row(const struct wire *w, const struct ip *vip);
