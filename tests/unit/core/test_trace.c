/* SPDX-License-Identifier: Apache-2.0 */
/* test_trace.c: walks the wanted state for the packets in tests/golden/trace (README.md there: the format) and compares where
 * they go.  The same packets are sent for real in tests/netns. */
#include "tests/unit/core/scripts.h"
#include "tests/unit/core/tracer.h"
#include "tests/unit/core/world.h"

struct lab {
	struct world w;
	struct nat_options options;
	bool holder, public_lan;
	struct arena arena;
	struct nat_service services[WORLD_MAX];
};

static void *begin(void)
{
	struct lab *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	world_init(&l->w);
	l->w.snat_to_vip = true;
	l->w.home = TRACE_LAN;
	l->holder = true;
	l->arena = make_arena((size_t)1 << 20);
	return l;
}

static void end(void *ctx)
{
	struct lab *l = ctx;

	world_fini(&l->w);
	drop_arena(&l->arena);
	free(l);
}

/* ---- statements ---- */

static void set_router(struct lab *l, char **at)
{
	static const struct {
		const char *word;
		uint8_t flag;
	} allowances[] = { { "ssh", NAT_ROUTER_SSH }, { "bgp", NAT_ROUTER_BGP }, { "icmp", NAT_ROUTER_ICMP },
			   { "vrrp", NAT_ROUTER_VRRP } };
	struct nat_router *r = &l->options.router;

	memset(r, 0, sizeof(*r));
	l->public_lan = true;
	for (char *word = next_word(at); word; word = next_word(at)) {
		bool found = false;

		for (size_t i = 0; i < ARRAY_LEN(allowances); i++) {
			if (!text_eq(word, allowances[i].word))
				continue;
			r->allow |= allowances[i].flag;
			found = true;
		}
		if (text_starts(word, "admin=") && ip_net_parse(word + strlen("admin="), &r->admins[r->n_admins]) == 0)
			r->n_admins++;
		else if (text_eq(word, "off"))
			l->public_lan = false;
		else if (!found)
			fail_msg("router \"%s\"?", word);
	}
}

/* Those that the world does not have, or has in the core's terms. */
static bool setting(struct lab *l, const char *verb, char **at)
{
	if (text_eq(verb, "holder")) {
		l->holder = text_eq(need_word(at), "yes");
	} else if (text_eq(verb, "unmatched")) {
		const char *word = need_word(at);

		l->options.unmatched = text_eq(word, "drop")   ? NAT_UNMATCHED_DROP :
				       text_eq(word, "accept") ? NAT_UNMATCHED_ACCEPT : NAT_UNMATCHED_REJECT;
	} else if (text_eq(verb, "source-nat")) {
		l->w.snat_to_vip = text_eq(need_word(at), "vip");
	} else if (text_eq(verb, "routed")) {
		l->w.routed = text_eq(need_word(at), "yes");
		l->w.snat_to_vip = !l->w.routed;
		l->w.home = l->w.routed ? 0 : TRACE_LAN;
		l->holder = !l->w.routed;
	} else if (text_eq(verb, "router")) {
		set_router(l, at);
	} else {
		return false;
	}
	return true;
}

/* ---- packets ---- */

/* "192.0.2.1:80", "[2001:db8::1]:80", or an address alone: port 0. */
static struct ip_port parse_address(const char *word)
{
	char text[WORLD_NAME];
	char *port, *address = text;

	assert_true(text_copy(text, sizeof(text), word));
	if (*text == '[') {
		address++;
		port = strchr(text, ']');
		assert_non_null(port);
		*port++ = '\0';
		assert_int_equal(*port, ':');
	} else {
		port = strchr(text, '.') ? strchr(text, ':') : NULL;
		if (port)
			*port = '\0';
	}
	return (struct ip_port){ make_ip(address), port ? (uint16_t)parse_number(port + 1) : 0 };
}

