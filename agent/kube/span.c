/* SPDX-License-Identifier: Apache-2.0 */
/* span.c: skips over JSON values by their nesting. */
#include "agent/kube/span.h"

#include <string.h>

static size_t skip_space(struct span s, size_t i)
{
	while (i < s.len && (s.p[i] == ' ' || s.p[i] == '\n' || s.p[i] == '\r' || s.p[i] == '\t'))
		i++;
	return i;
}

/* Past the string that begins at 'i'; s.len when it does not end. */
static size_t skip_string(struct span s, size_t i)
{
	for (i++; i < s.len; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			return i + 1;
	}
	return s.len;
}

/* Past the value that begins at 'i'. */
static size_t skip_value(struct span s, size_t i)
{
	unsigned int depth = 0;

	while (i < s.len) {
		char c = s.p[i];

		if (c == '"') {
			i = skip_string(s, i);
		} else if (c == '{' || c == '[') {
			depth++;
			i++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return i; /* a bare word's end: the container's */
			depth--;
			i++;
		} else if (depth == 0 && (c == ',' || c == ' ' || c == '\n' || c == '\r' || c == '\t')) {
			return i;
		} else {
			i++;
			continue; /* a bare word goes on */
		}
		if (depth == 0)
			return i;
	}
	return s.len;
}

struct span span_member(struct span json, const char *name)
{
	const struct span absent = { NULL, 0 };
	size_t want = strlen(name), i, key, end, len;

	if (!json.p)
		return absent;
	i = skip_space(json, 0);
	if (i >= json.len || json.p[i] != '{')
		return absent;
	for (i = skip_space(json, i + 1); i < json.len && json.p[i] == '"'; i = skip_space(json, i)) {
		key = i + 1;
		i = skip_string(json, i);
		end = i - 1;
		i = skip_space(json, i);
		if (i >= json.len || json.p[i] != ':')
			return absent;
		i = skip_space(json, i + 1);
		if (end >= key && end - key == want && memcmp(json.p + key, name, want) == 0) {
			len = skip_value(json, i) - i;
			return len > 0 ? (struct span){ json.p + i, len } : absent;
		}
		i = skip_space(json, skip_value(json, i));
		if (i >= json.len || json.p[i] != ',')
			return absent;
		i++;
	}
	return absent;
}

bool span_text(struct span v, char *buf, size_t size)
{
	buf[0] = '\0';
	if (!v.p || v.len < 2 || v.p[0] != '"' || v.p[v.len - 1] != '"' || v.len - 2 >= size ||
	    memchr(v.p, '\\', v.len))
		return false;
	memcpy(buf, v.p + 1, v.len - 2);
	buf[v.len - 2] = '\0';
	return true;
}

bool span_is(struct span v, const char *text)
{
	size_t n = strlen(text);

	return v.p && v.len == n + 2 && v.p[0] == '"' && memcmp(v.p + 1, text, n) == 0;
}
