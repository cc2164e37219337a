/* SPDX-License-Identifier: Apache-2.0 */
/* announcer.c: schedules to frames. */
#include "agent/announcer.h"

#include <errno.h>
#include <stdlib.h>

#include "agent/base/log.h"
#include "agent/base/text.h"
#include "agent/core/sysctl_rules.h"
#include "netlink/sysctl.h"

#define BATCH 10 /* rounds that are waited for while the bucket is empty: a wake looks at all VIPs */
#define LOOK_MS 5000
#define RETRY_MS 1000

/* ---- interfaces ---- */

static struct announcer_link *find(const struct announcer *a, int ifindex)
{
	for (size_t i = 0; i < a->n_links; i++)
		if (a->links[i].ifindex == ifindex)
			return &a->links[i];
	return NULL;
}

/* NULL: there is no memory. */
static struct announcer_link *need(struct announcer *a, int ifindex)
{
	struct announcer_link *l = find(a, ifindex), *more;

	if (l)
		return l;
	more = reallocarray(a->links, a->n_links + 1, sizeof(*more));
	if (!more)
		return NULL;
	a->links = more;
	l = &more[a->n_links++];
	*l = (struct announcer_link){ .ifindex = ifindex };
	return l;
}

static void begin_step(struct announcer *a, const struct link_state *s)
{
	for (size_t i = a->n_links; i-- > 0;) {
		struct announcer_link *l = &a->links[i];

		if (!link_find(s, l->ifindex)) {
			*l = a->links[--a->n_links];
			continue;
		}
		l->due.n = l->n_due = 0;
		l->v4 = l->v6 = false;
	}
}

/* ---- what the kernel does by itself ---- */

/* Every live IPv4 VIP there is within a subnet of the interface. */
static bool in_subnets(const struct vips *v, const struct link_state *s, int ifindex)
{
	for (size_t i = 0; i < v->n; i++) {
		const struct vip *vip = &v->v[i];
		bool there = false, within = false;

		for (size_t k = 0; k < vip->n_at; k++)
			there |= vip->live && vip->ip.family == IP_V4 && vip->at[k].ifindex == ifindex;
		for (size_t k = 0; there && !within && k < s->n_addrs; k++) {
			const struct link_addr *a = &s->addrs[k];

			within = a->index == ifindex && !a->ours && a->prefix_len < 32 &&
				 ip_in_prefix(&vip->ip, &a->ip, a->prefix_len);
		}
		if (there && !within)
			return false;
	}
	return true;
}

static const char *judge(const struct sysctl_facts *f)
{
	struct sysctl_advice advice[SYSCTL_ADVICE_MAX];
	size_t n = sysctl_judge(f, advice);

	return n > 0 ? advice[0].why : NULL;
}

static const char *mute_v4(const struct vips *v, const struct link_state *s, const struct link *link)
{
	static const enum sysctl_key keys[] = { SYSCTL_ARP_IGNORE, SYSCTL_ARP_FILTER };
	struct sysctl_facts f = { .v4 = true, .gate = true };

	IGNORE(text_copy(f.name, sizeof(f.name), link->name)); /* same size */
	for (size_t i = 0; i < SYSCTL_KEY_N; i++)
		f.own[i] = f.all[i] = SYSCTL_UNKNOWN;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		IGNORE(sysctl_get(keys[i], link->name, &f.own[keys[i]], NULL)); /* unknown, then */
		IGNORE(sysctl_get(keys[i], "all", &f.all[keys[i]], NULL));	/* likewise */
	}
	/* Only if it would matter: there may be many VIPs. */
	f.subnet_v4 = !judge(&f) || in_subnets(v, s, link->index);
	return judge(&f);
}

static void note_mute(const struct link *link, const char *family, const char **was, const char *now)
{
	if (*was == now)
		return;
	if (now)
		log_event(LOG_WARN, "vips_not_answered", "the kernel does not answer those who ask for VIPs on an interface",
			  log_str("interface", link->name), log_str("family", family), log_str("why", now));
	else
		log_event(LOG_INFO, "vips_answered", "the kernel answers again those who ask for VIPs on an interface",
			  log_str("interface", link->name), log_str("family", family));
	*was = now;
}

/* Neighbours keep R with the entry: told anew, they know (RFC 4861 section 7.2.5). */
static void set_router(struct announcer_link *l, struct vips *v, bool router, mono_t now)
{
	bool changed = l->looked_v6 && router != l->router;

	l->router = router;
	for (size_t i = 0; changed && i < v->n; i++)
		for (size_t k = 0; v->v[i].live && v->v[i].ip.family == IP_V6 && k < v->v[i].n_at; k++)
			if (v->v[i].at[k].ifindex == l->ifindex)
				schedule_start(&v->v[i].at[k].schedule, now);
}

/* Returns true when there is something more to send at once. */
static bool look(struct announcer_link *l, struct vips *v, const struct link_state *s, mono_t now)
{
	static const char noarp[] = "the interface has IFF_NOARP: nobody can ask there";
	const struct link *link = link_find(s, l->ifindex);
	bool before = l->router;
	int router = 0;

	if (!link || (!l->v4 && !l->v6) || (l->looked && (l->looked_v6 || !l->v6) && mono_before(now, l->look_at)))
		return false;
	/* 0 is the cautious answer; the interface may just have gone. */
	if (l->v6 && sysctl_get(SYSCTL_FORWARD_V6, link->name, &router, NULL) < 0)
		router = 0;
	if (l->v6)
		set_router(l, v, router != 0, now);
	note_mute(link, "IPv4", &l->mute_v4, !l->v4 ? NULL : link->noarp ? noarp : mute_v4(v, s, link));
	note_mute(link, "IPv6", &l->mute_v6, l->v6 && link->noarp ? noarp : NULL);
	l->looked = true;
	l->looked_v6 = l->v6;
	l->look_at = mono_add_ms(now, LOOK_MS);
	return l->router != before;
}

