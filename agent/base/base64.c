/* SPDX-License-Identifier: Apache-2.0 */
/* base64.c: the decoder for the *-data members of kubeconfig files.  Nothing here encodes. */
#include "agent/base/base64.h"

#include <errno.h>

#define PADDING 64
#define FOREIGN 65

static unsigned int value_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned int)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (unsigned int)(c - 'a') + 26;
	if (c >= '0' && c <= '9')
		return (unsigned int)(c - '0') + 52;
	return c == '+' ? 62 : c == '/' ? 63 : c == '=' ? PADDING : FOREIGN;
}

/* Four values of which the last 'padding' are padding. */
static int put_group(const unsigned int v[static 4], unsigned int padding, struct buf *out)
{
	unsigned int bits = v[0] << 18 | v[1] << 12 | (padding < 2 ? v[2] << 6 : 0) | (padding < 1 ? v[3] : 0);
	unsigned char bytes[3] = { (unsigned char)(bits >> 16), (unsigned char)(bits >> 8), (unsigned char)bits };

	/* Bits beyond the last byte carry nothing: two texts for the same bytes are refused. */
	if ((padding == 2 && bytes[1]) || (padding == 1 && bytes[2]))
		return -EINVAL;
	buf_append(out, bytes, 3 - padding);
	return buf_failed(out);
}

int base64_decode(const char *text, size_t len, struct buf *out)
{
	unsigned int v[4], n = 0, padding = 0;

	for (size_t i = 0; i < len; i++) {
		int r;

		if (text[i] == '\n' || text[i] == '\r')
			continue;
		v[n] = value_of(text[i]);
		/* Padding ends the text, and stands for the last one or two of four. */
		if (v[n] == FOREIGN || (padding && (v[n] != PADDING || n == 0)) || (v[n] == PADDING && n < 2))
			return -EINVAL;
		padding += v[n] == PADDING;
		if (++n < 4)
			continue;
		r = put_group(v, padding, out);
		if (r < 0)
			return r;
		n = 0;
	}
	return n ? -EINVAL : 0;
}
