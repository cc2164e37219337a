/* SPDX-License-Identifier: Apache-2.0 */
/* json_walk.c: checked access to the members of a jansson tree.  Knows nothing of any Kubernetes kind; the codecs
 * beside it do. */
#include "agent/kube/json_walk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/base/text.h"

#define YEAR_9999_END_US INT64_C(253402300799999999)

int walk_parse(const char *json, size_t len, const char *kind, json_t **ret, struct err_info *err)
{
	json_error_t error = { 0 };
	json_t *tree;
	const char *stated;

	/* A NUL is legal in JSON and may stand in any annotation: only the members we use may not have one. */
	tree = json_loadb(json, len, JSON_ALLOW_NUL, &error);
	if (!tree && json_error_code(&error) == json_error_out_of_memory)
		return err_errno(err, -ENOMEM, "JSON");
	if (!tree)
		return err_set(err, -EINVAL, "not JSON: line %d column %d: %s", error.line, error.column, error.text);
	stated = walk_plain_text(json_object_get(tree, "kind"));
	if (!json_is_object(tree)) {
		json_decref(tree);
		return err_set(err, -EINVAL, "not a JSON object");
	}
	if (kind && stated && !text_eq(stated, kind)) {
		IGNORE(err_set(err, -EINVAL, "kind: \"%.64s\" is not %s", stated, kind)); /* 'stated' dies below */
		json_decref(tree);
		return -EINVAL;
	}
	*ret = tree;
	return 0;
}

struct walk walk_root(const json_t *tree)
{
	return (struct walk){ .object = tree, .path = "" };
}

int walk_refuse(const struct walk *at, const char *key, struct err_info *err, const char *fmt, ...)
{
	char reason[128];
	va_list ap;

	va_start(ap, fmt);
	IGNORE(vsnprintf(reason, sizeof(reason), fmt, ap)); /* our own short texts */
	va_end(ap);
	IGNORE(err_set(err, -EINVAL, "%s%s%s: %s", at->path, *at->path ? "." : "", key, reason)); /* its text */
	return -EINVAL;
}

static void walk_place(struct walk *to, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void walk_place(struct walk *to, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	IGNORE(vsnprintf(to->path, sizeof(to->path), fmt, ap)); /* a cut place still helps */
	va_end(ap);
}

/* The member, NULL when absent or null. */
static const json_t *walk_member(const struct walk *at, const char *key)
{
	const json_t *node = at->object ? json_object_get(at->object, key) : NULL;

	return json_is_null(node) ? NULL : node;
}

int walk_object(const struct walk *at, const char *key, struct walk *ret, struct err_info *err)
{
	const json_t *node = walk_member(at, key);
	struct walk to = { .object = node };

	if (node && !json_is_object(node))
		return walk_refuse(at, key, err, "not an object");
	walk_place(&to, "%s%s%s", at->path, *at->path ? "." : "", key);
	*ret = to;
	return 0;
}

int walk_array(const struct walk *at, const char *key, const json_t **ret, struct err_info *err)
{
	const json_t *node = walk_member(at, key);

	if (node && !json_is_array(node))
		return walk_refuse(at, key, err, "not a list");
	*ret = node;
	return 0;
}

int walk_entry(const struct walk *at, const char *key, size_t i, struct walk *ret, struct err_info *err)
{
	const json_t *node = json_array_get(walk_member(at, key), i);
	struct walk to = { .object = node };

	walk_place(&to, "%s%s%s[%zu]", at->path, *at->path ? "." : "", key, i);
	if (!json_is_object(node))
		return err_set(err, -EINVAL, "%s: not an object", to.path);
	*ret = to;
	return 0;
}

const char *walk_plain_text(const json_t *node)
{
	const char *text = json_string_value(node);

	return text && strlen(text) == json_string_length(node) ? text : NULL;
}

int walk_text(const struct walk *at, const char *key, const char **ret, struct err_info *err)
{
	const json_t *node = walk_member(at, key);
	const char *text = walk_plain_text(node);

	if (node && !text)
		return walk_refuse(at, key, err, json_is_string(node) ? "a string with a NUL in it" : "not a string");
	*ret = text ? text : "";
	return 0;
}

int walk_copy(const struct walk *at, const char *key, char *dst, size_t size, struct err_info *err)
{
	const char *text;
	int r = walk_text(at, key, &text, err);

	if (r < 0)
		return r;
	if (strlen(text) >= size)
		return walk_refuse(at, key, err, "longer than %zu bytes", size - 1);
	memcpy(dst, text, strlen(text) + 1);
	return 0;
}

int walk_int(const struct walk *at, const char *key, struct walk_range range, int64_t *ret, struct err_info *err)
{
	const json_t *node = walk_member(at, key);
	int64_t value = json_integer_value(node);

	if (!node)
		return 0;
	if (!json_is_integer(node))
		return walk_refuse(at, key, err, "not a whole number");
	if (value < range.min || value > range.max)
		return walk_refuse(at, key, err, "not %lld..%lld", (long long)range.min, (long long)range.max);
	*ret = value;
	return 0;
}

int walk_bool(const struct walk *at, const char *key, bool *ret, struct err_info *err)
{
	const json_t *node = walk_member(at, key);

	if (!node)
		return 0;
	if (!json_is_boolean(node))
		return walk_refuse(at, key, err, "not true or false");
	*ret = json_is_true(node);
	return 0;
}

size_t walk_cut(const char *text, size_t max)
{
	size_t n = strnlen(text, max + 1);

	if (n <= max)
		return n;
	/* Back from the middle of a character to its first byte. */
	n = max;
	while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void walk_put_time(struct buf *b, int64_t us)
{
	int64_t held = us < 0 ? 0 : us > YEAR_9999_END_US ? YEAR_9999_END_US : us;
	time_t seconds = (time_t)(held / 1000000);
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	if (!gmtime_r(&seconds, &tm))
		return;
	buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
		   tm.tm_min, tm.tm_sec, (int)(held % 1000000));
}
