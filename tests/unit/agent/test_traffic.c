/* SPDX-License-Identifier: Apache-2.0 */
/* Counters become bounded rows whose sums lose nothing, and rows become texts of the promised form: metrics that a scraper
 * takes, and JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/traffic_text.h"

#define MANY 3000

static struct ip addr(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static struct nat_count count(enum nat_member_kind kind, const char *ip, uint16_t port, uint64_t packets, uint64_t bytes)
{
	return (struct nat_count){ { .ip = addr(ip), .kind = (uint8_t)kind, .proto = IPPROTO_TCP, .port = port }, { packets, bytes } };
}

static struct frontend_count connections(const char *ip, uint16_t port, uint64_t n)
{
	return (struct frontend_count){ addr(ip), IPPROTO_TCP, port, n };
}

/* ---- rows ---- */

/* Each list lacks some of the keys that others have. */
static void test_lists_are_joined(void **state)
{
	struct nat_count v[] = {
		count(NAT_RECEIVED, "192.0.2.1", 80, 10, 1000), count(NAT_RECEIVED, "192.0.2.3", 80, 1, 60),
		count(NAT_SENT, "192.0.2.1", 80, 20, 2000), count(NAT_SENT, "192.0.2.2", 443, 2, 120),
		count(NAT_BACKEND, "198.51.100.1", 8080, 5, 500), count(NAT_BACKEND, "198.51.100.2", 8080, 6, 600),
		count(NAT_OPENED, "198.51.100.2", 8080, 3, 180), count(NAT_OPENED, "2001:db8::2", 8080, 4, 240),
	};
	struct frontend_count f[] = { connections("192.0.2.1", 80, 7), connections("192.0.2.9", 53, 8) };
	const struct nat_counts c = { .v = v, .n = ARRAY_LEN(v), .frontends = f, .n_frontends = ARRAY_LEN(f),
				      .drops = { [NAT_DROP_SOURCE] = { 9, 540 } } };
	const struct traffic_key absent = { addr("192.0.2.1"), IPPROTO_UDP, 80 };
	struct traffic_view view;

	(void)state;
	assert_int_equal(traffic_reduce(&c, 100, &view), 0);
	assert_int_equal(view.n_frontends, 4);
	for (size_t i = 0; i < 4; i++)
		assert_ptr_equal(traffic_find(&view, &view.frontends[i].key), &view.frontends[i]);
	assert_null(traffic_find(&view, &absent));
	assert_int_equal(view.frontends[0].connections, 7);
	assert_int_equal(view.frontends[0].received.packets, 10);
	assert_int_equal(view.frontends[0].sent.bytes, 2000);
	assert_int_equal(view.frontends[1].key.port, 443);
	assert_int_equal(view.frontends[1].sent.packets, 2);
	assert_int_equal(view.frontends[1].connections, 0);
	assert_int_equal(view.frontends[2].received.bytes, 60);
	assert_int_equal(view.frontends[3].connections, 8);
	assert_int_equal(view.sums.connections, 15);
	assert_int_equal(view.sums.received.packets, 11);
	assert_int_equal(view.sums.sent.bytes, 2120);
	assert_int_equal(view.n_backends, 3);
	assert_int_equal(view.backends[0].connections, 0);
	assert_int_equal(view.backends[1].received.packets, 6);
	assert_int_equal(view.backends[1].connections, 3);
	assert_int_equal(view.backends[2].connections, 4);
	assert_int_equal(view.drops[NAT_DROP_SOURCE].bytes, 540);
	assert_false(view.incomplete);
	traffic_view_fini(&view);
}

static struct nat_counts *many(size_t n_frontends, size_t n_backends)
{
	struct nat_counts *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->n = n_frontends + n_backends;
	c->v = calloc(c->n, sizeof(*c->v));
	assert_non_null(c->v);
	for (size_t i = 0; i < c->n; i++) {
		struct nat_member *m = &c->v[i].member;
		size_t k = i < n_frontends ? i : i - n_frontends;

		m->kind = i < n_frontends ? NAT_RECEIVED : NAT_BACKEND;
		m->ip = addr("198.18.0.0");
		m->ip.b[2] = (uint8_t)(k >> 8);
		m->ip.b[3] = (uint8_t)k;
		m->proto = IPPROTO_SCTP;
		m->port = UINT16_MAX;
		c->v[i].tick = (struct nat_tick){ 1, 100 };
	}
	return c;
}

static void drop_many(struct nat_counts *c)
{
	free(c->v);
	free(c);
}

static void test_more_than_are_shown(void **state)
{
	struct nat_counts *c = many(MANY, TRAFFIC_BACKENDS_MAX + 7);
	struct traffic_view view;

	(void)state;
	assert_int_equal(traffic_reduce(c, SIZE_MAX, &view), 0);
	assert_int_equal(view.n_frontends, TRAFFIC_FRONTENDS_MAX);
	assert_int_equal(view.frontends_out, MANY - TRAFFIC_FRONTENDS_MAX);
	assert_int_equal(view.sums.received.packets, MANY); /* all of them */
	assert_int_equal(view.n_backends, TRAFFIC_BACKENDS_MAX);
	assert_int_equal(view.backends_out, 7);
	traffic_view_fini(&view);
	/* Some elements were not read: nobody knows which. */
	assert_int_equal(traffic_reduce(c, c->n, &view), 0);
	assert_true(view.incomplete);
	assert_int_equal(view.n_frontends + view.n_backends + view.sums.received.packets, 0);
	traffic_view_fini(&view);
	drop_many(c);
}

