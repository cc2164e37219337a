/* SPDX-License-Identifier: Apache-2.0 */
/* yaml.c: libyaml's event stream to a small tree. */
#include "agent/base/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"

#define YAML_DEPTH_MAX 16 /* maps and lists inside one another */
#define YAML_NODES_MAX 10000

struct reader {
	yaml_parser_t parser;
	size_t n_nodes;
	struct err_info *err;
};

void ynode_free(struct ynode *n)
{
	if (!n)
		return;
	for (size_t i = 0; i < n->n_children; i++)
		ynode_free(n->children[i]);
	free(n->children);
	free(n->key);
	free(n->text);
	free(n);
}

static int next_event(struct reader *r, yaml_event_t *ret)
{
	if (yaml_parser_parse(&r->parser, ret))
		return 0;
	return err_set(r->err, -EINVAL, "line %zu: %s", r->parser.problem_mark.line + 1,
		       r->parser.problem ? r->parser.problem : "not YAML");
}

/* A copy of a scalar's value.  YAML can escape a NUL, which a C string would be cut at. */
static int copy_scalar(struct reader *r, const yaml_event_t *ev, char **ret)
{
	const char *value = (const char *)ev->data.scalar.value;
	char *copy;

	if (strlen(value) != ev->data.scalar.length)
		return err_set(r->err, -EINVAL, "line %zu: a NUL character is not allowed", ev->start_mark.line + 1);
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	*ret = copy;
	return 0;
}

static int add_child(struct reader *r, struct ynode *parent, struct ynode *child)
{
	struct ynode **p;

	if (parent->kind == YNODE_MAP && ynode_get(parent, child->key))
		return err_set(r->err, -EINVAL, "line %u: the key \"%s\" stands twice", child->line, child->key);
	/* doubling at powers of two: realloc only then */
	if ((parent->n_children & (parent->n_children - 1)) == 0) {
		p = realloc(parent->children, (parent->n_children ? parent->n_children * 2 : 1) * sizeof(*p));
		if (!p)
			return -ENOMEM;
		parent->children = p;
	}
	parent->children[parent->n_children++] = child;
	return 0;
}

static int read_node(struct reader *r, yaml_event_t *ev, unsigned int depth, struct ynode **ret);

/* One entry of a map (the event holds its key) or of a list (the event starts it). */
static int read_entry(struct reader *r, struct ynode *parent, yaml_event_t *ev, unsigned int depth)
{
	AUTO(ynode_freep) struct ynode *child = NULL;
	AUTO(freep) char *key = NULL;
	yaml_event_t value;
	int k;

	if (parent->kind == YNODE_LIST) {
		k = read_node(r, ev, depth, &child);
	} else {
		if (ev->type != YAML_SCALAR_EVENT)
			return err_set(r->err, -EINVAL, "line %zu: a key must be a plain word", ev->start_mark.line + 1);
		k = copy_scalar(r, ev, &key);
		if (k == 0)
			k = next_event(r, &value);
		if (k < 0)
			return k;
		k = read_node(r, &value, depth, &child);
		yaml_event_delete(&value);
	}
	if (k < 0)
		return k;
	child->key = TAKE(key);
	k = add_child(r, parent, child);
	if (k == 0)
		child = NULL; /* the parent owns it now */
	return k;
}

static int read_children(struct reader *r, struct ynode *n, unsigned int depth)
{
	for (;;) {
		yaml_event_t ev;
		bool end;
		int k = next_event(r, &ev);

		if (k < 0)
			return k;
		end = ev.type == YAML_SEQUENCE_END_EVENT || ev.type == YAML_MAPPING_END_EVENT;
		if (!end)
			k = read_entry(r, n, &ev, depth);
		yaml_event_delete(&ev);
		if (end || k < 0)
			return k;
	}
}

static int read_node(struct reader *r, yaml_event_t *ev, unsigned int depth, struct ynode **ret)
{
	AUTO(ynode_freep) struct ynode *n = NULL;
	size_t line = ev->start_mark.line + 1;
	int k = 0;

	if ((depth == YAML_DEPTH_MAX && ev->type != YAML_SCALAR_EVENT) || ++r->n_nodes > YAML_NODES_MAX)
		return err_set(r->err, -EMSGSIZE, "line %zu: too deep or too large", line);
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->line = (unsigned int)line;
	if (ev->type == YAML_SCALAR_EVENT) {
		n->kind = YNODE_SCALAR;
		k = copy_scalar(r, ev, &n->text);
	} else if (ev->type == YAML_SEQUENCE_START_EVENT || ev->type == YAML_MAPPING_START_EVENT) {
		n->kind = ev->type == YAML_SEQUENCE_START_EVENT ? YNODE_LIST : YNODE_MAP;
		k = read_children(r, n, depth + 1);
	} else {
		k = err_set(r->err, -EINVAL, "line %zu: aliases are not supported", line);
	}
	if (k == 0)
		*ret = TAKE(n);
	return k;
}

/* Everything between stream start and stream end. */
static int read_stream(struct reader *r, struct ynode **ret)
{
	AUTO(ynode_freep) struct ynode *root = NULL;

	for (;;) {
		yaml_event_t ev;
		bool done;
		int k = next_event(r, &ev);

		if (k < 0)
			return k;
		done = ev.type == YAML_STREAM_END_EVENT;
		if (ev.type == YAML_SCALAR_EVENT || ev.type == YAML_SEQUENCE_START_EVENT ||
		    ev.type == YAML_MAPPING_START_EVENT || ev.type == YAML_ALIAS_EVENT) {
			if (root)
				k = err_set(r->err, -EINVAL, "line %zu: only one document is allowed",
					    ev.start_mark.line + 1);
			else
				k = read_node(r, &ev, 0, &root);
		}
		yaml_event_delete(&ev);
		if (k < 0)
			return k;
		if (done)
			break;
	}
	*ret = TAKE(root);
	return 0;
}

int ynode_parse(const char *text, size_t len, struct ynode **ret, struct err_info *err)
{
	struct reader r = { .n_nodes = 0, .err = err };
	int k;

	if (len > YAML_TEXT_MAX)
		return err_set(err, -EMSGSIZE, "larger than 1 MiB");
	if (!yaml_parser_initialize(&r.parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
	k = read_stream(&r, ret);
	yaml_parser_delete(&r.parser);
	return k;
}

int ynode_parse_file(const char *path, struct ynode **ret, struct err_info *err)
{
	struct buf b = BUF_INIT(YAML_TEXT_MAX);
	int r = file_read(path, &b, err);

	if (r == 0) {
		r = ynode_parse(buf_text(&b), b.len, ret, err);
		if (r < 0)
			r = err_wrap(err, r, "%s", path);
	}
	buf_fini(&b);
	return r;
}

const struct ynode *ynode_get(const struct ynode *map, const char *key)
{
	if (!map || map->kind != YNODE_MAP)
		return NULL;
	for (size_t i = 0; i < map->n_children; i++)
		if (strcmp(map->children[i]->key, key) == 0)
			return map->children[i];
	return NULL;
}

const char *ynode_text(const struct ynode *map, const char *key)
{
	const struct ynode *n = ynode_get(map, key);

	return n && n->kind == YNODE_SCALAR ? n->text : NULL;
}
