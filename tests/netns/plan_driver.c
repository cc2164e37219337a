/* SPDX-License-Identifier: Apache-2.0 */
/* plan_driver.c: the data plane of netlink/ for test_plan.py, test_kernel.py and test_survival.py.  Commands
 * (command.h):
 *
 *	nat-ensure [OPTION...] | nat-remove      options: unmatched=reject|drop|accept counters mark=N public=INTERFACE
 *	                                         admin=NET allow=ssh|bgp|icmp|vrrp
 *	nat-want [forget]                        what is wanted follows, a line each, then "end": applies the difference to what
 *	                                         was wanted before; forget: forgets the clients of backends that have gone, too
 *	nat-adopt                                takes what the kernel has for what was wanted before
 *	nat-read | nat-check                     prints what the kernel has | how it differs from what is wanted; "partial" before
 *	                                         a member: not all elements that it stands for
 *	nat-verify                               looks for wanted slots that are not right
 *	nat-load FRONTENDS SLOTS                 loads 198.18.x.y . tcp . 80 with ten backends each, prints times
 *	nat-former MS [IP...]                    backends on the node of a dead holder
 *	nat-count MAX                            prints the counters
 *	nat-watch MS                             waits for notifications for at most MS; prints changed, unchanged or silent
 *	ct-flush IP...                           deletes the connections of these VIPs, prints how many
 *	ct-gone VIP PROTO PORT IP PORT...        deletes those to these backends, prints how many
 *
 * What is wanted:
 *	member KIND IP [PROTO PORT | INDEX]
 *	frontend VIP PROTO PORT BALANCE SLOTS STICKY FIREWALL|- SALT IP PORT [IP PORT...]     slot i: backend (i + SALT) mod n
 *	firewall NAME SALT [from=NET...] [restricted] [packets=N] [bytes=N] [connections=N] */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/ct_if.h"
#include "netlink/nat_count.h"
#include "netlink/nat_if.h"
#include "netlink/nat_watch.h"
#include "tests/netns/plan_state.h"

struct driver {
	struct nat_if *nat;
	struct nlsock *count;
	struct nat_watch *watch;
	struct state have;
	struct err_info err;
};

static uint8_t choice(const char *text, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text_eq(names[i], text))
			return (uint8_t)i;
	refuse("unknown", text);
}

/* ---- what is wanted ---- */

static void add_member(struct state *s)
{
	struct nat_member m = { .kind = choice(word(1), kinds, ARRAY_LEN(kinds)), .ip = address(2) };

	if (m.kind == NAT_HOME) {
		m.ifindex = (uint32_t)number(3, UINT32_MAX);
	} else if (word_count() > 3) {
		m.proto = (uint8_t)number(3, UINT8_MAX);
		m.port = (uint16_t)number(4, UINT16_MAX);
	}
	s->members = need(reallocarray(s->members, s->n_members + 1, sizeof(m)));
	s->members[s->n_members++] = m;
}

static int endpoint_order(const void *a, const void *b)
{
	return ip_port_cmp(a, b);
}

static void add_frontend(struct state *s)
{
	struct frontend f = { .vip = address(1), .proto = (uint8_t)number(2, UINT8_MAX),
			      .port = (uint16_t)number(3, UINT16_MAX),
			      .balance = choice(word(4), balances, ARRAY_LEN(balances)),
			      .n_slots = (uint16_t)number(5, NAT_SLOTS_MAX),
			      .sticky_s = (uint32_t)number(6, UINT32_MAX) };
	struct ip_port *backends = need(calloc(COMMAND_WORDS_MAX, sizeof(*backends)));

	for (size_t i = 9; i + 1 < word_count(); i += 2)
		backends[f.n_backends++] = (struct ip_port){ address(i), (uint16_t)number(i + 1, UINT16_MAX) };
	qsort(backends, f.n_backends, sizeof(*backends), endpoint_order);
	f.backends = backends;
	if (f.n_backends == 0)
		refuse("no backend", word(1));
	fill(&f, number(8, UINT16_MAX));
	s->frontends = need(reallocarray(s->frontends, s->n_frontends + 1, sizeof(f)));
	s->walls = need(reallocarray((void *)s->walls, s->n_frontends + 1, sizeof(const char *)));
	s->walls[s->n_frontends] = text_eq(word(7), "-") ? NULL : need(strdup(word(7)));
	s->frontends[s->n_frontends++] = f;
}

