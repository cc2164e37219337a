/* SPDX-License-Identifier: Apache-2.0 */
/* status_services.c: which VIP's port belongs to which Service, for the counters that the kernel keeps.  status_json.c,
 * status_text.c and traffic_text.c have the forms. */
#include "agent/status_services.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/status_json.h"

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

/* ---- backends ---- */

/* The backends of a frontend into v[0..max), with their shares of its slots.  Returns how many; *ret_left_out: more. */
static size_t backends_of(const struct agent *a, const struct service *s, const struct traffic_key *key,
			  struct status_row *v, size_t max, size_t *ret_left_out)
{
	const struct nat_service *wants = dataplane_wanted(&a->dataplane, s->meta.ns, s->meta.name);
	const struct frontend *f = frontend_of(wants, key);
	size_t n = f ? f->n_backends : 0;

	*ret_left_out = n > max ? n - max : 0;
	n -= *ret_left_out;
	for (size_t i = 0; i < n; i++) {
		const struct ip_port *b = &f->backends[i];

		v[i] = (struct status_row){ .kind = STATUS_ROW_BACKEND, .ns = s->meta.ns, .name = s->meta.name, .backend = *b,
					    .of_slots = f->n_slots,
					    .count = traffic_find_backend(&a->traffic.view,
									  &(struct traffic_key){ b->ip, key->proto, b->port }) };
	}
	for (size_t i = 0; f && f->slots && i < f->n_slots; i++)
		if (f->slots[i] < n)
			v[f->slots[i]].slots++;
	return n;
}

/* ---- which ---- */

/* A Service that is served, or should be.  why: what is wrong with it, "" = nothing. */
struct served {
	const struct service *s;
	const struct pool_decision *d;
	const char *reason, *why;
};

static bool served_at(const struct agent *a, size_t i, const char *name, struct served *ret)
{
	const struct service *s = a->store.services[i]->object;
	const struct pool_decision *d = &a->decisions[i];
	const char *refused;
	size_t ns_len = strlen(s->meta.ns);

	if (!is_served(a, i))
		return false;
	if (*name && (strncmp(name, s->meta.ns, ns_len) != 0 || name[ns_len] != '/' || !text_eq(name + ns_len + 1, s->meta.name)))
		return false;
	refused = refusal(a, d);
	*ret = (struct served){ s, d, d->reason ? d->reason : refused ? "AddressRefused" : "",
				d->message ? d->message : refused && !*s->problem ? refused : s->problem };
	return true;
}

size_t services_vips(const struct agent *a, const char *name, struct ip ret[static OBJECT_ADDRESSES_MAX])
{
	struct served it;

	for (size_t i = 0; i < n_decided(a); i++) {
		if (!served_at(a, i, name, &it))
			continue;
		memcpy(ret, it.d->ips, sizeof(it.d->ips));
		return it.d->n_ips;
	}
	return 0;
}

/* ---- JSON ---- */

static void json_frontends(const struct agent *a, const struct served *it, bool backends, struct buf *out)
{
	struct status_row *rows = backends ? calloc(STATUS_BACKENDS_MAX, sizeof(*rows)) : NULL;
	size_t room = STATUS_BACKENDS_MAX, left_out = 0, n;
	bool first = true;

	buf_puts(out, "\"frontends\":[");
	for (size_t k = 0; k < it->d->n_ips; k++) {
		for (size_t p = 0; p < it->s->n_ports; p++) {
			const struct traffic_row row = row_of(a, it->s, &it->d->ips[k], &it->s->ports[p]);

			n = rows ? backends_of(a, it->s, &row.key, rows, room, &left_out) : 0;
			room -= n;
			buf_puts(out, first ? "" : ",");
			status_json_port(&row, rows, n, left_out, out);
			first = false;
		}
	}
	buf_puts(out, "],");
	free(rows);
}

static void json_service(const struct agent *a, const struct served *it, bool backends, struct buf *out)
{
	char ip[IP_TEXT_MAX];

	buf_puts(out, "{");
	status_json_text(out, "namespace", it->s->meta.ns);
	status_json_text(out, "name", it->s->meta.name);
	buf_puts(out, "\"addresses\":[");
	for (size_t k = 0; k < it->d->n_ips; k++) {
		buf_puts(out, k ? "," : "");
		buf_json_string(out, ip_format(&it->d->ips[k], ip));
	}
	buf_puts(out, "],\"ports\":[");
	for (size_t k = 0; k < it->s->n_ports; k++)
		buf_printf(out, "%s{\"port\":%u,\"protocol\":\"%s\"}", k ? "," : "", it->s->ports[k].port,
			   traffic_proto(it->s->ports[k].proto));
	buf_puts(out, "],");
	json_frontends(a, it, backends, out);
	buf_puts(out, "\"reason\":");
	buf_json_string(out, it->reason);
	buf_puts(out, ",\"problem\":");
	buf_json_string(out, it->why);
	buf_puts(out, "}");
}

bool services_json(const struct agent *a, const char *name, struct services_cursor *at, struct buf *out)
{
	size_t i = store_lower(&a->store, at->ns, at->name), n = n_decided(a);
	mono_t until = mono_add_ms(mono_now(), STATUS_SLICE_MS);
	struct served it;

	for (unsigned int looked = 1; i < n; i++, looked++) {
		const struct object_meta *m = &a->store.services[i]->object->meta;

		if (looked % 16 == 0 && mono_reached(mono_now(), until)) {
			IGNORE(text_copy(at->ns, sizeof(at->ns), m->ns)); /* fits, as the next one: labels of 63 characters */
			IGNORE(text_copy(at->name, sizeof(at->name), m->name));
			return true;
		}
		if (!served_at(a, i, name, &it))
			continue;
		buf_puts(out, at->told ? "," : "");
		json_service(a, &it, *name, out);
		at->told = true;
	}
	return false;
}

/* ---- rows for people ---- */

static size_t rows_of(const struct agent *a, const struct served *it, bool backends, struct status_row *v, size_t max)
{
	size_t n = 0, left_out;

	if (max == 0)
		return 0;
	v[n++] = (struct status_row){ .kind = STATUS_ROW_SERVICE, .ns = it->s->meta.ns, .name = it->s->meta.name,
				      .reason = it->reason, .problem = it->why };
	for (size_t k = 0; k < it->d->n_ips; k++) {
		for (size_t p = 0; p < it->s->n_ports && n < max; p++) {
			v[n] = (struct status_row){ .kind = STATUS_ROW_PORT, .ns = it->s->meta.ns, .name = it->s->meta.name,
						    .port = row_of(a, it->s, &it->d->ips[k], &it->s->ports[p]) };
			n++;
			if (backends)
				n += backends_of(a, it->s, &v[n - 1].port.key, &v[n], max - n, &left_out);
		}
	}
	return n;
}

size_t services_rows(const struct agent *a, const char *name, struct status_row *v, size_t max, size_t *ret_left_out)
{
	struct served it;
	size_t n = 0, left_out = 0;

	for (size_t i = 0; i < n_decided(a); i++) {
		const struct pool_decision *d = &a->decisions[i];

		if (!served_at(a, i, name, &it))
			continue;
		/* None is shown in part, but the first. */
		if (left_out > 0 || (n > 0 && d->n_ips * it.s->n_ports + 1 > max - n))
			left_out++;
		else
			n += rows_of(a, &it, *name, &v[n], max - n);
	}
	*ret_left_out = left_out;
	return n;
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
