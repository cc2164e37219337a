/* SPDX-License-Identifier: Apache-2.0 */
/* splitter.c: a scanner of nesting and strings, one byte at a time; what belongs to an object is copied in runs. */
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

static int track(struct splitter *s, char c)
{
	if (s->in_string) {
		track_string(s, c);
	} else if (c == '"') {
		s->in_string = true;
		s->key_len = 0;
	} else if (c == '{' || c == '[') {
		return track_open(s, c);
	} else if (c == '}' || c == ']') {
		return track_close(s);
	}
	return 0;
}

/* A run of bytes of the object under way. */
static int take_run(struct splitter *s, const char *run, size_t len)
{
	buf_append(&s->object, run, len);
	s->skipping |= buf_failed(&s->object) == -EMSGSIZE;
	return buf_failed(&s->object) == -ENOMEM ? -ENOMEM : 0;
}

/* A byte outside of the objects. */
static int take_rest(struct splitter *s, char c, bool was_items)
{
	if (s->in_items && s->depth == 1)
		s->in_items = false; /* the closing bracket */
	if (s->mode == SPLITTER_LIST && !(was_items && s->in_items))
		buf_append(&s->rest, &c, 1);
	return buf_failed(&s->rest) ? -EBADMSG : 0;
}

int splitter_feed(struct splitter *s, const char *data, size_t len)
{
	const char *run = NULL; /* bytes of an object that are still to be taken */
	int r = s->broken ? -EBADMSG : 0;

	for (const char *p = data; p < data + len && r == 0; p++) {
		bool was_inside = in_object(s), was_items = s->in_items;

		r = track(s, *p);
		if (r < 0)
			break;
		if (!was_inside && !in_object(s)) {
			r = take_rest(s, *p, was_items);
			continue;
		}
		if (!run)
			run = p;
		if (!in_object(s)) { /* its last byte */
			r = take_run(s, run, (size_t)(p + 1 - run));
			run = NULL;
			if (r == 0)
				object_end(s);
		}
	}
	if (run && r == 0)
		r = take_run(s, run, (size_t)(data + len - run));
	s->broken |= r < 0;
	return r;
}

bool splitter_at_boundary(const struct splitter *s)
{
	return !s->broken && s->depth == 0 && !s->in_string;
}
