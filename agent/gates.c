/* SPDX-License-Identifier: Apache-2.0 */
/* gates.c: rows from wishes, filters on interfaces. */
#include "agent/gates.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define RETRY_MS 1000 /* after an attachment that failed; doubles */
#define RETRY_MAX_MS 8000
#define LOOK_MS 10000
#define BUSY_TRIES 10

_Static_assert(PLACE_MAX <= 1 + GATE_ALSO_MAX, "the gate knows all interfaces of a VIP");

/* ---- rows ---- */

static struct gate_row *row_find(const struct gates *g, const struct ip *ip)
{
	size_t lo = 0, hi = g->n_rows;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&g->rows[mid].ip, ip);

		if (c == 0)
			return &g->rows[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static void note_refusal(struct gates *g, const struct err_info *err)
{
	static struct log_limit limit;
	uint32_t left_out;

	g->set_errors++;
	if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_ERROR, "gate_refused", "the gate's map could not be changed; its last deadline stands",
			  log_str("error", err->text), log_int("left_out", left_out));
}

static void row_write(struct gates *g, struct gate_row *row, const struct gate_entry *e)
{
	struct err_info err = ERR_INFO_INIT;
	int r;

	/* -EBUSY: another writer had the bucket at that moment (kernel/bpf/hashtab.c). */
	for (unsigned int i = 0; (r = gate_if_set(g->gate, &row->ip, e, &err)) == -EBUSY && i < BUSY_TRIES; i++)
		;
	if (r < 0) {
		note_refusal(g, &err);
		return;
	}
	row->entry = *e;
	row->written = true;
}

static uint64_t boot_ns(mono_t t)
{
	return t.ns > 0 && !mono_is_never(t) ? (uint64_t)t.ns : 0;
}

uint32_t gates_group_new(struct gates *g)
{
	for (uint32_t i = 0; g->gate && i < GATE_GROUPS_MAX; i++) {
		uint32_t n = (g->next_group + i) % GATE_GROUPS_MAX;

		if (g->taken[n])
			continue;
		g->taken[n] = true;
		g->next_group = n + 1;
		return n;
	}
	return GATE_GROUP_NONE;
}

void gates_group_free(struct gates *g, uint32_t group)
{
	if (group == GATE_GROUP_NONE)
		return;
	gates_set_group(g, group, (mono_t){ 0 }, (mono_t){ 0 });
	g->taken[group] = false;
}

void gates_set_group(struct gates *g, uint32_t group, mono_t arp_until, mono_t ip_until)
{
	const struct gate_group row = { .arp_until = boot_ns(arp_until), .ip_until = boot_ns(ip_until) };
	struct err_info err = ERR_INFO_INIT;

	if (group == GATE_GROUP_NONE || memcmp(&row, &g->groups[group], sizeof(row)) == 0)
		return;
	if (gate_if_set_group(g->gate, group, &row, &err) < 0)
		note_refusal(g, &err);
	else
		g->groups[group] = row;
}

void gates_set(struct gates *g, const struct gate_wish *w)
{
	struct gate_row *row = g->gate ? row_find(g, &w->ip) : NULL;
	struct gate_entry e = { .ifindex = (uint32_t)w->ifindexes[0], .group = w->group };

	if (!row)
		return;
	for (size_t i = 1; i < PLACE_MAX; i++)
		e.also[i - 1] = (uint32_t)w->ifindexes[i];
	if (w->ready && e.ifindex && w->group != GATE_GROUP_NONE)
		e.may |= GATE_MAY_ARP;
	if ((w->ready || w->loaded) && e.ifindex && w->group != GATE_GROUP_NONE)
		e.may |= GATE_MAY_IP;
	memcpy(e.own_addr, w->own.b, w->own.family == w->ip.family ? ip_len(&w->own) : 0);
	if (w->redirect_mac && w->own_mac) {
		e.redirect_until = boot_ns(w->redirect_until);
		memcpy(e.redirect_mac, w->redirect_mac, sizeof(e.redirect_mac));
		memcpy(e.own_mac, w->own_mac, sizeof(e.own_mac));
	}
	if (!row->written || memcmp(&e, &row->entry, sizeof(e)) != 0)
		row_write(g, row, &e);
}

bool gates_fenced(const struct gates *g, const struct ip *vip)
{
	const struct gate_row *row = g->gate ? row_find(g, vip) : NULL;

	return !g->gate || (row && row->written);
}

mono_t gates_open_until(const struct gates *g, const struct ip *vip)
{
	const struct gate_row *row = g->gate ? row_find(g, vip) : NULL;

	return (mono_t){ row && row->entry.may & GATE_MAY_ARP ? (int64_t)g->groups[row->entry.group].arp_until : 0 };
}

bool gates_open(const struct gates *g, const struct ip *vip, mono_t now)
{
	return !g->gate || mono_before(now, gates_open_until(g, vip));
}