static int net_order(const void *a, const void *b)
{
	return ip_net_cmp(a, b);
}

static void read_limit(struct nat_firewall *fw, struct ip_net *sources, const char *text)
{
	if (text_starts(text, "from=")) {
		if (ip_net_parse(text + strlen("from="), &sources[fw->n_sources++]) < 0)
			refuse("not a prefix", text);
	} else if (text_eq(text, "restricted")) {
		fw->restricted = true;
	} else if (text_starts(text, "connections=")) {
		fw->client_connections = (uint32_t)number_of(text + strlen("connections="), UINT32_MAX);
	} else if (text_starts(text, "packets=")) {
		fw->rates[fw->n_rates++] = (struct rate){ RATE_PACKETS, 1, number_of(text + strlen("packets="), UINT32_MAX), 5 };
	} else if (text_starts(text, "bytes=")) {
		fw->rates[fw->n_rates++] = (struct rate){ RATE_BYTES, 1, number_of(text + strlen("bytes="), UINT32_MAX), 1500 };
	} else {
		refuse("no such limit", text);
	}
}

static void add_firewall(struct state *s)
{
	struct nat_firewall *fw = need(calloc(1, sizeof(*fw)));
	struct ip_net *sources = need(calloc(COMMAND_WORDS_MAX, sizeof(*sources)));

	if (!text_copy(fw->name, sizeof(fw->name), word(1)))
		refuse("too long", word(1));
	fw->digest = digest_of(14695981039346656037u, word(2), strlen(word(2)));
	for (size_t i = 3; i < word_count(); i++) {
		read_limit(fw, sources, word(i));
		fw->digest = digest_of(fw->digest, word(i), strlen(word(i)));
	}
	qsort(sources, fw->n_sources, sizeof(*sources), net_order);
	fw->sources = sources;
	s->firewalls = need(reallocarray((void *)s->firewalls, s->n_firewalls + 1, sizeof(fw)));
	s->firewalls[s->n_firewalls++] = fw;
}

/* The lines up to "end"; they come sorted. */
static struct state read_state(void)
{
	struct state s = { .members = NULL };

	while (command_read() && !text_eq(word(0), "end")) {
		if (text_eq(word(0), "member"))
			add_member(&s);
		else if (text_eq(word(0), "frontend"))
			add_frontend(&s);
		else if (text_eq(word(0), "firewall"))
			add_firewall(&s);
		else
			refuse("no such thing to want", word(0));
	}
	return s;
}

static int nat_want(struct driver *d)
{
	AUTO(plan_fini) struct plan_store store = { .add = NULL };
	const bool forget = text_eq(word(1), "forget");
	struct state now = read_state();
	struct nat_plan plan = { .n_add = 0 };
	size_t done;
	int r;

	diff_members(&d->have, &now, &store, &plan);
	diff_frontends(&d->have, &now, &store, &plan);
	diff_firewalls(&d->have, &now, &store, &plan);
	r = nat_if_apply(d->nat, &plan, &done, &d->err);
	printf("done %zu\n", done);
	if (r == 0 && forget)
		r = nat_if_forget_clients(d->nat, &plan, &d->err);
	state_fini(&d->have);
	d->have = now;
	return r;
}

/* ---- what is there ---- */

static int nat_adopt(struct driver *d)
{
	struct nat_read read;
	int r = nat_if_read(d->nat, &read, &d->err);

	if (r < 0)
		return r;
	state_fini(&d->have);
	d->have = (struct state){ .members = read.members, .n_members = read.n_members, .partial = read.partial,
				  .n_partial = read.n_partial };
	read.members = read.partial = NULL;
	d->have.frontends = need(calloc(read.n_frontends + 1, sizeof(*d->have.frontends)));
	d->have.walls = need(calloc(read.n_frontends + 1, sizeof(const char *)));
	for (size_t i = 0; i < read.n_frontends; i++) {
		const struct nat_read_frontend *f = &read.frontends[i];

		d->have.frontends[i] = f->f;
		d->have.walls[i] = f->firewall ? need(strdup(f->firewall)) : NULL;
	}
	d->have.n_frontends = read.n_frontends;
	d->have.firewalls = need(calloc(read.n_firewalls + 1, sizeof(struct nat_firewall *)));
	for (size_t i = 0; i < read.n_firewalls; i++) {
		struct nat_firewall *fw = d->have.firewalls[i] = need(calloc(1, sizeof(*fw)));

		IGNORE(text_copy(fw->name, sizeof(fw->name), read.firewalls[i].name)); /* one that is cut is not found */
		fw->digest = read.firewalls[i].digest;
	}
	d->have.n_firewalls = read.n_firewalls;
	nat_read_free(&read);
	return 0;
}

