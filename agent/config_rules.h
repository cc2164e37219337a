/* SPDX-License-Identifier: Apache-2.0 */
/* config_rules.h: the option interface-for: rules as texts or, in the file, as maps with the keys node, selector and
 * interface. */
#pragma once

#include <stddef.h>

#include "agent/base/yaml.h"
#include "agent/core/interfaces.h"

struct config_rules {
	struct interface_rule *v; /* malloc, and each one's text */
	size_t n;
};

/* Appends a rule.  NULL, or what is wrong with it. */
MUST_USE const char *config_rules_add(struct config_rules *r, const char *text);

/* Likewise the rule that the map is.  *ret_line = where it is wrong. */
MUST_USE const char *config_rules_add_map(struct config_rules *r, const struct ynode *map, unsigned int *ret_line);

void config_rules_fini(struct config_rules *r);
