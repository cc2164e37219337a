/* SPDX-License-Identifier: Apache-2.0 */
/* busiest.c: counters to an order, to our record and from those of others. */
#include "agent/busiest.h"

#include <assert.h>

#include "agent/agent.h"

#define TELL_EVERY_MS (INT64_C(60) * 1000)

static_assert(BUSY_MAX == CANDIDATE_BUSIEST_MAX, "as counted, so told");

static uint64_t bytes_of(const struct traffic_frontend *f)
{
	return f ? f->received.bytes + f->sent.bytes : 0;
}

void busiest_count(struct busy *b, const struct traffic_view *was, const struct traffic_view *now)
{
	struct busy next = { .n = 0 };

	for (size_t i = 0; i < now->n_frontends;) {
		const struct ip *vip = &now->frontends[i].key.ip;
		uint64_t grown = 0;

		/* Its ports stand together. */
		for (; i < now->n_frontends && ip_eq(&now->frontends[i].key.ip, vip); i++) {
			uint64_t before = bytes_of(traffic_find(was, &now->frontends[i].key)), bytes = bytes_of(&now->frontends[i]);

			grown += bytes > before ? bytes - before : 0; /* counters that were made anew have begun at 0 */
		}
		busy_add(&next, b, vip, grown);
	}
	*b = next;
}

static void rank(struct vips *v, const struct ip *ip, size_t place)
{
	struct vip *vip = vips_find(v, ip);

	if (vip && place < vip->rank)
		vip->rank = (uint32_t)place;
}

void busiest_rank(struct agent *a)
{
	const struct busy *own = &a->traffic.busiest;
	const struct candidate *c;

	for (size_t i = 0; i < a->vips.n; i++)
		a->vips.v[i].rank = ROUND_RANK_NONE;
	for (size_t i = 0; i < own->n; i++)
		rank(&a->vips, &own->v[i].ip, i);
	for (size_t i = 0; (c = candidates_at(a->candidates, i)); i++)
		for (size_t k = 0; k < c->n_busiest; k++)
			rank(&a->vips, &c->busiest[k], k);
}

uint32_t busiest_rank_of(void *ctx, const struct ip *ip)
{
	const struct agent *a = ctx;
	const struct vip *vip = vips_find(&a->vips, ip);

	return vip ? vip->rank : ROUND_RANK_NONE;
}

void busiest_tell(struct agent *a, mono_t now)
{
	struct busiest *b = &a->busiest;
	struct busy here = { .n = 0 };

	if (mono_before(now, b->again_at))
		return;
	for (size_t i = 0; i < a->traffic.busiest.n; i++)
		if (vips_is_live(&a->vips, &a->traffic.busiest.v[i].ip))
			here.v[here.n++] = a->traffic.busiest.v[i];
	if (!busy_differs(b->told, b->n_told, &here))
		return;
	b->n_told = here.n;
	for (size_t i = 0; i < here.n; i++)
		b->told[i] = here.v[i].ip;
	b->again_at = mono_add_ms(now, TELL_EVERY_MS);
	candidates_busiest(a->candidates, b->told, b->n_told);
}
