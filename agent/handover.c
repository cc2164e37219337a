/* SPDX-License-Identifier: Apache-2.0 */
/* handover.c: choices and hands of planned moves. */
#include "agent/handover.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/fence.h"

/* What came of a move: for the log, and for whoever asked. */
static void give_up(struct group *g, const char *why)
{
	struct handover *h = &g->move;

	g->agent->metrics.handovers_failed++;
	log_event(LOG_WARN, "handover_failed", "the group stays on this node", log_str("lease", g->leader.name),
		  log_str("why", why));
	if (h->request)
		leader_result(&g->leader, h->request, false, why);
	h->number = h->request = 0;
	h->again = false;
	memset(h->mac, 0, sizeof(h->mac));
}

static const struct candidate *choose(struct group *g, const char *node)
{
	const char *excluded[HANDOVER_TRIES];
	struct handover *h = &g->move;

	if (!text_eq(node, "*"))
		return candidates_by_node(g->agent->candidates, node);
	for (unsigned int i = 0; i < h->n_tried; i++)
		excluded[i] = h->tried[i];
	return candidates_pick(g->agent->candidates, excluded, h->n_tried);
}

/* Asks the next candidate. */
static bool ask(struct group *g, mono_t now, const char *node)
{
	struct handover *h = &g->move;
	const struct candidate *c = h->n_tried < HANDOVER_TRIES ? choose(g, node) : NULL;
	char why[LEASE_RESULT_TEXT_MAX];

	h->again = false;
	if (!c || text_eq(c->node, g->agent->cfg->node_name) || (c->leaving && !h->any)) {
		if (c)
			IGNORE(snprintf(why, sizeof(why), "node %.64s %s", node, c->leaving ? "is being drained" : "holds it")); /* cut is fine */
		else if (h->any)
			IGNORE(text_copy(why, sizeof(why), h->n_tried ? "no other candidate got ready" :
									"there is no other candidate")); /* fits */
		else
			IGNORE(snprintf(why, sizeof(why), "no agent is known on node %.64s", node)); /* cut is fine */
		give_up(g, why);
		return false;
	}
	IGNORE(text_copy(h->tried[h->n_tried], sizeof(h->tried[0]), c->identity)); /* same size */
	h->n_tried++;
	while (h->number == 0)
		h->number = (uint32_t)prng_next(&g->agent->prng);
	memset(h->mac, 0, sizeof(h->mac));
	log_event(LOG_INFO, "handover", "asking another node to take the group over", log_str("lease", g->leader.name),
		  log_str("to", c->node));
	leader_handover(&g->leader, now, c->identity, h->number);
	return true;
}

bool handover_begin(struct group *g, mono_t now, const char *node, uint32_t request)
{
	struct handover *h = &g->move;

	if (handover_moving(h) || !leader_holds(&g->leader, now)) {
		if (request)
			leader_result(&g->leader, request, false, "another handover is under way");
		return false;
	}
	g->agent->metrics.handovers++;
	h->request = request;
	h->any = text_eq(node, "*");
	h->n_tried = 0;
	return ask(g, now, node);
}

/* The successor's answer, as its node record shows it. */
static void hear_answer(struct group *g, mono_t now)
{
	struct handover *h = &g->move;
	const struct candidate_answer *answer;

	if (h->n_tried == 0 || g->leader.elect.move.stage != LEASE_STAGE_PREPARE || !fence_settled(g->agent))
		return;
	switch (candidates_answer_of(g->agent->candidates, h->tried[h->n_tried - 1], g->leader.name, h->number, &answer)) {
	case CANDIDATE_READY:
		memcpy(h->mac, answer->mac, sizeof(h->mac));
		if (h->mac[0] & 1) /* a group address (IEEE 802) is nobody's: nothing is redirected */
			memset(h->mac, 0, sizeof(h->mac));
		leader_prepared(&g->leader, now, h->number);
		break;
	case CANDIDATE_REFUSES:
		log_event(LOG_WARN, "handover_refused", "the node asked to take over cannot", log_str("lease", g->leader.name),
			  log_str("why", answer->reason));
		leader_refused(&g->leader, now, h->number);
		break;
	case CANDIDATE_SILENT:
		break;
	}
}

/* The kernel has what this node knew of Services when it was asked.  What comes after that is not waited for: where much
 * changes, something always would be under way. */
static bool caught_up(struct handover *h, const struct agent *a)
{
	if (!h->built && !a->building && !a->store.touched) {
		h->built = true;
		h->changes = dataplane_changes(&a->dataplane);
	}
	return h->built && dataplane_has(&a->dataplane, h->changes);
}

