/* SPDX-License-Identifier: Apache-2.0 */
/* buf.h: a growing byte buffer with an upper bound, for texts and requests.  A buffer that failed once
 * (out of memory, or past its bound) stays failed: append freely, ask buf_failed() at the end. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"

struct buf {
	char *data; /* NUL-terminated when len > 0 and not failed */
	size_t len, cap, max;
	int error; /* 0, -ENOMEM or -EMSGSIZE */
};

/* max_len: bytes the content may reach. */
#define BUF_INIT(max_len) { .data = NULL, .len = 0, .cap = 0, .max = (max_len), .error = 0 }

void buf_fini(struct buf *b);
void buf_append(struct buf *b, const void *data, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* 'text' as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void buf_json_string(struct buf *b, const char *text);

/* Drops the first 'n' bytes; n <= len. */
void buf_consume(struct buf *b, size_t n);

/* Makes room for 'len' bytes more, so that what fits in there takes no memory later.  As buf_failed(). */
MUST_USE int buf_reserve(struct buf *b, size_t len);

/* Empties the buffer and forgets a failure; keeps the memory. */
void buf_reset(struct buf *b);

/* 0, -ENOMEM or -EMSGSIZE: the first failure since the last reset. */
int buf_failed(const struct buf *b);

/* The content as a C string ("" when empty or failed); borrowed until the next change. */
const char *buf_text(const struct buf *b);
