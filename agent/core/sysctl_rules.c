/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl_rules.c: a table of keys, and for each whether its value will do. */
#include "agent/core/sysctl_rules.h"

/* How the kernel puts "all" and the interface's own value together (include/linux/inetdevice.h: IN_DEV_*). */
enum combine {
	COMBINE_OWN,
	COMBINE_ALL, /* "all" alone decides */
	COMBINE_MAX,
	COMBINE_OR,
};

struct rule {
	enum sysctl_key key;
	enum combine combine;
	bool v6;
	int wanted;
	bool manageable;
	bool routed; /* it matters where VIPs are routed, too */
	/* Whether the value is wrong; *error: as in struct sysctl_advice. */
	bool (*wrong)(const struct sysctl_facts *f, int value, bool *error);
	const char *why;
};

/* Of several ways in, one that is a guess may be meant for something else. */
static bool is_off(const struct sysctl_facts *f, int value, bool *error)
{
	*error = !(f->routed && f->guessed && f->several);
	return f->nft && value == 0;
}

static bool is_off_v6(const struct sysctl_facts *f, int value, bool *error)
{
	*error = true;
	return f->nft && value == 0;
}

static bool is_strict(const struct sysctl_facts *f, int value, bool *error)
{
	/* Where routers spread packets over several ways in, a way back over the same ones (a multipath route) will do. */
	*error = !f->routed;
	if (f->routed)
		return value == 1 && !f->guessed && (f->default_v4_elsewhere || f->several);
	return value == 1 && f->default_v4_elsewhere;
}

static bool is_silent(const struct sysctl_facts *f, int value, bool *error)
{
	*error = true;
	return value == 8 || (value == 2 && !f->subnet_v4);
}

static bool is_filtered(const struct sysctl_facts *f, int value, bool *error)
{
	*error = true;
	return value != 0 && !f->subnet_v4;
}

static bool is_loose_tongue(const struct sysctl_facts *f, int value, bool *error)
{
	*error = false;
	return value < 2 && !f->gate;
}

static bool is_deaf(const struct sysctl_facts *f, int value, bool *error)
{
	(void)f;
	*error = false;
	return value != 0;
}

static bool is_proxy(const struct sysctl_facts *f, int value, bool *error)
{
	*error = false;
	return value != 0 && !f->gate;
}

static bool is_disabled(const struct sysctl_facts *f, int value, bool *error)
{
	(void)f;
	*error = true;
	return value != 0;
}

static const struct rule rules[] = {
	{ SYSCTL_FORWARD_V4, COMBINE_OWN, false, 1, true, true, is_off,
	  "packets for backends that come in there are dropped: VIPs do not answer" },
	{ SYSCTL_FORWARD_V6, COMBINE_ALL, true, 1, true, true, is_off_v6,
	  "IPv6 packets for backends are dropped: VIPs do not answer" },
	{ SYSCTL_RP_FILTER, COMBINE_MAX, false, 2, true, true, is_strict,
	  "the default route leaves by another interface: packets of clients behind a router are dropped" },
	{ SYSCTL_ARP_IGNORE, COMBINE_MAX, false, 1, false, false, is_silent,
	  "the kernel does not answer ARP requests for VIPs there" },
	{ SYSCTL_ARP_FILTER, COMBINE_OR, false, 0, false, false, is_filtered,
	  "ARP requests for VIPs are not answered where the way to the asker leaves by another interface" },
	{ SYSCTL_ARP_ANNOUNCE, COMBINE_MAX, false, 2, false, false, is_loose_tongue,
	  "without the gate a former holder's ARP requests may go out in the name of a VIP and lead neighbours astray" },
	{ SYSCTL_DROP_GRATUITOUS_ARP, COMBINE_OR, false, 0, false, false, is_deaf,
	  "this node ignores announcements: it goes on sending to the former holder of a VIP that has moved" },
	{ SYSCTL_PROXY_ARP, COMBINE_OR, false, 0, false, false, is_proxy,
	  "without the gate this node answers ARP requests for VIPs that it has a route to by another interface" },
	{ SYSCTL_PROXY_ARP_PVLAN, COMBINE_OR, false, 0, false, false, is_proxy,
	  "without the gate this node answers ARP requests for VIPs of other nodes" },
	{ SYSCTL_DISABLE_IPV6, COMBINE_OWN, true, 0, false, false, is_disabled,
	  "IPv6 is off on the interface: it takes no IPv6 VIP" },
	{ SYSCTL_DROP_UNSOLICITED_NA, COMBINE_OWN, true, 0, false, false, is_deaf,
	  "this node ignores announcements: it goes on sending to the former holder of a VIP that has moved" },
	{ SYSCTL_PROXY_NDP, COMBINE_OR, true, 0, false, false, is_proxy,
	  "without the gate this node answers for VIPs of other nodes that are among its proxy neighbours" },
};