static bool address_up(const struct link_state *links, const struct ip *ip)
{
	for (size_t i = 0; i < links->n_addrs; i++)
		if (links->addrs[i].ours && ip_eq(&links->addrs[i].ip, ip))
			return true;
	return false;
}

static int row_cmp(const void *a, const void *b)
{
	return ip_cmp(&((const struct gate_row *)a)->ip, &((const struct gate_row *)b)->ip);
}

/* A row of the next table: what is there already, or a new one, shut. */
static struct gate_row row_next(struct gates *g, const struct ip *ip, bool leftover)
{
	const struct gate_entry shut = { .group = GATE_GROUP_NONE };
	const struct gate_row *old = row_find(g, ip);
	struct gate_row row = { .ip = *ip, .leftover = leftover };

	if (old) {
		row.entry = old->entry;
		row.written = old->written;
	}
	if (!row.written || leftover)
		row_write(g, &row, &shut);
	return row;
}

/* Before rows are added: they may need the room. */
static void drop_rows(struct gates *g, const struct ip *vips, size_t n, const struct link_state *links)
{
	for (size_t i = 0; i < g->n_rows; i++) {
		struct err_info err = ERR_INFO_INIT;

		if (!g->rows[i].written || ip_listed(vips, n, &g->rows[i].ip) || address_up(links, &g->rows[i].ip))
			continue;
		if (gate_if_unset(g->gate, &g->rows[i].ip, &err) < 0)
			note_refusal(g, &err);
		else
			g->rows[i].written = false;
	}
}

