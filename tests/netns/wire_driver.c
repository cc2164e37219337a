/* SPDX-License-Identifier: Apache-2.0 */
/* wire_driver.c: wire_if, arp_guard_if and announce_if for test_wire.py.  Commands (command.h):
 *
 *	vips [IP]...                       in any order
 *	held [IP]...                       those whose probes are heard
 *	vips-many N IP                     N of each family, and one more; all of them held
 *	forms                              from now on claims are printed with their form
 *	neighbours INTERFACE MAC           the addresses it is known by
 *	links | no-links                   all links of the namespace are ours, or none
 *	probe INTERFACE OWN|- IP
 *	hear MS IP                         dispatches until a claim of that VIP is heard, for at most MS; prints the claims
 *	                                   and probes, and at last the number of wake-ups
 *	dispatch                           once, ready or not; prints the claims
 *	announce INTERFACE IP FLAGS        prints the number of frames
 *	guard [IP INTERFACE]... | guard-many N | unguard      guard-many: N addresses from 198.18.0.0/15, all on lo */
#include <err.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/base/mono.h"
#include "agent/base/text.h"
#include "netlink/announce_if.h"
#include "netlink/arp_guard_if.h"
#include "netlink/link_watch.h"
#include "netlink/neigh_if.h"
#include "netlink/wire_if.h"
#include "tests/netns/command.h"

struct driver {
	struct wire_if *wire;
	struct announce_if *announcer;
	struct link_watch *watch;
	struct nlsock *nft, *route;
	bool forms; /* claims are printed with their form */
	struct ip awaited;
	bool heard; /* the awaited one */
	struct err_info err;
};

/* The interface as it is now. */
static const struct link *link_named(struct driver *d, const char *name)
{
	struct pollfd p = { .fd = link_watch_fd(d->watch), .events = POLLIN };
	const struct link_state *s;
	bool changed;

	while (poll(&p, 1, 0) > 0)
		if (link_watch_dispatch(d->watch, &changed, &d->err) < 0)
			refuse("link watch", d->err.text);
	s = link_watch_state(d->watch);
	for (size_t i = 0; i < s->n_links; i++)
		if (text_eq(s->links[i].name, name))
			return &s->links[i];
	refuse("no such interface", name);
}

/* ---- the wire ---- */

static int compare_ips(const void *a, const void *b)
{
	return ip_cmp(a, b);
}

static int vips(struct driver *d)
{
	struct ip ips[COMMAND_WORDS_MAX];
	size_t n = addresses(1, ips);

	qsort(ips, n, sizeof(*ips), compare_ips);
	return text_eq(word(0), "held") ? wire_if_held(d->wire, ips, n) : wire_if_vips(d->wire, ips, n);
}

/* N addresses, every second one from 198.18.0.0 and 2001:db8:18:: on, as VIPs that are held; and one more VIP. */
static int vips_many(struct driver *d)
{
	size_t n = number(1, 50000);
	struct ip *ips = need(calloc(2 * n + 1, sizeof(*ips)));
	int r;

	for (size_t i = 0; i < n; i++) {
		uint8_t high = (uint8_t)((2 * i) >> 8), low = (uint8_t)(2 * i);

		ips[i] = (struct ip){ IP_V4, { 198, (uint8_t)(18 + ((2 * i) >> 16)), high, low } };
		ips[n + i] = (struct ip){ IP_V6, { 0x20, 0x01, 0x0d, 0xb8, 0, 0x18, [13] = (uint8_t)((2 * i) >> 16), high, low } };
	}
	ips[2 * n] = address(2);
	qsort(ips, 2 * n + 1, sizeof(*ips), compare_ips);
	r = wire_if_vips(d->wire, ips, 2 * n + 1);
	if (r == 0)
		r = wire_if_held(d->wire, ips, 2 * n + 1);
	free(ips);
	return r;
}

static int forms(struct driver *d)
{
	d->forms = true;
	return 0;
}

/* Who is it, by the neighbour table? */
static int neighbours(struct driver *d)
{
	struct neigh_query q = { .ifindex = link_named(d, word(1))->index };
	char text[IP_TEXT_MAX];
	int r;

	if (sscanf(word(2), "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &q.mac[0], &q.mac[1], &q.mac[2], &q.mac[3], &q.mac[4],
		   &q.mac[5]) != 6)
		refuse("not a MAC", word(2));
	r = neigh_if_find(d->route, &q, &d->err);
	for (size_t i = 0; r == 0 && i < q.n_found; i++)
		puts(ip_format(&q.found[i], text));
	return r;
}

static int links(struct driver *d)
{
	const struct link_state *s;

	link_named(d, "lo"); /* brings the watch up to date */
	s = link_watch_state(d->watch);
	return wire_if_links(d->wire, s->links, text_eq(word(0), "links") ? s->n_links : 0);
}

