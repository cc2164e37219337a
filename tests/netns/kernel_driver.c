/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_driver.c: netlink/ for test_kernel.py and test_survival.py.  Reads commands from standard input, one a line,
 * in the network namespace it was started in; answers with lines and at last "ok" or "error <errno> <text>".
 *
 *	nat-ensure | nat-remove | nat-dump
 *	nat-apply                          ops follow, one a line ("group" ends a group), then "end"
 *	nat-former MS [IP...]              backends on the node of a dead holder
 *	nat-bench FRONTENDS SLOTS          loads 198.18.x.y . tcp . 80, prints times, reads back, compares
 *	ct-flush IP...                     deletes the connections of these VIPs, prints how many
 *	addr-put|addr-refresh INDEX IP VALID_S | addr-del INDEX IP | addr-dump
 *	announce INTERFACE IP ROUTER       sends one round, prints the number of frames
 *	watch MS                           waits for a change for at most MS, then prints the state
 *	sysctl-get|sysctl-set 4|6 INTERFACE [VALUE]
 *
 * Ops: vip-add|vip-del IP; local-add|local-del IP; home-add|home-del IP INDEX;
 * guard-add|guard-del IP PROTO PORT; frontend-add|frontend-del IP PROTO PORT hash|random SLOTS;
 * slot-add|slot-del IP PROTO PORT SLOT IP PORT.  nat-dump prints the additions that make up what is there. */
#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/addr_if.h"
#include "netlink/announce_if.h"
#include "netlink/ct_if.h"
#include "netlink/link_watch.h"
#include "netlink/nat_if.h"
#include "netlink/sysctl.h"

#define WORDS_MAX 8

struct driver {
	struct nlsock *nat, *route;
	struct link_watch *watch;
	struct announce_if *announcer;
	struct nat_op *ops;
	size_t *ends;
	size_t n_ops, n_groups, cap;
	char line[512];
	char *words[WORDS_MAX];
	size_t n_words;
	struct err_info err;
};

static bool read_line(struct driver *d)
{
	char *save = NULL;

	if (!fgets(d->line, sizeof(d->line), stdin))
		return false;
	d->n_words = 0;
	memset(d->words, 0, sizeof(d->words));
	for (char *w = strtok_r(d->line, " \n", &save); w && d->n_words < WORDS_MAX; w = strtok_r(NULL, " \n", &save))
		d->words[d->n_words++] = w;
	return true;
}

/* The test is wrong: it cannot go on. */
static void refuse(const char *what, const char *word)
{
	fprintf(stderr, "kernel_driver: %s: '%s'\n", what, word);
	exit(2);
}

static const char *word(const struct driver *d, size_t i)
{
	return i < d->n_words ? d->words[i] : "";
}

static uint64_t number(const struct driver *d, size_t i, uint64_t max)
{
	uint64_t v = 0;

	if (text_to_u64(word(d, i), max, &v) < 0)
		refuse("not a number, or too large", word(d, i));
	return v;
}

static struct ip address(const struct driver *d, size_t i)
{
	struct ip ip = { 0 };

	if (ip_parse(word(d, i), &ip) < 0)
		refuse("not an address", word(d, i));
	return ip;
}

/* ---- data plane ---- */

static void reserve(struct driver *d, size_t n)
{
	if (n <= d->cap)
		return;
	d->cap = n * 2 + 64;
	d->ops = reallocarray(d->ops, d->cap, sizeof(*d->ops));
	d->ends = reallocarray(d->ends, d->cap, sizeof(*d->ends));
	if (!d->ops || !d->ends)
		exit(3);
}

static struct nat_op read_op(const struct driver *d)
{
	static const char *const kinds[] = {
		[NAT_OP_VIP_ADD] = "vip-add",		[NAT_OP_VIP_DEL] = "vip-del",
		[NAT_OP_LOCAL_ADD] = "local-add",	[NAT_OP_LOCAL_DEL] = "local-del",
		[NAT_OP_HOME_ADD] = "home-add",		[NAT_OP_HOME_DEL] = "home-del",
		[NAT_OP_GUARD_ADD] = "guard-add",	[NAT_OP_GUARD_DEL] = "guard-del",
		[NAT_OP_FRONTEND_ADD] = "frontend-add", [NAT_OP_FRONTEND_DEL] = "frontend-del",
		[NAT_OP_SLOT_ADD] = "slot-add",		[NAT_OP_SLOT_DEL] = "slot-del",
	};
	struct nat_op op = { .vip = address(d, 1) };

