/* SPDX-License-Identifier: Apache-2.0 */
/* announcer.h: says on the wire which VIPs this node answers for, as their schedules have it (core/schedule.h), in the order of
 * core/rounds.h and no faster than --announce-rate on each interface (core/pacer.h).
 *
 * Who asks for a VIP is answered by the kernel, which has its address.  That it can is verified while VIPs are live, each 5 s an
 * interface: what keeps arp_process() and ndisc_recv_ns() of Linux from answering for an address that is there is a device
 * with IFF_NOARP and some sysctls (core/sysctl_rules.h); it is told once, and by announcer_mute().  That the address is there
 * vips.h sees to; it is never tentative (IFA_F_NODAD).  Nobody is asked: an answer would prove it for one asker at one
 * moment, and silence proves nothing, for a node does not hear itself. */
#pragma once

#include "agent/base/err.h"
#include "agent/base/link.h"
#include "agent/base/mono.h"
#include "agent/base/prng.h"
#include "agent/core/pacer.h"
#include "agent/core/rounds.h"
#include "agent/metrics.h"
#include "agent/vips.h"
#include "netlink/announce_if.h"

/* An interface with live VIPs. */
struct announcer_link {
	int ifindex;
	struct pacer pacer;
	struct rounds due; /* of the step under way */
	size_t n_due;	   /* all of them */
	bool v4, v6;	   /* live VIPs of these families are there */
	bool router;	   /* it forwards IPv6: R in NAs (RFC 4861 section 4.4) */
	bool looked, looked_v6; /* looked_v6: with VIPs of IPv6 there, so that 'router' is known */
	mono_t look_at; /* at the kernel's settings again */
	const char *mute_v4, *mute_v6; /* why the kernel does not answer, static; NULL = it does */
};

struct announcer {
	struct announce_if *io;
	struct pace pace;
	struct prng prng;
	struct metrics *metrics;
	struct announcer_link *links; /* malloc */
	size_t n_links;
	mono_t due_at; /* nothing is due before */
};

/* rate: PACE_RATE_MIN to PACE_RATE_MAX.  Errors: as announce_if_new(). */
MUST_USE int announcer_init(struct announcer *a, unsigned int rate, struct metrics *metrics, uint64_t seed, struct err_info *err);
void announcer_fini(struct announcer *a);

/* Sends what is due of live VIPs and may go now, at most ROUNDS_MAX rounds an interface.  Returns when to call again. */
mono_t announcer_step(struct announcer *a, struct vips *v, const struct link_state *s, mono_t now);

/* Schedules or VIPs have changed: the next step looks at all of them. */
void announcer_again(struct announcer *a);

/* Announces one VIP at once although this node does not answer for it, past the shut gate; nothing where that would be
 * faster than the rate: who is to hear it needs to hear of one VIP of its group. */
void announcer_past_gate(struct announcer *a, const struct link_state *s, struct vip *vip);

/* Why the kernel does not answer those who ask for the VIP on one of its interfaces; NULL = it does, or it was not looked. */
const char *announcer_mute(const struct announcer *a, const struct vip *vip);
