/* SPDX-License-Identifier: Apache-2.0 */
/* status_text.c: from a view to lines.  Bounded by the rows of the view. */
#include "agent/status_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/table.h"

#define SPAN_MAX 24
#define NODE_BESIDE_MAX 30 /* a longer name stands alone in its line */
#define PLACE_TEXT_MAX (IP_TEXT_MAX + 16)

const char *status_level_name(enum status_level level)
{
	static const char *const names[STATUS_LEVEL_N] = { [STATUS_NOTE] = "note", [STATUS_WARNING] = "warning",
							   [STATUS_ERROR] = "error" };

	return names[level];
}

const char *status_vip_state_name(enum status_vip_state state)
{
	static const char *const names[STATUS_VIP_STATE_N] = {
		[STATUS_VIP_ANSWERS] = "answers",	  [STATUS_VIP_ROUTED] = "routed",
		[STATUS_VIP_ADVERTISED] = "advertised",	  [STATUS_VIP_DRAINING] = "draining",
		[STATUS_VIP_WITHDRAWN] = "withdrawn",	  [STATUS_VIP_STANDBY] = "standby",
		[STATUS_VIP_COMING] = "coming up",	  [STATUS_VIP_MOVING] = "moving",
		[STATUS_VIP_REFUSED] = "refused",	  [STATUS_VIP_NO_CARRIER] = "no carrier",
		[STATUS_VIP_NO_INTERFACE] = "no interface",
	};

	return names[state];
}