static void print_member(const char *prefix, const struct nat_member *m)
{
	char ip[IP_TEXT_MAX];

	printf("%smember %s %s", prefix, kinds[m->kind], ip_format(&m->ip, ip));
	if (m->kind == NAT_HOME)
		printf(" %u", m->ifindex);
	else if (m->proto)
		printf(" %u %u", m->proto, m->port);
	printf("\n");
}

static void print_frontend(const char *prefix, const struct frontend *f, const char *wall)
{
	char ip[IP_TEXT_MAX];

	printf("%sfrontend %s %u %u %s %u %u %s %016" PRIx64 "\n", prefix, ip_format(&f->vip, ip), f->proto, f->port,
	       f->n_slots ? balances[f->balance] : "-", f->n_slots, f->sticky_s, wall ? wall : "-", f->digest);
}

static int nat_read(struct driver *d)
{
	struct nat_read read;
	int r = nat_if_read(d->nat, &read, &d->err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < read.n_members; i++)
		print_member("", &read.members[i]);
	for (size_t i = 0; i < read.n_partial; i++)
		print_member("partial ", &read.partial[i]);
	for (size_t i = 0; i < read.n_frontends; i++)
		print_frontend("", &read.frontends[i].f, read.frontends[i].firewall);
	for (size_t i = 0; i < read.n_firewalls; i++)
		printf("firewall %s %016" PRIx64 "\n", read.firewalls[i].name, read.firewalls[i].digest);
	nat_read_free(&read);
	return 0;
}

static void check_read(const struct state *s, const struct nat_read *read)
{
	size_t i, j;

	for (i = j = 0; i < s->n_members || j < read->n_members;) {
		int c = i == s->n_members	? 1
			: j == read->n_members ? -1
					       : nat_member_cmp(&s->members[i], &read->members[j]);

		if (c != 0)
			print_member(c < 0 ? "missing " : "surplus ", c < 0 ? &s->members[i] : &read->members[j]);
		i += c <= 0;
		j += c >= 0;
	}
	for (i = 0; i < read->n_partial; i++)
		print_member("partial ", &read->partial[i]);
	for (i = j = 0; i < s->n_frontends || j < read->n_frontends;) {
		const struct nat_read_frontend *f = &read->frontends[j];
		int c = i == s->n_frontends	  ? 1
			: j == read->n_frontends ? -1
						 : frontend_cmp(&s->frontends[i], &f->f);

		if (c < 0 || (c == 0 && (s->frontends[i].digest != f->f.digest || !same_text(s->walls[i], f->firewall) ||
					 s->frontends[i].n_slots != f->f.n_slots)))
			print_frontend("missing ", &s->frontends[i], s->walls[i]);
		if (c > 0)
			print_frontend("surplus ", &f->f, f->firewall);
		i += c <= 0;
		j += c >= 0;
	}
	for (i = j = 0; i < s->n_firewalls || j < read->n_firewalls;) {
		int c = i == s->n_firewalls	  ? 1
			: j == read->n_firewalls ? -1
						 : strcmp(s->firewalls[i]->name, read->firewalls[j].name);

		if (c != 0 || s->firewalls[i]->digest != read->firewalls[j].digest)
			printf("%s firewall %s\n", c <= 0 ? "missing" : "surplus",
			       c <= 0 ? s->firewalls[i]->name : read->firewalls[j].name);
		i += c <= 0;
		j += c >= 0;
	}
}

