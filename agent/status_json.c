/* SPDX-License-Identifier: Apache-2.0 */
/* status_json.c: one object of the list at a time, so that whoever sends a long list can stop between two. */
#include "agent/status_json.h"

#include <inttypes.h>
#include <string.h>

void status_json_text(struct buf *out, const char *name, const char *value)
{
	buf_json_string(out, name);
	buf_puts(out, ":");
	buf_json_string(out, value);
	buf_puts(out, ",");
}

static const char *yes(bool value)
{
	return value ? "true" : "false";
}

/* "NAME":MS, and a comma; nothing when there is no such time. */
static void time_member(struct buf *out, const char *name, int64_t ms)
{
	if (ms != STATUS_NO_TIME)
		buf_printf(out, "\"%s\":%" PRId64 ",", name, ms);
}

/* The last comma goes, the object ends. */
static void end_object(struct buf *out)
{
	if (buf_failed(out) == 0 && out->len > 0 && out->data[out->len - 1] == ',')
		out->data[out->len - 1] = '}';
	else
		buf_puts(out, "}");
}

static void kernel_json(const struct status_head *h, struct buf *out)
{
	buf_printf(out, "\"kernel\":{\"ready\":%s,\"as_wanted\":%s,", yes(h->kernel_ready), yes(h->as_wanted));
	status_json_text(out, "problem", h->kernel_problem);
	status_json_text(out, "forwarding_problem", h->forwarding_problem);
	buf_printf(out, "\"elements_changed\":%" PRIu64 ",\"mended\":%" PRIu64 ",\"last_job_ms\":%" PRId64 "},", h->elements,
		   h->mended, h->job_ms);
}

void status_json_head(const struct status_head *h, struct buf *out)
{
	buf_printf(out, "\"schema\":%d,", STATUS_SCHEMA);
	status_json_text(out, "version", h->version);
	status_json_text(out, "node", h->node);
	status_json_text(out, "identity", h->identity);
	status_json_text(out, "role", h->role);
	buf_printf(out, "\"up_ms\":%" PRId64 ",\"ready\":%s,", h->up_ms, yes(h->ready));
	status_json_text(out, "not_ready_because", h->not_ready_because);
	status_json_text(out, "gate", h->gate ? "on" : "off");
	status_json_text(out, "gate_problem", h->gate_problem);
	buf_printf(out, "\"gate_put_back\":%" PRIu64 ",\"conflicts\":%" PRIu64 ",", h->gate_put_back, h->conflicts);
	status_json_text(out, "on_api_loss", h->hold ? "hold" : "fence");
	buf_printf(out, "\"counts\":{\"leases\":%zu,\"leases_held\":%zu,\"vips\":%zu,\"vips_answered\":%zu,\"services\":%zu},",
		   h->leases, h->leases_held, h->vips, h->vips_answered, h->services);
	buf_printf(out, "\"api\":{\"synced\":%s,\"services\":%zu,\"slices\":%zu},", yes(h->synced), h->services_seen,
		   h->slices_seen);
	kernel_json(h, out);
}

void status_json_problems(const struct status_problems *p, struct buf *out)
{
	buf_puts(out, "\"problems\":[");
	for (size_t i = 0; i < p->n; i++) {
		buf_puts(out, i ? ",{" : "{");
		status_json_text(out, "level", status_level_name(p->v[i].level));
		status_json_text(out, "code", p->v[i].code);
		status_json_text(out, "what", p->v[i].what);
		status_json_text(out, "todo", p->v[i].todo);
		end_object(out);
	}
	buf_printf(out, "],\"problems_left_out\":%zu,", p->left_out);
}

void status_json_lease(const struct status_lease *l, struct buf *out)
{
	buf_puts(out, "{");
	status_json_text(out, "namespace", l->ns);
	status_json_text(out, "name", l->name);
	status_json_text(out, "holder", l->holder);
	status_json_text(out, "holder_identity", l->identity);
	buf_printf(out, "\"held_here\":%s,", yes(l->here));
	status_json_text(out, "state", l->state);
	status_json_text(out, "on_api_loss", l->hold ? "hold" : "fence");
	buf_printf(out, "\"in_view\":%s,\"transitions\":%u,\"duration_ms\":%" PRId64 ",\"vips\":%zu,", yes(l->in_view),
		   l->transitions, l->duration_ms, l->n_vips);
	if (*l->moving_to)
		status_json_text(out, "moving_to", l->moving_to);
	time_member(out, "changed_ago_ms", l->changed_ago_ms);
	time_member(out, "renewed_ago_ms", l->renewed_ago_ms);
	time_member(out, "deadline_in_ms", l->deadline_in_ms);
	end_object(out);
}