/* "0.4 s", "34 s", "12 min", "3 h", "9 d"; "-" for none. */
static const char *span(int64_t ms, char buf[static SPAN_MAX])
{
	if (ms == STATUS_NO_TIME)
		return "-";
	if (ms > -MS_PER_S * 10 && ms < MS_PER_S * 10)
		IGNORE(snprintf(buf, SPAN_MAX, "%.1f s", (double)ms / 1000)); /* fits, as those below */
	else if (ms < MS_PER_S * 120)
		IGNORE(snprintf(buf, SPAN_MAX, "%" PRId64 " s", ms / MS_PER_S));
	else if (ms < MS_PER_S * 3600 * 2)
		IGNORE(snprintf(buf, SPAN_MAX, "%" PRId64 " min", ms / (MS_PER_S * 60)));
	else if (ms < MS_PER_S * 86400 * 2)
		IGNORE(snprintf(buf, SPAN_MAX, "%" PRId64 " h", ms / (MS_PER_S * 3600)));
	else
		IGNORE(snprintf(buf, SPAN_MAX, "%" PRId64 " d", ms / (MS_PER_S * 86400)));
	return buf;
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

/* ---- head ---- */

static size_t n_worse(const struct status_problems *p, enum status_level level)
{
	size_t n = p->left_out;

	for (size_t i = 0; i < p->n; i++)
		n += p->v[i].level >= level;
	return n;
}

/* Something is not heard of: the API server is away, or slow. */
static bool in_doubt(const struct status_view *v)
{
	for (size_t i = 0; i < v->n_leases; i++)
		if (!v->leases[i].in_view)
			return true;
	return false;
}

/* The operator's first question. */
static void verdict(const struct status_view *v, struct buf *out)
{
	const struct status_head *h = &v->head;
	size_t wrong = n_worse(&v->problems, STATUS_WARNING);
	bool error = v->problems.n > 0 && v->problems.v[0].level == STATUS_ERROR;
	char text[64], node[STATUS_NODE_MAX];

	IGNORE(snprintf(node, sizeof(node), "%.*s", (int)v->ask->width - 1, h->node)); /* cut to fit */
	paint_text(out, v->ask->colour, PAINT_HEAD, node);
	buf_puts(out, strlen(node) > NODE_BESIDE_MAX ? ":\n" : ": ");
	IGNORE(snprintf(text, sizeof(text), wrong ? "%zu problem%s" : "fine", wrong, plural(wrong))); /* fits */
	paint_text(out, v->ask->colour, error ? PAINT_BAD : wrong ? PAINT_WARN : PAINT_GOOD, text);
	if (h->leases_held > 0)
		buf_printf(out, "; holds %zu of %zu Lease%s, %s %zu of %zu VIP%s\n", h->leases_held, h->leases, plural(h->leases),
			   h->advertised ? "advertises" : "answers for", h->vips_answered, h->vips, plural(h->vips));
	else if (h->advertised)
		buf_printf(out, "; holds no Lease, advertises %zu of %zu VIP%s\n", h->vips_answered, h->vips, plural(h->vips));
	else if (h->routed && h->vips_answered > 0)
		buf_printf(out, "; holds no Lease, takes what is routed to %zu of %zu VIP%s\n", h->vips_answered, h->vips,
			   plural(h->vips));
	else
		buf_printf(out, "; holds no Lease, answers for no VIP%s\n", text_eq(h->role, "candidate") && !in_doubt(v) ? ", could take over" : "");
}

static void summary(const struct status_view *v, struct buf *out)
{
	const struct status_head *h = &v->head;
	char up[SPAN_MAX];

	buf_printf(out, "leasehold %s, up %s; API %s; gate %s; kernel %s; %zu of %zu Service%s served\n",
		   h->version, span(h->up_ms, up),
		   !h->synced ? "not in view yet" : in_doubt(v) ? "in doubt" : "in view",
		   h->routed ? "not needed" : !h->gate ? "OFF" : *h->gate_problem ? "incomplete" : "on",
		   *h->kernel_problem ? "refuses" : h->as_wanted ? "as wanted" : "being updated", h->services, h->services_seen,
		   plural(h->services_seen));
}

static void problems(const struct status_view *v, struct buf *out)
{
	static const struct {
		const char *word;
		enum paint paint;
	} looks[STATUS_LEVEL_N] = { [STATUS_NOTE] = { "note     ", PAINT_DIM }, [STATUS_WARNING] = { "warning  ", PAINT_WARN },
				    [STATUS_ERROR] = { "ERROR    ", PAINT_BAD } };

	if (v->problems.n > 0)
		buf_puts(out, "\n");
	for (size_t i = 0; i < v->problems.n; i++) {
		const struct status_problem *p = &v->problems.v[i];

		paint_text(out, v->ask->colour, looks[p->level].paint, looks[p->level].word);
		paint_wrapped(out, v->ask->width, 9, p->what);
		if (!*p->todo)
			continue;
		buf_puts(out, "         -> ");
		paint_wrapped(out, v->ask->width, 12, p->todo);
	}
	if (v->problems.left_out > 0)
		buf_printf(out, "... %zu more problems, see --json\n", v->problems.left_out);
}

/* ---- tables ---- */

/* What of a list is not shown, and how to see it. */
static void more(const struct status_view *v, size_t n, enum status_part part, struct buf *out)
{
	static const char *const nouns[STATUS_PART_N][2] = { [STATUS_LEASES] = { "Leases", "NAME" },
							     [STATUS_VIPS] = { "VIPs", "ADDRESS" },
							     [STATUS_SERVICES] = { "Services", "NAMESPACE/NAME" } };

	if (n == 0)
		return;
	if (v->ask->part == STATUS_ALL)
		buf_printf(out, "... %zu more %s: leasehold status %s [%s], or --json\n", n, nouns[part][0], status_part_name(part),
			   nouns[part][1]);
	else
		buf_printf(out, "... %zu more %s: --json\n", n, nouns[part][0]);
}

static void put_table(struct table *t, const struct status_view *v, struct buf *out)
{
	if (out->len > 0)
		buf_puts(out, "\n");
	if (!table_put(t, v->ask->width, v->ask->colour, out))
		buf_puts(out, "there is no memory to show this\n");
	table_fini(t);
}

static enum paint age_paint(const struct status_lease *l)
{
	return *l->holder && l->changed_ago_ms > l->duration_ms ? PAINT_WARN : PAINT_NONE;
}

static void leases(const struct status_view *v, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .head = "LEASE", .cuts = true }, { .head = "HOLDER", .cuts = true }, { .head = "HERE", .cuts = true },
		{ .head = "VIPS", .right = true }, { .head = "RENEWED", .right = true }, { .head = "DEADLINE", .right = true },
		{ .head = "API LOSS" },
	};
	char age[SPAN_MAX], deadline[SPAN_MAX];
	struct table t;

	table_init(&t, columns, ARRAY_LEN(columns), v->n_leases);
	for (size_t i = 0; i < v->n_leases; i++) {
		const struct status_lease *l = &v->leases[i];
		bool nobody = l->known && !*l->holder;

		table_cell(&t, PAINT_NONE, "%s", l->name);
		table_cell(&t, nobody ? PAINT_WARN : l->here ? PAINT_GOOD : PAINT_NONE, "%s",
			   *l->holder ? l->holder : nobody ? "nobody" : "?");
		table_cell(&t, PAINT_NONE, "%s%s%s", l->state, *l->moving_to ? " to " : "", l->moving_to);
		table_cell(&t, PAINT_NONE, "%zu", l->n_vips);
		table_cell(&t, age_paint(l), *l->holder && l->changed_ago_ms != STATUS_NO_TIME ? "%s ago" : "-",
			   span(l->changed_ago_ms, age));
		table_cell(&t, PAINT_NONE, "%s%s", l->deadline_in_ms > 0 ? "in " : "",
			   l->here && l->deadline_in_ms <= 0 ? "past" : span(l->deadline_in_ms, deadline));
		table_cell(&t, l->in_view ? PAINT_NONE : PAINT_WARN, "%s%s", !l->known ? "-" : l->hold ? "hold" : "fence",
			   l->in_view ? "" : " (not in view)");
	}
	put_table(&t, v, out);
	more(v, v->leases_out, STATUS_LEASES, out);
}

