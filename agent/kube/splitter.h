/* SPDX-License-Identifier: Apache-2.0 */
/* splitter.h: cuts a stream of JSON into the objects that matter, without holding the stream.
 *
 * Two framings: a watch is one JSON object after the other, each on a line; a list is one object whose member "items" is an array
 * of objects.  The scanner follows nesting and strings only, so a piece may be cut anywhere, inside an escape or a UTF-8
 * sequence too; whether an object is good JSON is its decoder's to say.  Pure but for the buffer that holds the present
 * object, which is bounded. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"

enum splitter_mode {
	SPLITTER_WATCH, /* objects at the top level */
	SPLITTER_LIST,	/* objects of the top object's "items"; the rest of it goes to 'rest' */
};

struct splitter_ops {
	/* One object, borrowed. */
	void (*object)(void *ctx, const char *json, size_t len);
	/* An object larger than the bound was skipped. */
	void (*oversized)(void *ctx);
};

struct splitter {
	enum splitter_mode mode;
	const struct splitter_ops *ops;
	void *ctx;
	struct buf object; /* the object under way */
	struct buf rest;   /* LIST: the top object with "items" emptied: metadata and such */
	unsigned int depth;
	bool in_string, escaped;
	bool in_items;	   /* LIST: inside the array */
	bool key_items;	   /* LIST: the last string at depth 1 was "items" */
	char key[8];	   /* the string under way at depth 1, cut */
	size_t key_len;
	bool skipping;	   /* the object under way is too large */
	bool broken;	   /* the framing makes no sense: nothing more is taken */
};

/* max: bytes of one object, and of the rest of a list. */
void splitter_init(struct splitter *s, enum splitter_mode mode, size_t max, const struct splitter_ops *ops, void *ctx);
void splitter_fini(struct splitter *s);

/* Takes the next piece.  -EBADMSG: not such a stream (e.g. closes more than it opened); -ENOMEM. */
MUST_USE int splitter_feed(struct splitter *s, const char *data, size_t len);

/* True when the stream may end here: no object is under way. */
bool splitter_at_boundary(const struct splitter *s);
