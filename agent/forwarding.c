/* SPDX-License-Identifier: Apache-2.0 */
/* forwarding.c: the policy for net.ipv4.conf.IF.forwarding and net.ipv6.conf.all.forwarding, and for what stands in
 * FORWARD.
 *
 * IPv4 forwards by the interface a packet came in on, so the VIP's interface is enough.  IPv6 ignores the interface's own
 * switch unless "all" is on; but turning "all" on makes the kernel drop default routes learnt from router advertisements
 * (accept_ra=1), so that is refused where there is one.
 *
 * Where FORWARD drops what no rule accepts and kube-proxy's KUBE-FORWARD accepts its mark, our connections get that
 * mark.  Where nothing accepts new connections at all they cannot pass, and that is a problem, told with the command.
 * Where rules accept some connections (a CNI's, by the pods' range) they may pass: that is logged, and nothing else
 * follows.  No rule of ours can help: a chain of ours that accepts does not outvote another's that drops; and another's
 * chains are not ours to change.  Nor does the node give its VIPs away: backends on the host's own network need no
 * forwarding, and a filter that is being reloaded would move all VIPs. */
#include "agent/forwarding.h"

#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/base/text.h"
#include "netlink/nlsock.h"
#include "netlink/sysctl.h"

#define LOOK_MS 10000
#define LOOK_SHARE 100 /* looks take the hundredth part of the time at most, on nodes with very many chains, too */
/* kube-proxy's mark for what is to be masqueraded: bit 14, --iptables-masquerade-bit's default (pkg/proxy/apis/config). */
#define KUBE_PROXY_MARK 0x4000

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

	if (!a->dataplane.on)
		return;
	a->forwarding.fresh = true; /* families may have come or gone */
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
				mend(a, SYSCTL_FORWARD_V4, s->links[k].name, &a->forwarding.told_v4);
			else
				mend(a, SYSCTL_FORWARD_V6, "all", &a->forwarding.told_v6);
		}
	}
}

/* ---- the packet filter ---- */

static bool has_vips(const struct agent *a, enum ip_family family)
{
	for (size_t i = 0; i < a->vips.n; i++)
		if (a->vips.v[i].ip.family == family)
			return true;
	return false;
}

uint32_t forwarding_mark(const struct agent *a)
{
	const struct forward_view *v = &a->forwarding.view;
	uint32_t seen = v->v4.mark | v->v6.mark;

	switch ((enum forward_mark)a->cfg->forward_mark) {
	case FORWARD_MARK_ON:
		return seen ? seen : KUBE_PROXY_MARK;
	case FORWARD_MARK_AUTO:
		return seen;
	case FORWARD_MARK_OFF:
		break;
	}
	return 0;
}

const char *forwarding_problem(const struct agent *a)
{
	return a->forwarding.problem;
}

/* What is to be said of a family: without the mark what it would let pass is dropped. */
static enum forward_pass fares(const struct agent *a, enum ip_family family, const struct forward_family *f)
{
	if (!has_vips(a, family))
		return FORWARD_OPEN;
	if (f->pass == FORWARD_BY_MARK && forwarding_mark(a) == 0)
		return FORWARD_CLOSED;
	return f->pass;
}

static void say(const char *family, enum forward_pass pass, const struct forward_family *f)
{
	switch (pass) {
	case FORWARD_OPEN:
		log_event(LOG_INFO, "forward_open", "the node's packet filter lets connections to backends pass",
			  log_str("family", family));
		break;
	case FORWARD_BY_MARK:
		log_event(LOG_INFO, "forward_marked", "the node's packet filter drops what is forwarded but for "
			  "kube-proxy's mark: connections to VIPs carry it, too",
			  log_str("family", family), log_str("chain", f->place));
		break;
	case FORWARD_DOUBTFUL:
		log_event(LOG_WARN, "forward_doubtful", "the node's packet filter drops what none of its rules accepts; if "
			  "clients get no answer from VIPs, run the command",
			  log_str("family", family), log_str("chain", f->place), log_str("command", f->command));
		break;
	case FORWARD_CLOSED:
		log_event(LOG_ERROR, "forward_closed", "the node's packet filter drops all new connections to backends: "
			  "VIPs on this node will not answer; run the command",
			  log_str("family", family), log_str("chain", f->place), log_str("command", f->command));
		break;
	}
}

static void judge(struct agent *a)
{
	struct forwarding *f = &a->forwarding;
	const struct {
		enum ip_family family;
		const char *name;
		const struct forward_family *seen;
	} families[2] = { { IP_V4, "IPv4", &f->view.v4 }, { IP_V6, "IPv6", &f->view.v6 } };

	f->problem[0] = '\0';
	for (size_t i = 0; i < 2; i++) {
		enum forward_pass pass = fares(a, families[i].family, families[i].seen);

		if (pass != (enum forward_pass)f->told[i])
			say(families[i].name, pass, families[i].seen);
		f->told[i] = (uint8_t)pass;
		if (pass == FORWARD_CLOSED && f->problem[0] == '\0')
			snprintf(f->problem, sizeof(f->problem), "%s drops new connections to backends; run: %s",
				 families[i].seen->place, families[i].seen->command);
	}
}

static void forwarding_run(struct worker_job *job)
{
	struct forwarding_job *j = (struct forwarding_job *)job;
	AUTO(nlsock_freep) struct nlsock *sock = NULL;
	mono_t began = mono_now();

	j->result = nlsock_new(NETLINK_NETFILTER, &sock, &j->err);
	if (j->result == 0)
		j->result = forward_if_look(sock, &j->view, &j->err);
	j->ms = mono_diff_ms(mono_now(), began);
}

static void forwarding_done(struct worker_job *job)
{
	struct forwarding_job *j = (struct forwarding_job *)job;
	struct forwarding *f = j->f;

	f->busy = false;
	f->fresh = true;
	f->look_at = mono_add_ms(f->look_at, j->ms * LOOK_SHARE > LOOK_MS ? j->ms * LOOK_SHARE - LOOK_MS : 0);
	if (j->result == 0)
		f->view = j->view;
	else if (!f->failing)
		log_event(LOG_WARN, "forward_unknown", "whether the node's packet filter lets connections to backends pass "
			  "is not known; trying again",
			  log_str("error", j->err.text));
	f->failing = j->result < 0;
}

mono_t forwarding_step(struct agent *a, mono_t now)
{
	struct forwarding *f = &a->forwarding;

	if (!a->dataplane.on)
		return MONO_NEVER;
	if (f->busy)
		return MONO_NEVER;
	if (f->fresh && f->view.seen) {
		f->fresh = false;
		judge(a);
	}
	if (mono_before(now, f->look_at))
		return f->look_at;
	f->look_at = mono_add_ms(now, LOOK_MS);
	f->job = (struct forwarding_job){ .job = { .run = forwarding_run, .done = forwarding_done }, .f = f, .view = f->view,
					  .err = ERR_INFO_INIT };
	f->busy = true;
	worker_submit(a->nat_worker, &f->job.job);
	return f->look_at;
}