/* Short: the reason stands below. */
static const char *here(enum status_vip_state state)
{
	return state == STATUS_VIP_REFUSED || state == STATUS_VIP_NO_INTERFACE ? "cannot" : status_vip_state_name(state);
}

static enum paint state_paint(enum status_vip_state state)
{
	switch (state) {
	case STATUS_VIP_ANSWERS:
	case STATUS_VIP_ROUTED:
	case STATUS_VIP_ADVERTISED:
		return PAINT_GOOD;
	case STATUS_VIP_COMING:
	case STATUS_VIP_DRAINING:
	case STATUS_VIP_MOVING:
	case STATUS_VIP_NO_CARRIER:
		return PAINT_WARN;
	case STATUS_VIP_REFUSED:
	case STATUS_VIP_NO_INTERFACE:
		return PAINT_BAD;
	case STATUS_VIP_WITHDRAWN:
	case STATUS_VIP_STANDBY:
	case STATUS_VIP_STATE_N:
		break;
	}
	return PAINT_NONE;
}

static void place_cells(struct table *t, const struct status_vip *v, const struct status_place *p)
{
	bool routed = v->state == STATUS_VIP_ROUTED || v->state == STATUS_VIP_ADVERTISED;
	char last[SPAN_MAX], next[SPAN_MAX];

	table_cell(t, PAINT_NONE, v->live && v->n_at > 0 && !routed ? "%" PRIu64 : "-", p->announced);
	table_cell(t, PAINT_NONE, "%s", v->live ? span(p->last_ago_ms, last) : "-");
	table_cell(t, PAINT_NONE, "%s", v->live ? span(p->next_in_ms, next) : "-");
}

/* What has no column. */
static void vip_lines(struct table *t, const struct status_vip *v, bool why)
{
	char since[SPAN_MAX], ago[SPAN_MAX];

	if (*v->conflict.kind)
		table_line(t, v->conflict.grave ? PAINT_BAD : PAINT_WARN, "  %s; since %s, last %s ago", v->conflict.text,
			   span(v->conflict.since_ms, since), span(v->conflict.ago_ms, ago));
	if (v->state == STATUS_VIP_DRAINING)
		table_line(t, PAINT_NONE, "  %s left: %s", span(v->drains_ms, since), v->why);
	else if (*v->why && why)
		table_line(t, PAINT_NONE, "  %s", v->why);
	for (size_t k = 0; k < v->n_at; k++)
		if (v->at[k].errors > 0)
			table_line(t, v->at[k].failing ? PAINT_WARN : PAINT_NONE, "  on %s %" PRIu64 " announcements failed%s",
				   v->at[k].name, v->at[k].errors, v->at[k].failing ? ", the last one did" : "");
}

