/* SPDX-License-Identifier: Apache-2.0 */
/* conflicts.c: what the wire tells to the elections, to defence, and to the table of conflicts; and asking for what it does
 * not tell by itself: a host that has a VIP configured says nothing until it is asked. */
#include "agent/conflicts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"

#define PROBE_VIPS 4 /* of a group in one go: they move together */
#define EXPIRY_SLACK_MS 2000 /* of the kernel's timers of addresses */
#define RETRY_MS 1000

/* ---- for the elections ---- */

/* Where to ask for the VIP: on each of its interfaces that can send. */
static size_t targets_of(const struct agent *a, const struct vip *vip, struct wire_target targets[static PLACE_MAX])
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	size_t n = 0;

	for (size_t i = 0; i < vip->n_at; i++) {
		const struct link *l = vip->at[i].usable ? link_find(s, vip->at[i].ifindex) : NULL;

		if (l)
			targets[n++] = (struct wire_target){ l, vip->at[i].own, vip->ip };
	}
	return n;
}

void conflicts_probe(struct agent *a, const struct group *g, uint32_t probe_id)
{
	struct wire_target targets[PROBE_VIPS * PLACE_MAX];
	size_t n = 0, vips = 0;

	/* Others each time: a holder that lost the API may not know the latest. */
	for (size_t i = 0; i < a->vips.n && vips < PROBE_VIPS; i++) {
		const struct vip *vip = &a->vips.v[(i + (size_t)probe_id * PROBE_VIPS) % a->vips.n];

		if (vip->group != g->index)
			continue;
		vips++;
		n += targets_of(a, vip, targets + n);
	}
	if (vips == 0 || a->vips.routed)
		wire_nobody(&a->wire, mono_now(), g->index, probe_id);
	else
		wire_ask(&a->wire, mono_now(), g->index, probe_id, targets, n);
}

void conflicts_announce(struct agent *a, const struct group *g)
{
	for (size_t i = 0; i < a->vips.n; i++)
		if (a->vips.v[i].group == g->index)
			announcer_past_gate(&a->announcer, link_watch_state(a->kernel.links), &a->vips.v[i]);
}

static void on_probed(void *ctx, unsigned int group, uint32_t probe_id, enum elect_wire found)
{
	struct agent *a = ctx;

	if (group < a->n_groups)
		leader_wire(&a->groups[group]->leader, mono_now(), found, probe_id);
}

/* ---- what was heard ---- */

static enum conflict_here group_here(const struct group *g, mono_t now)
{
	if (!group_holds(g, now))
		return *g->leader.seen.holder ? CONFLICT_OTHERS : CONFLICT_NOBODY;
	return g->leader.elect.over.on || g->leader.elect.move.stage != LEASE_STAGE_NONE ? CONFLICT_BUSY : CONFLICT_HELD;
}

static enum conflict_here here(const struct agent *a, const struct vip *vip, mono_t now)
{
	const struct group *g = vip->group < a->n_groups ? a->groups[vip->group] : NULL;
	enum conflict_here is = g ? group_here(g, now) : CONFLICT_NOBODY;

	if (is != CONFLICT_HELD && is != CONFLICT_BUSY)
		return is;
	if (!vip->live)
		return *g->leader.seen.holder ? CONFLICT_OTHERS : CONFLICT_NOBODY;
	return vip->moving ? CONFLICT_BUSY : is;
}

static enum conflict_who who_is(const struct agent *a, const struct candidate *who)
{
	if (who)
		return text_eq(who->node, a->cfg->node_name) ? CONFLICT_SELF : CONFLICT_CANDIDATE;
	return a->lease_view.synced ? CONFLICT_STRANGER : CONFLICT_UNKNOWN; /* it shows the nodes' records, too */
}

enum conflict_heard conflicts_heard(enum wire_form form)
{
	switch (form) {
	case WIRE_REQUEST:
	case WIRE_ADVERT:
		return CONFLICT_ANNOUNCE;
	case WIRE_REPLY:
		return CONFLICT_ANNOUNCE_REPLY;
	case WIRE_PROBE:
		return CONFLICT_ASKED;
	case WIRE_ANSWER:
	case WIRE_USE:
		return CONFLICT_CLAIM;
	}
	return CONFLICT_CLAIM;
}

