/* SPDX-License-Identifier: Apache-2.0 */
/* From the slices of default/kubernetes to the API servers, and from those that are well to what the planner is shown. */
#include "agent/core/servers.h"

#include "make.h"

#define ENDPOINTS_MAX 20

struct made {
	struct endpoint endpoints[ENDPOINTS_MAX];
	struct slice_port ports[3];
	struct slice slice;
};

/* addresses: separated by blanks; a '-' in front: not ready. */
static struct slice *make_slice(struct made *m, const char *addresses, uint16_t port)
{
	char text[512], *rest = text;

	memset(m, 0, sizeof(*m));
	assert_true(text_copy(text, sizeof(text), addresses));
	m->ports[0] = (struct slice_port){ "metrics", 9100, PROTO_TCP };
	m->ports[1] = (struct slice_port){ "https", 9999, PROTO_UDP };
	m->ports[2] = (struct slice_port){ "https", port, PROTO_TCP };
	m->slice = (struct slice){ .service = "kubernetes", .endpoints = m->endpoints, .ports = m->ports, .n_ports = 3 };
	for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		struct endpoint *e = &m->endpoints[m->slice.n_endpoints++];

		e->ready = *word != '-';
		e->ip = make_ip(word + !e->ready);
		m->slice.family = e->ip.family;
	}
	return &m->slice;
}

static void assert_found(const struct servers_found *f, const char *servers)
{
	char text[1024] = "", ip[IP_TEXT_MAX], one[IP_TEXT_MAX + 8];

	for (size_t i = 0; i < f->n; i++) {
		IGNORE(snprintf(one, sizeof(one), "%s%s/%u", i ? " " : "", ip_format(&f->v[i].ip, ip), f->v[i].port)); /* fits */
		assert_true(strlen(text) + strlen(one) < sizeof(text));
		strcat(text, one);
	}
	assert_string_equal(text, servers);
}

static void test_find(void **state)
{
	const struct ip v4 = make_ip("192.0.2.200"), v6 = make_ip("2001:db8::c8");
	struct servers_found f = { .n = 0 };
	struct made a, b, c;

	(void)state;
	make_slice(&a, "192.0.2.13 192.0.2.11 -192.0.2.14", 6443);
	make_slice(&b, "192.0.2.12 192.0.2.11 127.0.0.1", 6443);
	make_slice(&c, "2001:db8::12 2001:db8::11", 8443);
	servers_find(&f, &a.slice, &v4);
	servers_find(&f, &b.slice, &v4);
	servers_find(&f, &c.slice, &v4);
	assert_found(&f, "192.0.2.11/6443 192.0.2.12/6443 192.0.2.13/6443");
	assert_false(f.itself);
	f = (struct servers_found){ .n = 0 };
	servers_find(&f, &a.slice, &v6);
	servers_find(&f, &c.slice, &v6);
	assert_found(&f, "2001:db8::11/8443 2001:db8::12/8443");
	make_slice(&a, "192.0.2.11", 0);
	f = (struct servers_found){ .n = 0 };
	servers_find(&f, &a.slice, &v4); /* "all ports" is no port */
	assert_found(&f, "");
}

/* An API server that took the VIP for its own address: traffic would go in a circle. */
static void test_the_vip_is_no_server(void **state)
{
	const struct ip vip = make_ip("192.0.2.200");
	struct servers_found f = { .n = 0 };
	struct made a;

	(void)state;
	servers_find(&f, make_slice(&a, "192.0.2.200 192.0.2.12", 6443), &vip);
	assert_found(&f, "192.0.2.12/6443");
	assert_true(f.itself);
}

