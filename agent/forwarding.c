/* SPDX-License-Identifier: Apache-2.0 */
/* forwarding.c: what follows from what stands in FORWARD.
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

#define LOOK_MS 10000
#define LOOK_SHARE 100 /* looks take the hundredth part of the time at most, on nodes with very many chains, too */
/* kube-proxy's mark for what is to be masqueraded: bit 14, --iptables-masquerade-bit's default (pkg/proxy/apis/config). */
#define KUBE_PROXY_MARK 0x4000

void forwarding_again(struct forwarding *f)
{
	f->fresh = true;
}

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
