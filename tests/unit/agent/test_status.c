/* SPDX-License-Identifier: Apache-2.0 */
/* What "leasehold status" shows of a given state is what stands in tests/golden/status, to the letter; no line is longer
 * than was asked for, whatever the names are; colours change nothing but colours; what is asked on the socket is understood.
 *
 * LEASEHOLD_GOLDEN_UPDATE=1 writes what came out into the files instead of comparing: then the diff is to be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/status_json.h"
#include "agent/status_text.h"

#define GOLDEN "tests/golden/status/"
#define TEXT_MAX ((size_t)4 << 20)
#define MANY 1000

static struct ip addr(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

/* ---- a state, to be changed by each case ---- */

struct world {
	struct status_ask ask;
	struct status_view view;
	struct status_lease leases[4];
	struct status_vip vips[8];
	struct status_row rows[12];
	struct traffic_frontend counts[2];
	struct traffic_backend backends[2];
	struct traffic traffic;
	struct control_plane control_plane;
};

static struct status_lease lease(const char *name, const char *holder, bool here)
{
	struct status_lease l = { .ns = "kube-system", .name = name, .identity = "node1_4f0c_91",
				  .state = here ? "leading" : "following", .here = here, .in_view = true, .known = true,
				  .hold = true, .transitions = 3, .duration_ms = 3000,
				  .changed_ago_ms = 412, .renewed_ago_ms = here ? 415 : STATUS_NO_TIME,
				  .deadline_in_ms = here ? 2525 : STATUS_NO_TIME, .n_vips = 2 };

	assert_true(text_copy(l.holder, sizeof(l.holder), holder));
	return l;
}

static struct status_place place(const char *name, uint64_t rounds)
{
	struct status_place p = { .usable = true, .gate = true, .announced = rounds, .last_ago_ms = rounds ? 12345 : STATUS_NO_TIME,
				  .next_in_ms = rounds ? 33900 : STATUS_NO_TIME };

	assert_true(text_copy(p.name, sizeof(p.name), name));
	return p;
}

static struct status_vip vip(const char *ip, const char *holder, bool here)
{
	struct status_vip v = { .ip = addr(ip), .lease = "leasehold-group-0", .live = here, .gated = true, .n_at = 1,
				.state = here ? STATUS_VIP_ANSWERS : STATUS_VIP_STANDBY, .gate_open_ms = here ? 2525 : 0,
				.drains_ms = STATUS_NO_TIME,
				.at = { place("eth0", here ? 17 : 0) }, .conflict = { .kind = "", .node = "", .interface = "" } };

	assert_true(text_copy(v.holder, sizeof(v.holder), holder));
	return v;
}

static struct status_row service(const char *name)
{
	return (struct status_row){ .kind = STATUS_ROW_SERVICE, .ns = "default", .name = name, .reason = "", .problem = "" };
}

static struct status_row port(struct world *w, const char *ip, uint16_t n_backends)
{
	return (struct status_row){ .kind = STATUS_ROW_PORT, .ns = "default", .name = "web",
				    .port = { .ns = "default", .name = "web", .key = { addr(ip), IPPROTO_TCP, 80 }, .balanced = true,
					      .n_backends = n_backends, .count = &w->counts[0] } };
}

static void add_problem(struct world *w, enum status_level level, const char *code, const char *what, const char *todo)
{
	struct status_problem *p = &w->view.problems.v[w->view.problems.n++];

	*p = (struct status_problem){ .level = level, .code = code, .todo = todo };
	assert_true(text_copy(p->what, sizeof(p->what), what));
}