static void defend(struct agent *a, struct vip *vip, struct wire_row *row, mono_t now)
{
	mono_t at = conflict_defend(&row->defence, now);

	for (size_t i = 0; i < vip->n_at; i++)
		schedule_once(&vip->at[i].schedule, at);
	announcer_again(&a->announcer);
}

/* Elsewhere, on a Pod's interface or a bridge of its own, the address is another host's own affair. */
static bool heard_at_home(const struct vip *vip, const struct wire_claim *c)
{
	for (size_t i = 0; i < vip->n_at; i++)
		if (vip->at[i].ifindex == c->ifindex)
			return true;
	return false;
}

static void weigh(struct agent *a, struct vip *vip, const struct wire_claim *c, const struct candidate *who)
{
	struct wire_row *row = wire_row(&a->wire, &vip->ip);
	mono_t now = mono_now();
	const struct conflict_case what = {
		.heard = conflicts_heard(c->form),
		.here = here(a, vip, now),
		.who = who_is(a, who),
		.answer = c->reply,
		.held_ms = row && row->held_since.ns ? mono_diff_ms(now, row->held_since) : 0,
		.late_ms = a->gates.gate ? CONFLICT_LATE_CANDIDATE_MS : (int64_t)a->kernel.valid_s * MS_PER_S + EXPIRY_SLACK_MS,
	};
	const struct conflict_verdict verdict = conflict_weigh(&what);

	if (!row || !heard_at_home(vip, c))
		return;
	if (verdict.what & CONFLICT_DEFEND)
		defend(a, vip, row, now);
	if (verdict.what & CONFLICT_REPORT)
		conflict_note(a, c, who, &verdict, now);
}

static enum elect_wire on_claimed(void *ctx, const struct wire_claim *c, unsigned int *ret_group)
{
	struct agent *a = ctx;
	const struct candidate *who = candidates_by_mac(a->candidates, c->mac);
	enum elect_wire wire = who ? ELECT_WIRE_CANDIDATE : ELECT_WIRE_STRANGER;
	struct vip *vip = vips_find(&a->vips, &c->vip);

	*ret_group = vip ? vip->group : UINT32_MAX;
	if (!vip || vip->group >= a->n_groups)
		return wire;
	if (!c->reply) /* wherever it was heard: a candidate's is a reason for care, and a stranger's is none for anything */
		leader_wire(&a->groups[vip->group]->leader, mono_now(), wire, 0);
	weigh(a, vip, c, who);
	return wire;
}

static void on_asked(void *ctx, const struct wire_claim *c)
{
	struct agent *a = ctx;
	struct vip *vip = vips_find(&a->vips, &c->vip);

	if (vip)
		weigh(a, vip, c, candidates_by_mac(a->candidates, c->mac));
}

/* ---- asking ---- */

/* On all its interfaces; returns the number of frames sent. */
static unsigned int ask(struct agent *a, const struct vip *vip)
{
	struct wire_target targets[PLACE_MAX];
	struct err_info err = ERR_INFO_INIT;
	size_t n = targets_of(a, vip, targets);
	unsigned int sent = 0;

	for (size_t i = 0; i < n; i++)
		sent += wire_sweep(&a->wire, &targets[i], &err) == 0; /* one that fails comes again in the next round */
	a->metrics.conflict_probes += sent;
	return sent;
}

bool conflicts_ask_besides(struct agent *a, const struct vip *vip, mono_t now)
{
	struct conflict_sweep *s = &a->conflicts.sweep;

	if (here(a, vip, now) != CONFLICT_HELD || conflict_sweep_spare(s, (unsigned int)a->cfg->conflict_probe_rate) == 0)
		return false;
	conflict_sweep_spent(s, ask(a, vip));
	return true;
}

static size_t usable_places(const struct vip *vip)
{
	size_t n = 0;

	for (size_t i = 0; i < vip->n_at; i++)
		n += vip->at[i].usable;
	return n;
}

