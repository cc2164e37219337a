/* SPDX-License-Identifier: Apache-2.0 */
/* bytes.h: what the codecs' tests share: bytes written as text, and every way to cut a message short. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ip.h"

/* A heap copy of exactly 'len' bytes, so that the address sanitizer sees a read beyond. */
static inline void *copy_of(const void *data, size_t len)
{
	void *p = malloc(len ? len : 1);

	assert_non_null(p);
	memcpy(p, data, len);
	return p;
}

/* 'want' is hexadecimal digits with blanks anywhere; a difference is shown as text. */
static inline void assert_bytes(const void *data, size_t len, const char *want)
{
	const uint8_t *at = data;
	char *text = calloc(len + 1, 2), *clean = calloc(strlen(want) + 1, 1);
	size_t n = 0;

	assert_non_null(text);
	assert_non_null(clean);
	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", at[i]);
	for (const char *c = want; *c; c++)
		if (!strchr(" \n\t", *c))
			clean[n++] = *c;
	assert_string_equal(text, clean);
	free(text);
	free(clean);
}

/* Every truncation of data[0..len) must be refused. */
static inline void assert_no_part(const void *data, size_t len, int (*parse)(const void *data, size_t len))
{
	for (size_t n = 0; n < len; n++) {
		void *part = copy_of(data, n);

		assert_int_equal(parse(part, n), -EBADMSG);
		free(part);
	}
}

/* Every single byte changed to a few other values: the result may be anything, a crash or an overread not. */
static inline void try_changes(const void *data, size_t len, int (*parse)(const void *data, size_t len))
{
	static const uint8_t values[] = { 0, 1, 3, 4, 5, 0x7f, 0x80, 0xff };

	for (size_t i = 0; i < len; i++) {
		for (size_t k = 0; k < sizeof(values); k++) {
			uint8_t *changed = copy_of(data, len);
			int r;

			changed[i] = values[k];
			r = parse(changed, len);
			assert_true(r <= 0);
			free(changed);
		}
	}
}

static inline struct ip address(const char *text)
{
	struct ip ip;

	if (ip_parse(text, &ip) < 0)
		fail_msg("%s", text);
	return ip;
}
