/* SPDX-License-Identifier: Apache-2.0 */
/* buf.c: the only code that grows a byte buffer. */
#include "agent/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_fini(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->cap = 0;
}

/* Makes room for 'more' bytes and a NUL. */
static bool buf_room(struct buf *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 64;
	char *p;

	if (b->error)
		return false;
	if (more > b->max - b->len) {
		b->error = -EMSGSIZE;
		return false;
	}
	while (cap < b->len + more + 1)
		cap *= 2;
	if (cap == b->cap)
		return true;
	p = realloc(b->data, cap);
	if (!p) {
		b->error = -ENOMEM;
		return false;
	}
	b->data = p;
	b->cap = cap;
	return true;
}

int buf_reserve(struct buf *b, size_t len)
{
	IGNORE(buf_room(b, len)); /* the buffer remembers */
	return b->error;
}

void buf_append(struct buf *b, const void *data, size_t len)
{
	if (!buf_room(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void buf_puts(struct buf *b, const char *text)
{
	buf_append(b, text, strlen(text));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	assert(len >= 0);
	if (buf_room(b, (size_t)len)) {
		IGNORE(vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again)); /* measured above */
		b->len += (size_t)len;
	}
	va_end(again);
}

/* Length of the UTF-8 sequence at 's', 0 when it is not one (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 :
		   s[0] >= 0xf0 && s[0] < 0xf5		      ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return n;
}

void buf_json_string(struct buf *b, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	buf_puts(b, "\"");
	while (*p) {
		size_t n = utf8_len(p);

		if (*p == '"' || *p == '\\')
			buf_printf(b, "\\%c", *p);
		else if (*p == '\n')
			buf_puts(b, "\\n");
		else if (*p < 0x20)
			buf_printf(b, "\\u%04x", *p);
		else if (n)
			buf_append(b, p, n);
		else
			buf_puts(b, "\xef\xbf\xbd");
		p += n ? n : 1;
	}
	buf_puts(b, "\"");
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == 0)
		return;
	memmove(b->data, b->data + n, b->len - n);
	b->len -= n;
	b->data[b->len] = '\0';
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

int buf_failed(const struct buf *b)
{
	return b->error;
}

const char *buf_text(const struct buf *b)
{
	return b->len && !b->error ? b->data : "";
}
