/* SPDX-License-Identifier: Apache-2.0 */
/* traffic_text.c: bounded by the rows that it is given; traffic.h says how many a reading has. */
#include "agent/traffic_text.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

const char *traffic_proto(uint8_t proto)
{
	return proto == IPPROTO_TCP ? "TCP" : proto == IPPROTO_UDP ? "UDP" : proto == IPPROTO_SCTP ? "SCTP" : "?";
}

const char *traffic_balance(uint8_t balance)
{
	static const char *const names[] = { [BALANCE_HASH] = "hash", [BALANCE_RANDOM] = "random", [BALANCE_SOURCE] = "source",
					     [BALANCE_ROUND_ROBIN] = "round-robin" };

	return balance <= BALANCE_ROUND_ROBIN ? names[balance] : "?";
}

/* ---- metrics ---- */

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP leasehold_%s %s\n# TYPE leasehold_%s %s\n", name, help, name, type);
}

static void single(struct buf *out, const char *name, const char *help, uint64_t value)
{
	head(out, name, "counter", help);
	buf_printf(out, "leasehold_%s %" PRIu64 "\n", name, value);
}

static void totals(const struct traffic_sums *s, struct buf *out)
{
	single(out, "connections_total", "Connections to VIPs.", s->connections);
	single(out, "received_packets_total", "Packets from clients to VIPs.", s->received.packets);
	single(out, "received_bytes_total", "Their bytes.", s->received.bytes);
	single(out, "sent_packets_total", "Packets from VIPs to clients.", s->sent.packets);
	single(out, "sent_bytes_total", "Their bytes.", s->sent.bytes);
}

/* What the labels of one row look like; the same in all metrics of that row. */
static void put_labels(struct buf *labels, const struct traffic_row *r)
{
	char ip[IP_TEXT_MAX];

	buf_printf(labels, "{namespace=\"%s\",service=\"%s\",vip=\"%s\",protocol=\"%s\",port=\"%u\"}", r->ns, r->name,
		   ip_format(&r->key.ip, ip), traffic_proto(r->key.proto), r->key.port);
	buf_append(labels, "", 1); /* so that each is a text of its own */
}

static uint64_t service_value(const struct traffic_frontend *f, unsigned int which)
{
	const uint64_t values[] = { f->received.packets, f->received.bytes, f->sent.packets, f->sent.bytes, f->connections };

	return values[which];
}

static void service_metrics(const struct traffic_row *rows, size_t n, struct buf *out)
{
	static const char *const metrics[][2] = {
		{ "service_received_packets_total", "Packets from clients to a VIP's port." },
		{ "service_received_bytes_total", "Their bytes." },
		{ "service_sent_packets_total", "Packets from a VIP's port to clients." },
		{ "service_sent_bytes_total", "Their bytes." },
		{ "service_connections_total", "Connections to a VIP's port." },
	};
	struct buf labels = BUF_INIT((size_t)1024 * TRAFFIC_FRONTENDS_MAX);

	for (size_t i = 0; i < n; i++)
		put_labels(&labels, &rows[i]);
	for (unsigned int m = 0; m < ARRAY_LEN(metrics) && buf_failed(&labels) == 0; m++) {
		const char *label = buf_text(&labels);

		head(out, metrics[m][0], "counter", metrics[m][1]);
		for (size_t i = 0; i < n; i++, label += strlen(label) + 1)
			buf_printf(out, "leasehold_%s%s %" PRIu64 "\n", metrics[m][0], label, service_value(rows[i].count, m));
	}
	buf_fini(&labels);
}

static void backend_metrics(const struct traffic_view *v, struct buf *out)
{
	static const char *const metrics[][2] = {
		{ "backend_received_packets_total", "Packets that a backend got from VIPs' clients, of all Services." },
		{ "backend_received_bytes_total", "Their bytes." },
		{ "backend_connections_total", "Connections that a backend got, of all Services." },
	};
	char ip[IP_TEXT_MAX];

	for (unsigned int m = 0; m < ARRAY_LEN(metrics); m++) {
		head(out, metrics[m][0], "counter", metrics[m][1]);
		for (size_t i = 0; i < v->n_backends; i++) {
			const struct traffic_backend *b = &v->backends[i];
			const uint64_t values[] = { b->received.packets, b->received.bytes, b->connections };

			buf_printf(out, "leasehold_%s{backend=\"%s\",protocol=\"%s\",port=\"%u\"} %" PRIu64 "\n", metrics[m][0],
				   ip_format(&b->key.ip, ip), traffic_proto(b->key.proto), b->key.port, values[m]);
		}
	}
}

static void drop_metrics(const struct traffic_view *v, struct buf *out)
{
	head(out, "drops_packets_total", "counter", "Packets dropped or refused, by reason.");
	for (unsigned int i = 0; i < NAT_DROP_N; i++)
		buf_printf(out, "leasehold_drops_packets_total{reason=\"%s\"} %" PRIu64 "\n", nat_drop_name((enum nat_drop)i),
			   v->drops[i].packets);
	head(out, "drops_bytes_total", "counter", "Their bytes.");
	for (unsigned int i = 0; i < NAT_DROP_N; i++)
		buf_printf(out, "leasehold_drops_bytes_total{reason=\"%s\"} %" PRIu64 "\n", nat_drop_name((enum nat_drop)i),
			   v->drops[i].bytes);
}

