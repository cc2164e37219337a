/* SPDX-License-Identifier: Apache-2.0 */
/* status_services.c: which VIP's port belongs to which Service, for the counters that the kernel keeps.  traffic_text.c has
 * the forms. */
#include "agent/status_services.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/traffic_text.h"

#define ROWS_MAX 50 /* of the table for people */

void status_json_text(struct buf *out, const char *name, const char *value, bool last)
{
	buf_json_string(out, name);
	buf_puts(out, ":");
	buf_json_string(out, value);
	if (!last)
		buf_puts(out, ",");
}

/* ---- rows ---- */

/* The frontend that the Service wants for that key; NULL = none: there is no backend, or no data plane. */
static const struct frontend *frontend_of(const struct nat_service *s, const struct traffic_key *key)
{
	const struct frontend want = { .vip = key->ip, .proto = key->proto, .port = key->port };
	size_t lo = 0, hi = s ? s->n_frontends : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = frontend_cmp(&s->frontends[mid], &want);

		if (c == 0)
			return &s->frontends[mid];
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static struct traffic_row row_of(const struct agent *a, const struct service *s, const struct ip *vip,
				 const struct service_port *port)
{
	struct traffic_row row = { .ns = s->meta.ns, .name = s->meta.name, .key = { *vip, port->proto, port->port },
				   .balanced = a->dataplane.on, .balance = (uint8_t)s->balance };
	const struct nat_service *wants = dataplane_wanted(&a->dataplane, s->meta.ns, s->meta.name);
	const struct frontend *f = frontend_of(wants, &row.key);

	if (f) {
		row.balance = f->balance;
		row.n_backends = f->n_backends;
	}
	row.count = traffic_find(&a->traffic.view, &row.key);
	return row;
}

/* Whether the decisions are of the Services as they stand, and the i-th is served here. */
static bool is_served(const struct agent *a, size_t i)
{
	return a->decisions[i].state != POOL_FOREIGN && a->decisions[i].state != POOL_RELEASE;
}

static size_t n_decided(const struct agent *a)
{
	return a->decisions && !a->store.dirty ? a->n_decisions : 0;
}

static const char *refusal(const struct agent *a, const struct pool_decision *d)
{
	const char *refused = NULL;

	for (size_t k = 0; k < d->n_ips && !refused; k++)
		refused = agent_refused(a, &d->ips[k]);
	return refused;
}

/* ---- JSON ---- */

static void json_frontends(const struct agent *a, const struct service *s, const struct ip *ips, size_t n_ips, struct buf *out)
{
	bool first = true;

	buf_puts(out, "\"frontends\":[");
	for (size_t k = 0; k < n_ips; k++) {
		for (size_t p = 0; p < s->n_ports; p++) {
			const struct traffic_row row = row_of(a, s, &ips[k], &s->ports[p]);

			buf_puts(out, first ? "" : ",");
			traffic_row_json(&row, out);
			first = false;
		}
	}
	buf_puts(out, "]");
}

static void json_service(const struct agent *a, const struct service *s, const struct pool_decision *d, struct buf *out)
{
	const char *refused = refusal(a, d);
	char ip[IP_TEXT_MAX];

	buf_puts(out, "{");
	status_json_text(out, "namespace", s->meta.ns, false);
	status_json_text(out, "name", s->meta.name, false);
	buf_puts(out, "\"addresses\":[");
	for (size_t k = 0; k < d->n_ips; k++) {
		buf_puts(out, k ? "," : "");
		buf_json_string(out, ip_format(&d->ips[k], ip));
	}
	buf_puts(out, "],\"ports\":[");
	for (size_t k = 0; k < s->n_ports; k++)
		buf_printf(out, "%s{\"port\":%u,\"protocol\":\"%s\"}", k ? "," : "", s->ports[k].port,
			   traffic_proto(s->ports[k].proto));
	buf_puts(out, "],");
	json_frontends(a, s, d->ips, d->n_ips, out);
	buf_puts(out, ",");
	status_json_text(out, "reason", d->reason ? d->reason : refused ? "AddressRefused" : "", false);
	status_json_text(out, "problem", d->message ? d->message : refused && !*s->problem ? refused : s->problem, true);
	buf_puts(out, "}");
}

void services_json(const struct agent *a, mono_t now, struct buf *out)
{
	bool first = true;

	buf_puts(out, "\"services\":[");
	for (size_t i = 0; i < n_decided(a); i++) {
		if (!is_served(a, i))
			continue;
		buf_puts(out, first ? "" : ",");
		json_service(a, a->store.services[i]->object, &a->decisions[i], out);
		first = false;
	}
	buf_puts(out, "],\"traffic\":{");
	traffic_json(&a->traffic, now, out);
	buf_puts(out, "}");
}

/* ---- the table ---- */

/* Returns how many of its VIPs' ports are shown. */
static size_t text_service(const struct agent *a, const struct service *s, const struct pool_decision *d, size_t room,
			   struct buf *out)
{
	size_t shown = 0;

	buf_printf(out, "%s/%s", s->meta.ns, s->meta.name);
	if (d->reason)
		buf_printf(out, " %s: %s", d->reason, d->message ? d->message : "");
	buf_puts(out, "\n");
	for (size_t k = 0; k < d->n_ips; k++) {
		for (size_t p = 0; p < s->n_ports && shown < room; p++, shown++) {
			const struct traffic_row row = row_of(a, s, &d->ips[k], &s->ports[p]);

			traffic_text_row(&row, out);
		}
	}
	return shown;
}

void services_text(const struct agent *a, struct buf *out)
{
	size_t shown = 0, more = 0;

	if (agent_services(a))
		traffic_text_head(out);
	for (size_t i = 0; i < n_decided(a); i++) {
		const struct service *s = a->store.services[i]->object;
		const struct pool_decision *d = &a->decisions[i];
		size_t rows = d->n_ips * s->n_ports, here = 0;

		if (!is_served(a, i))
			continue;
		rows = rows ? rows : 1; /* one without an address has its name's line */
		if (shown < ROWS_MAX) {
			here = text_service(a, s, d, ROWS_MAX - shown, out);
			here = here ? here : 1;
		}
		shown += here;
		more += rows - here;
	}
	if (more)
		buf_printf(out, "... and %zu more (see --json)\n", more);
	traffic_text_drops(&a->traffic, out);
}

/* ---- counters ---- */

/* Backends of all Services; those that several have count as often. */
static size_t n_backends(const struct agent *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->store.n_services; i++) {
		const struct object_meta *m = &a->store.services[i]->object->meta;
		const struct nat_service *s = dataplane_wanted(&a->dataplane, m->ns, m->name);

		for (size_t k = 0; s && k < s->n_frontends; k++)
			n += s->frontends[k].n_backends;
	}
	return n;
}