const char *announcer_mute(const struct announcer *a, const struct vip *vip)
{
	for (size_t i = 0; i < vip->n_at; i++) {
		const struct announcer_link *l = find(a, vip->at[i].ifindex);
		const char *why = !l ? NULL : vip->ip.family == IP_V4 ? l->mute_v4 : l->mute_v6;

		if (why)
			return why;
	}
	return NULL;
}

/* ---- sending ---- */

static void announce(struct announcer *a, const struct link *l, const struct ip *vip, struct vip_place *at, unsigned int flags)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	unsigned int frames = 0;
	uint32_t left_out;

	if (announce_if_send(a->io, l, vip, flags, &frames, &err) < 0) {
		a->metrics->announce_errors++;
		at->errors++;
		at->failing = true;
		if (log_limit(&limit, mono_now().ns, 5000, &left_out))
			log_event(LOG_WARN, "announce_failed", "an announcement could not be sent", log_ip("vip", vip),
				  log_str("interface", l->name), log_str("error", err.text), log_int("left_out", left_out));
	} else {
		at->failing = false;
		at->sent_at = mono_now();
	}
	a->metrics->announcements += frames;
	at->rounds++;
}

void announcer_past_gate(struct announcer *a, const struct link_state *s, struct vip *vip)
{
	for (size_t i = 0; i < vip->n_at; i++) {
		const struct link *link = vip->at[i].usable ? link_find(s, vip->at[i].ifindex) : NULL;
		struct announcer_link *l = link ? need(a, link->index) : NULL;
		int router = 0;

		if (!l || !pacer_take(&l->pacer, &a->pace, mono_now()))
			continue;
		if (vip->ip.family == IP_V6 && sysctl_get(SYSCTL_FORWARD_V6, link->name, &router, NULL) < 0)
			router = 0; /* the cautious answer */
		announce(a, link, &vip->ip, &vip->at[i], ANNOUNCE_PAST_GATE | (router ? ANNOUNCE_ROUTER : 0));
	}
}

/* What is due of one VIP goes to the lists of its interfaces.  Returns when the next round is due. */
static mono_t offer(struct announcer *a, const struct vip *vip, uint32_t index, mono_t now)
{
	mono_t wake = MONO_NEVER;

	for (uint32_t i = 0; i < vip->n_at; i++) {
		const struct vip_place *at = &vip->at[i];
		struct announcer_link *l = at->usable && at->up ? need(a, at->ifindex) : NULL;

		if (at->usable && at->up && !l)
			wake = mono_add_ms(now, RETRY_MS);
		if (!l)
			continue;
		*(vip->ip.family == IP_V4 ? &l->v4 : &l->v6) = true;
		if (!mono_reached(now, at->schedule.next)) {
			wake = mono_min(wake, schedule_wake(&at->schedule));
			continue;
		}
		rounds_offer(&l->due, &(struct round){ index, i, vip->rank, at->schedule });
		l->n_due++;
	}
	return wake;
}

/* Returns when the rest, or what is due next of those that went, may go. */
static mono_t send_due(struct announcer *a, struct announcer_link *l, struct vips *v, const struct link_state *s, mono_t now)
{
	const struct link *link = link_find(s, l->ifindex);
	mono_t wake = MONO_NEVER;
	size_t i;

	for (i = 0; link && i < l->due.n && pacer_take(&l->pacer, &a->pace, now); i++) {
		struct vip *vip = &v->v[l->due.v[i].vip];
		struct vip_place *at = &vip->at[l->due.v[i].at];

		announce(a, link, &vip->ip, at, vip->ip.family == IP_V6 && l->router ? ANNOUNCE_ROUTER : 0);
		schedule_sent(&at->schedule, now, &a->prng);
		wake = mono_min(wake, schedule_wake(&at->schedule));
	}
	if (!link || i == l->n_due)
		return wake;
	return mono_min(wake, pacer_when(&l->pacer, &a->pace, l->n_due - i < BATCH ? (unsigned int)(l->n_due - i) : BATCH));
}

mono_t announcer_step(struct announcer *a, struct vips *v, const struct link_state *s, mono_t now)
{
	mono_t wake = MONO_NEVER;

	if (mono_before(now, a->due_at))
		return a->due_at;
	begin_step(a, s);
	for (size_t i = 0; i < v->n; i++)
		if (v->v[i].live)
			wake = mono_min(wake, offer(a, &v->v[i], (uint32_t)i, now));
	for (size_t i = 0; i < a->n_links; i++) {
		if (look(&a->links[i], v, s, now))
			wake = now; /* bursts have begun that were not offered */
		wake = mono_min(wake, send_due(a, &a->links[i], v, s, now));
		if (a->links[i].looked && (a->links[i].v4 || a->links[i].v6))
			wake = mono_min(wake, a->links[i].look_at);
	}
	a->due_at = wake;
	return wake;
}

void announcer_again(struct announcer *a)
{
	a->due_at = (mono_t){ 0 };
}

/* ---- start and end ---- */

int announcer_init(struct announcer *a, unsigned int rate, struct metrics *metrics, uint64_t seed, struct err_info *err)
{
	*a = (struct announcer){ .pace = pace_of(rate), .metrics = metrics, .prng = { seed } };
	return announce_if_new(&a->io, err);
}

void announcer_fini(struct announcer *a)
{
	announce_if_free(a->io);
	free(a->links);
	*a = (struct announcer){ .io = NULL };
}