/* A healthy holder. */
static struct world *world(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->ask = (struct status_ask){ .width = STATUS_WIDTH };
	w->counts[0] = (struct traffic_frontend){ .connections = 12345, .received = { 1000, 1234567 }, .sent = { 9000, 98765432 } };
	w->backends[0] = (struct traffic_backend){ .key = { addr("198.51.100.7"), IPPROTO_TCP, 8080 }, .connections = 4115,
						   .received = { 333, 411522 } };
	w->leases[0] = lease("leasehold-group-0", "node1", true);
	w->vips[0] = vip("192.0.2.200", "node1", true);
	w->vips[1] = vip("2001:db8::200", "node1", true);
	w->rows[0] = service("web");
	w->rows[1] = port(w, "192.0.2.200", 3);
	w->rows[2] = port(w, "2001:db8::200", 3);
	w->view = (struct status_view){
		.ask = &w->ask,
		.head = { .version = "1.2.3", .node = "node1", .identity = "node1_4f0c_91", .role = "holder", .not_ready_because = "",
			  .ready = true, .gate = true, .gate_problem = "", .hold = true, .up_ms = INT64_C(3) * 86400000, .synced = true,
			  .services_seen = 7, .slices_seen = 9, .services = 1, .kernel_ready = true, .as_wanted = true,
			  .kernel_problem = "", .forwarding_problem = "", .elements = 120, .job_ms = 3, .leases = 1, .leases_held = 1,
			  .vips = 2, .vips_answered = 2 },
		.leases = w->leases, .vips = w->vips, .rows = w->rows, .n_leases = 1, .n_vips = 2, .n_rows = 3,
		.control_plane = &w->control_plane, .traffic = &w->traffic, .now = { 10000 * NS_PER_MS * MS_PER_S },
	};
	return w;
}

/* ---- comparing ---- */

static void compare(const char *name, const struct buf *got)
{
	struct buf want = BUF_INIT(TEXT_MAX);
	struct err_info err = ERR_INFO_INIT;
	char path[128];
	FILE *f;

	assert_int_equal(buf_failed(got), 0);
	assert_true(snprintf(path, sizeof(path), GOLDEN "%s", name) < (int)sizeof(path));
	if (getenv("LEASEHOLD_GOLDEN_UPDATE")) {
		f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fwrite(got->data, 1, got->len, f), got->len);
		assert_int_equal(fclose(f), 0);
		return;
	}
	if (file_read(path, &want, &err) < 0)
		fail_msg("%s", err.text);
	if (!text_eq(buf_text(&want), buf_text(got)))
		fail_msg("%s: expected:\n%s\ncame out:\n%s", path, buf_text(&want), buf_text(got));
	buf_fini(&want);
}

static size_t longest_line(const char *text)
{
	size_t longest = 0;

	for (; *text; text += strcspn(text, "\n") + (text[strcspn(text, "\n")] == '\n'))
		if (strcspn(text, "\n") > longest)
			longest = strcspn(text, "\n");
	return longest;
}

/* Frees the world. */
static void show(struct world *w, const char *name)
{
	struct buf out = BUF_INIT(TEXT_MAX);

	status_text(&w->view, &out);
	compare(name, &out);
	assert_true(longest_line(buf_text(&out)) <= w->ask.width);
	buf_fini(&out);
	free(w);
}

/* ---- cases ---- */

static void test_healthy_holder(void **state)
{
	(void)state;
	show(world(), "holder.txt");
}

static void test_candidate(void **state)
{
	struct world *w = world();

	(void)state;
	w->view.head.role = "candidate";
	w->view.head.leases_held = w->view.head.vips_answered = 0;
	w->leases[0] = lease("leasehold-group-0", "node2", false);
	w->vips[0] = vip("192.0.2.200", "node2", false);
	w->vips[1] = vip("2001:db8::200", "node2", false);
	w->counts[0] = (struct traffic_frontend){ 0 };
	show(w, "candidate.txt");
}

