/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c: claims to rows and probes. */
#include "agent/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "agent/base/log.h"

struct wire_row *wire_row(const struct wire *w, const struct ip *vip)
{
	size_t lo = 0, hi = w->n_rows;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&w->rows[mid].vip, vip);

		if (c == 0)
			return &w->rows[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

int wire_update(struct wire *w, const struct ip *vips, size_t n, const struct link_state *links)
{
	struct wire_row *rows = calloc(n ? n : 1, sizeof(*rows));
	int r;

	if (!rows)
		return -ENOMEM;
	r = wire_if_links(w->io, links->links, links->n_links);
	if (r == 0)
		r = wire_if_vips(w->io, vips, n);
	if (r < 0) {
		free(rows);
		return r;
	}
	for (size_t i = 0; i < n; i++) {
		const struct wire_row *old = wire_row(w, &vips[i]);

		if (old)
			rows[i] = *old;
		rows[i].vip = vips[i];
	}
	free(w->rows);
	w->rows = rows;
	w->n_rows = n;
	return 0;
}

static void on_claim(void *ctx, const struct wire_claim *c)
{
	struct wire *w = ctx;
	unsigned int group = 0;
	enum elect_wire who;

	if (!wire_row(w, &c->vip))
		return;
	if (c->form == WIRE_PROBE) {
		w->ops->asked(w->ctx, c);
		return;
	}
	who = w->ops->claimed(w->ctx, c, &group);
	for (size_t i = 0; i < WIRE_PROBES_MAX; i++) {
		struct wire_probe *p = &w->probes[i];

		/* A candidate weighs more than a stranger: it is who may have a right. */
		if (p->id && p->group == group && p->found != ELECT_WIRE_CANDIDATE)
			p->found = who;
	}
}

void wire_read(struct wire *w)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	uint32_t left_out;

	if (wire_if_dispatch(w->io, on_claim, w, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "wire_failed", "ARP and neighbour discovery could not be read",
			  log_str("error", err.text), log_int("left_out", left_out));
}

static void on_ready(void *ctx, uint32_t events)
{
	(void)events;
	wire_read(ctx);
}

int wire_held(struct wire *w)
{
	struct ip *held = calloc(w->n_rows ? w->n_rows : 1, sizeof(*held));
	size_t n = 0;
	int r;

	if (!held)
		return -ENOMEM;
	for (size_t i = 0; i < w->n_rows; i++)
		if (w->rows[i].held_since.ns)
			held[n++] = w->rows[i].vip;
	r = wire_if_held(w->io, held, n);
	free(held);
	return r;
}

int wire_sweep(struct wire *w, const struct wire_target *target, struct err_info *err)
{
	return wire_if_probe(w->io, target->link, &target->own, &target->vip, err);
}

static struct wire_probe *probe_slot(struct wire *w, unsigned int group)
{
	struct wire_probe *spare = NULL;

	for (size_t i = 0; i < WIRE_PROBES_MAX; i++) {
		if (w->probes[i].id && w->probes[i].group == group)
			return &w->probes[i];
		if (!w->probes[i].id)
			spare = &w->probes[i];
	}
	return spare;
}

void wire_ask(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id, const struct wire_target *targets, size_t n)
{
	static struct log_limit limit;
	struct wire_probe *p = probe_slot(w, group);
	struct err_info err = ERR_INFO_INIT;
	uint32_t left_out;
	size_t sent = 0;

	for (size_t i = 0; i < n && i < WIRE_TARGETS_MAX; i++)
		sent += wire_if_probe(w->io, targets[i].link, &targets[i].own, &targets[i].vip, &err) == 0;
	if (sent > 0 && p)
		*p = (struct wire_probe){ probe_id, group, mono_add_ms(now, WIRE_WINDOW_MS), ELECT_WIRE_SILENT };
	else if (n > 0 && log_limit(&limit, now.ns, 5000, &left_out))
		log_event(LOG_WARN, "probe_failed", "nobody could be asked who has the VIPs", log_str("error", err.text),
			  log_int("left_out", left_out));
}

void wire_nobody(struct wire *w, mono_t now, unsigned int group, uint32_t probe_id)
{
	struct wire_probe *p = probe_slot(w, group);

	if (p)
		*p = (struct wire_probe){ probe_id, group, now, ELECT_WIRE_SILENT };
}

/* The outcome may begin a new probe, in this very slot, too. */
static void probe_end(struct wire *w, struct wire_probe *slot)
{
	struct wire_probe p = *slot;

	slot->id = 0;
	w->ops->probed(w->ctx, p.group, p.id, p.found);
}

mono_t wire_tick(struct wire *w, mono_t now)
{
	mono_t wake = MONO_NEVER;

	for (size_t i = 0; i < WIRE_PROBES_MAX; i++) {
		if (!w->probes[i].id || !mono_reached(now, w->probes[i].until))
			continue;
		wire_read(w); /* an answer may be waiting behind others */
		probe_end(w, &w->probes[i]);
	}
	for (size_t i = 0; i < WIRE_PROBES_MAX; i++)
		if (w->probes[i].id)
			wake = mono_min(wake, w->probes[i].until);
	return wake;
}

int wire_init(struct wire *w, struct loop *loop, const struct wire_ops *ops, void *ctx, struct err_info *err)
{
	int r;

	*w = (struct wire){ .ops = ops, .ctx = ctx, .source = { .fd = -1 } };
	r = wire_if_new(&w->io, err);
	if (r < 0)
		return r;
	w->source = (struct loop_source){ wire_if_fd(w->io), on_ready, w };
	return loop_add(loop, &w->source, EPOLLIN, err);
}

void wire_fini(struct wire *w)
{
	wire_if_free(w->io);
	free(w->rows);
	*w = (struct wire){ .source = { .fd = -1 } };
}
