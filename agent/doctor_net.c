/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_net.c: where VIPs would go on this node, and what those interfaces are like. */
#include "agent/doctor_net.h"

#include <assert.h>
#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "agent/base/text.h"
#include "agent/interfaces.h"
#include "agent/sysctls.h"
#include "netlink/gate_if.h"
#include "netlink/link_watch.h"

static_assert(FACT_POOLS_MAX >= CONFIG_LIST_MAX + 1, "pools and the control plane's VIP");

struct look {
	const struct doctor *d;
	const struct link_state *s;
	const struct place_rules *rules;
	struct nlsock *route; /* NULL = none could be had */
	struct facts_net *ret;
};

static void link_watch_freep(struct link_watch **w)
{
	link_watch_free(*w);
}

void doctor_mac(const uint8_t mac[static LINK_MAC_LEN], char ret[static 18])
{
	IGNORE(snprintf(ret, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5])); /* fits */
}

struct place_rules doctor_place_rules(const struct doctor *d, struct labels *labels)
{
	struct place_rules rules = interfaces_rules(d->cfg, NULL);

	*labels = d->cfg->node_labels;
	if (rules.undecided && doctor_labels(d, labels) == 0)
		rules = interfaces_rules(d->cfg, labels);
	return rules;
}

/* ---- interfaces ---- */

/* By ioctl: /sys may be that of another network namespace. */
static int mtu_of(const char *name)
{
	AUTO(close_fdp) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ask = { .ifr_mtu = 0 };

	if (fd < 0 || !text_copy(ask.ifr_name, sizeof(ask.ifr_name), name) || ioctl(fd, SIOCGIFMTU, &ask) < 0)
		return FACT_UNKNOWN;
	return ask.ifr_mtu;
}

/* The entry of that interface, made if it is new; NULL: there is no room. */
static struct facts_link *take_link(struct look *k, const struct link *l)
{
	const struct config *c = k->d->cfg;
	struct facts_link *f;

	for (size_t i = 0; i < k->ret->n_links; i++)
		if (text_eq(k->ret->links[i].name, l->name))
			return &k->ret->links[i];
	if (k->ret->n_links == FACT_LINKS_MAX) {
		k->ret->n_more_links++;
		return NULL;
	}
	f = &k->ret->links[k->ret->n_links++];
	*f = (struct facts_link){ .up = l->up, .carrier = l->carrier, .mtu = mtu_of(l->name) };
	memcpy(f->name, l->name, sizeof(f->name));
	memcpy(f->sysctls.name, l->name, sizeof(f->sysctls.name));
	doctor_mac(l->mac, f->mac);
	f->sysctls.nft = c->dataplane == DATAPLANE_NFT;
	f->sysctls.gate = c->gate == GATE_ON;
	f->sysctls.subnet_v4 = true; /* until a VIP is not */
	sysctls_routes(&f->sysctls, k->s, l->index);
	return f;
}

static void take_place(struct look *k, const struct place *p, const struct ip *ip)
{
	for (size_t i = 0; i < p->n; i++) {
		struct facts_link *f = take_link(k, p->links[i]);

		if (!f)
			continue;
		if (ip->family == IP_V4) {
			f->sysctls.v4 = true;
			f->sysctls.subnet_v4 = f->sysctls.subnet_v4 && sysctls_in_subnet(k->s, p->links[i]->index, ip);
		} else {
			f->sysctls.v6 = true;
		}
	}
}

static void name_links(const struct place *p, char *ret, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < p->n && at < size; i++)
		at += (size_t)snprintf(ret + at, size - at, "%s%s", i ? ", " : "", p->links[i]->name);
}

/* "none of the interfaces named is here", and which those are. */
static void say_why(const struct look *k, const struct place *p, const struct ip *ip, char ret[static FACT_TEXT_MAX])
{
	size_t at;

	IGNORE(place_why_text(k->s, p, ip, ret, FACT_TEXT_MAX)); /* returns it */
	for (size_t i = 0; p->why == PLACE_NO_LINK && i < k->rules->n_names; i++) {
		at = strlen(ret);
		IGNORE(snprintf(ret + at, FACT_TEXT_MAX - at, "%s%s", i ? ", " : ": ", k->rules->names[i])); /* cut is fine */
	}
}

static void look_at_range(struct look *k, const struct ip_range *range, const char *text, bool control_vip)
{
	struct facts_pool *f = &k->ret->pools[k->ret->n_pools++];
	struct place first, last;

	*f = (struct facts_pool){ .control_vip = control_vip };
	IGNORE(text_copy(f->text, sizeof(f->text), text)); /* only shown */
	place_vip(k->s, k->rules, &range->first, &first);
	place_vip(k->s, k->rules, &range->last, &last);
	name_links(&first, f->links, sizeof(f->links));
	take_place(k, &first, &range->first);
	if (first.n == 0)
		say_why(k, &first, &range->first, f->why);
	else if (last.n == 0)
		say_why(k, &last, &range->last, f->why);
	else
		take_place(k, &last, &range->last);
	f->off_subnet = first.n > 0 && !sysctls_in_subnet(k->s, first.links[0]->index, &range->first);
}

/* What else stands at tc, and the values of the sysctls. */
static void look_at_links(struct look *k)
{
	for (size_t i = 0; i < k->ret->n_links; i++) {
		struct facts_link *f = &k->ret->links[i];
		struct err_info err = ERR_INFO_INIT;
		int r;

		sysctls_read(&f->sysctls);
		if (!f->sysctls.gate || !k->route)
			continue;
		r = gate_if_look(k->route, (int)if_nametoindex(f->name), &err);
		if (r == 0)
			doctor_good(&f->first);
		else if (r == -EBUSY || r == -EOPNOTSUPP)
			doctor_bad(&f->first, err.text);
		else
			doctor_untried(&f->first, err.text);
	}
}

static void look(struct look *k)
{
	const struct config *c = k->d->cfg;

	if (c->announce == ANNOUNCE_ARP) {
		for (size_t i = 0; i < c->pools.n; i++)
			look_at_range(k, &c->ranges[i], c->pools.v[i], false);
		if (c->control_vip.family != IP_NONE)
			look_at_range(k, &(struct ip_range){ c->control_vip, c->control_vip }, c->vip, true);
		look_at_links(k);
	}
	if (c->announce == ANNOUNCE_BGP)
		doctor_routes(k->d, k->s, k->ret);
	doctor_others(k->d, k->s, k->ret);
}

void doctor_net(const struct doctor *d, struct facts_net *net, struct facts_wire *wire)
{
	AUTO(link_watch_freep) struct link_watch *links = NULL;
	AUTO(nlsock_freep) struct nlsock *route = NULL;
	struct err_info err = ERR_INFO_INIT;
	struct labels labels;
	struct place_rules rules = doctor_place_rules(d, &labels);
	struct look k = { .d = d, .rules = &rules, .ret = net };

	if (link_watch_new(&links, &err) < 0) {
		IGNORE(text_copy(net->skipped, sizeof(net->skipped), err.text)); /* same size */
		IGNORE(text_copy(wire->skipped, sizeof(wire->skipped), err.text)); /* likewise */
		return;
	}
	if (nlsock_new(NETLINK_ROUTE, &route, &err) == 0)
		k.route = route;
	k.s = link_watch_state(links);
	look(&k);
	doctor_wire(d, k.s, &rules, wire);
}