static void test_too_many(void **state)
{
	const struct ip vip = make_ip("192.0.2.200");
	struct servers_found up = { .n = 0 }, down = { .n = 0 };

	(void)state;
	for (unsigned int i = 0; i < HEALTH_SERVERS_MAX + 4; i++) {
		struct endpoint e = { .ip = make_v4(i), .ready = true };
		struct slice_port p = { "https", 6443, PROTO_TCP };
		struct slice s = { .family = IP_V4, .endpoints = &e, .n_endpoints = 1, .ports = &p, .n_ports = 1 };

		servers_find(&up, &s, &vip);
		e.ip = make_v4(HEALTH_SERVERS_MAX + 3 - i);
		servers_find(&down, &s, &vip);
	}
	for (unsigned int i = 0; i < HEALTH_SERVERS_MAX; i++) { /* the lowest, in whatever order they come */
		const struct ip_port at = { make_v4(i), 6443 };

		assert_int_equal(ip_port_cmp(&up.v[i], &at), 0);
		assert_int_equal(ip_port_cmp(&down.v[i], &at), 0);
	}
	assert_int_equal(up.n, HEALTH_SERVERS_MAX);
	assert_int_equal(down.n, HEALTH_SERVERS_MAX);
	assert_int_equal(up.left_out, 4);
	assert_int_equal(down.left_out, 4);
}

static void assert_slice(const struct servers_view *w, size_t i, unsigned int server)
{
	const struct slice *s = w->list[i];
	const struct ip at = make_v4(server);

	assert_true(i < w->n);
	assert_int_equal(s->n_endpoints, 1);
	assert_true(ip_eq(&s->endpoints[0].ip, &at));
	assert_true(s->endpoints[0].ready);
	assert_int_equal(s->n_ports, 1);
	assert_int_equal(s->ports[0].port, 6443);
	assert_string_equal(s->ports[0].name, w->service.ports[0].name);
	assert_true(i == 0 || strcmp(w->list[i - 1]->meta.name, s->meta.name) < 0);
}

static void test_view(void **state)
{
	const struct ip vip = make_ip("192.0.2.200");
	struct ip_port list[HEALTH_SERVERS_MAX];
	static struct servers_view w;
	struct health h = { .n = 0 };

	(void)state;
	for (unsigned int i = 0; i < HEALTH_SERVERS_MAX; i++)
		list[i] = (struct ip_port){ make_v4(i), 6443 };
	servers_view_init(&w, &vip, 7443);
	assert_string_equal(w.service.meta.ns, "default");
	assert_int_equal(w.service.n_ports, 1);
	assert_int_equal(w.service.ports[0].port, 7443);
	assert_int_equal(w.service.ports[0].proto, PROTO_TCP);
	assert_false(servers_view_update(&w, &h));
	assert_int_equal(w.n, 0);

	assert_true(health_list(&h, list, HEALTH_SERVERS_MAX, (mono_t){ 1 }));
	assert_true(servers_view_update(&w, &h)); /* none was checked yet: all */
	assert_int_equal(w.n, HEALTH_SERVERS_MAX);
	for (unsigned int i = 0; i < HEALTH_SERVERS_MAX; i++)
		assert_slice(&w, i, i);
	assert_false(servers_view_update(&w, &h));

	for (size_t i = 1; i < 4; i++)
		assert_true(health_take(&h.v[i], VERDICT_GOOD, "", (mono_t){ 2 }));
	assert_true(servers_view_update(&w, &h));
	assert_int_equal(w.n, 3);
	assert_slice(&w, 0, 1);
	assert_slice(&w, 2, 3);
	assert_true(health_take(&h.v[1], VERDICT_REFUSED, "x", (mono_t){ 3 }));
	assert_true(health_take(&h.v[0], VERDICT_GOOD, "", (mono_t){ 3 })); /* as many as before, and others */
	assert_true(servers_view_update(&w, &h));
	assert_int_equal(w.n, 3);
	assert_slice(&w, 0, 0);
	assert_slice(&w, 1, 2);
	assert_false(servers_view_update(&w, &h));
	assert_true(health_take(&h.v[3], VERDICT_REFUSED, "x", (mono_t){ 4 })); /* the last one */
	assert_true(servers_view_update(&w, &h));
	assert_int_equal(w.n, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_the_vip_is_no_server),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_view),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
