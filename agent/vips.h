/* SPDX-License-Identifier: Apache-2.0 */
/* vips.h: the VIPs this node knows, with where each belongs and whether it is up here.  The table outlives the plans it
 * is built from, so that a VIP keeps its place in its announcement schedule (announcer.h). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/place.h"
#include "agent/core/schedule.h"
#include "agent/core/wanted.h"
#include "agent/kernel.h"

/* An interface that carries a VIP. */
struct vip_place {
	int ifindex;
	uint32_t born;		/* struct link */
	uint32_t announcements; /* struct link */
	bool usable;		/* up with carrier when last looked at */
	bool up;		/* the VIP's address is there */
	uint8_t mac[LINK_MAC_LEN];
	struct ip own; /* an address that is the interface's own: v4, or link-local; IP_NONE = none */
	struct schedule schedule;
	uint64_t rounds; /* announced so far */
	uint64_t errors; /* of these rounds, those that failed */
	bool failing;	 /* the last one did */
	mono_t sent_at;	 /* the last one that did not; ns 0 = none */
};

struct vip {
	struct ip ip;
	struct vip_place at[PLACE_MAX]; /* the best first */
	size_t n_at;			/* 0 = no interface of this node suits, see 'why' */
	enum place_why why;
	int refused; /* the interface that 'why' is about, 0 = none */
	unsigned int group; /* index of the group whose Lease governs it; the owner's to set after vips_update() */
	uint8_t recorded; /* the group as records name it (core/groups.h) */
	bool moving; /* the record is to name another: nobody answers meanwhile */
	bool published; /* a Service shows it: some node could have it, so one that cannot is no candidate; the owner's to set */
	bool ready; /* data plane and address are up here */
	bool known; /* whether it was up here has been looked at */
	bool live;  /* ready, and this node answers for it */
	uint32_t rank; /* by traffic: 0 = the busiest; the owner's to set (busiest.h) */
};

struct vips {
	struct vip *v; /* sorted by ip */
	size_t n, cap;
	struct kernel_addr *addrs; /* malloc, room for PLACE_MAX a VIP: each on each of its interfaces; sorted by ip */
	size_t n_addrs;
	uint64_t turned; /* times that a VIP's 'live' changed */
	bool several; /* some VIP has more than one interface */
	bool routed; /* a router sends the VIPs here: no interface carries them, nothing is announced */
	bool advertised; /* and that because this node asks it to (routed.h) */
};

void vips_init(struct vips *v, bool routed, bool advertised);
void vips_fini(struct vips *v);

/* Takes over the wanted VIPs; what was known of those that stay is kept.  -ENOMEM. */
MUST_USE int vips_update(struct vips *v, const struct wanted_vip *wanted, size_t n);

/* Chooses interfaces anew (links or addresses changed, or vips_update()).  Where the wire has changed (carrier is back,
 * another MAC, the kernel asks for it), a live VIP begins its burst again.  True when some VIP moved. */
bool vips_place(struct vips *v, const struct link_state *s, const struct place_rules *rules, mono_t now);

/* Brings 'ready' and 'live' up to date; a VIP that went live begins its burst.  answers: whether this node may answer for
 * the VIP now, given that it is ready.  Returns the number of live VIPs. */
size_t vips_refresh_live(struct vips *v, struct kernel *k, bool (*answers)(void *ctx, const struct vip *vip),
			 void *ctx, mono_t now);

/* A live VIP begins its burst again, on all its interfaces. */
void vips_announce_again(struct vip *vip, mono_t now);

/* One of its interfaces is up with carrier. */
bool vip_usable(const struct vip *vip);

/* The best of its interfaces; 0 = none. */
static inline int vip_home(const struct vip *vip)
{
	return vip->n_at > 0 ? vip->at[0].ifindex : 0;
}

/* Its address is on one of its interfaces. */
bool vip_is_up(const struct vip *vip, const struct kernel *k);

/* NULL when it is none of ours. */
struct vip *vips_find(const struct vips *v, const struct ip *ip);

bool vips_is_live(const struct vips *v, const struct ip *ip);
