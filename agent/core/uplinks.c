/* SPDX-License-Identifier: Apache-2.0 */
/* uplinks.c: links and their addresses, as netlink/link_watch.h saw them. */
#include "agent/core/uplinks.h"

#include <string.h>

static bool has_mac(const struct link *l)
{
	static const uint8_t none[LINK_MAC_LEN];

	return memcmp(l->mac, none, sizeof(none)) != 0;
}

bool uplinks_reachable(const struct link_state *s, const struct link_addr *of)
{
	static const struct ip link_local = { IP_V6, { 0xfe, 0x80 } };
	const struct link *l = link_find(s, of->index);

	return l && has_mac(l) && !of->ours && of->prefix_len < ip_len(&of->ip) * 8 && !l->loopback &&
	       (of->ip.family == IP_V4 || !ip_in_prefix(&of->ip, &link_local, 10));
}

bool uplinks_is(const struct link_state *s, const struct link *l)
{
	if (l->loopback || l->port)
		return false;
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].index == l->index && uplinks_reachable(s, &s->addrs[i]))
			return true;
	return !l->pair && (l->index == s->default_v4 || l->index == s->default_v6);
}
