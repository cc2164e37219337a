/* SPDX-License-Identifier: Apache-2.0 */
/* health_port.c: a listener for each port. */
#include "agent/health_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/text.h"

#define RETRY_MS (INT64_C(10) * 1000)

/* The members and names of kube-proxy's answer (pkg/proxy/healthcheck/service_health.go), which load balancers know. */
static bool answer(void *ctx, struct buf *out)
{
	const struct health_port *p = ctx;
	unsigned int n = p->all->endpoints(p->all->ctx, p->ns, p->name);

	buf_puts(out, "{\"service\":{\"namespace\":");
	buf_json_string(out, p->ns);
	buf_puts(out, ",\"name\":");
	buf_json_string(out, p->name);
	buf_printf(out, "},\"localEndpoints\":%u,\"serviceProxyHealthy\":true}\n", n);
	return n > 0;
}

static const struct http_ops ops = { .only = answer };

static void port_free(struct health_port *p)
{
	http_free(p->http);
	free(p->ns);
	free(p->name);
	free(p);
}

static void port_open(struct health_port *p, bool first)
{
	const struct ip_port all = { .port = p->port };
	struct err_info err = ERR_INFO_INIT;

	if (http_new(p->all->loop, &all, &ops, p, &p->http, &err) == 0)
		return;
	p->http = NULL;
	p->all->retry_at = mono_add_ms(mono_now(), RETRY_MS);
	if (first)
		log_event(LOG_WARN, "health_port_taken", "a health check port cannot be opened; tried again",
			  log_str("namespace", p->ns), log_str("service", p->name), log_int("port", p->port),
			  log_str("error", err.text));
}

void health_ports_begin(struct health_ports *h)
{
	for (size_t i = 0; i < h->n; i++)
		h->v[i]->marked = true;
}

void health_ports_put(struct health_ports *h, const char *ns, const char *name, uint16_t port)
{
	static struct log_limit limit;
	struct health_port *p;
	uint32_t left_out;

	for (size_t i = 0; i < h->n; i++) {
		p = h->v[i];
		if (p->port == port && text_eq(p->ns, ns) && text_eq(p->name, name)) {
			p->marked = false;
			return;
		}
	}
	p = h->n < HEALTH_PORTS_MAX ? calloc(1, sizeof(*p)) : NULL;
	if (p) {
		*p = (struct health_port){ .all = h, .port = port, .ns = strdup(ns), .name = strdup(name) };
		if (p->ns && p->name) {
			h->v[h->n++] = p;
			port_open(p, true);
			return;
		}
		port_free(p);
	}
	if (log_limit(&limit, mono_now().ns, 60000, &left_out))
		log_event(LOG_WARN, "health_port_left_out", "too many health check ports, or too little memory",
			  log_str("namespace", ns), log_str("service", name), log_int("left_out", left_out));
}

void health_ports_end(struct health_ports *h)
{
	for (size_t i = h->n; i-- > 0;) {
		if (!h->v[i]->marked)
			continue;
		port_free(h->v[i]);
		h->v[i] = h->v[--h->n];
	}
}

mono_t health_ports_step(struct health_ports *h, mono_t now)
{
	mono_t wake = MONO_NEVER;

	if (mono_reached(now, h->retry_at)) {
		h->retry_at = MONO_NEVER;
		for (size_t i = 0; i < h->n; i++)
			if (!h->v[i]->http)
				port_open(h->v[i], false);
	}
	for (size_t i = 0; i < h->n; i++)
		wake = mono_min(wake, http_tick(h->v[i]->http, now));
	return mono_min(wake, h->retry_at);
}

void health_ports_init(struct health_ports *h, struct loop *loop,
		       unsigned int (*endpoints)(void *ctx, const char *ns, const char *name), void *ctx)
{
	*h = (struct health_ports){ .loop = loop, .retry_at = MONO_NEVER, .endpoints = endpoints, .ctx = ctx };
}

void health_ports_fini(struct health_ports *h)
{
	for (size_t i = 0; i < h->n; i++)
		port_free(h->v[i]);
	h->n = 0;
}