static void places_json(const struct status_vip *v, struct buf *out)
{
	buf_puts(out, "\"interfaces\":[");
	for (size_t i = 0; i < v->n_at; i++) {
		const struct status_place *p = &v->at[i];

		buf_puts(out, i ? ",{" : "{");
		status_json_text(out, "name", p->name);
		buf_printf(out, "\"usable\":%s,\"gate\":%s,\"announced\":%" PRIu64 ",\"errors\":%" PRIu64 ",", yes(p->usable),
			   yes(p->gate), p->announced, p->errors);
		time_member(out, "last_ago_ms", p->last_ago_ms);
		time_member(out, "next_in_ms", p->next_in_ms);
		end_object(out);
	}
	buf_puts(out, "],");
}

static void conflict_json(const struct status_conflict *c, struct buf *out)
{
	buf_puts(out, "\"claimed_by\":{");
	status_json_text(out, "kind", c->kind);
	status_json_text(out, "mac", c->mac);
	status_json_text(out, "node", c->node);
	status_json_text(out, "interface", c->interface);
	status_json_text(out, "text", c->text);
	buf_printf(out, "\"count\":%" PRIu64 ",", c->count);
	time_member(out, "since_ms", c->since_ms);
	time_member(out, "ago_ms", c->ago_ms);
	end_object(out);
	buf_puts(out, ",");
}

void status_json_vip(const struct status_vip *v, struct buf *out)
{
	char ip[IP_TEXT_MAX], state[32];
	uint64_t announced = 0;
	size_t i = 0;

	for (const char *name = status_vip_state_name(v->state); name[i] && i + 1 < sizeof(state); i++)
		state[i] = name[i] == ' ' ? '_' : name[i];
	state[i] = '\0';
	for (i = 0; i < v->n_at; i++)
		announced += v->at[i].announced;
	buf_puts(out, "{");
	status_json_text(out, "address", ip_format(&v->ip, ip));
	status_json_text(out, "lease", v->lease);
	status_json_text(out, "holder", v->holder);
	status_json_text(out, "state", state);
	status_json_text(out, "why", v->why);
	status_json_text(out, "interface", v->n_at > 0 ? v->at[0].name : "");
	buf_printf(out, "\"live\":%s,\"announced\":%" PRIu64 ",", yes(v->live), announced);
	time_member(out, "drains_for_ms", v->drains_ms);
	if (v->gated)
		time_member(out, "gate_open_for_ms", v->gate_open_ms);
	places_json(v, out);
	if (*v->conflict.kind)
		conflict_json(&v->conflict, out);
	end_object(out);
}

static void backends_json(const struct status_row *rows, size_t n, size_t left_out, struct buf *out)
{
	char ip[IP_TEXT_MAX];

	buf_puts(out, ",\"to\":[");
	for (size_t i = 0; i < n; i++) {
		const struct status_row *r = &rows[i];

		buf_puts(out, i ? ",{" : "{");
		status_json_text(out, "address", ip_format(&r->backend.ip, ip));
		buf_printf(out, "\"port\":%u,\"slots\":%u,\"of_slots\":%u,", r->backend.port, r->slots, r->of_slots);
		if (r->count)
			buf_printf(out, "\"connections\":%" PRIu64 ",\"received\":{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 "},",
				   r->count->connections, r->count->received.packets, r->count->received.bytes);
		end_object(out);
	}
	buf_printf(out, "],\"to_left_out\":%zu", left_out);
}

void status_json_port(const struct traffic_row *port, const struct status_row *backends, size_t n, size_t left_out,
		      struct buf *out)
{
	buf_puts(out, "{");
	traffic_row_members(port, out);
	if (backends)
		backends_json(backends, n, left_out, out);
	buf_puts(out, "}");
}