static void test_no_api(void **state)
{
	struct world *w = world();

	(void)state;
	w->view.head = (struct status_head){ .version = "1.2.3", .node = "node1", .role = "unfit", .not_ready_because = "x",
					     .gate = true,
					     .gate_problem = "", .up_ms = 61000, .kernel_problem = "", .forwarding_problem = "", .leases = 1 };
	w->leases[0] = (struct status_lease){ .name = "leasehold-group-0", .identity = "", .state = "following",
					      .changed_ago_ms = STATUS_NO_TIME, .deadline_in_ms = STATUS_NO_TIME };
	w->view.n_vips = w->view.n_rows = 0;
	add_problem(w, STATUS_ERROR, "api_not_in_view", "no Services and EndpointSlices have been read since the start",
		    "is the API server reachable from this node, and has the agent its rights?  The log names the request that fails; "
		    "leasehold doctor tries them");
	add_problem(w, STATUS_ERROR, "lease_not_in_view", "not read since the start: Lease leasehold-group-0", "");
	show(w, "no-api.txt");
}

static void test_overtime(void **state)
{
	struct world *w = world();

	(void)state;
	w->leases[0].state = "overtime";
	w->leases[0].in_view = false;
	w->leases[0].changed_ago_ms = 754321;
	w->leases[0].deadline_in_ms = -751374;
	add_problem(w, STATUS_WARNING, "overtime", "no renewal succeeds of Lease leasehold-group-0: this node answers on past the "
		    "deadline, while nobody else does",
		    "mend the API server; do not restart this agent until then, its VIPs would go dark");
	show(w, "overtime.txt");
}

static void test_conflict(void **state)
{
	struct world *w = world();
	struct status_conflict c = { .kind = "host", .grave = true, .mac = "02:00:5e:00:53:09", .node = "", .interface = "eth0",
				     .since_ms = 65000, .ago_ms = 420, .count = 7,
				     .text = "also answered by 02:00:5e:00:53:09 (192.0.2.77) on eth0" };

	(void)state;
	w->vips[0].conflict = c;
	add_problem(w, STATUS_ERROR, "conflict", "VIP 192.0.2.200: also answered by 02:00:5e:00:53:09 (192.0.2.77) on eth0",
		    "take the address from that host: a switch's table of MACs says at which port it is");
	show(w, "conflict.txt");
}

static void test_no_carrier_and_others(void **state)
{
	struct world *w = world();

	(void)state;
	w->view.head.vips_answered = 0;
	w->view.n_vips = 6;
	w->vips[0] = vip("192.0.2.200", "node1", false);
	w->vips[0].state = STATUS_VIP_NO_CARRIER;
	w->vips[0].at[0].usable = false;
	w->vips[1] = vip("192.0.2.201", "", false);
	w->vips[1].state = STATUS_VIP_NO_INTERFACE;
	w->vips[1].n_at = 0;
	assert_true(text_copy(w->vips[1].why, STATUS_WHY_MAX, "eth1 is a port of br0: name br0 instead")); /* not shown here */
	w->vips[2] = vip("192.0.2.202", "node1", false);
	w->vips[2].state = STATUS_VIP_REFUSED;
	assert_true(text_copy(w->vips[2].why, STATUS_WHY_MAX, "the interface has this address already, and not from Leasehold"));
	w->vips[3] = vip("192.0.2.203", "node1", false);
	w->vips[3].state = STATUS_VIP_COMING;
	w->vips[4] = vip("192.0.2.204", "node1", false);
	w->vips[4].state = STATUS_VIP_MOVING;
	w->vips[5] = vip("192.0.2.205", "node1", true); /* several interfaces */
	w->vips[5].at[1] = place("eth1.100", 3);
	w->vips[5].at[1].errors = 2;
	w->vips[5].at[1].failing = true;
	w->vips[5].at[2] = place("bond0", 0);
	w->vips[5].at[2].usable = false;
	w->vips[5].n_at = 3;
	add_problem(w, STATUS_ERROR, "address_refused", "this node cannot put up VIP 192.0.2.202: the interface has this address "
		    "already, and not from Leasehold", "");
	add_problem(w, STATUS_WARNING, "no_carrier", "no carrier for VIP 192.0.2.200: the interface is down or unplugged",
		    "see the cable, and ip link show");
	add_problem(w, STATUS_NOTE, "leaving", "VIPs move to other nodes: the node is being drained", "");
	w->view.problems.left_out = 3;
	show(w, "states.txt");
}

