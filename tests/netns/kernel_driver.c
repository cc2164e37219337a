/* SPDX-License-Identifier: Apache-2.0 */
/* kernel_driver.c: addresses, announcements, interfaces and sysctls of netlink/ for test_kernel.py and test_survival.py
 * (the data plane is plan_driver.c's).  Commands (command.h):
 *
 *	addr-put|addr-refresh INDEX IP VALID_S | addr-del INDEX IP | addr-dump
 *	addr-change INDEX VALID_S (add|refresh|drop IP)...   in one exchange; prints the result of each, and the error
 *	announce INTERFACE IP ROUTER       sends one round, prints the number of frames
 *	watch MS                           waits for a change for at most MS, then prints the state
 *	watch-count MS                     how often a change is told within MS
 *	sysctl-get|sysctl-set 4|6 INTERFACE [VALUE] */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/addr_if.h"
#include "netlink/announce_if.h"
#include "netlink/link_watch.h"
#include "netlink/sysctl.h"
#include "tests/netns/command.h"

struct driver {
	struct nlsock *route;
	struct link_watch *watch;
	struct announce_if *announcer;
	struct err_info err;
};

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

static int addrs(struct driver *d)
{
	static const struct addr_if_dump_ops ops = { dump_restart, dump_each };
	struct ip ip;
	size_t n;
	int index;

	if (text_eq(word(0), "addr-dump"))
		return addr_if_dump(d->route, &ops, &n, &d->err);
	index = (int)number(1, INT32_MAX);
	ip = address(2);
	if (text_eq(word(0), "addr-del"))
		return addr_if_del(d->route, index, &ip, &d->err);
	if (text_eq(word(0), "addr-put"))
		return addr_if_put(d->route, index, &ip, (uint32_t)number(3, UINT32_MAX), &d->err);
	return addr_if_change(d->route, &(struct addr_if_change){ ADDR_IF_REFRESH, index, ip, 0 }, 1, (uint32_t)number(3, UINT32_MAX),
			      &d->err);
}

static enum addr_if_verb verb(size_t i)
{
	if (text_eq(word(i), "add"))
		return ADDR_IF_ADD;
	if (text_eq(word(i), "refresh"))
		return ADDR_IF_REFRESH;
	if (!text_eq(word(i), "drop"))
		refuse("no verb", word(i));
	return ADDR_IF_DROP;
}

static int addr_change(struct driver *d)
{
	struct addr_if_change c[ADDR_IF_CHANGES_MAX];
	size_t n = 0;

	for (size_t i = 3; i < word_count(); i += 2) {
		if (n == ADDR_IF_CHANGES_MAX)
			refuse("too many", word(i));
		c[n++] = (struct addr_if_change){ verb(i), (int)number(1, INT32_MAX), address(i + 1), 1 };
	}
	IGNORE(addr_if_change(d->route, c, n, (uint32_t)number(2, UINT32_MAX), &d->err)); /* printed */
	for (size_t i = 0; i < n; i++)
		printf("%d\n", -c[i].result);
	printf("%s\n", d->err.text);
	return 0;
}

static int announce(struct driver *d)
{
	const struct link_state *s = link_watch_state(d->watch);
	struct ip ip = address(2);
	unsigned int frames = 0;
	int r;

	for (size_t i = 0; i < s->n_links; i++) {
		if (!text_eq(s->links[i].name, word(1)))
			continue;
		r = announce_if_send(d->announcer, &s->links[i], &ip, (unsigned int)number(3, 1), &frames,
				     &d->err);
		printf("frames %u\n", frames);
		return r;
	}
	return err_set(&d->err, -ENODEV, "no interface %s", word(1));
}

static void print_state(const struct link_state *s)
{
	static const char *const kinds[] = { [LINK_PLAIN] = "plain",	 [LINK_VLAN] = "vlan", [LINK_BOND] = "bond",
					     [LINK_BRIDGE] = "bridge",	 [LINK_MACVLAN] = "macvlan",
					     [LINK_VRF] = "vrf",	 [LINK_OTHER] = "other" };
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < s->n_links; i++) {
		const struct link *l = &s->links[i];

		printf("link %d %s %02x:%02x:%02x:%02x:%02x:%02x%s%s%s%s\n", l->index, l->name, l->mac[0], l->mac[1],
		       l->mac[2], l->mac[3], l->mac[4], l->mac[5], l->ethernet ? " ethernet" : "", l->up ? " up" : "",
		       l->carrier ? " carrier" : "", l->loopback ? " loopback" : "");
		printf("kind %d %s%s%s master %d lower %d born %u announcements %u\n", l->index, kinds[l->kind],
		       l->port ? " port" : "", l->pair ? " pair" : "", l->master, l->lower, l->born, l->announcements);
	}
	for (size_t i = 0; i < s->n_addrs; i++)
		printf("addr %d %s/%u %s\n", s->addrs[i].index, ip_format(&s->addrs[i].ip, text),
		       s->addrs[i].prefix_len, s->addrs[i].ours ? "ours" : "others");
	printf("default %d %d%s\n", s->default_v4, s->default_v6, s->default_v6_from_ra ? " ra" : "");
}

static int watch(struct driver *d)
{
	mono_t until = mono_add_ms(mono_now(), (int64_t)number(1, 60000));
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

static int watch_count(struct driver *d)
{
	mono_t until = mono_add_ms(mono_now(), (int64_t)number(1, 60000));
	unsigned int told = 0;

	for (;;) {
		struct pollfd p = { .fd = link_watch_fd(d->watch), .events = POLLIN };
		int64_t left = mono_diff_ms(until, mono_now());
		bool changed = false;
		int r;

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			break;
		r = link_watch_dispatch(d->watch, &changed, &d->err);
		if (r < 0)
			return r;
		told += changed;
	}
	printf("told %u\n", told);
	return 0;
}

static int sysctls(struct driver *d)
{
	enum sysctl_key key = number(1, 6) == 4 ? SYSCTL_FORWARD_V4 : SYSCTL_FORWARD_V6;
	char name[64];
	int value, r;

	if (text_eq(word(0), "sysctl-set"))
		return sysctl_set(key, word(2), (int)number(3, 100), &d->err);
	r = sysctl_get(key, word(2), &value, &d->err);
	if (r == 0)
		printf("%s %d\n", sysctl_name(key, word(2), name, sizeof(name)), value);
	return r;
}

/* ---- commands ---- */

static const struct command commands[] = {
	{ "addr-put", addrs },	  { "addr-refresh", addrs }, { "addr-del", addrs },	     { "addr-dump", addrs },
	{ "addr-change", addr_change },
	{ "announce", announce }, { "watch", watch },	     { "watch-count", watch_count }, { "sysctl-get", sysctls },
	{ "sysctl-set", sysctls },
};

int main(void)
{
	struct driver d = { .route = NULL };

	if (nlsock_new(NETLINK_ROUTE, &d.route, &d.err) < 0 ||
	    link_watch_new(&d.watch, &d.err) < 0 || announce_if_new(&d.announcer, &d.err) < 0)
		errx(EXIT_FAILURE, "%s", d.err.text);
	command_loop(&d, &d.err, commands, ARRAY_LEN(commands));
	nlsock_free(d.route);
	link_watch_free(d.watch);
	announce_if_free(d.announcer);
	return 0;
}
