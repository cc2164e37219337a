/* SPDX-License-Identifier: Apache-2.0 */
/* phrase.c: concatenation, measured first. */
#include "agent/core/phrase.h"

#include <string.h>

const char *phrase_join(struct arena *a, const char *const *parts)
{
	size_t len = 1;
	char *text, *at;

	for (const char *const *p = parts; *p; p++)
		len += strlen(*p);
	at = text = arena_take(a, len); /* zeroed: the NUL is there */
	for (const char *const *p = parts; at && *p; p++) {
		size_t n = strlen(*p);

		memcpy(at, *p, n);
		at += n;
	}
	return text;
}