static void test_vips_with_their_reasons(void **state)
{
	struct world *w = world();

	(void)state;
	w->ask.part = STATUS_VIPS;
	w->view.n_leases = w->view.n_rows = 0;
	w->view.n_vips = 1;
	w->vips[0] = vip("192.0.2.201", "", false);
	w->vips[0].state = STATUS_VIP_NO_INTERFACE;
	w->vips[0].n_at = 0;
	assert_true(text_copy(w->vips[0].why, STATUS_WHY_MAX, "192.0.2.201 is in no subnet of eth0 (198.51.100.0/24): name another "
			      "interface, or set interface-subnet any"));
	show(w, "vips-cannot.txt");
}

static void test_routed(void **state)
{
	struct world *w = world();

	(void)state;
	w->view.head.gate = false;
	w->view.head.routed = true;
	w->view.head.role = "candidate";
	w->view.head.leases_held = 0;
	w->leases[0] = lease("leasehold-group-0", "node2", false);
	for (size_t i = 0; i < 2; i++) {
		w->vips[i] = vip(i ? "2001:db8::200" : "192.0.2.200", "node2", true);
		w->vips[i].state = STATUS_VIP_ROUTED;
		w->vips[i].gated = false;
		w->vips[i].n_at = 0;
	}
	show(w, "routed.txt");
}

/* announce: bgp: what is exported, what is not any more and why; whoever holds the Lease. */
static void test_advertised(void **state)
{
	static const struct {
		const char *ip, *why;
		enum status_vip_state state;
		int64_t drains_ms;
	} rows[] = {
		{ "203.0.113.10", "", STATUS_VIP_ADVERTISED, STATUS_NO_TIME },
		{ "203.0.113.11", "being withdrawn: this agent is stopping", STATUS_VIP_ADVERTISED, STATUS_NO_TIME },
		{ "203.0.113.12", "the Node is unschedulable, and another node serves it", STATUS_VIP_DRAINING, 4200 },
		{ "203.0.113.13", "no ready endpoint on this node (externalTrafficPolicy: Local)", STATUS_VIP_WITHDRAWN, STATUS_NO_TIME },
		{ "2001:db8:f::10", "", STATUS_VIP_COMING, STATUS_NO_TIME },
		{ "2001:db8:f::11", "IPv6 is off on the interface", STATUS_VIP_REFUSED, STATUS_NO_TIME },
	};
	struct world *w = world();

	(void)state;
	w->view.head.gate = false;
	w->view.head.routed = w->view.head.advertised = true;
	w->view.head.leases_held = w->view.n_rows = 0;
	w->leases[0] = lease("leasehold-group-0", "node2", false);
	w->view.n_vips = w->view.head.vips = ARRAY_LEN(rows);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		w->vips[i] = vip(rows[i].ip, "node2", rows[i].state == STATUS_VIP_ADVERTISED);
		w->vips[i].state = rows[i].state;
		w->vips[i].drains_ms = rows[i].drains_ms;
		w->vips[i].gated = false;
		w->vips[i].at[0] = place("lo", 0);
		assert_true(text_copy(w->vips[i].why, STATUS_WHY_MAX, rows[i].why));
	}
	show(w, "advertised.txt");
}