static int verify(struct driver *d)
{
	const struct state *s = &d->have;
	const struct frontend **v = need(calloc(s->n_frontends + 1, sizeof(const struct frontend *)));
	bool *good = need(calloc(s->n_frontends + 1, sizeof(*good)));
	int r;

	for (size_t i = 0; i < s->n_frontends; i++)
		v[i] = &s->frontends[i];
	r = nat_if_verify(d->nat, v, s->n_frontends, good, &d->err);
	for (size_t i = 0; i < s->n_frontends && r == 0; i++)
		if (!good[i])
			print_frontend("slots ", &s->frontends[i], s->walls[i]);
	free((void *)v);
	free(good);
	return r;
}

static int nat_check(struct driver *d)
{
	struct nat_read read;
	int r = nat_if_read(d->nat, &read, &d->err);

	if (r < 0)
		return r;
	check_read(&d->have, &read);
	nat_read_free(&read);
	return verify(d);
}

/* ---- figures ---- */

static int64_t ms_since(mono_t t)
{
	return mono_diff_ms(mono_now(), t);
}

static struct state load_state(size_t n, uint16_t n_slots)
{
	struct state s = { .n_frontends = n, .frontends = need(calloc(n, sizeof(*s.frontends))),
			   .walls = need(calloc(n, sizeof(const char *))) };

	for (size_t i = 0; i < n; i++) {
		struct frontend *f = &s.frontends[i];
		struct ip_port *backends = need(calloc(10, sizeof(*backends)));

		*f = (struct frontend){ .vip = { .family = IP_V4, .b = { 198, 18, (uint8_t)(i >> 8), (uint8_t)i } },
					.proto = 6, .port = 80, .n_slots = n_slots, .n_backends = 10, .backends = backends };
		for (size_t j = 0; j < 10; j++)
			backends[j] = (struct ip_port){ { IP_V4, { 198, 19, (uint8_t)i, (uint8_t)j } }, 8080 };
		fill(f, i);
	}
	return s;
}

static int nat_load(struct driver *d)
{
	AUTO(plan_fini) struct plan_store store = { .add = NULL };
	size_t n = number(1, 60000), done;
	struct nat_plan plan = { .n_add = 0 };
	struct state now = load_state(n, (uint16_t)number(2, NAT_SLOTS_MAX));
	mono_t t;
	int r;

	diff_frontends(&d->have, &now, &store, &plan);
	t = mono_now();
	r = nat_if_apply(d->nat, &plan, &done, &d->err);
	printf("applied %zu in %" PRId64 " ms\n", done, ms_since(t));
	state_fini(&d->have);
	d->have = now;
	t = mono_now();
	if (r == 0)
		r = nat_check(d);
	printf("checked in %" PRId64 " ms\n", ms_since(t));
	return r;
}

/* ---- all else ---- */

static void read_router_option(struct nat_router *r, const char *text)
{
	static const char *const allow[] = { "allow=ssh", "allow=bgp", "allow=icmp", "allow=vrrp" };

	if (text_starts(text, "public=")) {
		if (r->n_interfaces == NAT_ROUTER_INTERFACES_MAX ||
		    !text_copy(r->interfaces[r->n_interfaces++], sizeof(r->interfaces[0]), text + strlen("public=")))
			refuse("too many or too long", text);
	} else if (text_starts(text, "admin=")) {
		if (r->n_admins == NAT_ROUTER_ADMINS_MAX ||
		    ip_net_parse(text + strlen("admin="), &r->admins[r->n_admins++]) < 0)
			refuse("too many, or no prefix", text);
	} else {
		r->allow |= (uint8_t)(1u << choice(text, allow, ARRAY_LEN(allow)));
	}
}

static void read_option(struct nat_options *o, const char *text)
{
	static const char *const unmatched[] = { "unmatched=reject", "unmatched=drop", "unmatched=accept" };

	if (text_eq(text, "counters"))
		o->counters = true;
	else if (text_starts(text, "mark="))
		o->forward_mark = (uint32_t)number_of(text + strlen("mark="), UINT32_MAX);
	else if (text_starts(text, "unmatched="))
		o->unmatched = choice(text, unmatched, ARRAY_LEN(unmatched));
	else
		read_router_option(&o->router, text);
}

static int nat_ensure(struct driver *d)
{
	struct nat_options options = { .unmatched = NAT_UNMATCHED_REJECT };

	for (size_t i = 1; i < word_count(); i++)
		read_option(&options, word(i));
	return nat_if_ensure(d->nat, &options, &d->err);
}

