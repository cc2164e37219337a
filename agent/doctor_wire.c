/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_wire.c: asks the LAN who has each VIP, some times within a second, and notes every MAC that answers or claims it.
 * Probes carry no address of this node (RFC 5227, section 1.1), so that they change no neighbour's table. */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/doctor_net.h"
#include "netlink/wire_if.h"

#define ROUNDS 3
#define ROUND_MS 300
#define LISTEN_MS 700 /* after the last */

struct listening {
	struct facts_wire *ret;
	const struct link *links[FACT_PROBES_MAX]; /* of each probe; NULL = not asked */
};

static void wire_if_freep(struct wire_if **w)
{
	wire_if_free(*w);
}

/* ---- which ---- */

static struct facts_probe *add(struct facts_wire *w, const struct ip *ip)
{
	for (size_t i = 0; i < w->n_probes; i++)
		if (ip_eq(&w->probes[i].ip, ip))
			return &w->probes[i];
	if (w->n_probes == FACT_PROBES_MAX) {
		w->n_more++;
		return NULL;
	}
	w->probes[w->n_probes] = (struct facts_probe){ .ip = *ip };
	return &w->probes[w->n_probes++];
}

static int probe_order(const void *a, const void *b)
{
	return ip_cmp(&((const struct facts_probe *)a)->ip, &((const struct facts_probe *)b)->ip);
}

/* Those that were named come first, so that they are among those that there is room for. */
static void choose(const struct doctor *d, struct facts_wire *w)
{
	for (size_t i = 0; i < d->n_asked; i++)
		IGNORE(add(w, &d->asked[i])); /* there is room */
	if (d->cfg->control_vip.family != IP_NONE)
		IGNORE(add(w, &d->cfg->control_vip)); /* likewise */
	for (size_t i = 0; i < d->agent.n_vips && i < d->agent.cap_vips; i++) {
		struct facts_probe *p = add(w, &d->agent.vips[i].ip);

		if (p) {
			p->ours = d->agent.vips[i].live;
			p->wanted = d->agent.vips[i].held;
		}
	}
	if (d->agent.n_vips > d->agent.cap_vips)
		w->n_more += d->agent.n_vips - d->agent.cap_vips;
	qsort(w->probes, w->n_probes, sizeof(w->probes[0]), probe_order);
}

static void place(const struct link_state *s, const struct place_rules *rules, struct listening *l)
{
	for (size_t i = 0; i < l->ret->n_probes; i++) {
		struct facts_probe *p = &l->ret->probes[i];
		struct place where;

		for (size_t k = 0; k < s->n_addrs; k++)
			p->here |= ip_eq(&s->addrs[k].ip, &p->ip) && !p->ours;
		place_vip(s, rules, &p->ip, &where);
		if (where.n == 0) {
			IGNORE(place_why_text(s, &where, &p->ip, p->skipped, sizeof(p->skipped))); /* returns it */
			continue;
		}
		memcpy(p->link, where.links[0]->name, sizeof(p->link));
		l->links[i] = where.links[0];
	}
}

/* ---- asking and listening ---- */

static void on_claim(void *ctx, const struct wire_claim *c)
{
	struct listening *l = ctx;
	char mac[18];

	if (c->form == WIRE_PROBE)
		return;
	doctor_mac(c->mac, mac);
	for (size_t i = 0; i < l->ret->n_probes; i++) {
		struct facts_probe *p = &l->ret->probes[i];
		bool known = false;

		if (!ip_eq(&p->ip, &c->vip))
			continue;
		for (size_t k = 0; k < p->n_macs; k++)
			known |= text_eq(p->macs[k].mac, mac);
		if (!known && p->n_macs < FACT_MACS_MAX)
			memcpy(p->macs[p->n_macs++].mac, mac, sizeof(mac));
	}
}

static struct ip link_local(const struct link_state *s, int ifindex)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].index == ifindex && s->addrs[i].ip.family == IP_V6 && s->addrs[i].ip.b[0] == 0xfe &&
		    (s->addrs[i].ip.b[1] & 0xc0) == 0x80)
			return s->addrs[i].ip;
	return (struct ip){ .family = IP_NONE };
}

static void ask_all(struct wire_if *w, const struct link_state *s, struct listening *l)
{
	for (size_t i = 0; i < l->ret->n_probes; i++) {
		struct facts_probe *p = &l->ret->probes[i];
		struct err_info err = ERR_INFO_INIT;
		struct ip own;

		if (!l->links[i])
			continue;
		own = link_local(s, l->links[i]->index);
		if (wire_if_probe(w, l->links[i], &own, &p->ip, &err) == 0)
			continue;
		IGNORE(text_copy(p->skipped, sizeof(p->skipped), err.text)); /* same size */
		p->link[0] = '\0';
		l->links[i] = NULL;
	}
}

static int listen_until(struct wire_if *w, mono_t until, struct listening *l, struct err_info *err)
{
	mono_t now = mono_now();
	int r = 0;

	while (r == 0 && mono_before(now, until)) {
		struct pollfd fd = { .fd = wire_if_fd(w), .events = POLLIN };

		IGNORE(poll(&fd, 1, (int)mono_diff_ms(until, now) + 1)); /* dispatch looks itself */
		r = wire_if_dispatch(w, on_claim, l, err);
		now = mono_now();
	}
	return r;
}

static int listen_to(struct wire_if *w, const struct link_state *s, struct listening *l, struct err_info *err)
{
	struct ip ips[FACT_PROBES_MAX];
	int r;

	for (size_t i = 0; i < l->ret->n_probes; i++)
		ips[i] = l->ret->probes[i].ip;
	r = wire_if_vips(w, ips, l->ret->n_probes);
	if (r == 0)
		r = wire_if_links(w, s->links, s->n_links);
	if (r < 0)
		return err_errno(err, r, "listening");
	for (unsigned int i = 0; i < ROUNDS && r == 0; i++) {
		ask_all(w, s, l);
		r = listen_until(w, mono_add_ms(mono_now(), i + 1 < ROUNDS ? ROUND_MS : LISTEN_MS), l, err);
	}
	return r;
}

void doctor_wire(const struct doctor *d, const struct link_state *s, const struct place_rules *rules, struct facts_wire *ret)
{
	AUTO(wire_if_freep) struct wire_if *w = NULL;
	struct listening l = { .ret = ret };
	struct err_info err = ERR_INFO_INIT;
	int r;

	if (d->cfg->announce != ANNOUNCE_ARP) {
		IGNORE(text_copy(ret->skipped, sizeof(ret->skipped), "announce: routers send VIPs here, and nobody asks for them")); /* fits */
		return;
	}
	choose(d, ret);
	if (ret->n_probes == 0) {
		IGNORE(text_copy(ret->skipped, sizeof(ret->skipped),
				 "no VIP is known here: ask for addresses with --probe ADDR")); /* fits */
		return;
	}
	place(s, rules, &l);
	r = wire_if_new(&w, &err);
	if (r == 0)
		r = listen_to(w, s, &l, &err);
	if (r < 0)
		IGNORE(text_copy(ret->skipped, sizeof(ret->skipped), err.text)); /* same size */
}