mono_t services_step(struct agent *a, mono_t now)
{
	return traffic_step(&a->traffic, now, traffic_due(&a->traffic, now) ? n_backends(a) : 0);
}

struct rows {
	struct traffic_row v[TRAFFIC_FRONTENDS_MAX];
	size_t n;
};

/* The frontends of a Service that are counted. */
static void add_counted(const struct agent *a, const struct object_meta *m, struct rows *rows)
{
	const struct nat_service *s = dataplane_wanted(&a->dataplane, m->ns, m->name);

	for (size_t i = 0; s && i < s->n_frontends && rows->n < TRAFFIC_FRONTENDS_MAX; i++) {
		const struct frontend *f = &s->frontends[i];
		struct traffic_row row = { .ns = m->ns, .name = m->name, .key = { f->vip, f->proto, f->port } };

		row.count = traffic_find(&a->traffic.view, &row.key);
		if (row.count)
			rows->v[rows->n++] = row;
	}
}

void services_metrics(const struct agent *a, mono_t now, struct buf *out)
{
	struct rows *rows = malloc(sizeof(*rows));

	if (!rows)
		return; /* a page without them */
	rows->n = 0;
	for (size_t i = 0; i < a->store.n_services; i++)
		add_counted(a, &a->store.services[i]->object->meta, rows);
	if (control_plane_on(&a->control_plane))
		add_counted(a, &control_plane_service(&a->control_plane)->meta, rows);
	traffic_metrics(&a->traffic, now, rows->v, rows->n, out);
	free(rows);
}