static void vip_rows(struct table *t, const struct status_vip *v, enum status_part part)
{
	static const struct status_place nowhere = { .name = "-", .usable = true, .last_ago_ms = STATUS_NO_TIME,
						     .next_in_ms = STATUS_NO_TIME };
	char ip[IP_TEXT_MAX], gate[SPAN_MAX];

	for (size_t k = 0; k < (v->n_at > 0 ? v->n_at : 1); k++) {
		const struct status_place *p = v->n_at > 0 ? &v->at[k] : &nowhere;
		bool first = k == 0;

		table_cell(t, PAINT_NONE, "%s", first ? ip_format(&v->ip, ip) : "");
		table_cell(t, PAINT_NONE, "%s", !first ? "" : *v->holder ? v->holder : "nobody");
		table_cell(t, first ? state_paint(v->state) : PAINT_NONE, "%s", first ? here(v->state) : "");
		table_cell(t, p->usable ? PAINT_NONE : PAINT_WARN, "%s%s", p->name, p->usable ? "" : " down");
		if (!first)
			table_cell(t, PAINT_NONE, "%s", "");
		else
			table_cell(t, PAINT_NONE, "%s", !v->gated ? "-" : v->gate_open_ms <= 0 ? "shut" : span(v->gate_open_ms, gate));
		place_cells(t, v, p);
	}
	/* The overview has the reason among its problems, once for all. */
	vip_lines(t, v, part != STATUS_ALL || !text_eq(here(v->state), "cannot"));
}

static void vips(const struct status_view *v, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .head = "VIP" }, { .head = "HOLDER", .cuts = true }, { .head = "HERE" }, { .head = "INTERFACE", .cuts = true },
		{ .head = "GATE", .right = true }, { .head = "SENT", .right = true }, { .head = "LAST", .right = true },
		{ .head = "NEXT", .right = true },
	};
	struct table t;

	table_init(&t, columns, ARRAY_LEN(columns), v->n_vips * (2 * PLACE_MAX + 2));
	for (size_t i = 0; i < v->n_vips; i++)
		vip_rows(&t, &v->vips[i], v->ask->part);
	put_table(&t, v, out);
	more(v, v->vips_out, STATUS_VIPS, out);
}

static const char *place_text(const struct ip *ip, unsigned int port, char buf[static PLACE_TEXT_MAX])
{
	char text[IP_TEXT_MAX];
	bool v6 = ip->family == IP_V6;

	IGNORE(snprintf(buf, PLACE_TEXT_MAX, "%s%s%s:%u", v6 ? "[" : "", ip_format(ip, text), v6 ? "]" : "", port)); /* fits */
	return buf;
}

static void count_cells(struct table *t, const uint64_t *connections, const struct nat_tick *in, const struct nat_tick *sent)
{
	char text[TRAFFIC_AMOUNT_MAX];

	table_cell(t, PAINT_NONE, "%s", connections ? traffic_amount(*connections, false, text) : "-");
	table_cell(t, PAINT_NONE, "%s", in ? traffic_amount(in->bytes, true, text) : "-");
	table_cell(t, PAINT_NONE, "%s", sent ? traffic_amount(sent->bytes, true, text) : "-");
}

static void port_row(struct table *t, const struct traffic_row *r)
{
	const struct traffic_frontend *c = r->count;
	char place[PLACE_TEXT_MAX], ready[16];

	IGNORE(snprintf(ready, sizeof(ready), "%u", r->n_backends)); /* fits */
	table_cell(t, PAINT_NONE, "  %s/%s", place_text(&r->key.ip, r->key.port, place), traffic_proto(r->key.proto));
	table_cell(t, r->balanced && r->n_backends == 0 ? PAINT_WARN : PAINT_NONE, "%s", r->balanced ? ready : "-");
	table_cell(t, PAINT_NONE, "%s", r->balanced ? traffic_balance(r->balance) : "-");
	count_cells(t, c ? &c->connections : NULL, c ? &c->received : NULL, c ? &c->sent : NULL);
}

static void backend_row(struct table *t, const struct status_row *r)
{
	char place[PLACE_TEXT_MAX];

	table_cell(t, PAINT_NONE, "    %s", place_text(&r->backend.ip, r->backend.port, place));
	table_cell(t, PAINT_NONE, "%s", "");
	table_cell(t, PAINT_NONE, "%u/%u", r->slots, r->of_slots);
	count_cells(t, r->count ? &r->count->connections : NULL, r->count ? &r->count->received : NULL, NULL);
}