bool sysctl_concerns(enum sysctl_key key, bool v4, bool v6)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if (rules[i].key == key)
			return rules[i].v6 ? v6 : v4;
	return false;
}

void sysctl_way_in(struct sysctl_facts *f, bool v4, size_t n_v4, size_t n)
{
	f->guessed = n_v4 > 0 && !v4;
	f->several = (v4 ? n_v4 : n) > 1;
}

static void advise(const struct sysctl_facts *f, const struct rule *r, bool all, struct sysctl_advice *ret)
{
	*ret = (struct sysctl_advice){ .key = r->key, .interface = all ? "all" : f->name,
				       .value = all ? f->all[r->key] : f->own[r->key], .wanted = r->wanted, .why = r->why };
	(void)r->wrong(f, ret->value, &ret->error);
	ret->accept_ra_first = r->key == SYSCTL_FORWARD_V6 && f->default_v6_from_ra && (!*f->ra_link || f->ra_accept != 2);
	ret->manageable = r->manageable && !ret->accept_ra_first &&
			  (!f->routed || (f->watched && r->key != SYSCTL_RP_FILTER));
	if (f->routed && r->key == SYSCTL_RP_FILTER)
		ret->why = "packets that routers send in there are dropped where the way back to the client leaves by another interface "
			   "alone";
	if (r->key == SYSCTL_FORWARD_V4 && !ret->error)
		ret->why = "packets for VIPs that routers send in there, if any do, are dropped";
	if (ret->accept_ra_first && !*f->ra_link)
		ret->why = "IPv6 packets for backends are dropped; but with forwarding on, the kernel drops the default route that router "
			   "advertisements gave unless accept_ra of its interface is 2";
}

/* A larger value on the interface outvotes a small one of "all"; a small one does not outvote a large one. */
static size_t judge(const struct sysctl_facts *f, const struct rule *r, struct sysctl_advice *ret)
{
	int own = f->own[r->key], all = f->all[r->key];
	bool error, by_own, by_all;
	size_t n = 0;

	if (r->combine == COMBINE_OWN)
		all = SYSCTL_UNKNOWN;
	if (r->combine == COMBINE_ALL)
		own = SYSCTL_UNKNOWN;
	if (r->combine == COMBINE_MAX) {
		int value = own > all ? own : all;

		if (own == SYSCTL_UNKNOWN || !r->wrong(f, value, &error))
			return 0;
		/* The interface's own value mends it, unless that of "all" is above. */
		if (r->wanted >= all) {
			advise(f, r, false, ret);
			ret->value = value;
			return 1;
		}
	}
	by_own = own != SYSCTL_UNKNOWN && r->wrong(f, own, &error);
	by_all = all != SYSCTL_UNKNOWN && r->wrong(f, all, &error);
	if (by_own)
		advise(f, r, false, &ret[n++]);
	if (by_all)
		advise(f, r, true, &ret[n++]);
	return n;
}

size_t sysctl_judge(const struct sysctl_facts *f, struct sysctl_advice ret[static SYSCTL_ADVICE_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
		if ((rules[i].v6 ? f->v6 : f->v4) && (!f->routed || rules[i].routed))
			n += judge(f, &rules[i], &ret[n]);
	return n;
}
