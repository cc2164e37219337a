/* SPDX-License-Identifier: Apache-2.0 */
/* former_gate.c: waits for addresses to go, then for the worker. */
#include "agent/former_gate.h"

#include "agent/agent.h"
#include "agent/base/log.h"
#include "agent/cleanup.h"

#define RETRY_MS 5000

static void run(struct worker_job *job)
{
	struct former_gate *g = (struct former_gate *)job;

	g->err = (struct err_info)ERR_INFO_INIT;
	g->result = cleanup_gates(&g->err);
}

static void done(struct worker_job *job)
{
	static struct log_limit limit;
	struct former_gate *g = (struct former_gate *)job;
	uint32_t left_out;

	g->busy = false;
	g->gone = g->result == 0;
	g->retry_at = mono_add_ms(mono_now(), RETRY_MS);
	if (!g->gone && log_limit(&limit, mono_now().ns, 60000, &left_out))
		log_event(LOG_WARN, "former_gate", "a gate that an earlier run left may drop what comes for VIPs; trying again",
			  log_str("error", g->err.text), log_int("left_out", left_out));
}

static bool is_needed(const struct link_state *s)
{
	const int lo = routed_loopback(s);

	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].ours && s->addrs[i].index != lo)
			return true;
	return false;
}

mono_t former_gate_step(struct agent *a, mono_t now)
{
	struct former_gate *g = &a->former_gate;

	if (!a->vips.routed || g->busy || g->gone)
		return MONO_NEVER;
	if (is_needed(link_watch_state(a->kernel.links)))
		return MONO_NEVER; /* that the last address has gone wakes the loop */
	if (mono_before(now, g->retry_at))
		return g->retry_at;
	g->job = (struct worker_job){ .run = run, .done = done };
	g->busy = true;
	worker_submit(a->addr_worker, &g->job);
	return MONO_NEVER;
}
