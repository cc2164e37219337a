/* SPDX-License-Identifier: Apache-2.0 */
/* gate_driver.c: the gate for test_gate.py.  Reads commands from standard input, one a line, in the network namespace it
 * was started in; answers with lines and at last "ok" or "error <errno> <text>".  Times are milliseconds from now.
 *
 *	load | self-test                   load: programs and map; a second time is a gate of its own, in the first's place
 *	attach INDEX | detach INDEX
 *	set IP INDEX ARP_MS IP_MS          INDEX: the interface that carries it.  Each address is a group of its own
 *	redirect IP MS TO_MAC OWN_MAC      with the gate shut
 *	keep IP INDEX MS                   opens its group anew every MS / 3, until a line comes or the process ends
 *	unset IP | get IP | counts
 *	fill N                             N entries, 2001:db8:ffff::1 and on
 *	watch MS                           prints "changed INDEX" until something came and 50 ms were silent
 *	memory                             RssAnon in KiB
 *	tcx INDEX ingress|egress           attaches a program of another's that lets all pass */
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/gate_if.h"

#define WORDS_MAX 8
#define GROUPS 64

struct driver {
	struct gate_if *gate;
	struct gate_watch *watch;
	struct nlsock *route;
	struct ip groups[GROUPS]; /* the address of each */
	uint32_t n_groups;
	char line[256];
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
	fprintf(stderr, "gate_driver: %s: '%s'\n", what, word);
	exit(2);
}

static const char *word(const struct driver *d, size_t i)
{
	return i < d->n_words ? d->words[i] : "";
}

