/* SPDX-License-Identifier: Apache-2.0 */
/* vips.c: the table of VIPs. */
#include "agent/vips.h"

#include <errno.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/core/rounds.h"

void vips_init(struct vips *v, bool routed, bool advertised)
{
	*v = (struct vips){ .routed = routed, .advertised = advertised };
}

void vips_fini(struct vips *v)
{
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
	struct kernel_addr *addrs = calloc(n * PLACE_MAX + 1, sizeof(*addrs));

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
			fresh[i] = (struct vip){ .ip = wanted[i].ip, .rank = ROUND_RANK_NONE };
	}
	free(v->v);
	free(v->addrs);
	v->v = fresh;
	v->addrs = addrs;
	v->n = v->cap = n;
	v->n_addrs = 0;
	return 0;
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

void vips_announce_again(struct vip *vip, mono_t now)
{
	for (size_t i = 0; vip->live && i < vip->n_at; i++)
		schedule_start(&vip->at[i].schedule, now);
}

bool vip_usable(const struct vip *vip)
{
	for (size_t i = 0; i < vip->n_at; i++)
		if (vip->at[i].usable)
			return true;
	return false;
}

bool vip_is_up(const struct vip *vip, const struct kernel *k)
{
	for (size_t i = 0; i < vip->n_at; i++)
		if (kernel_has_addr(k, &(struct kernel_addr){ vip->ip, vip->at[i].ifindex }))
			return true;
	return false;
}

/* Neighbours learnt the VIP by what was said before; after a change of the wire it is said again. */
static void note_wire(const struct vip *vip, struct vip_place *at, const struct link *l, mono_t now)
{
	bool usable = place_usable(l);

	if (vip->live && usable && (!at->usable || at->born != l->born || at->announcements != l->announcements ||
				    memcmp(at->mac, l->mac, sizeof(at->mac)) != 0))
		schedule_start(&at->schedule, now);
	at->usable = usable;
	at->born = l->born;
	at->announcements = l->announcements;
	memcpy(at->mac, l->mac, sizeof(at->mac));
}

/* What is known of the VIP on an interface that it keeps stays. */
static bool place_one(struct vips *v, const struct link_state *s, struct vip *vip, const struct place *p, mono_t now)
{
	struct vip_place at[PLACE_MAX] = { 0 };
	bool moved = p->n != vip->n_at;

	for (size_t i = 0; i < p->n; i++) {
		at[i].ifindex = p->links[i]->index;
		for (size_t k = 0; k < vip->n_at; k++)
			if (vip->at[k].ifindex == at[i].ifindex)
				at[i] = vip->at[k];
		moved |= i >= vip->n_at || vip->at[i].ifindex != at[i].ifindex;
		note_wire(vip, &at[i], p->links[i], now);
		at[i].own = own_address(s, at[i].ifindex, vip->ip.family);
		v->addrs[v->n_addrs++] = (struct kernel_addr){ vip->ip, at[i].ifindex };
	}
	memcpy(vip->at, at, sizeof(at));
	vip->n_at = p->n;
	return moved;
}

/* Once, until the reason changes. */
static void note_refusal(struct vip *vip, const struct link_state *s, const struct place *p)
{
	int refused = p->refused ? p->refused->index : 0;
	char why[256];

	if (p->n == 0 && p->why != PLACE_UNDECIDED && (vip->why != p->why || vip->refused != refused))
		log_event(LOG_WARN, "vip_without_interface", "no interface of this node can carry the VIP",
			  log_ip("vip", &vip->ip), log_str("why", place_why_text(s, p, &vip->ip, why, sizeof(why))));
	vip->why = p->n > 0 ? PLACE_OK : p->why;
	vip->refused = refused;
}

/* The VIPs' own addresses decide nothing, and there may be as many of them as VIPs: without them in 'rest', if there is memory. */
static struct link_addr *others_addrs(const struct link_state *s, struct link_state *rest)
{
	struct link_addr *addrs = malloc((s->n_addrs + 1) * sizeof(*addrs));

	*rest = *s;
	if (!addrs)
		return NULL;
	rest->n_addrs = 0;
	for (size_t i = 0; i < s->n_addrs; i++)
		if (!s->addrs[i].ours)
			addrs[rest->n_addrs++] = s->addrs[i];
	rest->addrs = addrs;
	return addrs;
}

bool vips_place(struct vips *v, const struct link_state *s, const struct place_rules *rules, mono_t now)
{
	struct link_state rest;
	struct link_addr *addrs = others_addrs(s, &rest);
	bool moved = false;

	v->n_addrs = 0;
	v->several = false;
	for (size_t i = 0; i < v->n && !v->routed; i++) {
		struct place p;

		place_vip(&rest, rules, &v->v[i].ip, &p);
		note_refusal(&v->v[i], &rest, &p);
		moved |= place_one(v, &rest, &v->v[i], &p, now);
		v->several |= p.n > 1;
	}
	free(addrs);
	return moved;
}

/* On which of its interfaces the address is; where it came later than on others neighbours are told now. */
static bool look_for(struct vip *vip, const struct kernel *k, mono_t now)
{
	bool any = false;

	for (size_t i = 0; i < vip->n_at; i++) {
		struct vip_place *at = &vip->at[i];
		bool up = kernel_has_addr(k, &(struct kernel_addr){ vip->ip, at->ifindex });

		if (up && !at->up && vip->live)
			schedule_start(&at->schedule, now);
		at->up = up;
		any |= up;
	}
	return any;
}

size_t vips_refresh_live(struct vips *v, struct kernel *k, bool (*answers)(void *ctx, const struct vip *vip),
			 void *ctx, mono_t now)
{
	size_t n = 0;

	for (size_t i = 0; i < v->n; i++) {
		struct vip *vip = &v->v[i];
		bool live, before = vip->ready || !vip->known, there = look_for(vip, k, now) || v->routed;

		/* Once ready, a data plane that is being read again is no reason to fall silent. */
		vip->ready = there && (vip->ready || dataplane_holds(k->dataplane, &vip->ip));
		vip->known = true;
		if (before && !there)
			kernel_forget(k, &vip->ip);
		live = answers(ctx, vip) && vip->ready; /* asked in any case: the gate is brought in line, too */
		if (live != vip->live) {
			const struct link *l = link_find(link_watch_state(k->links), vip_home(vip));

			if (!v->advertised) /* of these routed.h tells */
				log_event(LOG_INFO, live ? "vip_up" : "vip_down",
					  live ? "this node answers for the VIP" : "this node no longer answers for the VIP",
					  log_ip("vip", &vip->ip), log_str("interface", l ? l->name : ""));
			vip->live = live;
			v->turned++;
			vips_announce_again(vip, now);
		}
		n += live;
	}
	return n;
}
