/* SPDX-License-Identifier: Apache-2.0 */
/* forward_rule.c: walks the rules of a chain as the kernel would for a packet of which only the state is known.  A rule that
 * concerns some packets may or may not take ours: where it accepts, that is noted and the walk goes on. */
#include "netlink/forward_rule.h"

#define DEPTH_MAX 16	/* NFT_JUMP_STACK_SIZE */
#define STEPS_MAX 20000 /* rules looked at; chains may be jumped to from many places */

/* How the walk through a chain ended. */
enum end {
	END_FALLS, /* came to its end, or returned */
	END_ACCEPTS,
	END_DROPS,
};

struct walk {
	const struct forward_chain *chains;
	size_t n_chains;
	unsigned int steps;
	uint32_t mark; /* accepted whatever else */
	bool some;     /* accepted for some packets */
};

static enum end walk_chain(struct walk *w, size_t chain, bool certain, unsigned int depth);

/* Follows a jump; what it finds is certain only when the jump is. */
static enum end follow(struct walk *w, const struct forward_rule *r, bool certain, unsigned int depth)
{
	if (r->target >= w->n_chains || depth == DEPTH_MAX) {
		w->some = true;
		return END_FALLS;
	}
	return walk_chain(w, r->target, certain, depth + 1);
}

static void accept_some(struct walk *w, const struct forward_rule *r, bool certain)
{
	/* Of several marks the first will do. */
	if (r->when == FORWARD_MARKED && certain && w->mark == 0)
		w->mark = r->mark;
	else if (r->when != FORWARD_MARKED || !certain)
		w->some = true;
}

/* True when the chain ends with this rule. */
static bool walk_rule(struct walk *w, const struct forward_rule *r, bool certain, unsigned int depth, enum end *ret)
{
	bool always = r->when == FORWARD_ALWAYS;

	switch ((enum forward_what)r->what) {
	case FORWARD_GOES_ON:
		return false;
	case FORWARD_ACCEPTS:
		*ret = END_ACCEPTS;
		if (always && certain)
			return true;
		accept_some(w, r, certain);
		return always;
	case FORWARD_DROPS:
		*ret = END_DROPS;
		return always;
	case FORWARD_HIDDEN:
		w->some = true;
		return false;
	case FORWARD_RETURNS:
		*ret = END_FALLS;
		return always;
	case FORWARD_JUMPS:
		*ret = follow(w, r, certain && always, depth);
		return always && *ret != END_FALLS;
	case FORWARD_GOES_TO:
		*ret = follow(w, r, certain && always, depth);
		return always;
	}
	return false;
}

static enum end walk_chain(struct walk *w, size_t chain, bool certain, unsigned int depth)
{
	const struct forward_chain *c = &w->chains[chain];
	enum end end;

	for (size_t i = 0; i < c->n; i++) {
		if (c->rules[i].when == FORWARD_NEVER)
			continue;
		if (++w->steps > STEPS_MAX) {
			w->some = true;
			return END_FALLS;
		}
		if (walk_rule(w, &c->rules[i], certain, depth, &end))
			return end;
	}
	return END_FALLS;
}

struct forward_judgement forward_judge(const struct forward_chain *chains, size_t n_chains, bool policy_drop)
{
	struct walk w = { .chains = chains, .n_chains = n_chains };
	enum end end = n_chains > 0 ? walk_chain(&w, 0, true, 0) : END_FALLS;

	if (end == END_ACCEPTS || (end == END_FALLS && !policy_drop))
		return (struct forward_judgement){ .pass = FORWARD_OPEN };
	if (w.mark != 0)
		return (struct forward_judgement){ .pass = FORWARD_BY_MARK, .mark = w.mark };
	return (struct forward_judgement){ .pass = w.some ? FORWARD_DOUBTFUL : FORWARD_CLOSED };
}
