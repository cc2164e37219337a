/* SPDX-License-Identifier: Apache-2.0 */
/* own_record.c: gathers what our record says. */
#include "agent/own_record.h"

#include <string.h>

#include "agent/core/uplinks.h"
#include "agent/handover.h"
#include "agent/kube/record_json.h"

#define DRAIN_EVERY_MS (INT64_C(10) * 1000) /* between two tries to move what this node holds */

int own_record_open(struct agent *a, struct err_info *err)
{
	const struct candidates_config cfg = { .ns = a->cfg->ns, .node = a->cfg->node_name, .identity = a->elect_cfg.identity,
					       .rank = (unsigned int)a->cfg->rank, .seed = a->elect_cfg.seed };

	return candidates_new(a->client, &cfg, &a->candidates, err);
}

static bool is_among(uint8_t (*macs)[LINK_MAC_LEN], size_t n, const uint8_t mac[static LINK_MAC_LEN])
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(macs[i], mac, LINK_MAC_LEN) == 0)
			return true;
	return false;
}

/* Where others can hand it what is its own; of routed VIPs alone (rendezvous.h). */
static void take_addresses(struct agent *a, const struct link_state *s)
{
	struct ip v[CANDIDATE_ADDRESSES_MAX];
	size_t n = 0;

	memset(v, 0, sizeof(v)); /* compared as bytes */
	for (size_t i = 0; i < s->n_addrs && n < CANDIDATE_ADDRESSES_MAX && a->routed.on; i++)
		if (uplinks_reachable(s, &s->addrs[i]))
			v[n++] = s->addrs[i].ip;
	candidates_addresses(a->candidates, v, n);
}

void own_record_links(struct agent *a)
{
	static const uint8_t none[LINK_MAC_LEN];
	const struct link_state *s = link_watch_state(a->kernel.links);
	uint8_t macs[CANDIDATE_MACS_MAX][LINK_MAC_LEN];
	size_t n = 0;

	for (size_t i = 0; i < s->n_links && n < CANDIDATE_MACS_MAX; i++) {
		const struct link *l = &s->links[i];

		/* With carrier or without: it may have sent a moment ago. */
		if (!(a->routed.on ? uplinks_is(s, l) : agent_carries_vips(a, s, l)) ||
		    memcmp(l->mac, none, sizeof(none)) == 0 || is_among(macs, n, l->mac))
			continue;
		memcpy(macs[n++], l->mac, LINK_MAC_LEN);
	}
	candidates_macs(a->candidates, macs, n);
	take_addresses(a, s);
}

/* Whether another node is to have the group, if one will. */
static bool to_leave(const struct agent *a, const struct group *g)
{
	return a->draining || g->place.impaired;
}

static bool any_to_leave(const struct agent *a, mono_t now)
{
	for (size_t i = 0; i < a->n_groups; i++)
		if (to_leave(a, a->groups[i]) && group_holds(a->groups[i], now))
			return true;
	return false;
}

/* Asks others to take over what this node holds and should not. */
static void drain(struct agent *a, mono_t now)
{
	for (size_t i = 0; i < a->n_groups; i++) {
		struct group *g = a->groups[i];

		if (to_leave(a, g) && group_holds(g, now) && !handover_moving(&g->move))
			IGNORE(handover_begin(g, now, "*", 0)); /* it logs; tried again */
	}
}

static void note_leaving(struct agent *a, const char *why, mono_t now)
{
	if ((why != NULL) == a->draining)
		return;
	a->draining = why != NULL;
	a->drain_at = now;
	log_event(LOG_INFO, why ? "node_leaving" : "node_staying",
		  why ? "VIPs are to leave this node" : "VIPs may stay on this node", log_str("why", why ? why : ""));
}

mono_t own_record_step(struct agent *a, mono_t now)
{
	const struct kube_node *node = &a->own_node.node;
	unsigned int rank = node->rank >= 0 ? (unsigned int)node->rank : (unsigned int)a->cfg->rank;
	mono_t wake = MONO_NEVER;

	note_leaving(a, own_node_leaving(&a->own_node), now);
	for (size_t i = 0; i < a->n_groups; i++) {
		struct leader *l = &a->groups[i]->leader;

		leader_delay(l, (int64_t)(to_leave(a, a->groups[i]) ? RECORD_RANK_MAX + 1 : rank) * l->elect.cfg.renew_ms);
	}
	candidates_rank(a->candidates, rank);
	candidates_weight(a->candidates, node->weight >= 0 ? (unsigned int)node->weight : 1);
	candidates_leaving(a->candidates, a->draining || a->stop != STOP_NO,
			   a->routed.drain.stage == DRAIN_NONE ? 0 : a->routed.drain.number);
	busiest_tell(a, now);
	if (*node->uid)
		candidates_owner(a->candidates, node->uid);
	if (a->stop == STOP_NO && any_to_leave(a, now) && candidates_any(a->candidates)) {
		if (mono_reached(now, a->drain_at)) {
			drain(a, now);
			a->drain_at = mono_add_ms(now, DRAIN_EVERY_MS);
		}
		wake = a->drain_at;
	}
	return a->planned ? mono_min(wake, candidates_step(a->candidates, now)) : wake;
}
