/* SPDX-License-Identifier: Apache-2.0 */
/* interfaces.c: asks the rules, when what they depend on has changed. */
#include "agent/interfaces.h"

#include "agent/base/buf.h"
#include "agent/base/log.h"
#include "agent/core/interfaces.h"

#define NAMES_TEXT_MAX 2048 /* CONFIG_LIST_MAX names with blanks between them */

struct place_rules interfaces_rules(const struct config *c, const struct labels *labels)
{
	struct place_rules rules = {
		.names = (const char *const *)c->interfaces.v,
		.n_names = c->interfaces.n,
		.excluded = (const char *const *)c->excluded.v,
		.n_excluded = c->excluded.n,
		.all = c->interface_mode == INTERFACE_ALL,
		.any_subnet = c->interface_subnet == INTERFACE_SUBNET_ANY,
	};
	const struct interface_rule *rule = interfaces_choose(c->interface_for.v, c->interface_for.n, c->node_name,
							      labels, &rules.undecided);

	if (rule) {
		rules.names = rule->names;
		rules.n_names = rule->n_names;
	}
	return rules;
}

static void tell(const struct place_rules *rules)
{
	struct buf names = BUF_INIT(NAMES_TEXT_MAX);

	for (size_t i = 0; i < rules->n_names; i++)
		buf_printf(&names, "%s%s", i > 0 ? " " : "", rules->names[i]);
	if (rules->undecided)
		log_event(LOG_INFO, "interfaces_undecided",
			  "which interfaces are for VIPs depends on labels of this node's Node, which has not been read yet");
	else
		log_event(LOG_INFO, "interfaces", "these interfaces of the node may carry VIPs",
			  log_str("names", rules->n_names > 0 ? buf_text(&names) : "auto"));
	buf_fini(&names);
}

bool interfaces_update(struct interfaces *n, const struct config *c, const struct own_node *node)
{
	struct place_rules rules;
	bool changed;

	if (n->looked && n->changes == node->changes)
		return false;
	rules = interfaces_rules(c, node->known ? &node->labels : NULL);
	changed = !n->looked || rules.names != n->rules.names || rules.n_names != n->rules.n_names ||
		  rules.undecided != n->rules.undecided;
	n->rules = rules;
	n->looked = true;
	n->changes = node->changes;
	if (changed && c->announce != ANNOUNCE_NONE && c->interface_for.n > 0)
		tell(&n->rules);
	return changed;
}

const char *interfaces_refusal(const struct link_state *s, const struct vip *vip, char *buf, size_t size)
{
	const struct place p = { .why = vip->why, .refused = link_find(s, vip->refused) };

	return place_why_text(s, &p, &vip->ip, buf, size);
}
