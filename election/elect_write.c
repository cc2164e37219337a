/* SPDX-License-Identifier: Apache-2.0 */
/* elect_write.c: the requests that elect.c and its parts send, and the record that we write. */
#include "election/elect_write.h"

#include <assert.h>
#include <string.h>

#include "election/elect_follow.h"
#include "election/elect_handover.h"

struct elect_action *elect_act(struct elect_actions *ret, enum elect_action_kind kind)
{
	struct elect_action *a;

	assert(ret->n < ELECT_ACTIONS_MAX);
	a = &ret->v[ret->n++];
	memset(a, 0, sizeof(*a));
	a->kind = kind;
	return a;
}

int64_t elect_backoff_ms(struct elect *e)
{
	bool ours = elect_holder_kind(e) == HOLDER_SELF;
	int64_t cap_ms = e->state != ELECT_FOLLOWING ? e->cfg.renew_ms / 4 : ours ? e->cfg.renew_ms / 2 : e->cfg.renew_ms;
	int64_t ms = e->cfg.renew_ms / 16;

	for (unsigned int i = 1; i < e->failures && ms < cap_ms; i++)
		ms *= 2;
	if (ms > cap_ms)
		ms = cap_ms;
	return ms / 2 + 1 + elect_jitter_ms(e, ms / 2);
}

void elect_send_write(struct elect *e, mono_t now, const struct lease_record *r, struct elect_actions *ret)
{
	bool create = e->state == ELECT_CLAIMING && e->absent;
	struct elect_action *a = elect_act(ret, create ? ELECT_DO_CREATE : ELECT_DO_UPDATE);

	assert(!e->write_pending);
	assert(create || *e->seen_version); /* a PUT without a version would overwrite anything */
	e->write_id = e->write_id == UINT32_MAX ? 1 : e->write_id + 1;
	e->write_pending = true;
	e->write_sent = now;
	e->write_record = *r;
	memset(e->write_version, 0, sizeof(e->write_version));
	if (!create)
		memcpy(e->write_version, e->seen_version, sizeof(e->write_version));
	a->timeout_ms = e->cfg.renew_ms / 2;
	e->write_timeout = mono_add_ms(now, a->timeout_ms);
	a->write_id = e->write_id;
	a->record = *r;
	memcpy(a->version, e->write_version, sizeof(a->version));
}

void elect_send_get(struct elect *e, mono_t now, struct elect_actions *ret)
{
	struct elect_action *a = elect_act(ret, ELECT_DO_GET);

	a->timeout_ms = e->cfg.renew_ms / 2;
	if (e->refused)
		e->next_write = mono_add_ms(now, a->timeout_ms + 1 + elect_jitter_ms(e, e->cfg.renew_ms / 4));
	else
		elect_follow_asked(e, now);
}

struct lease_record elect_own_record(const struct elect *e)
{
	struct lease_record r = { .duration_ms = e->cfg.duration_ms, .policy = e->cfg.policy };

	memcpy(r.holder, e->cfg.identity, sizeof(r.holder));
	elect_handover_record(e, &r);
	if (!e->known || (e->absent && e->state != ELECT_LEADING))
		return r; /* a new object */
	r.transitions = e->seen.transitions;
	/* leaseTransitions is an int32 that may not be negative. */
	if (elect_record_kind(e) != HOLDER_SELF && r.transitions < INT32_MAX)
		r.transitions++;
	return r;
}

mono_t elect_write_deadline(const struct elect *e)
{
	int64_t ms = e->write_record.duration_ms;

	return mono_add_ms(e->write_sent, ms - elect_margin_ms(ms));
}
