/* SPDX-License-Identifier: Apache-2.0 */
/* splitter.c: a scanner of nesting and strings, one byte at a time. */
#include "agent/kube/splitter.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 1000 /* far beyond any Kubernetes object */

void splitter_init(struct splitter *s, enum splitter_mode mode, size_t max, const struct splitter_ops *ops, void *ctx)
{
	*s = (struct splitter){ .mode = mode, .ops = ops, .ctx = ctx, .object = BUF_INIT(max), .rest = BUF_INIT(max) };
}

void splitter_fini(struct splitter *s)
{
	buf_fini(&s->object);
	buf_fini(&s->rest);
}

/* Depth at which the objects that we hand over stand. */
static unsigned int object_depth(const struct splitter *s)
{
	return s->mode == SPLITTER_WATCH ? 0 : 2;
}

static bool in_object(const struct splitter *s)
{
	return s->depth > object_depth(s) && (s->mode == SPLITTER_WATCH || s->in_items);
}

static void object_end(struct splitter *s)
{
	if (s->skipping)
		s->ops->oversized(s->ctx);
	else
		s->ops->object(s->ctx, buf_text(&s->object), s->object.len);
	s->skipping = false;
	if (s->object.cap > 64 * 1024)
		buf_fini(&s->object); /* a large object is rare: do not keep its memory */
	buf_reset(&s->object);
}

static void track_string(struct splitter *s, char c)
{
	if (s->escaped)
		s->escaped = false;
	else if (c == '\\')
		s->escaped = true;
	else if (c == '"')
		s->in_string = false;
	if (s->in_string && s->depth == 1 && s->key_len < sizeof(s->key))
		s->key[s->key_len++] = c;
	else if (!s->in_string)
		s->key_items = s->depth == 1 && s->key_len == 5 && memcmp(s->key, "items", 5) == 0;
}

static int track_open(struct splitter *s, char c)
{
	bool items = s->mode == SPLITTER_LIST && s->depth == 1 && c == '[' && s->key_items;

	if (s->mode == SPLITTER_WATCH && s->depth == 0 && c != '{')
		return -EBADMSG;
	if (s->depth == DEPTH_MAX)
		return -EBADMSG;
	if (items)
		s->in_items = true;
	s->depth++;
	return 0;
}

static int track_close(struct splitter *s)
{
	if (s->depth == 0)
		return -EBADMSG;
	s->depth--;
	return 0;
}

static int feed_byte(struct splitter *s, char c)
{
	bool was_inside = in_object(s), was_items = s->in_items;
	int r = 0;

	if (s->in_string) {
		track_string(s, c);
	} else if (c == '"') {
		s->in_string = true;
		s->key_len = 0;
	} else if (c == '{' || c == '[') {
		r = track_open(s, c);
	} else if (c == '}' || c == ']') {
		r = track_close(s);
	}
	if (r < 0)
		return r;
	if (was_inside || in_object(s)) {
		buf_append(&s->object, &c, 1);
		if (buf_failed(&s->object) == -ENOMEM)
			return -ENOMEM;
		s->skipping |= buf_failed(&s->object) == -EMSGSIZE;
		if (was_inside && !in_object(s))
			object_end(s);
		return 0;
	}
	if (s->in_items && s->depth == 1)
		s->in_items = false; /* the closing bracket */
	if (s->mode == SPLITTER_LIST && !(was_items && s->in_items))
		buf_append(&s->rest, &c, 1);
	return buf_failed(&s->rest) ? -EBADMSG : 0;
}

int splitter_feed(struct splitter *s, const char *data, size_t len)
{
	int r = s->broken ? -EBADMSG : 0;

	for (size_t i = 0; i < len && r == 0; i++)
		r = feed_byte(s, data[i]);
	s->broken |= r < 0;
	return r;
}

bool splitter_at_boundary(const struct splitter *s)
{
	return !s->broken && s->depth == 0 && !s->in_string;
}
