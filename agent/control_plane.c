/* SPDX-License-Identifier: Apache-2.0 */
/* control_plane.c: sends the checks that are due and tells of what they found.  What a check says of a server decides
 * agent/core/health.c; what the planner gets of it, servers.c. */
#include "agent/control_plane.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define SERVER_TEXT_MAX (IP_TEXT_MAX + sizeof("[]:65535"))

static const char *server_text(const struct ip_port *at, char buf[static SERVER_TEXT_MAX])
{
	bool v6 = at->ip.family == IP_V6;
	char ip[IP_TEXT_MAX];

	IGNORE(snprintf(buf, SERVER_TEXT_MAX, "%s%s%s:%u", v6 ? "[" : "", ip_format(&at->ip, ip), v6 ? "]" : "",
			(unsigned int)at->port)); /* fits */
	return buf;
}

void control_plane_init(struct control_plane *cp, struct kube_client *client, const struct ip_port *vip)
{
	memset(cp, 0, sizeof(*cp));
	if (vip->ip.family == IP_NONE)
		return;
	cp->client = client;
	cp->vip = *vip;
	servers_view_init(&cp->view, &vip->ip, vip->port);
	cp->changed = true;
}

bool control_plane_on(const struct control_plane *cp)
{
	return cp->client != NULL;
}

/* Servers, or what is known of them, have changed. */
static void take_in(struct control_plane *cp)
{
	bool guesses = cp->health.n > 0 && health_guesses(&cp->health);
	bool checked = true;

	for (size_t i = 0; i < cp->health.n; i++)
		checked = checked && cp->health.v[i].known;
	cp->changed |= servers_view_update(&cp->view, &cp->health);
	if (guesses != cp->guesses && (!guesses || checked)) {
		cp->guesses = guesses;
		if (guesses)
			log_event(LOG_ERROR, "api_servers_down", "no API server passes its checks: all get connections, at a guess");
		else
			log_event(LOG_INFO, "api_servers_up", "API servers that pass their checks get connections again");
	}
}

void control_plane_see(struct control_plane *cp, const struct store *store, mono_t now)
{
	struct servers_found found = { .n = 0 };
	const struct store_slice *slices;
	size_t n;

	if (!control_plane_on(cp))
		return;
	slices = store_slices(store, SERVERS_NAMESPACE, SERVERS_SERVICE, &n);
	for (size_t i = 0; i < n; i++)
		servers_find(&found, slices[i].object, &cp->vip.ip);
	if (found.itself && !cp->itself)
		log_event(LOG_WARN, "api_server_at_vip", "an API server is listed at the VIP itself: give it --advertise-address",
			  log_ip("vip", &cp->vip.ip));
	if (found.left_out && !cp->left_out)
		log_event(LOG_WARN, "api_servers_left_out", "there are more API servers than the VIP is balanced over",
			  log_int("most", HEALTH_SERVERS_MAX));
	cp->itself = found.itself;
	cp->left_out = found.left_out;
	if (health_list(&cp->health, found.v, found.n, now))
		take_in(cp);
}

/* ---- checks ---- */

static void on_verdict(struct kube_probe *p, enum verdict v, const char *why)
{
	struct control_plane *cp = p->ctx;
	struct health_server *s = health_find(&cp->health, &p->at);
	char text[SERVER_TEXT_MAX];

	bool first = s && !s->known;

	cp->busy[p - cp->probes] = false;
	if (!s)
		return; /* not in the list any more */
	if (health_take(s, v, why, mono_now()) || first)
		log_event(s->up ? LOG_INFO : LOG_WARN, s->up ? "api_server_up" : "api_server_down",
			  s->up ? "the API server passes its checks" : "the API server does not pass its checks",
			  log_str("server", server_text(&p->at, text)), log_str("why", s->why));
	take_in(cp);
}

