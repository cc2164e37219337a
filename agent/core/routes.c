/* SPDX-License-Identifier: Apache-2.0 */
/* routes.c: reasons, in the order in which they count. */
#include "agent/core/routes.h"

#include <assert.h>

enum route_why routes_judge(const struct route_service *s, const struct routes_node *n)
{
	if (s->local && !s->ready_here)
		return ROUTE_NO_LOCAL_ENDPOINT;
	if (!s->backends)
		return ROUTE_NO_BACKEND;
	/* An endpoint is ready where no agent lives any more: routers send it nothing. */
	if (n->leaving && n->others && (!s->local || s->ready_elsewhere))
		return ROUTE_LEAVING;
	return ROUTE_OK;
}

bool routes_others(const struct route_lease *v, size_t n, bool in_view, bool before, mono_t now)
{
	if (!in_view)
		return before;
	for (size_t i = 0; i < n; i++)
		if (v[i].held && v[i].stays && !mono_reached(now, mono_add_ms(v[i].seen_at, v[i].duration_ms)))
			return true;
	return false;
}

/* The agent's end takes everything away, also what nobody else serves. */
static bool ends(const struct routes_node *n)
{
	return n->withdraws && n->stopping;
}

bool routes_turns(const struct route *r, const struct routes_node *n)
{
	return r->up && n->leaving && (n->stopping || (n->known && r->why == ROUTE_LEAVING));
}

void routes_step(struct route *r, const struct routes_node *n, bool held)
{
	bool up = r->up;

	assert(r->why <= ROUTE_NO_SERVICE);
	if (n->known)
		up = r->why == ROUTE_LEAVING ? r->up && !n->withdraws : r->why == ROUTE_OK && (r->up || held);
	up = up && !ends(n);
	if (r->up && !up)
		r->drains = n->withdraws && (r->why == ROUTE_LEAVING || ends(n));
	else if (up || !n->leaving)
		r->drains = false;
	r->up = up;
}

static enum route_why reason(const struct route *r, const struct routes_node *n)
{
	if (r->up)
		return ROUTE_OK;
	if (ends(n) && (r->drains || r->why == ROUTE_OK || r->why == ROUTE_LEAVING))
		return ROUTE_STOPPING;
	if (!n->known)
		return ROUTE_UNKNOWN;
	return r->why == ROUTE_OK ? ROUTE_NOT_READY : r->why;
}

struct route_report routes_report(const struct route *r, const struct routes_node *n, const struct drain *d, bool there, mono_t now)
{
	struct route_report ret = { .state = ROUTE_WITHDRAWN, .why = reason(r, n) };

	if (there) {
		ret.state = ROUTE_ADVERTISED;
	} else if (r->up) {
		ret.state = ROUTE_COMING;
	} else if (r->drains && d->stage != DRAIN_NONE && mono_before(now, d->over)) {
		ret.state = ROUTE_DRAINING;
		ret.drains_ms = mono_diff_ms(d->over, now);
	}
	return ret;
}

const char *routes_why_text(enum route_why why)
{
	static const char *const texts[ROUTE_WHY_N] = {
		[ROUTE_OK] = "",
		[ROUTE_LEAVING] = "VIPs are to leave this node, and another one serves it",
		[ROUTE_NO_LOCAL_ENDPOINT] = "no ready endpoint on this node (externalTrafficPolicy: Local)",
		[ROUTE_NO_BACKEND] = "no ready endpoint",
		[ROUTE_NO_SERVICE] = "no Service that is served has it",
		[ROUTE_UNKNOWN] = "the Services have not been looked at yet",
		[ROUTE_NOT_READY] = "the data plane is not ready for it yet",
		[ROUTE_STOPPING] = "this agent is stopping",
	};

	assert(why < ROUTE_WHY_N);
	return texts[why];
}