static void services(const struct status_view *v, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .head = "SERVICE" }, { .head = "READY", .right = true }, { .head = "BALANCE" },
		{ .head = "CONNS", .right = true }, { .head = "IN", .right = true }, { .head = "OUT", .right = true },
	};
	struct table t;

	table_init(&t, columns, ARRAY_LEN(columns), v->n_rows);
	for (size_t i = 0; i < v->n_rows; i++) {
		const struct status_row *r = &v->rows[i];

		if (r->kind == STATUS_ROW_PORT)
			port_row(&t, &r->port);
		else if (r->kind == STATUS_ROW_BACKEND)
			backend_row(&t, r);
		else
			table_line(&t, *r->problem ? PAINT_WARN : PAINT_NONE, "%s/%s%s%s%s%s", r->ns, r->name,
				   *r->problem ? " " : "", *r->reason ? r->reason : "", *r->reason && *r->problem ? ": " : "",
				   r->problem);
	}
	put_table(&t, v, out);
	more(v, v->rows_out, STATUS_SERVICES, out);
}

static void servers(const struct status_view *v, struct buf *out)
{
	static const struct table_column columns[] = {
		{ .head = "API SERVER" }, { .head = "STATE" }, { .head = "FOR", .right = true }, { .head = "PROBLEM", .cuts = true },
	};
	const struct control_plane *cp = v->control_plane;
	char place[PLACE_TEXT_MAX], since[SPAN_MAX];
	struct table t;

	if (!cp || !control_plane_on(cp))
		return;
	table_init(&t, columns, ARRAY_LEN(columns), HEALTH_SERVERS_MAX + 1);
	for (size_t i = 0; i < cp->health.n; i++) {
		const struct health_server *s = &cp->health.v[i];

		table_cell(&t, PAINT_NONE, "%s", place_text(&s->at.ip, s->at.port, place));
		table_cell(&t, s->up ? PAINT_GOOD : PAINT_BAD, "%s", control_plane_state(s));
		table_cell(&t, PAINT_NONE, "%s", span(mono_diff_ms(v->now, s->since), since));
		table_cell(&t, PAINT_NONE, "%s", *s->why ? s->why : "-");
	}
	put_table(&t, v, out);
	if (cp->health.n == 0)
		buf_printf(out, "none known: %s refuses connections\n", place_text(&cp->vip.ip, cp->vip.port, place));
	else if (cp->guesses)
		buf_puts(out, "none passes its checks: all get connections, at a guess\n");
}

static void drops(const struct status_view *v, struct buf *out)
{
	static const struct table_column columns[] = { { .head = "DROPPED" }, { .head = "PACKETS", .right = true },
						       { .head = "BYTES", .right = true } };
	char packets[TRAFFIC_AMOUNT_MAX], bytes[TRAFFIC_AMOUNT_MAX];
	bool any = false;
	struct table t;

	table_init(&t, columns, ARRAY_LEN(columns), NAT_DROP_N);
	for (unsigned int i = 0; v->traffic && i < NAT_DROP_N; i++) {
		const struct nat_tick *d = &v->traffic->view.drops[i];

		if (d->packets == 0)
			continue;
		any = true;
		table_cell(&t, PAINT_NONE, "%s", nat_drop_name((enum nat_drop)i));
		table_cell(&t, PAINT_NONE, "%s", traffic_amount(d->packets, false, packets));
		table_cell(&t, PAINT_NONE, "%s", traffic_amount(d->bytes, true, bytes));
	}
	if (any)
		put_table(&t, v, out);
	else
		table_fini(&t);
}

void status_text(const struct status_view *v, struct buf *out)
{
	enum status_part part = v->ask->part;

	if (part == STATUS_ALL) {
		verdict(v, out);
		summary(v, out);
		problems(v, out);
	}
	if (v->n_leases > 0)
		leases(v, out);
	if (v->n_vips > 0)
		vips(v, out);
	if (part == STATUS_ALL)
		servers(v, out);
	if (v->n_rows > 0)
		services(v, out);
	if (part == STATUS_ALL)
		drops(v, out);
	if (out->len == 0)
		buf_printf(out, "this agent knows %s %s%s%s\n", *v->ask->name ? "nothing named" : "no", v->ask->name,
			   *v->ask->name ? " among its " : "", status_part_name(part));
}