	while (op.kind < ARRAY_LEN(kinds) && !text_eq(kinds[op.kind], word(d, 0)))
		op.kind++;
	if (op.kind == ARRAY_LEN(kinds))
		refuse("no such op", word(d, 0));
	if (op.kind <= NAT_OP_LOCAL_DEL)
		return op;
	if (op.kind <= NAT_OP_HOME_DEL) {
		op.ifindex = (uint32_t)number(d, 2, UINT32_MAX);
		return op;
	}
	op.proto = (uint8_t)number(d, 2, UINT8_MAX);
	op.port = (uint16_t)number(d, 3, UINT16_MAX);
	if (op.kind <= NAT_OP_GUARD_DEL)
		return op;
	if (op.kind == NAT_OP_FRONTEND_ADD || op.kind == NAT_OP_FRONTEND_DEL) {
		op.balance = text_eq(word(d, 4), "random") ? BALANCE_RANDOM : BALANCE_HASH;
		op.n_slots = (uint16_t)number(d, 5, UINT16_MAX);
		return op;
	}
	op.slot = (uint16_t)number(d, 4, UINT16_MAX);
	op.backend = (struct ip_port){ address(d, 5), (uint16_t)number(d, 6, UINT16_MAX) };
	return op;
}

static int nat_apply(struct driver *d)
{
	size_t done;
	int r;

	d->n_ops = 0;
	d->n_groups = 0;
	while (read_line(d) && !text_eq(word(d, 0), "end")) {
		reserve(d, d->n_ops + 1);
		if (text_eq(word(d, 0), "group"))
			d->ends[d->n_groups++] = d->n_ops;
		else
			d->ops[d->n_ops++] = read_op(d);
	}
	r = nat_if_apply(d->nat, d->ops, d->ends, d->n_groups, &done, &d->err);
	printf("done %zu of %zu\n", done, d->n_ops);
	return r;
}

static void print_sets(const struct nat_dump *dump)
{
	char a[IP_TEXT_MAX];

	for (size_t i = 0; i < dump->n_vips; i++)
		printf("vip-add %s\n", ip_format(&dump->vips[i], a));
	for (size_t i = 0; i < dump->n_locals; i++)
		printf("local-add %s\n", ip_format(&dump->locals[i], a));
	for (size_t i = 0; i < dump->n_homes; i++)
		printf("home-add %s %u\n", ip_format(&dump->homes[i].vip, a), dump->homes[i].ifindex);
	for (size_t i = 0; i < dump->n_guards; i++)
		printf("guard-add %s %u %u\n", ip_format(&dump->guards[i].ip, a), dump->guards[i].proto,
		       dump->guards[i].port);
}

static int nat_dump(struct driver *d)
{
	char a[IP_TEXT_MAX], b[IP_TEXT_MAX];
	struct nat_dump dump;
	int r = nat_if_dump(d->nat, &dump, &d->err);

	if (r < 0)
		return r;
	print_sets(&dump);
	for (size_t i = 0; i < dump.n_frontends; i++) {
		const struct frontend *f = &dump.frontends[i];

		ip_format(&f->vip, a);
		printf("frontend-add %s %u %u %s %u\n", a, f->proto, f->port,
		       f->balance == BALANCE_HASH ? "hash" : "random", f->n_slots);
		for (unsigned int j = 0; j < f->n_slots; j++)
			if (f->slots[j].ip.family != IP_NONE)
				printf("slot-add %s %u %u %u %s %u\n", a, f->proto, f->port, j,
				       ip_format(&f->slots[j].ip, b), f->slots[j].port);
	}
	for (size_t i = 0; i < dump.n_orphans; i++)
		printf("orphan %d %s %u %u %u\n", dump.orphans[i].kind, ip_format(&dump.orphans[i].vip, a),
		       dump.orphans[i].proto, dump.orphans[i].port, dump.orphans[i].slot);
	nat_dump_free(&dump);
	return 0;
}

static struct nat_op bench_op(size_t frontend, uint16_t slot, uint16_t n_slots, enum nat_op_kind kind)
{
	struct nat_op op = { .kind = kind, .proto = 6, .port = 80, .slot = slot };
	size_t a = frontend + 1;

	op.vip = (struct ip){ .family = IP_V4, .b = { 198, 18, (uint8_t)(a >> 8), (uint8_t)a } };
	op.backend.ip = (struct ip){ .family = IP_V4, .b = { 198, 51, 100, (uint8_t)(frontend + slot) } };
	op.backend.port = 8080;
	if (kind != NAT_OP_SLOT_ADD) {
		op.backend = (struct ip_port){ .port = 0 };
		op.n_slots = n_slots;
		op.slot = 0;
	}
	return op;
}

static int64_t ms_since(mono_t t)
{
	return mono_diff_ms(mono_now(), t);
}