void traffic_metrics(const struct traffic *t, mono_t now, const struct traffic_row *counted, size_t n, struct buf *out)
{
	const struct traffic_view *v = &t->view;

	if (!t->on)
		return;
	single(out, "counter_errors_total", "Readings of the kernel's counters that failed.", t->errors);
	if (t->read_at.ns == 0)
		return; /* zeros would be no figures */
	head(out, "counters_age_seconds", "gauge", "Since the kernel's counters were read.");
	buf_printf(out, "leasehold_counters_age_seconds %.1f\n", (double)mono_diff_ms(now, t->read_at) / 1000);
	drop_metrics(v, out);
	if (!t->counting)
		return;
	head(out, "counters_incomplete", "gauge", "1 while there are more counters than are read; then only drops are told.");
	buf_printf(out, "leasehold_counters_incomplete %d\n", v->incomplete);
	totals(&t->total, out);
	head(out, "counters_left_out", "gauge", "VIPs' ports and backends that are only in the totals.");
	buf_printf(out, "leasehold_counters_left_out{what=\"frontends\"} %zu\n", v->frontends_out);
	buf_printf(out, "leasehold_counters_left_out{what=\"backends\"} %zu\n", v->backends_out);
	service_metrics(counted, n, out);
	backend_metrics(v, out);
}

/* ---- JSON ---- */

static void tick_json(const char *name, const struct nat_tick *t, struct buf *out)
{
	buf_printf(out, "\"%s\":{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", name, t->packets, t->bytes);
}

void traffic_backend_json(const struct traffic_backend *b, struct buf *out)
{
	char ip[IP_TEXT_MAX];

	buf_printf(out, "{\"address\":\"%s\",\"port\":%u,\"protocol\":\"%s\",\"connections\":%" PRIu64 ",", ip_format(&b->key.ip, ip),
		   b->key.port, traffic_proto(b->key.proto), b->connections);
	tick_json("received", &b->received, out);
	buf_puts(out, "}");
}

bool traffic_tells_backends(const struct traffic *t)
{
	return t->read_at.ns != 0 && t->counting;
}

void traffic_json(const struct traffic *t, mono_t now, struct buf *out)
{
	const struct traffic_view *v = &t->view;

	buf_printf(out, "\"counters\":\"%s\"", t->on && t->counting ? "on" : "off");
	if (t->read_at.ns == 0)
		return;
	buf_printf(out, ",\"read_ago_ms\":%" PRId64 ",\"drops\":{", mono_diff_ms(now, t->read_at));
	for (unsigned int i = 0; i < NAT_DROP_N; i++) {
		buf_puts(out, i ? "," : "");
		tick_json(nat_drop_name((enum nat_drop)i), &v->drops[i], out);
	}
	buf_puts(out, "}");
	if (!t->counting)
		return;
	buf_printf(out, ",\"incomplete\":%s,\"left_out\":{\"frontends\":%zu,\"backends\":%zu},\"total\":{\"connections\":%" PRIu64 ",",
		   v->incomplete ? "true" : "false", v->frontends_out, v->backends_out, t->total.connections);
	tick_json("received", &t->total.received, out);
	buf_puts(out, ",");
	tick_json("sent", &t->total.sent, out);
	buf_puts(out, "}");
}

void traffic_row_members(const struct traffic_row *row, struct buf *out)
{
	char ip[IP_TEXT_MAX];

	buf_printf(out, "\"address\":\"%s\",\"port\":%u,\"protocol\":\"%s\"", ip_format(&row->key.ip, ip), row->key.port,
		   traffic_proto(row->key.proto));
	if (row->balanced)
		buf_printf(out, ",\"balance\":\"%s\",\"backends\":%u", traffic_balance(row->balance), row->n_backends);
	if (row->count) {
		buf_printf(out, ",\"connections\":%" PRIu64 ",", row->count->connections);
		tick_json("received", &row->count->received, out);
		buf_puts(out, ",");
		tick_json("sent", &row->count->sent, out);
	}
}

/* ---- for a table for people ---- */

const char *traffic_amount(uint64_t v, bool bytes, char buf[static TRAFFIC_AMOUNT_MAX])
{
	static const char units[] = "kMGTPE";
	double d = (double)v;
	int unit = -1;

	if (!bytes && v < 1000000) {
		IGNORE(snprintf(buf, TRAFFIC_AMOUNT_MAX, "%" PRIu64, v)); /* fits */
		return buf;
	}
	/* 999.95 would be shown as 1000.0 */
	while (d >= 999.95 && unit < (int)sizeof(units) - 2) {
		d /= 1000;
		unit++;
	}
	if (unit < 0)
		IGNORE(snprintf(buf, TRAFFIC_AMOUNT_MAX, "%" PRIu64 " B", v)); /* fits */
	else
		IGNORE(snprintf(buf, TRAFFIC_AMOUNT_MAX, "%.1f %c%s", d, units[unit], bytes ? "B" : "")); /* likewise */
	return buf;
}
