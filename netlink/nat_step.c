/* SPDX-License-Identifier: Apache-2.0 */
/* nat_step.c: takes a plan apart.  nat_elem encodes the elements, nat_apply sends them.
 *
 * Order within a change: first the chain that the new dispatch element goes to, then the slots which that chain finds, then
 * the dispatch element, at last the slots that only the old chain could find.  For packets it makes no difference: they
 * see all of a transaction or nothing. */
#include "netlink/nat_step.h"

#include <string.h>

#include "agent/base/text.h"

enum phase {
	PHASE_CHAIN,
	PHASE_SLOTS_DEL, /* below the new number, with another backend */
	PHASE_SLOTS_ADD,
	PHASE_DISPATCH_DEL,
	PHASE_DISPATCH_ADD,
	PHASE_FIREWALL_DEL,
	PHASE_FIREWALL_ADD,
	PHASE_RETURN_DEL,
	PHASE_RETURN_ADD,
	PHASE_SLOTS_SURPLUS, /* from the new number on */
	PHASE_END,
};

/* ---- which steps ---- */

/* The members of a kind stand together. */
static const struct nat_member *find_kind(const struct nat_member *v, size_t n, enum nat_member_kind kind, size_t *ret_n)
{
	size_t from = 0, to;

	while (from < n && v[from].kind != kind)
		from++;
	for (to = from; to < n && v[to].kind == kind; to++)
		;
	*ret_n = to - from;
	return *ret_n > 0 ? v + from : NULL;
}

static struct nat_step_members members_of(const struct nat_member *v, size_t n, bool counters)
{
	struct nat_step_members m = { .v = v, .n = n };

	if (counters) {
		m.guards = find_kind(v, n, NAT_GUARD, &m.n_guards);
		m.received = find_kind(v, n, NAT_RECEIVED, &m.n_received);
	}
	return m;
}

static size_t count_members(const struct nat_step_members *m)
{
	return m->n + 2 * m->n_guards + m->n_received;
}

struct nat_steps nat_steps_of(const struct nat_plan *plan, bool counters)
{
	struct nat_steps s = { .plan = plan, .add = members_of(plan->add, plan->n_add, counters),
			       .del = members_of(plan->del, plan->n_del, counters) };

	s.n = count_members(&s.add) + plan->n_firewalls + plan->n_changes + count_members(&s.del);
	return s;
}

const struct nat_change *nat_step_change(const struct nat_steps *steps, size_t i)
{
	i -= count_members(&steps->add) + steps->plan->n_firewalls; /* wraps for those before */
	return i < steps->plan->n_changes ? &steps->plan->changes[i] : NULL;
}

static void begin_member(struct nat_step *s, const struct nat_step_members *m, size_t i, enum nat_elem_verb verb)
{
	s->verb = verb;
	if (i < m->n) {
		s->member = &m->v[i];
		s->kind = (enum nat_member_kind)s->member->kind;
		return;
	}
	i -= m->n;
	if (i < 2 * m->n_guards) {
		s->member = &m->guards[i % m->n_guards];
		s->kind = i < m->n_guards ? NAT_BACKEND : NAT_OPENED;
		return;
	}
	s->member = &m->received[i - 2 * m->n_guards];
	s->kind = NAT_SENT;
}

/* ---- one step ---- */

static void begin_change(struct nat_step *s, const struct nat_change *c)
{
	s->change = c;
	if (c->now)
		nat_balance_name(c->now, s->chain);
	if (c->old && c->old->n_slots > 0)
		nat_balance_name(c->old, s->old_chain);
	if (c->now_firewall)
		nat_firewall_chain(c->now_firewall, s->firewall_chain);
	if (c->now)
		nat_return_name(c->now, s->return_chain);
}

void nat_step_begin(struct nat_step *s, const struct nat_steps *steps, size_t i)
{
	const struct nat_plan *plan = steps->plan;

	s->member = NULL;
	s->firewall = NULL;
	s->change = NULL;
	s->verb = NAT_ELEM_ADD;
	s->phase = 0;
	s->slot = 0;
	s->chain[0] = s->old_chain[0] = s->firewall_chain[0] = s->return_chain[0] = '\0';
	if (i < count_members(&steps->add)) {
		begin_member(s, &steps->add, i, NAT_ELEM_ADD);
		return;
	}
	i -= count_members(&steps->add);
	if (i < plan->n_firewalls) {
		s->firewall = plan->firewalls[i];
		return;
	}
	i -= plan->n_firewalls;
	if (i < plan->n_changes) {
		begin_change(s, &plan->changes[i]);
		return;
	}
	begin_member(s, &steps->del, i - plan->n_changes, NAT_ELEM_DEL);
}

static const struct ip_port *backend_of(const struct frontend *f, uint32_t slot)
{
	return &f->backends[f->slots[slot]];
}

/* The slot is there with the backend that it is to have. */
static bool is_right(const struct nat_change *c, uint32_t slot)
{
	return c->old && c->now && c->old->slots && nat_slots_kind(c->old) == nat_slots_kind(c->now) &&
	       slot < c->old->n_slots && slot < c->now->n_slots &&
	       ip_port_cmp(backend_of(c->old, slot), backend_of(c->now, slot)) == 0;
}