/* What this node, asked to take over, has to say: nothing yet, or an answer. */
static enum candidate_says weigh(const struct group *g, struct candidate_answer *answer)
{
	const struct agent *a = g->agent;
	bool first = true, ready = true;
	size_t n = 0, placed = 0;

	if (!g->able) {
		IGNORE(text_copy(answer->reason, sizeof(answer->reason), "the node has no ready endpoint")); /* fits */
		return CANDIDATE_REFUSES;
	}
	for (size_t i = 0; i < a->vips.n; i++) {
		const struct vip *vip = &a->vips.v[i];
		const char *refused = vip->group == g->index ? agent_refused(a, &vip->ip) : NULL;

		if (vip->group != g->index)
			continue;
		n++;
		if (refused) {
			IGNORE(text_copy(answer->reason, sizeof(answer->reason), refused)); /* cut is fine */
			return CANDIDATE_REFUSES;
		}
		if (!vip_usable(vip) && (vip->published || vip->n_at > 0) && !a->vips.routed) {
			IGNORE(text_copy(answer->reason, sizeof(answer->reason),
					 vip->n_at ? "the interface for a VIP is down or has no carrier" :
						     "no interface of the node suits a VIP")); /* fits */
			return CANDIDATE_REFUSES;
		}
		if (vip->n_at == 0 && !a->vips.routed)
			continue;
		placed++;
		ready &= fence_ready_for(a, vip);
		if (first)
			memcpy(answer->mac, vip->at[0].mac, sizeof(answer->mac));
		if (vip->n_at > 1 || memcmp(answer->mac, vip->at[0].mac, sizeof(answer->mac)) != 0)
			memset(answer->mac, 0, sizeof(answer->mac)); /* on several interfaces: no redirect */
		first = false;
	}
	if (n > 0 && placed == 0) {
		IGNORE(text_copy(answer->reason, sizeof(answer->reason), "no interface of the node suits the VIPs")); /* fits */
		return CANDIDATE_REFUSES;
	}
	return ready && a->planned ? CANDIDATE_READY : CANDIDATE_SILENT;
}

static void answer_holder(struct group *g)
{
	struct handover *h = &g->move;
	struct candidate_answer answer = { .number = h->preparing };

	answer.says = weigh(g, &answer);
	if (answer.says == CANDIDATE_READY && !caught_up(h, g->agent))
		answer.says = CANDIDATE_SILENT;
	if (answer.says == CANDIDATE_SILENT)
		return;
	IGNORE(text_copy(answer.lease, sizeof(answer.lease), g->leader.name)); /* our names are shorter */
	candidates_say(g->agent->candidates, &answer);
	h->said = true;
}

void handover_step(struct group *g, mono_t now)
{
	struct handover *h = &g->move;
	bool holds = leader_holds(&g->leader, now);

	if (h->asked && h->asked != g->leader.seen.request.number) {
		h->asked = 0; /* taken back, or granted by another */
	} else if (h->asked && holds) {
		IGNORE(handover_begin(g, now, h->asked_to, h->asked)); /* the result says what came of it */
		h->asked = 0;
	}
	if (h->again && holds)
		IGNORE(ask(g, now, "*")); /* likewise */
	if (h->number && holds)
		hear_answer(g, now);
	if (h->preparing && !h->said)
		answer_holder(g);
}

void handover_asked(struct handover *h, uint32_t number, const char *node)
{
	h->asked = number;
	IGNORE(text_copy(h->asked_to, sizeof(h->asked_to), node)); /* same size */
}

void handover_failed(struct group *g, uint32_t number, const char *why)
{
	struct handover *h = &g->move;
	char node[LEASE_HOLDER_MAX], named[LEASE_RESULT_TEXT_MAX];

	if (number != h->number)
		return;
	IGNORE(lease_node(h->n_tried ? h->tried[h->n_tried - 1] : "", node, sizeof(node))); /* only shown */
	IGNORE(snprintf(named, sizeof(named), "node %.60s: %s", node, why)); /* cut is fine */
	h->number = 0;
	if (h->any)
		h->again = true; /* in the next step: this one's actions are not over */
	else
		give_up(g, named);
}

void handover_ended(struct handover *h)
{
	/* What was asked and the successor's MAC stay: the one may be granted yet, by the other frames are redirected. */
	h->number = h->request = h->preparing = 0;
	h->again = h->said = false;
	h->n_tried = 0;
}

void handover_prepare(struct handover *h, uint32_t number)
{
	h->preparing = number;
	h->built = h->said = false;
}
