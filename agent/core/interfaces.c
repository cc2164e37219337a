/* SPDX-License-Identifier: Apache-2.0 */
/* interfaces.c: reads rules and finds the one that holds. */
#include "agent/core/interfaces.h"

#include <string.h>

#include "agent/base/text.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz0123456789"
#define ANY_CASE LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define BLANKS " \t"

#define NODE_MAX 253	  /* a DNS subdomain */
#define KEY_MAX (253 + 64) /* PREFIX/NAME */

bool interfaces_is_pattern(const char *name)
{
	size_t len = strlen(name);

	/* the kernel allows more, but nobody uses it, and names end up in YAML and logs */
	return len > 0 && len < LINK_NAME_MAX && strspn(name, ANY_CASE "._-@:*?") == len;
}

/* Cuts blanks off both ends. */
static char *trim(char *text)
{
	size_t len;

	text += strspn(text, BLANKS);
	len = strlen(text);
	while (len > 0 && strchr(BLANKS, text[len - 1]))
		len--;
	text[len] = '\0';
	return text;
}

static const char *parse_node(char *name, struct interface_rule *r)
{
	size_t len = strlen(name);

	if (r->node)
		return "has two names of nodes: one of them would never hold";
	if (len == 0 || len > NODE_MAX || strspn(name, LOWER ".-*?") != len)
		return "names no node behind node/ (a-z 0-9 . - and the wildcards * ?)";
	r->node = name;
	return NULL;
}

/* A key may hold one '/' (PREFIX/NAME), but no '='. */
static const char *parse_label(char *key, struct interface_rule *r)
{
	char *value = strchr(key, '=');
	size_t len;

	if (r->n_labels == INTERFACES_LABELS_MAX)
		return "has more than 8 labels";
	if (value)
		*value++ = '\0';
	len = strlen(key);
	if (len == 0 || len > KEY_MAX || strspn(key, ANY_CASE "._-/") != len)
		return "names no label behind label/";
	if (value && (strlen(value) >= LABEL_VALUE_MAX || strspn(value, ANY_CASE "._-*?") != strlen(value)))
		return "has a value that no label can have";
	r->labels[r->n_labels++] = (struct interface_label){ key, value };
	return NULL;
}

static const char *parse_conditions(char *text, struct interface_rule *r)
{
	for (char *next = text; next;) {
		const char *wrong;
		char *part = next;

		next = strchr(part, '&');
		if (next)
			*next++ = '\0';
		part = trim(part);
		if (text_starts(part, "node/"))
			wrong = parse_node(part + strlen("node/"), r);
		else if (text_starts(part, "label/"))
			wrong = parse_label(part + strlen("label/"), r);
		else
			wrong = "has a condition that is neither node/NAME nor label/KEY=VALUE";
		if (wrong)
			return wrong;
	}
	return NULL;
}

static const char *parse_names(char *text, struct interface_rule *r)
{
	bool is_auto = false;

	for (char *at = text + strspn(text, BLANKS ","); *at;) {
		size_t len = strcspn(at, BLANKS ",");
		char *next = at + len + strspn(at + len, BLANKS ",");

		at[len] = '\0';
		if (!interfaces_is_pattern(at))
			return "names something that is no interface";
		if (r->n_names == INTERFACES_NAMES_MAX)
			return "names more than 16 interfaces";
		is_auto |= strcmp(at, "auto") == 0;
		r->names[r->n_names++] = at;
		at = next;
	}
	if (r->n_names == 0)
		return "names no interface behind ':'";
	if (is_auto && r->n_names > 1)
		return "names interfaces beside auto";
	if (is_auto)
		r->n_names = 0;
	return NULL;
}

const char *interfaces_parse(char *text, struct interface_rule *ret)
{
	struct interface_rule r = { .text = text };
	char *names = strchr(text, ':');
	const char *wrong;

	if (!names)
		return "is not CONDITIONS: INTERFACES";
	*names++ = '\0';
	wrong = parse_conditions(text, &r);
	if (!wrong)
		wrong = parse_names(names, &r);
	if (!wrong)
		*ret = r;
	return wrong;
}

static const struct label *label_of(const struct labels *labels, const char *key)
{
	for (size_t i = 0; i < labels->n; i++)
		if (strcmp(labels->v[i].key, key) == 0)
			return &labels->v[i];
	return NULL;
}

bool interfaces_ask(const struct interface_rule *rule, struct labels *labels)
{
	for (size_t i = 0; i < rule->n_labels; i++) {
		if (label_of(labels, rule->labels[i].key))
			continue;
		if (labels->n == LABELS_MAX)
			return false;
		labels->v[labels->n++] = (struct label){ .key = rule->labels[i].key };
	}
	return true;
}

static bool labels_hold(const struct interface_rule *rule, const struct labels *labels)
{
	for (size_t i = 0; i < rule->n_labels; i++) {
		const struct label *l = label_of(labels, rule->labels[i].key);

		if (!l || !l->there || (rule->labels[i].value && !text_matches(rule->labels[i].value, l->value)))
			return false;
	}
	return true;
}

const struct interface_rule *interfaces_choose(const struct interface_rule *rules, size_t n, const char *node,
					       const struct labels *labels, bool *ret_undecided)
{
	*ret_undecided = false;
	for (size_t i = 0; i < n; i++) {
		const struct interface_rule *r = &rules[i];

		if (r->node && !text_matches(r->node, node))
			continue;
		if (r->n_labels > 0 && !labels) {
			*ret_undecided = true; /* a later rule holds only if this one does not */
			return NULL;
		}
		if (labels_hold(r, labels))
			return r;
	}
	return NULL;
}
