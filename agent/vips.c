/* SPDX-License-Identifier: Apache-2.0 */
/* vips.c: the table of VIPs and its announcements. */
#include "agent/vips.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/core/place.h"
#include "netlink/sysctl.h"

#define ROUNDS_A_CALL 64
#define ROUND_GAP_MS 10 /* between two batches of rounds */

int vips_init(struct vips *v, bool routed, struct metrics *metrics, uint64_t seed, struct err_info *err)
{
	memset(v, 0, sizeof(*v));
	v->routed = routed;
	v->metrics = metrics;
	v->prng.state = seed;
	return announce_if_new(&v->announcer, err);
}

void vips_fini(struct vips *v)
{
	announce_if_free(v->announcer);
	free(v->v);
	free(v->addrs);
	memset(v, 0, sizeof(*v));
}

struct vip *vips_find(const struct vips *v, const struct ip *ip)
{
	size_t lo = 0, hi = v->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&v->v[mid].ip, ip);

		if (c == 0)
			return &v->v[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

bool vips_is_live(const struct vips *v, const struct ip *ip)
{
	const struct vip *vip = vips_find(v, ip);

	return vip && vip->live;
}

int vips_update(struct vips *v, const struct wanted_vip *wanted, size_t n)
{
	struct vip *fresh = calloc(n ? n : 1, sizeof(*fresh));
	struct kernel_addr *addrs = calloc(n ? n : 1, sizeof(*addrs));

	if (!fresh || !addrs) {
		free(fresh);
		free(addrs);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++) {
		const struct vip *old = vips_find(v, &wanted[i].ip);

		if (old)
			fresh[i] = *old;
		else
			fresh[i].ip = wanted[i].ip;
	}
	free(v->v);
	free(v->addrs);
	v->v = fresh;
	v->addrs = addrs;
	v->n = v->cap = n;
	v->n_addrs = 0;
	return 0;
}

static const struct link *link_of(const struct link_state *s, int index)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].index == index)
			return &s->links[i];
	return NULL;
}

/* What the interface asks its neighbours with while it may not ask in the VIP's name. */
static struct ip own_address(const struct link_state *s, int ifindex, uint8_t family)
{
	static const struct ip link_local = { IP_V6, { 0xfe, 0x80 } };

	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i];

		if (a->index == ifindex && !a->ours && a->ip.family == family &&
		    (family == IP_V4 || ip_in_prefix(&a->ip, &link_local, 10)))
			return a->ip;
	}
	return (struct ip){ .family = IP_NONE };
}

/* Neighbours learnt the VIP by what was said before; after a change of the wire it is said again. */
static void note_wire(struct vip *vip, const struct link *l, mono_t now)
{
	bool usable = l && place_usable(l);

	if (vip->live && usable && (!vip->usable || memcmp(vip->mac, l->mac, sizeof(vip->mac)) != 0))
		schedule_start(&vip->schedule, now);
	vip->usable = usable;
	if (l)
		memcpy(vip->mac, l->mac, sizeof(vip->mac));
}

bool vips_place(struct vips *v, const struct link_state *s, const char *const *names, size_t n_names, mono_t now)
{
	bool moved = false;

	v->n_addrs = 0;
	for (size_t i = 0; i < v->n; i++) {
		struct vip *vip = &v->v[i];
		const struct link *l = v->routed ? NULL : place_vip(s, names, n_names, &vip->ip);
		int index = l ? l->index : 0;

		if (!l && !v->routed && vip->rounds == 0 && vip->ifindex == 0)
			log_event(LOG_DEBUG, "vip_without_interface", "no interface of this node suits the VIP",
				  log_ip("vip", &vip->ip));
		moved |= vip->ifindex != index;
		vip->ifindex = index;
		vip->own = own_address(s, index, vip->ip.family);
		note_wire(vip, l, now);
		if (l)
			v->addrs[v->n_addrs++] = (struct kernel_addr){ vip->ip, index };
	}
	return moved;
}

size_t vips_refresh_live(struct vips *v, struct kernel *k, bool (*answers)(void *ctx, const struct vip *vip),
			 void *ctx, mono_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		struct vip *vip = &v->v[i];
		const struct kernel_addr at = { vip->ip, vip->ifindex };
		bool live, before = vip->ready || !vip->known, there = v->routed || (vip->ifindex && kernel_has_addr(k, &at));

		/* Once ready, a data plane that is being read again is no reason to fall silent. */
		vip->ready = there && (vip->ready || dataplane_holds(k->dataplane, &vip->ip));
		vip->known = true;
		if (before && !there)
			kernel_forget(k, &vip->ip);
		live = vip->ready && answers(ctx, vip);
		if (live != vip->live) {
			const struct link *l = link_of(link_watch_state(k->links), vip->ifindex);

			log_event(LOG_INFO, live ? "vip_up" : "vip_down",
				  live ? "this node answers for the VIP" : "this node no longer answers for the VIP",
				  log_ip("vip", &vip->ip), log_str("interface", l ? l->name : ""));
			if (live)
				schedule_start(&vip->schedule, now);
		}
		vip->live = live;
		n += live;
	}
	return n;
}

static void announce_frames(struct vips *v, const struct link *l, struct vip *vip, unsigned int flags, mono_t now)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	unsigned int frames = 0;
	uint32_t left_out;
	int router = 0;

	if (vip->ip.family == IP_V6 && sysctl_get(SYSCTL_FORWARD_V6, l->name, &router, NULL) < 0)
		router = 0; /* R=0 is the cautious answer; the interface may just have gone */
	if (router)
		flags |= ANNOUNCE_ROUTER;
	if (announce_if_send(v->announcer, l, &vip->ip, flags, &frames, &err) < 0) {
		v->metrics->announce_errors++;
		if (log_limit(&limit, now.ns, 5000, &left_out))
			log_event(LOG_WARN, "announce_failed", "an announcement could not be sent",
				  log_ip("vip", &vip->ip), log_str("interface", l->name), log_str("error", err.text),
				  log_int("left_out", left_out));
	}
	v->metrics->announcements += frames;
	vip->rounds++;
}

void vips_announce_shut(struct vips *v, const struct link_state *s, struct vip *vip)
{
	const struct link *l = link_of(s, vip->ifindex);

	if (l && place_usable(l))
		announce_frames(v, l, vip, ANNOUNCE_PAST_GATE, mono_now());
}

mono_t vips_announce(struct vips *v, const struct link_state *s, mono_t now)
{
	mono_t wake = MONO_NEVER;
	unsigned int sent = 0;

	for (size_t i = 0; i < v->n; i++) {
		struct vip *vip = &v->v[i];
		const struct link *l;

		if (!vip->live)
			continue;
		l = link_of(s, vip->ifindex);
		if (l && place_usable(l) && mono_reached(now, vip->schedule.next)) {
			if (sent == ROUNDS_A_CALL)
				return mono_add_ms(now, ROUND_GAP_MS);
			announce_frames(v, l, vip, 0, now);
			schedule_sent(&vip->schedule, now, &v->prng);
			sent++;
		}
		if (l && place_usable(l))
			wake = mono_min(wake, vip->schedule.next);
	}
	return wake;
}