static void check(struct control_plane *cp, struct health_server *s, mono_t now)
{
	struct err_info err = ERR_INFO_INIT;
	size_t i = 0;

	health_asked(s, now);
	while (i < HEALTH_SERVERS_MAX && cp->busy[i]) /* of a server that has left the list */
		i++;
	if (i < HEALTH_SERVERS_MAX) {
		cp->probes[i] = (struct kube_probe){ s->at, on_verdict, cp };
		cp->busy[i] = kube_probe(cp->client, &cp->probes[i], HEALTH_TIMEOUT_MS, &err) == 0;
	}
	if (i == HEALTH_SERVERS_MAX || !cp->busy[i])
		health_not_asked(s); /* no memory: nothing is said of the server, and it is tried again */
}

mono_t control_plane_step(struct control_plane *cp, mono_t now, bool holding)
{
	bool begins = holding && !cp->holding;
	mono_t wake = MONO_NEVER;

	if (!control_plane_on(cp))
		return MONO_NEVER;
	cp->holding = holding;
	for (size_t i = 0; i < cp->health.n; i++) {
		struct health_server *s = &cp->health.v[i];

		if (mono_reached(now, health_due(s, holding)) || (begins && !s->asking))
			check(cp, s, now);
		wake = mono_min(wake, health_due(s, holding));
	}
	return wake;
}

/* ---- for the planner ---- */

bool control_plane_changed(struct control_plane *cp)
{
	bool changed = cp->changed;

	cp->changed = false;
	return changed;
}

const struct service *control_plane_service(const struct control_plane *cp)
{
	return &cp->view.service;
}

const struct slice *const *control_plane_slices(const struct control_plane *cp, size_t *ret_n)
{
	*ret_n = cp->view.n;
	return cp->view.list;
}

size_t control_plane_take_hung(struct control_plane *cp, struct ct_gone ret[static HEALTH_SERVERS_MAX])
{
	struct ip_port at;
	size_t n = 0;

	while (!cp->changed && n < HEALTH_SERVERS_MAX && health_take_hung(&cp->health, &at))
		ret[n++] = (struct ct_gone){ .vip = cp->vip.ip, .backend = at, .proto = IPPROTO_TCP, .port = cp->vip.port };
	return n;
}

/* ---- for the status ---- */

const char *control_plane_state(const struct health_server *s)
{
	return s->up ? "up" : !s->known ? "new" : s->hung ? "silent" : "down";
}

static void server_json(const struct control_plane *cp, const struct health_server *s, mono_t now, struct buf *out)
{
	char text[SERVER_TEXT_MAX];

	buf_puts(out, "{\"server\":");
	buf_json_string(out, server_text(&s->at, text));
	buf_printf(out, ",\"state\":\"%s\",\"serves\":%s,\"for_ms\":%" PRId64 ",\"problem\":", control_plane_state(s),
		   health_serves(&cp->health, s) ? "true" : "false", mono_diff_ms(now, s->since));
	buf_json_string(out, s->why);
	buf_puts(out, "}");
}

void control_plane_json(const struct control_plane *cp, mono_t now, struct buf *out)
{
	char text[SERVER_TEXT_MAX];

	if (!control_plane_on(cp)) {
		buf_puts(out, "null");
		return;
	}
	buf_puts(out, "{\"vip\":");
	buf_json_string(out, server_text(&cp->vip, text));
	buf_printf(out, ",\"guessing\":%s,\"servers\":[", cp->guesses ? "true" : "false");
	for (size_t i = 0; i < cp->health.n; i++) {
		buf_puts(out, i ? "," : "");
		server_json(cp, &cp->health.v[i], now, out);
	}
	buf_puts(out, "]}");
}

void control_plane_metrics(const struct control_plane *cp, struct buf *out)
{
	char text[SERVER_TEXT_MAX];

	if (!control_plane_on(cp))
		return;
	buf_puts(out, "# HELP leasehold_control_plane_server_up 1 while the API server passes its checks.\n"
		      "# TYPE leasehold_control_plane_server_up gauge\n");
	for (size_t i = 0; i < cp->health.n; i++)
		buf_printf(out, "leasehold_control_plane_server_up{server=\"%s\"} %d\n",
			   server_text(&cp->health.v[i].at, text), cp->health.v[i].up);
}