static bool bench_right(const struct nat_dump *dump, size_t n, uint16_t n_slots)
{
	for (size_t i = 0; i < n; i++) {
		const struct frontend *f = &dump->frontends[i];

		if (f->n_slots != n_slots)
			return false;
		for (uint16_t j = 0; j < n_slots; j++) {
			struct nat_op op = bench_op(i, j, n_slots, NAT_OP_SLOT_ADD);

			if (!ip_eq(&f->vip, &op.vip) || ip_port_cmp(&f->slots[j], &op.backend) != 0)
				return false;
		}
	}
	return dump->n_orphans == 0;
}

static int nat_bench(struct driver *d)
{
	size_t n = number(d, 1, 60000), done;
	uint16_t n_slots = (uint16_t)number(d, 2, UINT16_MAX);
	struct nat_dump dump;
	mono_t t;
	int r;

	reserve(d, n * (n_slots + (size_t)1));
	d->n_ops = 0;
	d->n_groups = 0;
	for (size_t i = 0; i < n; i++) {
		for (uint16_t j = 0; j < n_slots; j++)
			d->ops[d->n_ops++] = bench_op(i, j, n_slots, NAT_OP_SLOT_ADD);
		d->ops[d->n_ops++] = bench_op(i, 0, n_slots, NAT_OP_FRONTEND_ADD);
		d->ends[d->n_groups++] = d->n_ops;
	}
	t = mono_now();
	r = nat_if_apply(d->nat, d->ops, d->ends, d->n_groups, &done, &d->err);
	printf("applied %zu elements in %" PRId64 " ms\n", done, ms_since(t));
	t = mono_now();
	if (r == 0)
		r = nat_if_dump(d->nat, &dump, &d->err);
	if (r < 0)
		return r;
	printf("read %zu frontends in %" PRId64 " ms\n", dump.n_frontends, ms_since(t));
	printf("%s\n", dump.n_frontends == n && bench_right(&dump, n, n_slots) ? "equal" : "different");
	nat_dump_free(&dump);
	t = mono_now();
	d->ops[0] = bench_op(n, 0, n_slots, NAT_OP_FRONTEND_ADD);
	d->ends[0] = 1;
	r = nat_if_apply(d->nat, d->ops, d->ends, 1, &done, &d->err);
	printf("one more frontend in %" PRId64 " ms\n", ms_since(t));
	return r;
}

static int flush(struct driver *d)
{
	struct ip vips[WORDS_MAX];
	size_t n = 0, deleted = 0;
	int r;

	while (n + 1 < d->n_words) {
		vips[n] = address(d, n + 1);
		n++;
	}
	r = ct_if_flush(vips, n, &deleted, &d->err);
	printf("deleted %zu\n", deleted);
	return r;
}

/* ---- addresses, announcements, interfaces ---- */

static void dump_restart(void *ctx)
{
	size_t *n = ctx;

	*n = 0;
}

static void dump_each(void *ctx, const struct link_addr *a)
{
	char text[IP_TEXT_MAX];
	size_t *n = ctx;

	(*n)++;
	printf("addr %d %s/%u %s\n", a->index, ip_format(&a->ip, text), a->prefix_len, a->ours ? "ours" : "others");
}

static int addresses(struct driver *d)
{
	static const struct addr_if_dump_ops ops = { dump_restart, dump_each };
	struct ip ip;
	size_t n;
	int index;

	if (text_eq(word(d, 0), "addr-dump"))
		return addr_if_dump(d->route, &ops, &n, &d->err);
	index = (int)number(d, 1, INT32_MAX);
	ip = address(d, 2);
	if (text_eq(word(d, 0), "addr-del"))
		return addr_if_del(d->route, index, &ip, &d->err);
	if (text_eq(word(d, 0), "addr-put"))
		return addr_if_put(d->route, index, &ip, (uint32_t)number(d, 3, UINT32_MAX), &d->err);
	return addr_if_refresh(d->route, index, &ip, (uint32_t)number(d, 3, UINT32_MAX), &d->err);
}

static int announce(struct driver *d)
{
	const struct link_state *s = link_watch_state(d->watch);
	struct ip ip = address(d, 2);
	unsigned int frames = 0;
	int r;

	for (size_t i = 0; i < s->n_links; i++) {
		if (!text_eq(s->links[i].name, word(d, 1)))
			continue;
		r = announce_if_send(d->announcer, &s->links[i], &ip, (unsigned int)number(d, 3, 1), &frames,
				     &d->err);
		printf("frames %u\n", frames);
		return r;
	}
	return err_set(&d->err, -ENODEV, "no interface %s", word(d, 1));
}

