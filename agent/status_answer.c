/* SPDX-License-Identifier: Apache-2.0 */
/* status_answer.c: what was asked for, and how far the answer has got. */
#include "agent/status_answer.h"

#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/status_gather.h"
#include "agent/status_json.h"
#include "agent/status_services.h"
#include "agent/status_text.h"

#define PLAN_PATIENCE_MS 2000 /* that an answer waits for the Services to be decided on */
#define WHY_MAX 4096

enum stage {
	STAGE_HEAD, /* Leases, too */
	STAGE_VIPS,
	STAGE_SERVICES,
	STAGE_BACKENDS,
	STAGE_END,
};

struct answer {
	struct agent *a;
	struct status_ask ask;
	enum stage stage;
	mono_t patient_until;
	struct ip vip; /* the next one; IP_NONE: the first */
	bool told;     /* one of the list */
	struct services_cursor service;
	struct traffic_key backend;
};

static void *answer_begin(void *ctx, const char *line)
{
	struct answer *n = calloc(1, sizeof(*n));

	if (!n || status_ask_read(line, &n->ask) < 0) {
		free(n);
		return NULL;
	}
	n->a = ctx;
	n->patient_until = mono_add_ms(mono_now(), PLAN_PATIENCE_MS);
	return n;
}

/* Services are told as decided; while decisions are about to be made anew there are none.  Nobody waits for ever. */
static bool undecided(const struct answer *n, mono_t now)
{
	const struct store *s = &n->a->store;

	return store_synced(s) && (s->dirty || !n->a->decisions) && mono_before(now, n->patient_until);
}

static bool wants(const struct answer *n, enum status_part part)
{
	return n->ask.part == STATUS_ALL || n->ask.part == part;
}

/* ---- JSON ---- */

static void json_leases(const struct answer *n, mono_t now, struct buf *out)
{
	const struct agent *a = n->a;
	struct status_lease l;
	bool first = true;

	status_lease_of(a, a->groups[0], now, &l);
	buf_puts(out, "\"lease\":");
	status_json_lease(&l, out);
	buf_puts(out, ",\"leases\":[");
	for (unsigned int i = 0; i < a->n_groups && wants(n, STATUS_LEASES); i++) {
		status_lease_of(a, a->groups[i], now, &l);
		if (n->ask.part == STATUS_LEASES && *n->ask.name && !text_eq(n->ask.name, l.name))
			continue;
		buf_puts(out, first ? "" : ",");
		status_json_lease(&l, out);
		first = false;
	}
	buf_puts(out, "],");
}

static void json_head(struct answer *n, mono_t now, struct buf *out)
{
	struct buf why = BUF_INIT(WHY_MAX);
	struct status_problems problems;
	struct status_head head;

	status_head_of(n->a, now, &why, &head);
	status_problems_of(n->a, now, &problems);
	buf_puts(out, "{");
	status_json_head(&head, out);
	status_json_problems(&problems, out);
	json_leases(n, now, out);
	buf_puts(out, "\"control_plane\":");
	control_plane_json(&n->a->control_plane, now, out);
	buf_puts(out, ",\"vips\":[");
	buf_fini(&why);
	n->stage = STAGE_VIPS;
}

/* True: there are more. */
static bool json_vips(struct answer *n, mono_t now, struct buf *out)
{
	const struct vips *v = &n->a->vips;
	mono_t until = mono_add_ms(now, STATUS_SLICE_MS);
	struct status_vip row;
	char ip[IP_TEXT_MAX];
	size_t i = 0;

	while (i < v->n && ip_cmp(&v->v[i].ip, &n->vip) < 0)
		i++;
	for (unsigned int looked = 1; i < v->n && wants(n, STATUS_VIPS); i++, looked++) {
		if (looked % 16 == 0 && mono_reached(mono_now(), until)) {
			n->vip = v->v[i].ip;
			return true;
		}
		if (n->ask.part == STATUS_VIPS && *n->ask.name && !text_eq(n->ask.name, ip_format(&v->v[i].ip, ip)))
			continue;
		status_vip_of(n->a, &v->v[i], now, &row);
		buf_puts(out, n->told ? "," : "");
		status_json_vip(&row, out);
		n->told = true;
	}
	return false;
}

static bool json_backends(struct answer *n, struct buf *out)
{
	const struct traffic_view *v = &n->a->traffic.view;
	mono_t until = mono_add_ms(mono_now(), STATUS_SLICE_MS);
	size_t i = traffic_backend_lower(v, &n->backend);

	for (unsigned int looked = 1; i < v->n_backends; i++, looked++) {
		if (looked % 64 == 0 && mono_reached(mono_now(), until)) {
			n->backend = v->backends[i].key;
			return true;
		}
		buf_puts(out, n->told ? "," : "");
		traffic_backend_json(&v->backends[i], out);
		n->told = true;
	}
	return false;
}

