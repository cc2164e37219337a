/* SPDX-License-Identifier: Apache-2.0 */
/* yaml.h: reads a YAML document into a tree with line numbers, for the configuration and for kubeconfig
 * files.  The only user of libyaml (whose exported symbols own the prefix yaml_; hence ynode_).  Bounded: 1 MiB of
 * text, 16 maps and lists inside one another, 10,000 nodes; aliases, NUL characters and more than one document are
 * refused. */
#pragma once

#include <stddef.h>

#include "agent/base/auto.h"
#include "agent/base/err.h"

enum ynode_kind {
	YNODE_SCALAR,
	YNODE_LIST,
	YNODE_MAP,
};

struct ynode {
	enum ynode_kind kind;
	unsigned int line;	/* from 1 */
	char *key;		/* in a map: this entry's key; else NULL */
	char *text;		/* scalar: its value, never NULL */
	struct ynode **children; /* list or map, in order */
	size_t n_children;
};

#define YAML_TEXT_MAX (1024 * 1024)

/* Parses 'len' bytes.  *ret is NULL for an empty document.  -EINVAL: not YAML, or a key stands twice in a map;
 * the text says "line N: ...".  -EMSGSIZE: past a bound.  -ENOMEM. */
MUST_USE int ynode_parse(const char *text, size_t len, struct ynode **ret, struct err_info *err);

/* As ynode_parse() for a file.  Also negative errno of open/read; the text names the file. */
MUST_USE int ynode_parse_file(const char *path, struct ynode **ret, struct err_info *err);

void ynode_free(struct ynode *n);
static inline void ynode_freep(struct ynode **n)
{
	ynode_free(*n);
}

/* The entry of a map, NULL when absent or when 'map' is NULL or no map.  Borrowed. */
const struct ynode *ynode_get(const struct ynode *map, const char *key);

/* The text of a scalar entry, or NULL.  Borrowed. */
const char *ynode_text(const struct ynode *map, const char *key);
