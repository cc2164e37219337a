/* SPDX-License-Identifier: Apache-2.0 */
/* forwarding.c: the policy for net.ipv4.conf.IF.forwarding and net.ipv6.conf.all.forwarding.
 *
 * IPv4 forwards by the interface a packet came in on, so the VIP's interface is enough.  IPv6 ignores the interface's
 * own switch unless "all" is on; but turning "all" on makes the kernel drop default routes learnt from router
 * advertisements (accept_ra=1), so that is refused where there is one. */
#include "agent/forwarding.h"

#include <string.h>

#include "agent/agent.h"
#include "netlink/sysctl.h"

static void mend(struct agent *a, enum sysctl_key key, const char *interface, bool *told)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	bool from_ra = key == SYSCTL_FORWARD_V6 && s->default_v6_from_ra;
	struct err_info err = ERR_INFO_INIT;
	char name[128], command[160];
	int value = 0;

	if (*told || sysctl_get(key, interface, &value, &err) < 0 || value != 0)
		return;
	sysctl_name(key, interface, name, sizeof(name));
	if (a->cfg->sysctl == SYSCTL_MANAGE && !from_ra) {
		if (sysctl_set(key, interface, 1, &err) == 0) {
			log_event(LOG_INFO, "sysctl_set", "forwarding was off and is on now", log_str("sysctl", name),
				  log_str("from", "0"), log_str("to", "1"));
			return;
		}
	}
	*told = true;
	IGNORE(snprintf(command, sizeof(command), "sysctl -w %s=1", name)); /* fits */
	log_event(LOG_WARN, "forwarding_off",
		  from_ra ? "forwarding is off, and turning it on would drop the default route that router advertisements "
			    "gave (set accept_ra=2 first): backends on other nodes will not be reached" :
			    "forwarding is off: backends on other nodes will not be reached; run the command, or --sysctl manage",
		  log_str("sysctl", name), log_str("command", command), log_str("error", err.text));
}

void forwarding_check(struct agent *a)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	int seen_v4 = 0, seen_v6 = 0;

	if (!a->kernel.use_nat)
		return;
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *v = &a->vips.v[i];
		int *seen = v->ip.family == IP_V4 ? &seen_v4 : &seen_v6;

		if (*seen == v->ifindex)
			continue; /* most VIPs share an interface: one look does for all of them */
		*seen = v->ifindex;
		for (size_t k = 0; k < s->n_links; k++) {
			if (s->links[k].index != v->ifindex)
				continue;
			if (v->ip.family == IP_V4)
				mend(a, SYSCTL_FORWARD_V4, s->links[k].name, &a->forwarding_told_v4);
			else
				mend(a, SYSCTL_FORWARD_V6, "all", &a->forwarding_told_v6);
		}
	}
}