static void with_servers(struct world *w)
{
	struct health_server *s = w->control_plane.health.v;

	w->control_plane.client = (struct kube_client *)w; /* there is such a VIP */
	w->control_plane.vip = (struct ip_port){ addr("192.0.2.9"), 6443 };
	w->control_plane.health.n = 2;
	s[0] = (struct health_server){ .at = { addr("192.0.2.11"), 6443 }, .up = true, .known = true,
				       .since = { 9000 * NS_PER_MS * MS_PER_S } };
	s[1] = (struct health_server){ .at = { addr("2001:db8::11"), 6443 }, .known = true,
				       .since = { 9998 * NS_PER_MS * MS_PER_S },
				       .why = "GET /readyz: connection refused\033[2J" };
}

static void test_control_plane_and_drops(void **state)
{
	struct world *w = world();

	(void)state;
	with_servers(w);
	w->traffic.view.drops[NAT_DROP_SOURCE] = (struct nat_tick){ 12, 720 };
	show(w, "control-plane.txt");
}

#define LONG_NODE \
	"worker-0001.rack-17.building-b.eu-central-1.compute.internal.example.org.a-very-long-subdomain.example.com"
#define LONG_NAME "a-service-whose-name-takes-all-of-the-sixty-three-characters-xx"

static void test_long_names_fit(void **state)
{
	struct world *w = world();

	(void)state;
	w->view.head.node = LONG_NODE;
	w->leases[0] = lease("leasehold-vip-2001-db8-ffff-ffff-ffff-ffff-ffff-ffff", LONG_NODE, true);
	assert_true(text_copy(w->leases[0].moving_to, STATUS_NODE_MAX, "w" LONG_NODE));
	w->leases[0].state = "handing over";
	w->vips[0] = vip("2001:db8:ffff:ffff:ffff:ffff:ffff:ff00", LONG_NODE, true);
	w->vips[0].at[0] = place("enp0s31f6np1.40", 1234567);
	w->vips[0].at[0].errors = 1234;
	w->vips[1].state = STATUS_VIP_NO_INTERFACE;
	w->rows[0] = service(LONG_NAME);
	w->rows[0].ns = LONG_NAME;
	w->rows[0].reason = "AddressOutsidePool";
	w->rows[0].problem = "the address 192.0.2.77 that was asked for is in no pool of this cluster, so another one was given";
	w->rows[1] = port(w, "2001:db8:ffff:ffff:ffff:ffff:ffff:ff00", 5000);
	w->rows[1].port.balance = BALANCE_ROUND_ROBIN;
	w->rows[1].port.key.proto = IPPROTO_SCTP;
	w->rows[1].port.key.port = 65535;
	w->counts[0] = (struct traffic_frontend){ .connections = UINT64_MAX, .received = { 1, UINT64_MAX },
						   .sent = { 1, UINT64_MAX } };
	show(w, "long-names.txt");
}

static void test_one_service(void **state)
{
	struct world *w = world();

	(void)state;
	w->ask.part = STATUS_SERVICES;
	assert_true(text_copy(w->ask.name, sizeof(w->ask.name), "default/web"));
	w->view.n_leases = 0;
	w->view.n_vips = 1;
	w->view.n_rows = 4;
	w->rows[2] = (struct status_row){ .kind = STATUS_ROW_BACKEND, .backend = { addr("198.51.100.7"), 8080 },
					  .slots = 5, .of_slots = 13, .count = &w->backends[0] };
	w->rows[3] = (struct status_row){ .kind = STATUS_ROW_BACKEND, .backend = { addr("198.51.100.9"), 8080 },
					  .slots = 8, .of_slots = 13 };
	show(w, "one-service.txt");
}

static void test_nothing_of_that_name(void **state)
{
	struct world *w = world();

	(void)state;
	w->ask.part = STATUS_VIPS;
	assert_true(text_copy(w->ask.name, sizeof(w->ask.name), "192.0.2.9"));
	w->view.n_leases = w->view.n_vips = w->view.n_rows = 0;
	show(w, "no-such-vip.txt");
}