static void test_drops_alone(void **state)
{
	const struct nat_counts c = { .drops = { [NAT_DROP_RATE] = { 3, 300 } } };
	struct traffic_view view;

	(void)state;
	assert_int_equal(traffic_reduce(&c, 0, &view), 0);
	assert_int_equal(view.drops[NAT_DROP_RATE].packets, 3);
	assert_false(view.incomplete);
	traffic_view_fini(&view);
}

/* ---- texts ---- */

static struct traffic_frontend some = { .connections = 7, .received = { 10, 1500 }, .sent = { 20, 34000000000 } };

static struct traffic small(struct traffic_backend *b)
{
	struct traffic t = { .on = true, .counting = true, .read_at = { 1000 * NS_PER_MS }, .errors = 2 };

	*b = (struct traffic_backend){ { addr("2001:db8::7"), IPPROTO_UDP, 53 }, 4, { 5, 600 } };
	t.view = (struct traffic_view){ .backends = b, .n_backends = 1, .frontends_out = 11,
					.drops = { [NAT_DROP_UNMATCHED] = { 8, 480 } } };
	t.total.connections = 99;
	return t;
}

static void check_contains(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no \"%s\" in:\n%s", part, text);
}

static void test_metrics(void **state)
{
	struct traffic_backend b;
	const struct traffic t = small(&b);
	const struct traffic_row rows[] = {
		{ .ns = "default", .name = "web", .key = { addr("192.0.2.200"), IPPROTO_TCP, 80 }, .count = &some },
		{ .ns = "default", .name = "dns", .key = { addr("2001:db8::c8"), IPPROTO_UDP, 53 }, .count = &some },
	};
	static const char *const parts[] = {
		"\nleasehold_service_received_packets_total{namespace=\"default\",service=\"web\",vip=\"192.0.2.200\",protocol=\"TCP\","
		"port=\"80\"} 10\nleasehold_service_received_packets_total{namespace=\"default\",service=\"dns\",vip=\"2001:db8::c8\","
		"protocol=\"UDP\",port=\"53\"} 10\n",
		"# TYPE leasehold_service_received_bytes_total counter\n", "port=\"80\"} 1500\n", "port=\"53\"} 34000000000\n",
		"leasehold_service_sent_packets_total{", "leasehold_service_connections_total{namespace=\"default\",service=\"web\",",
		"\nleasehold_backend_received_bytes_total{backend=\"2001:db8::7\",protocol=\"UDP\",port=\"53\"} 600\n",
		"\nleasehold_backend_connections_total{backend=\"2001:db8::7\",protocol=\"UDP\",port=\"53\"} 4\n",
		"\nleasehold_drops_packets_total{reason=\"unmatched\"} 8\n", "\nleasehold_drops_bytes_total{reason=\"router\"} 0\n",
		"\nleasehold_counters_left_out{what=\"frontends\"} 11\n", "\nleasehold_connections_total 99\n",
		"\nleasehold_counter_errors_total 2\n", "\nleasehold_counters_age_seconds 2.0\n",
	};
	struct buf out = BUF_INIT(65536);

	(void)state;
	traffic_metrics(&t, (mono_t){ 3000 * NS_PER_MS }, rows, ARRAY_LEN(rows), &out);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		check_contains(buf_text(&out), parts[i]);
	buf_fini(&out);
}

/* Opted out, or not read yet: what is not known is not zero. */
static void test_metrics_that_are_not_there(void **state)
{
	struct traffic_backend b;
	struct traffic t = small(&b);
	struct buf out = BUF_INIT(65536);

	(void)state;
	t.counting = false;
	traffic_metrics(&t, t.read_at, NULL, 0, &out);
	check_contains(buf_text(&out), "leasehold_drops_packets_total{reason=\"unmatched\"} 8");
	assert_null(strstr(buf_text(&out), "leasehold_service_"));
	assert_null(strstr(buf_text(&out), "leasehold_backend_"));
	assert_null(strstr(buf_text(&out), "leasehold_connections_total"));
	buf_reset(&out);
	t.counting = true;
	t.read_at.ns = 0;
	traffic_metrics(&t, (mono_t){ 1 }, NULL, 0, &out);
	assert_null(strstr(buf_text(&out), "leasehold_drops_"));
	buf_reset(&out);
	t.on = false;
	traffic_metrics(&t, (mono_t){ 1 }, NULL, 0, &out);
	assert_string_equal(buf_text(&out), "");
	buf_fini(&out);
}