static int nat_remove(struct driver *d)
{
	int r = nat_if_remove(d->count, &d->err);

	if (r == 0)
		state_fini(&d->have);
	return r;
}

static int nat_former(struct driver *d)
{
	struct ip ips[COMMAND_WORDS_MAX];
	size_t n = addresses(2, ips);

	return nat_if_former(d->count, ips, n, (uint32_t)number(1, UINT32_MAX), &d->err);
}

static int nat_count(struct driver *d)
{
	struct nat_counts counts;
	char ip[IP_TEXT_MAX];
	int r = nat_count_read(d->count, number(1, SIZE_MAX), &counts, &d->err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < counts.n; i++)
		printf("%s %s %u %u %" PRIu64 " %" PRIu64 "\n", kinds[counts.v[i].member.kind],
		       ip_format(&counts.v[i].member.ip, ip), counts.v[i].member.proto, counts.v[i].member.port,
		       counts.v[i].tick.packets, counts.v[i].tick.bytes);
	for (size_t i = 0; i < counts.n_frontends; i++)
		printf("frontend %s %u %u %" PRIu64 "\n", ip_format(&counts.frontends[i].vip, ip), counts.frontends[i].proto,
		       counts.frontends[i].port, counts.frontends[i].connections);
	for (unsigned int i = 0; i < NAT_DROP_N; i++)
		printf("drop %s %" PRIu64 " %" PRIu64 "\n", nat_drop_name((enum nat_drop)i), counts.drops[i].packets,
		       counts.drops[i].bytes);
	nat_counts_free(&counts);
	return 0;
}

static int nat_watch(struct driver *d)
{
	struct pollfd p = { .events = POLLIN };
	uint32_t ports[1] = { nat_if_port(d->nat) };
	bool changed = false;
	int r = d->watch ? 0 : nat_watch_new(ports, 1, &d->watch, &d->err);

	if (r < 0)
		return r;
	p.fd = nat_watch_fd(d->watch);
	if (poll(&p, 1, (int)number(1, 60000)) > 0)
		r = nat_watch_dispatch(d->watch, &changed, &d->err);
	printf("%s\n", changed ? "changed" : p.revents ? "unchanged" : "silent");
	return r;
}

static int flush(struct driver *d)
{
	struct ip vips[COMMAND_WORDS_MAX];
	size_t n = addresses(1, vips), deleted = 0;
	int r = ct_if_flush(vips, n, &deleted, &d->err);

	printf("deleted %zu\n", deleted);
	return r;
}

static int flush_gone(struct driver *d)
{
	struct ct_gone gone[COMMAND_WORDS_MAX / 5];
	size_t n = 0, deleted = 0;
	int r;

	for (size_t i = 1; i + 4 < word_count(); i += 5)
		gone[n++] = (struct ct_gone){ .vip = address(i), .proto = (uint8_t)number(i + 1, UINT8_MAX),
					      .port = (uint16_t)number(i + 2, UINT16_MAX),
					      .backend = { address(i + 3), (uint16_t)number(i + 4, UINT16_MAX) } };
	r = ct_if_flush_gone(gone, n, &deleted, &d->err);
	printf("deleted %zu\n", deleted);
	return r;
}

static const struct command commands[] = {
	{ "nat-ensure", nat_ensure }, { "nat-remove", nat_remove }, { "nat-want", nat_want },
	{ "nat-adopt", nat_adopt },   { "nat-read", nat_read },	    { "nat-check", nat_check },
	{ "nat-verify", verify },     { "nat-load", nat_load },	    { "nat-former", nat_former },
	{ "nat-count", nat_count },   { "nat-watch", nat_watch },   { "ct-flush", flush },
	{ "ct-gone", flush_gone },
};

int main(void)
{
	struct driver d = { .nat = NULL };

	if (nat_if_new(&d.nat, &d.err) < 0 || nlsock_new(NETLINK_NETFILTER, &d.count, &d.err) < 0)
		errx(EXIT_FAILURE, "%s", d.err.text);
	command_loop(&d, &d.err, commands, ARRAY_LEN(commands));
	state_fini(&d.have);
	nat_watch_free(d.watch);
	nlsock_free(d.count);
	nat_if_free(d.nat);
	return 0;
}