static enum control_more json_more(struct answer *n, mono_t now, struct buf *out)
{
	const struct traffic *t = &n->a->traffic;

	switch (n->stage) {
	case STAGE_HEAD:
		json_head(n, now, out);
		break;
	case STAGE_VIPS:
		if (json_vips(n, now, out))
			break;
		buf_puts(out, "],\"services\":[");
		n->stage = STAGE_SERVICES;
		break;
	case STAGE_SERVICES:
		if (undecided(n, now))
			return CONTROL_LATER;
		if (wants(n, STATUS_SERVICES) && services_json(n->a, n->ask.part == STATUS_SERVICES ? n->ask.name : "", &n->service, out))
			break;
		buf_puts(out, "],\"traffic\":{");
		traffic_json(t, now, out);
		buf_puts(out, traffic_tells_backends(t) ? ",\"backends\":[" : "}}\n");
		n->stage = traffic_tells_backends(t) ? STAGE_BACKENDS : STAGE_END;
		n->told = false;
		break;
	case STAGE_BACKENDS:
		if (n->ask.part == STATUS_ALL && json_backends(n, out))
			break;
		buf_puts(out, "]}}\n");
		n->stage = STAGE_END;
		break;
	case STAGE_END:
		break;
	}
	return n->stage == STAGE_END ? CONTROL_END : CONTROL_MORE;
}

/* ---- for people ---- */

static void view_leases(const struct answer *n, size_t max, struct status_view *v)
{
	const struct agent *a = n->a;

	for (unsigned int i = 0; i < a->n_groups && wants(n, STATUS_LEASES); i++) {
		if (n->ask.part == STATUS_LEASES && *n->ask.name && !text_eq(n->ask.name, a->groups[i]->leader.name))
			continue;
		if (v->n_leases < max)
			status_lease_of(a, a->groups[i], v->now, &v->leases[v->n_leases++]);
		else
			v->leases_out++;
	}
}

static bool wants_vip(const struct answer *n, const struct ip *vip, const struct ip *of_service, size_t n_of_service)
{
	char ip[IP_TEXT_MAX];

	for (size_t i = 0; i < n_of_service; i++)
		if (ip_eq(&of_service[i], vip))
			return true;
	return wants(n, STATUS_VIPS) && (!*n->ask.name || text_eq(n->ask.name, ip_format(vip, ip)));
}

static void view_vips(const struct answer *n, size_t max, struct status_view *v)
{
	const struct vips *vips = &n->a->vips;
	struct ip of_service[OBJECT_ADDRESSES_MAX];
	size_t n_of_service = n->ask.part == STATUS_SERVICES && *n->ask.name ? services_vips(n->a, n->ask.name, of_service) : 0;

	for (size_t i = 0; i < vips->n; i++) {
		if (!wants_vip(n, &vips->v[i].ip, of_service, n_of_service))
			continue;
		if (v->n_vips < max)
			status_vip_of(n->a, &vips->v[i], v->now, &v->vips[v->n_vips++]);
		else
			v->vips_out++;
	}
}

static void text_all(const struct answer *n, mono_t now, struct buf *out)
{
	size_t max = n->ask.part == STATUS_ALL ? STATUS_ROWS_SOME : STATUS_ROWS_MOST;
	size_t rows = n->ask.part == STATUS_ALL ? STATUS_ROWS_SERVICES : *n->ask.name ? STATUS_BACKENDS_MAX : max;
	struct buf why = BUF_INIT(WHY_MAX);
	struct status_view v = { .ask = &n->ask, .now = now, .control_plane = &n->a->control_plane, .traffic = &n->a->traffic };

	v.leases = calloc(max, sizeof(*v.leases));
	v.vips = calloc(max, sizeof(*v.vips));
	v.rows = calloc(rows, sizeof(*v.rows));
	if (v.leases && v.vips && v.rows) {
		status_head_of(n->a, now, &why, &v.head);
		if (n->ask.part == STATUS_ALL)
			status_problems_of(n->a, now, &v.problems);
		view_leases(n, max, &v);
		view_vips(n, max, &v);
		if (wants(n, STATUS_SERVICES))
			v.n_rows = services_rows(n->a, n->ask.name, v.rows, rows, &v.rows_out);
		status_text(&v, out);
	}
	free(v.leases);
	free(v.vips);
	free(v.rows);
	buf_fini(&why);
}

/* ---- for control.h ---- */

static enum control_more answer_more(void *answer, struct buf *out)
{
	struct answer *n = answer;
	mono_t now = mono_now();

	if (n->ask.json)
		return json_more(n, now, out);
	if (undecided(n, now))
		return CONTROL_LATER;
	text_all(n, now, out);
	return CONTROL_END;
}

const struct control_ops status_answer_ops = { .begin = answer_begin, .more = answer_more, .end = free };