static void print_state(const struct link_state *s)
{
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < s->n_links; i++) {
		const struct link *l = &s->links[i];

		printf("link %d %s %02x:%02x:%02x:%02x:%02x:%02x%s%s%s%s\n", l->index, l->name, l->mac[0], l->mac[1],
		       l->mac[2], l->mac[3], l->mac[4], l->mac[5], l->ethernet ? " ethernet" : "", l->up ? " up" : "",
		       l->carrier ? " carrier" : "", l->loopback ? " loopback" : "");
	}
	for (size_t i = 0; i < s->n_addrs; i++)
		printf("addr %d %s/%u %s\n", s->addrs[i].index, ip_format(&s->addrs[i].ip, text),
		       s->addrs[i].prefix_len, s->addrs[i].ours ? "ours" : "others");
	printf("default %d %d%s\n", s->default_v4, s->default_v6, s->default_v6_from_ra ? " ra" : "");
}

static int watch(struct driver *d)
{
	mono_t until = mono_add_ms(mono_now(), (int64_t)number(d, 1, 60000));
	bool changed = false;
	int r = 0;

	for (;;) {
		struct pollfd p = { .fd = link_watch_fd(d->watch), .events = POLLIN };
		int64_t left = mono_diff_ms(until, mono_now());
		int n = poll(&p, 1, changed || left < 0 ? 0 : (int)left);

		if (n <= 0)
			break;
		r = link_watch_dispatch(d->watch, &changed, &d->err);
		if (r < 0)
			break;
	}
	printf("%s\n", changed ? "changed" : "same");
	print_state(link_watch_state(d->watch));
	return r;
}

static int sysctls(struct driver *d)
{
	enum sysctl_key key = number(d, 1, 6) == 4 ? SYSCTL_FORWARD_V4 : SYSCTL_FORWARD_V6;
	char name[64];
	int value, r;

	if (text_eq(word(d, 0), "sysctl-set"))
		return sysctl_set(key, word(d, 2), (int)number(d, 3, 100), &d->err);
	r = sysctl_get(key, word(d, 2), &value, &d->err);
	if (r == 0)
		printf("%s %d\n", sysctl_name(key, word(d, 2), name, sizeof(name)), value);
	return r;
}

/* ---- commands ---- */

static int nat_ensure(struct driver *d)
{
	return nat_if_ensure(d->nat, &d->err);
}

static int nat_former(struct driver *d)
{
	struct ip ips[16];
	size_t n = 0;

	while (n < ARRAY_LEN(ips) && *word(d, n + 2)) {
		ips[n] = address(d, n + 2);
		n++;
	}
	return nat_if_former(d->nat, ips, n, (uint32_t)number(d, 1, UINT32_MAX), &d->err);
}

static int nat_remove(struct driver *d)
{
	return nat_if_remove(d->nat, &d->err);
}

static int run(struct driver *d)
{
	static const struct {
		const char *name;
		int (*run)(struct driver *d);
	} commands[] = {
		{ "nat-ensure", nat_ensure }, { "nat-remove", nat_remove }, { "nat-dump", nat_dump },
		{ "nat-apply", nat_apply },   { "nat-bench", nat_bench },   { "addr-put", addresses },
		{ "addr-refresh", addresses }, { "addr-del", addresses },   { "addr-dump", addresses },
		{ "announce", announce },     { "watch", watch },	    { "sysctl-get", sysctls },
		{ "sysctl-set", sysctls },   { "ct-flush", flush },	    { "nat-former", nat_former },
	};

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (text_eq(commands[i].name, word(d, 0)))
			return commands[i].run(d);
	return err_set(&d->err, -ENOSYS, "no such command: %s", word(d, 0));
}

int main(void)
{
	struct driver d = { .n_ops = 0 };

	if (nlsock_new(NETLINK_NETFILTER, &d.nat, &d.err) < 0 || nlsock_new(NETLINK_ROUTE, &d.route, &d.err) < 0 ||
	    link_watch_new(&d.watch, &d.err) < 0 || announce_if_new(&d.announcer, &d.err) < 0) {
		fprintf(stderr, "kernel_driver: %s\n", d.err.text);
		return 1;
	}
	while (read_line(&d)) {
		int r;

		d.err = (struct err_info)ERR_INFO_INIT;
		r = run(&d);
		if (r == 0)
			puts("ok");
		else
			printf("error %d %s\n", -r, d.err.text);
		fflush(stdout);
	}
	nlsock_free(d.nat);
	nlsock_free(d.route);
	link_watch_free(d.watch);
	announce_if_free(d.announcer);
	free(d.ops);
	free(d.ends);
	return 0;
}