/* A page of the longest names fits what http.c takes. */
static void test_the_largest_page(void **state)
{
	struct nat_counts *c = many(TRAFFIC_FRONTENDS_MAX, TRAFFIC_BACKENDS_MAX);
	struct traffic t = { .on = true, .counting = true, .read_at = { 1 } };
	struct traffic_row *rows = calloc(TRAFFIC_FRONTENDS_MAX, sizeof(*rows));
	char name[64], ip[IP_TEXT_MAX];
	struct buf out = BUF_INIT((size_t)8 * 1024 * 1024);

	(void)state;
	assert_non_null(rows);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (size_t i = 0; i < c->n; i++) {
		c->v[i].member.ip = addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff");
		c->v[i].member.ip.b[14] = (uint8_t)(i >> 8);
		c->v[i].member.ip.b[15] = (uint8_t)i;
		c->v[i].tick = (struct nat_tick){ UINT64_MAX / MANY / MANY, UINT64_MAX / MANY / MANY };
	}
	assert_int_equal(traffic_reduce(c, SIZE_MAX, &t.view), 0);
	for (size_t i = 0; i < t.view.n_frontends; i++)
		rows[i] = (struct traffic_row){ .ns = name, .name = name, .key = t.view.frontends[i].key, .count = &t.view.frontends[i] };
	assert_true(strlen(ip_format(&rows[1].key.ip, ip)) >= 35);
	traffic_metrics(&t, (mono_t){ 1 }, rows, t.view.n_frontends, &out);
	assert_int_equal(buf_failed(&out), 0);
	buf_fini(&out);
	free(rows);
	traffic_view_fini(&t.view);
	drop_many(c);
}

static json_t *parsed(struct buf *out)
{
	json_error_t why;
	json_t *tree = json_loads(buf_text(out), 0, &why);

	if (!tree)
		fail_msg("%s at %d: %s", why.text, why.column, buf_text(out));
	buf_fini(out);
	return tree;
}

static void test_json(void **state)
{
	struct traffic_backend b;
	const struct traffic t = small(&b);
	const struct traffic_row row = { .ns = "default", .name = "web", .key = { addr("2001:db8::c8"), IPPROTO_SCTP, 80 },
					 .balanced = true, .balance = BALANCE_ROUND_ROBIN, .n_backends = 3, .count = &some };
	struct traffic_row uncounted = row;
	struct buf out = BUF_INIT(65536);
	json_int_t bytes = 0, n = 0, packets = 0;
	const char *text = NULL;
	json_t *tree;

	(void)state;
	buf_puts(&out, "{");
	traffic_row_members(&row, &out);
	buf_puts(&out, "}");
	tree = parsed(&out);
	assert_int_equal(json_unpack(tree, "{s:s, s:I, s:{s:I}}", "balance", &text, "backends", &n, "sent", "bytes", &bytes), 0);
	assert_string_equal(text, "round-robin");
	assert_int_equal(n, 3);
	assert_int_equal(bytes, 34000000000);
	json_decref(tree);

	uncounted.count = NULL;
	uncounted.balanced = false;
	buf_puts(&out, "{");
	traffic_row_members(&uncounted, &out);
	buf_puts(&out, "}");
	tree = parsed(&out);
	assert_null(json_object_get(tree, "connections"));
	assert_null(json_object_get(tree, "balance"));
	json_decref(tree);

	buf_puts(&out, "{");
	traffic_json(&t, (mono_t){ 1500 * NS_PER_MS }, &out);
	buf_puts(&out, "}");
	tree = parsed(&out);
	assert_int_equal(json_unpack(tree, "{s:I, s:{s:{s:I}}}", "read_ago_ms", &n, "drops", "unmatched", "packets", &packets), 0);
	assert_int_equal(n, 500);
	assert_int_equal(packets, 8);
	json_decref(tree);

	assert_true(traffic_tells_backends(&t));
	assert_ptr_equal(traffic_find_backend(&t.view, &b.key), &b);
	traffic_backend_json(&b, &out);
	tree = parsed(&out);
	assert_int_equal(json_unpack(tree, "{s:I}", "connections", &bytes), 0);
	assert_int_equal(bytes, 4);
	json_decref(tree);
}

static void test_amounts_are_short(void **state)
{
	static const struct {
		uint64_t v;
		bool bytes;
		const char *text;
	} rows[] = { { 0, true, "0 B" }, { 999, true, "999 B" }, { 1000, true, "1.0 kB" }, { 999949, true, "999.9 kB" },
		     { 999950, true, "1.0 MB" }, { 34000000000, true, "34.0 GB" }, { 999949999999, true, "999.9 GB" },
		     { UINT64_MAX, true, "18.4 EB" }, { 0, false, "0" }, { 999999, false, "999999" }, { 1000000, false, "1.0 M" },
		     { UINT64_MAX, false, "18.4 E" } };
	char buf[TRAFFIC_AMOUNT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_string_equal(traffic_amount(rows[i].v, rows[i].bytes, buf), rows[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists_are_joined), cmocka_unit_test(test_more_than_are_shown), cmocka_unit_test(test_drops_alone),
		cmocka_unit_test(test_metrics),		 cmocka_unit_test(test_metrics_that_are_not_there),
		cmocka_unit_test(test_the_largest_page), cmocka_unit_test(test_json),
		cmocka_unit_test(test_amounts_are_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