/* Of 1,000 VIPs some are shown, and how to see the others; of a part that is asked for, more of them. */
static void test_many_vips(void **state)
{
	struct status_vip *vips = calloc(MANY, sizeof(*vips));
	struct buf out = BUF_INIT(TEXT_MAX);
	struct world *w = world();
	char text[IP_TEXT_MAX];

	(void)state;
	assert_non_null(vips);
	for (unsigned int i = 0; i < MANY; i++) {
		IGNORE(snprintf(text, sizeof(text), "198.18.%u.%u", i / 250, i % 250 + 1)); /* fits */
		vips[i] = vip(text, "node1", true);
	}
	w->view.vips = vips;
	w->view.n_vips = STATUS_ROWS_SOME;
	w->view.vips_out = MANY - STATUS_ROWS_SOME;
	w->view.rows_out = 994;
	w->view.head.vips = w->view.head.vips_answered = w->leases[0].n_vips = MANY;
	w->ask.part = STATUS_VIPS;
	w->view.n_vips = STATUS_ROWS_MOST;
	w->view.vips_out = MANY - STATUS_ROWS_MOST;
	status_text(&w->view, &out);
	assert_non_null(strstr(buf_text(&out), "\n... 500 more VIPs: --json\n"));
	buf_fini(&out);
	w->ask.part = STATUS_ALL;
	w->view.n_vips = STATUS_ROWS_SOME;
	w->view.vips_out = MANY - STATUS_ROWS_SOME;
	show(w, "many.txt");
	free(vips);
}

/* Without the control sequences a coloured text is the plain one; names of others bring none in. */
static void test_colours_are_only_colours(void **state)
{
	struct buf plain = BUF_INIT(TEXT_MAX), coloured = BUF_INIT(TEXT_MAX), bare = BUF_INIT(TEXT_MAX);
	struct world *w = world();

	(void)state;
	add_problem(w, STATUS_ERROR, "x", "what \033[31mothers\a named", "do \tthis");
	w->rows[0].problem = "\033]0;x\a";
	assert_true(text_copy(w->vips[0].why, STATUS_WHY_MAX, "\xc3\xa9\n"));
	status_text(&w->view, &plain);
	assert_null(strchr(buf_text(&plain), '\033'));
	w->ask.colour = true;
	status_text(&w->view, &coloured);
	assert_non_null(strstr(buf_text(&coloured), "\033[1;31mERROR"));
	for (const char *at = buf_text(&coloured); *at; at++) {
		assert_true((unsigned char)*at == '\033' || *at == '\n' || (*at >= ' ' && *at <= '~'));
		if (*at == '\033')
			at += strcspn(at, "m");
		else
			buf_append(&bare, at, 1);
	}
	assert_string_equal(buf_text(&bare), buf_text(&plain));
	buf_fini(&plain);
	buf_fini(&coloured);
	buf_fini(&bare);
	free(w);
}

/* ---- JSON ---- */