/* A VIP that has just gone live is asked for at once: whoever had it is silent by now, so who answers has no right. */
static void note_held(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;

	c->n_frames = 0;
	conflict_tell_soon(c);
	for (size_t i = 0; i < a->wire.n_rows; i++) {
		struct wire_row *row = &a->wire.rows[i];
		const struct vip *vip = i < a->vips.n && ip_eq(&a->vips.v[i].ip, &row->vip) ? &a->vips.v[i] :
											      vips_find(&a->vips, &row->vip);
		enum conflict_here is = vip ? here(a, vip, now) : CONFLICT_NOBODY;
		bool held = is == CONFLICT_HELD || is == CONFLICT_BUSY;

		if (is == CONFLICT_HELD)
			c->n_frames += usable_places(vip);
		if (held == (row->held_since.ns != 0))
			continue;
		row->held_since = held ? now : (mono_t){ 0 };
		c->held_again = true;
		if (held)
			IGNORE(conflicts_ask_besides(a, vip, now)); /* else in its turn */
	}
}

/* What VIPs hang on besides 'again': whether they are live, and their groups. */
static bool held_may_differ(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	bool differs = c->turned != a->vips.turned;

	c->turned = a->vips.turned;
	for (size_t i = 0; i < a->n_groups; i++) {
		enum conflict_here is = group_here(a->groups[i], now);

		differs |= is != c->groups[i];
		c->groups[i] = is;
	}
	return differs;
}

/* The next VIPs in turn. */
static void sweep(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	unsigned int due = conflict_sweep_due(&c->sweep, now, c->n_frames, (unsigned int)a->cfg->conflict_probe_rate, &a->prng);
	unsigned int sent = 0;

	for (size_t i = 0; i < a->vips.n && sent < due; i++) {
		const struct vip *vip = &a->vips.v[c->sweep.at++ % a->vips.n];

		if (here(a, vip, now) == CONFLICT_HELD)
			sent += ask(a, vip);
	}
	if (sent > due) /* VIPs on several interfaces */
		conflict_sweep_spent(&c->sweep, sent - due);
}

mono_t conflicts_tick(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;

	c->may_ask = mono_reached(now, c->ask_at);
	if (c->may_ask)
		wire_read(&a->wire);
	return wire_tick(&a->wire, now);
}

static int update(struct agent *a, mono_t now)
{
	const struct link_state *s = link_watch_state(a->kernel.links);
	struct ip *vips = calloc(a->vips.n + 1, sizeof(*vips));
	int r = vips ? 0 : -ENOMEM;

	for (size_t i = 0; vips && i < a->vips.n; i++)
		vips[i] = a->vips.v[i].ip;
	if (r == 0)
		r = wire_update(&a->wire, vips, a->vips.n, s);
	free(vips);
	if (r == 0) {
		a->conflicts.held_again = !a->vips.routed;
		conflict_look(a, s, now);
	}
	return r;
}

/* What the wire is to know; returns when to try again.  The gate never waits for this. */
static mono_t follow(struct agent *a, mono_t now)
{
	static struct log_limit limit;
	struct conflicts *c = &a->conflicts;
	bool due = !mono_before(now, c->again_at), changed = c->again;
	uint32_t left_out;
	int r = 0;

	if (c->again && due) {
		r = update(a, now);
		c->again = r < 0;
	}
	if (!a->vips.routed && (held_may_differ(a, now) || changed))
		note_held(a, now);
	if (c->held_again && due && r == 0) {
		r = wire_held(&a->wire);
		c->held_again = r < 0;
	}
	if (r < 0) {
		c->again_at = mono_add_ms(now, RETRY_MS);
		if (log_limit(&limit, now.ns, 5000, &left_out))
			log_event(LOG_WARN, "wire_filter", "others' claims of VIPs may not be heard", log_str("error", strerror(-r)),
				  log_int("left_out", left_out));
	}
	return c->again || c->held_again ? c->again_at : MONO_NEVER;
}

mono_t conflicts_step(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	mono_t wake = follow(a, now);

	if (a->vips.routed)
		return wake;
	sweep(a, now);
	wake = mono_min(wake, c->sweep.next);
	return mono_min(wake, conflict_tell(a, now));
}

/* ---- start and end ---- */

int conflicts_open(struct agent *a, struct err_info *err)
{
	static const struct wire_ops ops = { on_claimed, on_asked, on_probed };

	a->conflicts.sweep.next = a->conflicts.ask_at = MONO_NEVER;
	return wire_init(&a->wire, &a->loop, &ops, a, err);
}

void conflicts_close(struct agent *a)
{
	wire_fini(&a->wire);
	free(a->conflicts.rows);
	a->conflicts = (struct conflicts){ .ask_at = MONO_NEVER, .sweep = { .next = MONO_NEVER } };
}
