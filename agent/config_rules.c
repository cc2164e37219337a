/* SPDX-License-Identifier: Apache-2.0 */
/* config_rules.c: a map becomes the text that says the same, so that both are checked alike. */
#include "agent/config_rules.h"

#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/text.h"

#define RULE_MAX 4096 /* bytes of one */

const char *config_rules_add(struct config_rules *r, const char *text)
{
	AUTO(freep) char *copy = strdup(text);
	struct interface_rule rule = { 0 }, *v;
	const char *wrong;

	if (r->n == INTERFACES_RULES_MAX)
		return "is one rule too many: 256 are allowed";
	if (!copy)
		return "out of memory";
	wrong = interfaces_parse(copy, &rule);
	if (wrong)
		return wrong;
	v = realloc(r->v, (r->n + 1) * sizeof(*v));
	if (!v)
		return "out of memory";
	r->v = v;
	r->v[r->n++] = rule;
	copy = NULL; /* the rule's */
	return NULL;
}

/* Without what would be read as something else in the text. */
static bool is_plain(const struct ynode *n)
{
	return n->kind == YNODE_SCALAR && *n->text && !n->text[strcspn(n->text, " \t\r\n:,&=")];
}

static void add_condition(struct buf *b, const char *kind, const char *what)
{
	buf_printf(b, "%s%s%s", b->len ? "&" : "", kind, what);
}

static const char *add_node(struct buf *b, const struct ynode *n, unsigned int *ret_line)
{
	*ret_line = n->line;
	if (!is_plain(n))
		return "node: is not the name of a node, or a pattern";
	add_condition(b, "node/", n->text);
	return NULL;
}

static const char *add_selector(struct buf *b, const struct ynode *n, unsigned int *ret_line)
{
	*ret_line = n->line;
	if (n->kind != YNODE_MAP || n->n_children == 0)
		return "selector: must be a map of labels and their values";
	for (size_t i = 0; i < n->n_children; i++) {
		const struct ynode *label = n->children[i];

		*ret_line = label->line;
		if (label->kind != YNODE_SCALAR || (*label->text && !is_plain(label)))
			return "selector: has a value that no label can have";
		if (label->key[strcspn(label->key, " \t\r\n:,&=")])
			return "selector: has a key that is no label's";
		add_condition(b, "label/", label->key);
		buf_printf(b, "=%s", label->text);
	}
	return NULL;
}

/* A name, names with commas, or a list of names. */
static const char *add_interfaces(struct buf *b, const struct ynode *n, unsigned int *ret_line)
{
	*ret_line = n->line;
	buf_puts(b, ":");
	if (n->kind == YNODE_SCALAR)
		buf_printf(b, " %s", n->text);
	for (size_t i = 0; i < n->n_children; i++) {
		*ret_line = n->children[i]->line;
		if (n->kind != YNODE_LIST || !is_plain(n->children[i]))
			return "interface: must be a name or a list of names";
		buf_printf(b, " %s", n->children[i]->text);
	}
	return NULL;
}

/* To YAML, the text of a rule that is not quoted is a map with one key. */
static bool is_text(const struct ynode *map)
{
	return map->n_children == 1 && map->children[0]->kind == YNODE_SCALAR &&
	       (text_starts(map->children[0]->key, "node/") || text_starts(map->children[0]->key, "label/"));
}

static const char *write_rule(struct buf *b, const struct ynode *map, unsigned int *ret_line)
{
	const struct ynode *node = ynode_get(map, "node"), *selector = ynode_get(map, "selector");
	const struct ynode *names = ynode_get(map, "interface");
	const char *wrong = NULL;

	if (is_text(map)) {
		*ret_line = map->children[0]->line;
		buf_printf(b, "%s: %s", map->children[0]->key, map->children[0]->text);
		return NULL;
	}
	for (size_t i = 0; i < map->n_children; i++) {
		const struct ynode *n = map->children[i];

		*ret_line = n->line;
		if (n != node && n != selector && n != names)
			return "has a key that is none of node, selector and interface";
	}
	*ret_line = map->line;
	if (!node && !selector)
		return "says neither node nor selector: for all nodes there is the option interface";
	if (!names)
		return "names no interface";
	if (node)
		wrong = add_node(b, node, ret_line);
	if (!wrong && selector)
		wrong = add_selector(b, selector, ret_line);
	if (!wrong)
		wrong = add_interfaces(b, names, ret_line);
	return wrong;
}

const char *config_rules_add_map(struct config_rules *r, const struct ynode *map, unsigned int *ret_line)
{
	struct buf b = BUF_INIT(RULE_MAX);
	const char *wrong = write_rule(&b, map, ret_line);

	if (!wrong)
		wrong = buf_failed(&b) == 0 ? config_rules_add(r, buf_text(&b)) : "is too long";
	buf_fini(&b);
	return wrong;
}

void config_rules_fini(struct config_rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		free(r->v[i].text);
	free(r->v);
	*r = (struct config_rules){ 0 };
}