/* Every name that there is, once at least: tests/cli compares them with the documentation. */
static void test_json_has_every_name(void **state)
{
	struct buf out = BUF_INIT(TEXT_MAX);
	struct world *w = world();
	struct status_row backends[2] = {
		{ .backend = { addr("198.51.100.7"), 8080 }, .slots = 5, .of_slots = 13, .count = &w->backends[0] },
		{ .backend = { addr("198.51.100.9"), 8080 }, .slots = 8, .of_slots = 13 },
	};

	(void)state;
	add_problem(w, STATUS_ERROR, "conflict", "VIP 192.0.2.200: \"also\" answered", "");
	w->vips[0].conflict = (struct status_conflict){ .kind = "node", .grave = true, .mac = "02:00:5e:00:53:09", .node = "node2",
							.interface = "eth0", .since_ms = 65000, .ago_ms = 420, .count = 7, .text = "t" };
	assert_true(text_copy(w->leases[0].moving_to, STATUS_NODE_MAX, "node2"));
	buf_puts(&out, "{");
	status_json_head(&w->view.head, &out);
	status_json_problems(&w->view.problems, &out);
	buf_puts(&out, "\n\"leases\":[");
	status_json_lease(&w->leases[0], &out);
	buf_puts(&out, "],\n\"vips\":[");
	status_json_vip(&w->vips[0], &out);
	buf_puts(&out, ",\n");
	w->vips[1].state = STATUS_VIP_NO_CARRIER;
	status_json_vip(&w->vips[1], &out);
	buf_puts(&out, ",\n");
	w->vips[1].state = STATUS_VIP_DRAINING;
	w->vips[1].drains_ms = 4200;
	status_json_vip(&w->vips[1], &out);
	buf_puts(&out, "],\n\"services\":[{\"frontends\":[");
	status_json_port(&w->rows[1].port, backends, 2, 1, &out);
	buf_puts(&out, ",");
	status_json_port(&w->rows[1].port, NULL, 0, 0, &out);
	buf_puts(&out, "]}],\n\"control_plane\":");
	with_servers(w);
	control_plane_json(&w->control_plane, w->view.now, &out);
	w->traffic.on = w->traffic.counting = true;
	w->traffic.read_at = (mono_t){ 9999 * NS_PER_MS * MS_PER_S };
	buf_puts(&out, ",\n\"traffic\":{");
	traffic_json(&w->traffic, w->view.now, &out);
	buf_puts(&out, ",\"backends\":[");
	traffic_backend_json(&w->backends[0], &out);
	buf_puts(&out, "]}}\n");
	compare("names.json", &out);
	buf_fini(&out);
	free(w);
}

/* ---- what is asked ---- */

static void test_requests(void **state)
{
	static const char *const bad[] = { "", " ", "jso", "json2", "status", "vips", "text width=", "text width=79",
					   "text width=301", "text width=99999999999999999999", "JSON" };
	struct status_ask ask = { .json = true, .width = STATUS_WIDTH }, got;
	char line[STATUS_LINE_MAX], name[STATUS_LINE_MAX * 2];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(status_ask_read(bad[i], &got), -EINVAL);
	assert_int_equal(status_ask_read("json\r", &got), 0);
	assert_true(got.json);
	assert_int_equal(status_ask_write(&ask, line), 0);
	assert_string_equal(line, "json"); /* what an agent of any age understands */
	ask = (struct status_ask){ .colour = true, .width = 120, .part = STATUS_SERVICES, .name = "default/web" };
	assert_int_equal(status_ask_write(&ask, line), 0);
	assert_int_equal(status_ask_read(line, &got), 0);
	assert_true(got.colour && !got.json && got.width == 120 && got.part == STATUS_SERVICES);
	assert_string_equal(got.name, "default/web");
	assert_int_equal(status_ask_read("text  new-word  other=thing vips ", &got), 0); /* a later command's words */
	assert_int_equal(got.part, STATUS_VIPS);
	assert_int_equal(got.width, STATUS_WIDTH);
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(status_ask_read(name, &got), -EINVAL);
	memcpy(name, "text name=", strlen("text name="));
	name[STATUS_LINE_MAX - 1] = '\0';
	assert_int_equal(status_ask_read(name, &got), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_healthy_holder),
		cmocka_unit_test(test_candidate),
		cmocka_unit_test(test_no_api),
		cmocka_unit_test(test_overtime),
		cmocka_unit_test(test_conflict),
		cmocka_unit_test(test_no_carrier_and_others),
		cmocka_unit_test(test_vips_with_their_reasons),
		cmocka_unit_test(test_routed),
		cmocka_unit_test(test_advertised),
		cmocka_unit_test(test_control_plane_and_drops),
		cmocka_unit_test(test_long_names_fit),
		cmocka_unit_test(test_one_service),
		cmocka_unit_test(test_nothing_of_that_name),
		cmocka_unit_test(test_many_vips),
		cmocka_unit_test(test_colours_are_only_colours),
		cmocka_unit_test(test_json_has_every_name),
		cmocka_unit_test(test_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