/* The frontend's element in a set of that kind. */
static void set_element(struct nat_op *op, const struct nat_change *c, enum nat_set_kind kind, enum nat_elem_verb verb)
{
	const struct frontend *f = c->now ? c->now : c->old;

	op->kind = NAT_OP_ELEMENT;
	op->verb = verb;
	op->elem = (struct nat_elem){ .set = nat_set_of(kind, (enum ip_family)f->vip.family), .ip = f->vip,
				      .proto = f->proto, .port = f->port };
}

/* The next of the slots below 'end' that are not right already. */
static bool next_slot(struct nat_step *s, uint32_t end, enum nat_elem_verb verb, struct nat_op *ret)
{
	const struct nat_change *c = s->change;

	while (s->slot < end && is_right(c, s->slot))
		s->slot++;
	if (s->slot >= end)
		return false;
	set_element(ret, c, nat_slots_kind(verb == NAT_ELEM_ADD ? c->now : c->old), verb);
	ret->elem.slot = (uint16_t)s->slot;
	if (verb == NAT_ELEM_ADD)
		ret->elem.backend = *backend_of(c->now, s->slot);
	s->slot++;
	return true;
}

/* One op of this phase; false: it has no more. */
static bool in_phase(struct nat_step *s, struct nat_op *ret)
{
	const struct nat_change *c = s->change;
	const uint32_t n_old = c->old ? c->old->n_slots : 0, n_now = c->now ? c->now->n_slots : 0;
	const bool same = c->old && c->now && c->old->digest == c->now->digest && text_eq(s->chain, s->old_chain);
	const bool same_firewall = c->old_firewall && c->now_firewall && text_eq(c->old_firewall, c->now_firewall);
	const bool returned = c->old && c->old->sticky_s > 0, returns = c->now && c->now->sticky_s > 0;
	/* Without a digest nothing is known of the element (nat_read.c). */
	const bool same_return = returned && returns && c->old->digest && text_eq(s->chain, s->old_chain);
	const bool first = s->slot++ == 0; /* for the phases of a single op */

	switch ((enum phase)s->phase) {
	case PHASE_SLOTS_DEL:
		s->slot--;
		return next_slot(s, n_old < n_now ? n_old : n_now, NAT_ELEM_DEL, ret);
	case PHASE_SLOTS_ADD:
		s->slot--;
		return next_slot(s, n_now, NAT_ELEM_ADD, ret);
	case PHASE_SLOTS_SURPLUS:
		s->slot--;
		if (s->slot < n_now)
			s->slot = n_now;
		return next_slot(s, n_old, NAT_ELEM_DEL, ret);
	case PHASE_CHAIN:
		ret->kind = NAT_OP_BALANCE;
		ret->frontend = c->now;
		return first && c->now && nat_balance_is_own(c->now);
	case PHASE_DISPATCH_DEL:
		set_element(ret, c, NAT_SET_KIND_DISPATCH, NAT_ELEM_DEL);
		return first && c->old && !same;
	case PHASE_DISPATCH_ADD:
		set_element(ret, c, NAT_SET_KIND_DISPATCH, NAT_ELEM_NEW);
		ret->elem.chain = s->chain;
		ret->elem.digest = c->now ? c->now->digest : 0;
		return first && c->now && !same;
	case PHASE_FIREWALL_DEL:
		set_element(ret, c, NAT_SET_KIND_FIREWALLS, NAT_ELEM_DEL);
		return first && c->old_firewall && !same_firewall;
	case PHASE_FIREWALL_ADD:
		set_element(ret, c, NAT_SET_KIND_FIREWALLS, NAT_ELEM_NEW);
		ret->elem.chain = s->firewall_chain;
		return first && c->now_firewall && !same_firewall;
	case PHASE_RETURN_DEL:
		set_element(ret, c, NAT_SET_KIND_RETURNS, NAT_ELEM_DEL);
		return first && returned && !same_return;
	case PHASE_RETURN_ADD:
		set_element(ret, c, NAT_SET_KIND_RETURNS, NAT_ELEM_NEW);
		ret->elem.chain = s->return_chain;
		return first && returns && !same_return;
	case PHASE_END:
		break;
	}
	return false;
}

/* Of steps with a single op: whether this is it. */
static bool once(struct nat_step *s)
{
	return s->phase++ == 0;
}

bool nat_step_next(struct nat_step *s, struct nat_op *ret)
{
	*ret = (struct nat_op){ .kind = NAT_OP_ELEMENT, .verb = s->verb };
	if (s->member) {
		struct nat_member m = *s->member;

		m.kind = (uint8_t)s->kind;
		ret->elem = nat_elem_of_member(&m);
		return once(s);
	}
	if (s->firewall) {
		ret->kind = NAT_OP_FIREWALL;
		ret->firewall = s->firewall;
		return once(s);
	}
	for (; s->phase < PHASE_END; s->phase++, s->slot = 0)
		if (in_phase(s, ret))
			return true;
	return false;
}
