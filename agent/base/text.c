/* SPDX-License-Identifier: Apache-2.0 */
/* text.c: bounded parsing of numbers and durations. */
#include "agent/base/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MS_MAX (24 * 60 * 60 * INT64_C(1000))

int text_to_u64(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*text)
		return -EINVAL;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	}
	if (v > max)
		return -ERANGE;
	*ret = v;
	return 0;
}

static int64_t unit_ms(const char *unit)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60 * 1000 }, { "h", 60 * 60 * 1000 } };

	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if (text_eq(unit, units[i].name))
			return units[i].ms;
	return 0;
}

int text_to_ms(const char *text, int64_t *ret_ms)
{
	int64_t whole = 0, part = 0, scale = 1, ms;
	const char *p = text;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		whole = whole * 10 + (*p - '0');
		if (whole > MS_MAX)
			return -ERANGE;
	}
	if (*p == '.') {
		for (p++; *p >= '0' && *p <= '9' && scale < 1000; p++) {
			part = part * 10 + (*p - '0');
			scale *= 10;
		}
		if (scale == 1)
			return -EINVAL;
	}
	ms = unit_ms(p);
	if (ms == 0 || part * ms % scale != 0)
		return -EINVAL;
	if (whole > MS_MAX / ms || whole * ms + part * ms / scale > MS_MAX)
		return -ERANGE;
	*ret_ms = whole * ms + part * ms / scale;
	return 0;
}

char *text_of_ms(int64_t ms, char *buf, size_t size)
{
	if (ms >= 60 * 1000 && ms % 1000 == 0)
		IGNORE(snprintf(buf, size, "%" PRId64 "m%" PRId64 "s", ms / 60000, ms / 1000 % 60)); /* cut by caller's choice */
	else if (ms % 1000 == 0)
		IGNORE(snprintf(buf, size, "%" PRId64 "s", ms / 1000)); /* likewise */
	else
		IGNORE(snprintf(buf, size, "%" PRId64 "ms", ms)); /* likewise */
	return buf;
}

bool text_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

bool text_starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool text_matches(const char *pattern, const char *text)
{
	const char *star = NULL, *from = text; /* the last '*', and where the text behind what it stands for begins */

	while (*text) {
		if (*pattern == '*') {
			star = pattern++;
			from = text;
		} else if (*pattern == '?' || *pattern == *text) {
			pattern++;
			text++;
		} else if (star) {
			pattern = star + 1;
			text = ++from;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

bool text_copy(char *dst, size_t size, const char *src)
{
	size_t len = strnlen(src, size);
	bool fits = len < size;

	assert(size > 0);
	if (!fits)
		len = size - 1;
	memcpy(dst, src, len);
	dst[len] = '\0';
	return fits;
}