static uint8_t parse_proto(const char *word, uint8_t family)
{
	if (text_eq(word, "icmp"))
		return family == IP_V4 ? PROTO_ICMP : PROTO_ICMP6;
	if (text_eq(word, "vrrp"))
		return PROTO_VRRP;
	if (!text_eq(word, "tcp") && !text_eq(word, "udp") && !text_eq(word, "sctp"))
		fail_msg("protocol \"%s\"?", word);
	return text_eq(word, "tcp") ? PROTO_TCP : text_eq(word, "udp") ? PROTO_UDP : PROTO_SCTP;
}

static struct trace_packet parse_packet(char **at, int *ret_slot)
{
	struct trace_packet p = { 0 };
	const char *from = need_word(at), *proto = need_word(at), *to = need_word(at), *word;

	p.to = parse_address(to);
	p.proto = parse_proto(proto, p.to.ip.family);
	if (text_eq(from, "here")) { /* a process takes the node's address */
		p.from.ip = make_ip(p.to.ip.family == IP_V4 ? "192.0.2.1" : "2001:db8:1::1");
	} else {
		p.from = parse_address(from);
		p.in = trace_link_of(&p.from.ip);
	}
	word = need_word(at);
	*ret_slot = -1;
	if (text_eq(word, "slot")) {
		*ret_slot = (int)parse_number(need_word(at));
		word = need_word(at);
	}
	if (!text_eq(word, "->"))
		fail_msg("\"%s\" instead of \"->\"", word);
	return p;
}

/* The state as it is now wanted. */
static struct trace_node build(struct lab *l)
{
	struct trace_node n = { .services = l->services, .n_services = l->w.n_services, .options = &l->options,
				.holder = l->holder, .public_lan = l->public_lan };

	arena_reset(&l->arena);
	for (size_t i = 0; i < l->w.n_services; i++) {
		const struct service *s = l->w.service_list[i];
		const struct wanted_input in = world_input(&l->w, s, s->allocated, s->n_allocated);

		assert_int_equal(wanted_service(&in, &l->arena, &l->services[i]), 0);
	}
	return n;
}

static void print_backends(struct buf *out, const struct trace_node *n, const struct trace_packet *p,
			   const struct frontend *f, int slot)
{
	static const char *const sources[] = { "client", "vip", "node" };
	const char *between = " ";

	for (uint16_t b = 0; b < f->n_backends; b++) {
		const struct ip_port *at = &f->backends[b];
		char text[IP_TEXT_MAX];
		bool hit = false;

		for (int i = 0; i < f->n_slots; i++)
			hit = hit || (f->slots[i] == b && (slot < 0 || slot == i));
		if (!hit)
			continue;
		buf_printf(out, at->ip.family == IP_V4 ? "%s%s:%u %s" : "%s[%s]:%u %s", between, ip_format(&at->ip, text),
			   at->port, sources[trace_source_of(n, p, &at->ip)]);
		between = ", ";
	}
}

static void trace(struct script *s, const char *line, char **at)
{
	static const char *const names[] = { "", " reject", " drop ", " accept", " pass" };
	const struct trace_node n = build(s->ctx);
	struct trace_packet p;
	struct trace_verdict v;
	int slot;

	p = parse_packet(at, &slot);
	v = trace_walk(&n, &p);
	buf_printf(&s->out, "%.*s->%s%s", (int)(strstr(line, "->") - line), line, names[v.kind], v.why ? v.why : "");
	if (v.kind == TRACE_BACKENDS)
		print_backends(&s->out, &n, &p, v.f, slot);
	buf_puts(&s->out, "\n");
}

static void one_line(struct script *s, const char *line)
{
	struct lab *l = s->ctx;
	char *copy = strdup(line), *whole = strdup(line), *at = NULL;
	const char *verb;

	assert_true(copy && whole);
	verb = strtok_r(copy, " \t", &at);
	if (verb && text_eq(verb, "from")) {
		trace(s, line, &at);
	} else {
		buf_printf(&s->out, "%s\n", line);
		if (verb && !setting(l, verb, &at) && !world_statement(&l->w, whole))
			fail_msg("%s:%u: \"%s\"?", s->path, s->line, line);
	}
	free(copy);
	free(whole);
}

static void test_script(void **state)
{
	static const struct script_kind kind = { begin, one_line, end };

	script_run(&kind, *state);
}

int main(void)
{
	return scripts_main("tests/golden/trace", test_script);
}
