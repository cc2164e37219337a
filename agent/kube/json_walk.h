/* SPDX-License-Identifier: Apache-2.0 */
/* json_walk.h: members of JSON objects by name, checked, with the JSON path in the error.  Shared by the codecs of this
 * folder; on top of jansson.  Absent and null are the same thing, as in the Kubernetes API. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

#define WALK_PATH_MAX 96

/* An object and its place.  Everything is borrowed from the tree. */
struct walk {
	const json_t *object;	  /* NULL = absent: every member is absent then */
	char path[WALK_PATH_MAX]; /* "" = the root; cut when too long */
};

static inline void walk_tree_free(json_t **tree)
{
	json_decref(*tree);
}

/* Parses json[0..len) as one object whose kind, if stated, is 'kind' (NULL: any).  The tree belongs to the caller:
 * json_decref().  -EINVAL: no JSON (with line and column), no object, another kind; -ENOMEM. */
MUST_USE int walk_parse(const char *json, size_t len, const char *kind, json_t **ret, struct err_info *err);

/* The root of a tree. */
struct walk walk_root(const json_t *tree);

/* Each of the following: -EINVAL when the member is of another type or out of range. */
MUST_USE int walk_object(const struct walk *at, const char *key, struct walk *ret, struct err_info *err);
/* *ret = NULL when absent. */
MUST_USE int walk_array(const struct walk *at, const char *key, const json_t **ret, struct err_info *err);
/* The i-th entry of the array 'key' of 'at', which must be an object. */
MUST_USE int walk_entry(const struct walk *at, const char *key, size_t i, struct walk *ret, struct err_info *err);
/* *ret = "" when absent; a string that holds a NUL is refused. */
MUST_USE int walk_text(const struct walk *at, const char *key, const char **ret, struct err_info *err);
/* As walk_text(), copied; -EINVAL also when it does not fit. */
MUST_USE int walk_copy(const struct walk *at, const char *key, char *dst, size_t size, struct err_info *err);

struct walk_range {
	int64_t min, max;
};
/* *ret stays as it is when absent. */
MUST_USE int walk_int(const struct walk *at, const char *key, struct walk_range range, int64_t *ret,
		      struct err_info *err);
MUST_USE int walk_bool(const struct walk *at, const char *key, bool *ret, struct err_info *err);

/* Writes "PATH.KEY: reason" and returns -EINVAL. */
int walk_refuse(const struct walk *at, const char *key, struct err_info *err, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

/* The text of a string node without a NUL in it; NULL for anything else. */
const char *walk_plain_text(const json_t *node);

/* Bytes of 'text' that are at most 'max' and end between two UTF-8 characters. */
size_t walk_cut(const char *text, size_t max);

/* Appends "2026-01-02T03:04:05.000006Z" (MicroTime: the API server takes exactly six decimals) without quotes.
 * 'us': microseconds since 1970, held to the years 1970..9999. */
void walk_put_time(struct buf *b, int64_t us);