static uint64_t number(const struct driver *d, size_t i)
{
	uint64_t v = 0;

	if (text_to_u64(word(d, i), INT32_MAX, &v) < 0)
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

static void mac(const struct driver *d, size_t i, uint8_t ret[static GATE_MAC_LEN])
{
	unsigned int b[GATE_MAC_LEN];

	if (sscanf(word(d, i), "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != GATE_MAC_LEN)
		refuse("not a MAC address", word(d, i));
	for (size_t k = 0; k < GATE_MAC_LEN; k++)
		ret[k] = (uint8_t)b[k];
}

static uint64_t from_now(uint64_t ms)
{
	return ms == 0 ? 0 : (uint64_t)mono_add_ms(mono_now(), (int64_t)ms).ns;
}

/* ---- commands ---- */

static int load(struct driver *d)
{
	struct gate_if *fresh;
	int r = gate_if_new(&fresh, &d->err);

	if (r < 0)
		return r;
	gate_if_free(d->gate);
	d->gate = fresh;
	return 0;
}

static int self_test(struct driver *d)
{
	return gate_if_self_test(d->gate, d->route, &d->err);
}

static int attach(struct driver *d)
{
	bool changed = false;
	int r = gate_if_attach(d->gate, d->route, (int)number(d, 1), &changed, &d->err);

	if (r == 0)
		puts(changed ? "changed" : "same");
	return r;
}

static int detach(struct driver *d)
{
	return gate_if_detach(d->route, (int)number(d, 1), &d->err);
}

static uint32_t group_of(struct driver *d, const struct ip *ip)
{
	for (uint32_t i = 0; i < d->n_groups; i++)
		if (ip_eq(&d->groups[i], ip))
			return i;
	if (d->n_groups == GROUPS)
		refuse("too many addresses", word(d, 1));
	d->groups[d->n_groups] = *ip;
	return d->n_groups++;
}

static int open_group(struct driver *d, uint32_t group, uint64_t arp_ms, uint64_t ip_ms)
{
	const struct gate_group row = { .arp_until = from_now(arp_ms), .ip_until = from_now(ip_ms) };

	return gate_if_set_group(d->gate, group, &row, &d->err);
}

static int set(struct driver *d)
{
	const struct ip ip = address(d, 1);
	const struct gate_entry e = { .ifindex = (uint32_t)number(d, 2), .group = group_of(d, &ip),
				      .may = GATE_MAY_ARP | GATE_MAY_IP };
	int r = open_group(d, e.group, number(d, 3), number(d, 4));

	return r < 0 ? r : gate_if_set(d->gate, &ip, &e, &d->err);
}

static int redirect(struct driver *d)
{
	const struct ip ip = address(d, 1);
	struct gate_entry e = { .redirect_until = from_now(number(d, 2)), .group = GATE_GROUP_NONE };

	mac(d, 3, e.redirect_mac);
	mac(d, 4, e.own_mac);
	return gate_if_set(d->gate, &ip, &e, &d->err);
}

static int keep(struct driver *d)
{
	const struct ip ip = address(d, 1);
	const uint64_t ms = number(d, 3);
	const struct gate_entry e = { .ifindex = (uint32_t)number(d, 2), .group = group_of(d, &ip),
				      .may = GATE_MAY_ARP | GATE_MAY_IP };
	struct pollfd p = { .fd = 0, .events = POLLIN };
	int r;

	do {
		r = open_group(d, e.group, ms, ms);
		if (r == 0)
			r = gate_if_set(d->gate, &ip, &e, &d->err);
	} while (r == 0 && poll(&p, 1, (int)ms / 3) == 0);
	return r;
}

static int unset(struct driver *d)
{
	const struct ip ip = address(d, 1);

	return gate_if_unset(d->gate, &ip, &d->err);
}

static int get(struct driver *d)
{
	const struct ip ip = address(d, 1);
	struct gate_group row = { 0 };
	struct gate_entry e;
	int r = gate_if_get(d->gate, &ip, &e, &d->err);

	if (r == 0 && e.group != GATE_GROUP_NONE)
		r = gate_if_get_group(d->gate, e.group, &row, &d->err);
	if (r == 0)
		printf("%u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", e.ifindex, (uint64_t)row.arp_until, (uint64_t)row.ip_until,
		       (uint64_t)e.redirect_until);
	return r;
}

static int counts(struct driver *d)
{
	uint64_t n[GATE_COUNT_N];
	int r = gate_if_counts(d->gate, n, &d->err);

	for (size_t i = 0; i < GATE_COUNT_N && r == 0; i++)
		printf("%" PRIu64 "\n", n[i]);
	return r;
}

static int fill(struct driver *d)
{
	const struct gate_entry e = { .ifindex = 1, .group = GATE_GROUP_NONE };
	uint64_t n = number(d, 1);
	struct ip ip;
	int r = ip_parse("2001:db8:ffff::", &ip);

	for (uint64_t i = 0; i < n && r == 0; i++) {
		if (!ip_next(&ip, &ip))
			refuse("too many", word(d, 1));
		r = gate_if_set(d->gate, &ip, &e, &d->err);
	}
	return r;
}

static void on_changed(void *ctx, int ifindex)
{
	bool *any = ctx;

	*any = true;
	printf("changed %d\n", ifindex);
}

static int watch(struct driver *d)
{
	int wait_ms = (int)number(d, 1), r = 0;
	bool any = false;

	for (;;) {
		struct pollfd p = { .fd = gate_watch_fd(d->watch), .events = POLLIN };

		if (poll(&p, 1, any ? 50 : wait_ms) <= 0 || r < 0)
			return r;
		r = gate_watch_dispatch(d->watch, on_changed, &any, &d->err);
	}
}

static int memory(struct driver *d)
{
	FILE *f = fopen("/proc/self/status", "re");
	char line[128];

	(void)d;
	while (f && fgets(line, sizeof(line), f))
		if (text_starts(line, "RssAnon:"))
			printf("%" PRIu64 "\n", (uint64_t)strtoull(line + 8, NULL, 10));
	return f ? fclose(f) : -errno;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	long r = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return r < 0 ? -errno : (int)r;
}

/* linux/bpf.h of before 6.6 has no names for TCX: BPF_TCX_INGRESS is 46, BPF_TCX_EGRESS 47; TCX_NEXT is -1. */
static int tcx(struct driver *d)
{
	const struct bpf_insn insns[] = { { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
					  { .code = BPF_JMP | BPF_EXIT } };
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SCHED_CLS,
				.insns = (uintptr_t)insns,
				.insn_cnt = ARRAY_LEN(insns),
				.license = (uintptr_t)"Apache-2.0",
				.prog_name = "somebody" };
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		return err_errno(&d->err, fd, "loading");
	attr = (union bpf_attr){ .target_fd = (uint32_t)number(d, 1),
				 .attach_bpf_fd = (uint32_t)fd,
				 .attach_type = text_eq(word(d, 2), "ingress") ? 46 : 47 };
	return bpf(BPF_PROG_ATTACH, &attr) < 0 ? err_set(&d->err, -EOPNOTSUPP, "this kernel has no TCX") : 0;
}

static int run(struct driver *d)
{
	static const struct {
		const char *name;
		int (*run)(struct driver *d);
		bool needs_gate;
	} commands[] = {
		{ "self-test", self_test, true }, { "attach", attach, true }, { "set", set, true },
		{ "redirect", redirect, true },	  { "keep", keep, true },     { "unset", unset, true },
		{ "get", get, true },		  { "counts", counts, true }, { "fill", fill, true },
		{ "load", load, false },	  { "detach", detach, false }, { "watch", watch, false },
		{ "memory", memory, false },	  { "tcx", tcx, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (text_eq(commands[i].name, word(d, 0)) && (d->gate || !commands[i].needs_gate))
			return commands[i].run(d);
	return err_set(&d->err, -ENOSYS, "no such command, or no gate: %s", word(d, 0));
}

int main(void)
{
	struct driver d = { .gate = NULL };

	if (nlsock_new(NETLINK_ROUTE, &d.route, &d.err) < 0 || gate_watch_new(&d.watch, &d.err) < 0) {
		fprintf(stderr, "gate_driver: %s\n", d.err.text);
		return 1;
	}
	setvbuf(stdin, NULL, _IONBF, 0); /* 'keep' polls it */
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
	gate_if_free(d.gate);
	gate_watch_free(d.watch);
	nlsock_free(d.route);
	return 0;
}