static int probe(struct driver *d)
{
	const struct link *l = link_named(d, word(1));
	struct ip own = { 0 }, vip = address(3);

	if (!text_eq(word(2), "-"))
		own = address(2);
	return wire_if_probe(d->wire, l, &own, &vip, &d->err);
}

static const char *const form_names[] = {
	[WIRE_ANSWER] = "answer", [WIRE_REQUEST] = "request", [WIRE_REPLY] = "reply",
	[WIRE_ADVERT] = "advert", [WIRE_USE] = "use",	      [WIRE_PROBE] = "probe",
};

static void on_claim(void *ctx, const struct wire_claim *c)
{
	struct driver *d = ctx;
	char text[IP_TEXT_MAX], name[IF_NAMESIZE];

	printf("%s %s %02x:%02x:%02x:%02x:%02x:%02x %s %s", c->form == WIRE_PROBE ? "asked" : "claim",
	       ip_format(&c->vip, text), c->mac[0], c->mac[1], c->mac[2], c->mac[3], c->mac[4], c->mac[5],
	       if_indextoname((unsigned int)c->ifindex, name) ? name : "?", c->reply ? "reply" : "other");
	printf("%s%s\n", d->forms ? " " : "", d->forms ? form_names[c->form] : "");
	if (ip_eq(&c->vip, &d->awaited))
		d->heard = true;
}

static int dispatch(struct driver *d)
{
	return wire_if_dispatch(d->wire, on_claim, d, &d->err);
}

static int hear(struct driver *d)
{
	mono_t until = mono_add_ms(mono_now(), (int64_t)number(1, 60000));
	unsigned int wakes = 0;
	int r = 0;

	d->awaited = address(2);
	d->heard = false;
	while (r == 0 && !d->heard) {
		struct pollfd p = { .fd = wire_if_fd(d->wire), .events = POLLIN };
		int64_t left = mono_diff_ms(until, mono_now());

		if (left <= 0 || poll(&p, 1, (int)left) <= 0)
			break;
		wakes++;
		r = dispatch(d);
	}
	printf("wakes %u\n", wakes);
	return r;
}

static int announce(struct driver *d)
{
	const struct link *l = link_named(d, word(1));
	struct ip ip = address(2);
	unsigned int frames = 0;
	int r = announce_if_send(d->announcer, l, &ip, (unsigned int)number(3, 3), &frames, &d->err);

	printf("frames %u\n", frames);
	return r;
}

/* ---- the guard ---- */

static int guard(struct driver *d)
{
	struct arp_home homes[COMMAND_WORDS_MAX / 2];
	size_t n = 0;

	for (size_t i = 1; i + 1 < word_count(); i += 2)
		homes[n++] = (struct arp_home){ address(i), link_named(d, word(i + 1))->index };
	return arp_guard_if_put(d->nft, homes, n, &d->err);
}

static int guard_many(struct driver *d)
{
	size_t n = number(1, 100000);
	struct arp_home *homes = need(calloc(n + 1, sizeof(*homes)));
	int r;

	for (size_t i = 0; i < n; i++)
		homes[i] = (struct arp_home){ { IP_V4, { 198, (uint8_t)(18 + (i >> 16)), (uint8_t)(i >> 8), (uint8_t)i } },
					      1 };
	r = arp_guard_if_put(d->nft, homes, n, &d->err);
	free(homes);
	return r;
}

static int unguard(struct driver *d)
{
	return arp_guard_if_remove(d->nft, &d->err);
}

/* ---- commands ---- */

static const struct command commands[] = {
	{ "vips", vips }, { "held", vips }, { "vips-many", vips_many }, { "forms", forms }, { "neighbours", neighbours },
	{ "links", links }, { "no-links", links }, { "probe", probe }, { "hear", hear }, { "dispatch", dispatch },
	{ "announce", announce }, { "guard", guard }, { "guard-many", guard_many }, { "unguard", unguard },
};

int main(void)
{
	struct driver d = { .wire = NULL };

	if (wire_if_new(&d.wire, &d.err) < 0 || announce_if_new(&d.announcer, &d.err) < 0 ||
	    link_watch_new(&d.watch, &d.err) < 0 || nlsock_new(NETLINK_NETFILTER, &d.nft, &d.err) < 0 ||
	    nlsock_new(NETLINK_ROUTE, &d.route, &d.err) < 0)
		errx(EXIT_FAILURE, "%s", d.err.text);
	command_loop(&d, &d.err, commands, ARRAY_LEN(commands));
	wire_if_free(d.wire);
	announce_if_free(d.announcer);
	link_watch_free(d.watch);
	nlsock_free(d.nft);
	nlsock_free(d.route);
	return 0;
}
