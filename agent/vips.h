/* SPDX-License-Identifier: Apache-2.0 */
/* vips.h: the VIPs this node knows, with where each belongs and when it is announced.  The table outlives the plans it
 * is built from, so that a VIP keeps its place in its announcement schedule. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/schedule.h"
#include "agent/core/wanted.h"
#include "agent/kernel.h"
#include "agent/metrics.h"
#include "netlink/announce_if.h"

struct vip {
	struct ip ip;
	int ifindex; /* 0 = no interface of this node suits */
	unsigned int group; /* index of the group whose Lease governs it; the owner's to set after vips_update() */
	uint8_t recorded; /* the group as records name it (core/groups.h) */
	bool moving; /* the record is to name another: nobody answers meanwhile */
	bool published; /* a Service shows it: some node could have it, so one that cannot is no candidate; the owner's to set */
	bool ready; /* data plane and address are up here */
	bool known; /* whether it was up here has been looked at */
	bool live;  /* ready, and this node answers for it */
	struct schedule schedule;
	bool usable;	/* the interface was up with carrier when last looked at, and had this MAC */
	uint8_t mac[LINK_MAC_LEN];
	struct ip own;	 /* an address that is the interface's own: v4, or link-local; IP_NONE = none */
	uint64_t rounds; /* announced so far */
};

struct vips {
	struct vip *v; /* sorted by ip */
	size_t n, cap;
	struct kernel_addr *addrs; /* those with an interface, for kernel_sync_addrs(); sorted */
	size_t n_addrs;
	bool routed; /* a router sends the VIPs here: no interface carries them, nothing is announced */
	struct announce_if *announcer;
	struct prng prng;
	struct metrics *metrics;
};

MUST_USE int vips_init(struct vips *v, bool routed, struct metrics *metrics, uint64_t seed, struct err_info *err);
void vips_fini(struct vips *v);

/* Takes over the wanted VIPs; what was known of those that stay is kept.  -ENOMEM. */
MUST_USE int vips_update(struct vips *v, const struct wanted_vip *wanted, size_t n);

/* Chooses interfaces anew (links or addresses changed, or vips_update()).  Where the wire has changed (carrier is back,
 * another MAC), a live VIP begins its burst again.  True when some VIP moved. */
bool vips_place(struct vips *v, const struct link_state *s, const char *const *names, size_t n_names, mono_t now);

/* Brings 'ready' and 'live' up to date; a VIP that went live begins its burst.  answers: whether this node may answer for
 * the VIP now, given that it is ready.  Returns the number of live VIPs. */
size_t vips_refresh_live(struct vips *v, struct kernel *k, bool (*answers)(void *ctx, const struct vip *vip),
			 void *ctx, mono_t now);

/* Sends what is due, at most 64 rounds a call.  Returns when to call again. */
mono_t vips_announce(struct vips *v, const struct link_state *s, mono_t now);

/* Announces one VIP at once although this node does not answer for it, past the shut gate. */
void vips_announce_shut(struct vips *v, const struct link_state *s, struct vip *vip);

/* NULL when it is none of ours. */
struct vip *vips_find(const struct vips *v, const struct ip *ip);

bool vips_is_live(const struct vips *v, const struct ip *ip);