int gates_update(struct gates *g, const struct ip *vips, size_t n, const struct link_state *links)
{
	static struct log_limit limit;
	struct gate_row *rows;
	size_t n_rows = 0, all = n;
	uint32_t left_out;

	if (!g->gate)
		return 0;
	if (n > GATE_VIPS_MAX) {
		n = GATE_VIPS_MAX;
		if (log_limit(&limit, mono_now().ns, 60000, &left_out))
			log_event(LOG_ERROR, "too_many_vips", "the gate has no room for all VIPs; the last ones stay down",
				  log_int("vips", (int64_t)all), log_int("room", GATE_VIPS_MAX));
	}
	rows = calloc(n + links->n_addrs + 1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	drop_rows(g, vips, n, links);
	for (size_t i = 0; i < n; i++)
		rows[n_rows++] = row_next(g, &vips[i], false);
	for (size_t i = 0; i < links->n_addrs && n_rows < GATE_VIPS_MAX; i++)
		if (links->addrs[i].ours && !ip_listed(vips, n, &links->addrs[i].ip))
			rows[n_rows++] = row_next(g, &links->addrs[i].ip, true);
	qsort(rows, n_rows, sizeof(*rows), row_cmp);
	free(g->rows);
	g->rows = rows;
	g->n_rows = n_rows;
	return 0;
}

const uint64_t *gates_frames(const struct gates *g, uint64_t ret[static GATE_COUNT_N])
{
	memset(ret, 0, GATE_COUNT_N * sizeof(*ret));
	if (g->gate)
		IGNORE(gate_if_counts(g->gate, ret, NULL)); /* zeros, then */
	return ret;
}

/* ---- interfaces ---- */

static struct gate_port *port_find(const struct gates *g, int ifindex)
{
	for (size_t i = 0; i < g->n_ports; i++)
		if (g->ports[i].ifindex == ifindex)
			return &g->ports[i];
	return NULL;
}

bool gates_attached(const struct gates *g, int ifindex)
{
	const struct gate_port *p = port_find(g, ifindex);

	return p && p->attached;
}

const char *gates_problem(const struct gates *g)
{
	for (size_t i = 0; i < g->n_ports; i++)
		if (g->ports[i].wanted && g->ports[i].error)
			return g->ports[i].problem;
	return "";
}

static void attach_run(struct worker_job *job)
{
	struct gates_job *j = (struct gates_job *)job;

	j->err = (struct err_info)ERR_INFO_INIT;
	j->changed = false;
	j->result = j->sock ? 0 : nlsock_new(NETLINK_ROUTE, &j->sock, &j->err);
	if (j->result == 0 && j->g->gate)
		j->result = gate_if_attach(j->g->gate, j->sock, j->ifindex, &j->changed, &j->err);
	else if (j->result == 0) /* the filters of an earlier run would stop everything: their deadlines are over */
		j->result = gate_if_detach(j->sock, j->ifindex, &j->err);
	if (j->result == -ETIMEDOUT) { /* a late answer would confuse the next question */
		nlsock_free(j->sock);
		j->sock = NULL;
	}
}

static void attach_done(struct worker_job *job)
{
	struct gates_job *j = (struct gates_job *)job;
	struct gates *g = j->g;
	struct gate_port *p = port_find(g, j->ifindex);
	int64_t ms;

	g->busy = false;
	if (p && j->result < 0) {
		if (j->result != -ENODEV && (!p->told || !text_eq(p->problem, j->err.text)))
			log_event(LOG_ERROR, "gate_not_attached", "the gate is not on an interface; no VIP goes there",
				  log_int("ifindex", p->ifindex), log_str("error", j->err.text));
		ms = (int64_t)RETRY_MS << (p->tries < 3 ? p->tries : 3);
		p->tries++;
		p->told = true;
		p->error = j->result;
		p->attached = false;
		p->look = true;
		p->retry_at = mono_add_ms(mono_now(), ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS);
		IGNORE(text_copy(p->problem, sizeof(p->problem), j->err.text)); /* same size */
	} else if (p && p->born == j->born) {
		if (j->changed && p->attached) {
			g->put_back++;
			log_event(LOG_WARN, "gate_put_back", "somebody removed or displaced the gate; it is back",
				  log_int("ifindex", p->ifindex));
		} else if (j->changed) {
			log_event(LOG_INFO, "gate_attached", "the gate stands on an interface",
				  log_int("ifindex", p->ifindex));
		}
		p->attached = true;
		p->error = 0;
		p->tries = 0;
		p->told = false;
		p->problem[0] = '\0';
	}
}

/* An interface that carries VIPs no more is forgotten; the filter stays there: without business it costs nothing. */
static int ports_update(struct gates *g, const struct gate_place *places, size_t n)
{
	struct gate_port *more;

	for (size_t i = 0; i < g->n_ports; i++)
		g->ports[i].wanted = false;
	for (size_t i = 0; i < n; i++) {
		struct gate_port *p = port_find(g, places[i].ifindex);

		if (!p) {
			more = reallocarray(g->ports, g->n_ports + 1, sizeof(*more));
			if (!more)
				return -ENOMEM;
			g->ports = more;
			p = &more[g->n_ports++];
			*p = (struct gate_port){ .ifindex = places[i].ifindex, .look_at = MONO_NEVER };
		}
		if (p->born != places[i].born) {
			p->born = places[i].born;
			p->attached = false;
			p->look = true;
			p->retry_at = (mono_t){ 0 };
		}
		p->wanted = true;
	}
	for (size_t i = g->n_ports; i-- > 0;)
		if (!g->ports[i].wanted)
			g->ports[i] = g->ports[--g->n_ports];
	return 0;
}

mono_t gates_sync(struct gates *g, mono_t now, const struct gate_place *places, size_t n)
{
	mono_t wake = MONO_NEVER;

	if (ports_update(g, places, n) < 0)
		wake = mono_add_ms(now, RETRY_MS);
	for (size_t i = 0; i < g->n_ports && !g->busy; i++) {
		struct gate_port *p = &g->ports[i];

		p->look |= g->gate && mono_reached(now, p->look_at);
		if (g->gate && !p->look)
			wake = mono_min(wake, p->look_at);
		if (!p->wanted || !p->look)
			continue;
		if (mono_before(now, p->retry_at)) {
			wake = mono_min(wake, p->retry_at);
			continue;
		}
		p->look = false;
		p->look_at = mono_add_ms(now, LOOK_MS);
		g->busy = true;
		g->job.g = g;
		g->job.ifindex = p->ifindex;
		g->job.born = p->born;
		g->job.job = (struct worker_job){ .run = attach_run, .done = attach_done };
		worker_submit(g->worker, &g->job.job);
	}
	return wake;
}

static void on_filters(void *ctx, int ifindex)
{
	struct gates *g = ctx;

	for (size_t i = 0; i < g->n_ports; i++)
		g->ports[i].look |= ifindex == 0 || g->ports[i].ifindex == ifindex;
}

static void on_watch(void *ctx, uint32_t events)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	struct gates *g = ctx;
	uint32_t left_out;

	(void)events;
	if (gate_watch_dispatch(g->watch, on_filters, g, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "gate_watch_failed", "changes of filters could not be read",
			  log_str("error", err.text), log_int("left_out", left_out));
}

/* ---- start and end ---- */

int gates_init(struct gates *g, bool off, struct loop *loop, struct worker *worker, struct err_info *err)
{
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	int r;

	*g = (struct gates){ .worker = worker, .source = { .fd = -1 } };
	if (off)
		return 0;
	r = nlsock_new(NETLINK_ROUTE, &s, err);
	if (r == 0)
		r = gate_if_new(&g->gate, err);
	if (r == 0)
		r = gate_if_self_test(g->gate, s, err);
	if (r < 0)
		return err_wrap(err, r, "the gate cannot work on this node (--gate off does without it)");
	r = gate_watch_new(&g->watch, err);
	if (r < 0)
		return r;
	g->source = (struct loop_source){ gate_watch_fd(g->watch), on_watch, g };
	return loop_add(loop, &g->source, EPOLLIN, err);
}

void gates_fini(struct gates *g)
{
	gate_watch_free(g->watch);
	gate_if_free(g->gate);
	nlsock_free(g->job.sock);
	free(g->rows);
	free(g->ports);
	*g = (struct gates){ .source = { .fd = -1 } };
}
