/* SPDX-License-Identifier: Apache-2.0 */
/* trace.c: a step in one line: the event, the state, the gate, the actions. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "tests/sim/sim.h"

struct line {
	char text[190];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->len >= sizeof(l->text))
		return;
	va_start(ap, fmt);
	n = vsnprintf(l->text + l->len, sizeof(l->text) - l->len, fmt, ap);
	va_end(ap);
	l->len += n > 0 ? (size_t)n : 0;
}

static void add_record(struct line *l, const struct lease_record *r)
{
	add(l, " %s %" PRId64 "%s", *r->holder ? r->holder : "nobody", r->duration_ms,
	    r->policy == LEASE_HOLD ? " hold" : "");
	if (r->stage != LEASE_STAGE_NONE)
		add(l, " %s %u %s", r->stage == LEASE_STAGE_PREPARE ? "prepare" : "claim", r->handover, r->successor);
}

static void add_event(struct line *l, const struct elect_event *ev)
{
	static const char *const kinds[] = { "tick",   "seen", "absent", "view",     "ok",	 "conflict", "failed", "fit",
					     "stop", "handover", "prepared", "refused", "wire", "introduced", "doubt" };
	static const char *const wires[] = { "silent", "candidate", "stranger" };

	add(l, "%s", kinds[ev->kind]);
	switch (ev->kind) {
	case ELECT_EV_SEEN:
		add(l, " v%s", ev->version);
		add_record(l, &ev->record);
		break;
	case ELECT_EV_VIEW:
		add(l, " %d", ev->fresh);
		break;
	case ELECT_EV_FIT:
		add(l, " %d", ev->fit);
		break;
	case ELECT_EV_INTRODUCED:
		add(l, " %d", ev->introduced);
		break;
	case ELECT_EV_WRITE_OK:
	case ELECT_EV_WRITE_CONFLICT:
	case ELECT_EV_WRITE_FAILED:
		add(l, " #%u v%s", ev->write_id, ev->version);
		break;
	case ELECT_EV_HANDOVER:
	case ELECT_EV_PREPARED:
	case ELECT_EV_REFUSED:
		add(l, " %u %s", ev->handover, ev->successor);
		break;
	case ELECT_EV_WIRE:
		add(l, " ?%u %s", ev->probe_id, wires[ev->wire]);
		break;
	case ELECT_EV_TICK:
	case ELECT_EV_ABSENT:
	case ELECT_EV_STOP:
	case ELECT_EV_DOUBT:
		break;
	}
}

static void add_action(struct line *l, const struct elect_action *a, mono_t now)
{
	static const char *const kinds[] = { "CREATE", "UPDATE",  "LEAD",      "HOLD",		  "FOLLOW", "GET",
					     "STOPPED", "PREPARE", "UNPREPARE", "HANDOVER_FAILED", "PROBE",  "ANNOUNCE" };

	add(l, " %s", kinds[a->kind]);
	switch (a->kind) {
	case ELECT_DO_LEAD:
	case ELECT_DO_HOLD:
		add(l, "(%+" PRId64 ")", mono_diff_ms(a->deadline, now));
		break;
	case ELECT_DO_CREATE:
	case ELECT_DO_UPDATE:
		add(l, "(#%u v%s", a->write_id, a->version);
		add_record(l, &a->record);
		add(l, ")");
		break;
	case ELECT_DO_FOLLOW:
	case ELECT_DO_UNPREPARE:
		add(l, "(%s)", a->why);
		break;
	case ELECT_DO_PREPARE:
		add(l, "(%u)", a->handover);
		break;
	case ELECT_DO_HANDOVER_FAILED:
		add(l, "(%u, %s)", a->handover, a->why);
		break;
	case ELECT_DO_PROBE:
		add(l, "(%u)", a->probe_id);
		break;
	case ELECT_DO_GET:
	case ELECT_DO_STOPPED:
	case ELECT_DO_ANNOUNCE:
		break;
	}
}

static void add_gate(struct line *l, const char *name, mono_t until, mono_t now)
{
	if (mono_before(now, until))
		add(l, " %s%+" PRId64, name, mono_diff_ms(until, now));
}

void trace_step(struct world *w, const struct node *n, const struct elect_event *ev, const struct elect_actions *acts)
{
	struct elect_gate g = elect_gate(&n->elect);
	struct line l = { .len = 0 };

	if (!world_tracing(w))
		return;
	add_event(&l, ev);
	add(&l, " -> %s%s [", elect_state_name(n->elect.state), elect_holds(&n->elect, ev->now) ? "!" : "");
	add_gate(&l, "arp", g.arp_until, ev->now);
	add_gate(&l, " ip", g.ip_until, ev->now);
	add_gate(&l, " redirect", g.redirect_until, ev->now);
	add(&l, "]");
	for (unsigned int i = 0; i < acts->n; i++)
		add_action(&l, &acts->v[i], ev->now);
	world_trace(w, n, "%s", l.text);
}
