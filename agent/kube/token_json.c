/* SPDX-License-Identifier: Apache-2.0 */
/* token_json.c: the middle of HEADER.CLAIMS.SIGNATURE, each in base64url without padding (RFC 7515, appendix C). */
#include "agent/kube/token_json.h"

#include <errno.h>
#include <string.h>

#include "agent/base/base64.h"
#include "agent/kube/json_walk.h"

static int claims_decode(const char *at, size_t len, struct buf *out)
{
	struct buf text = BUF_INIT(TOKEN_MAX + 4);
	int r;

	buf_append(&text, at, len);
	while (text.len % 4 != 0 && buf_failed(&text) == 0)
		buf_puts(&text, "=");
	r = buf_failed(&text);
	for (size_t i = 0; r == 0 && i < text.len; i++)
		text.data[i] = text.data[i] == '-' ? '+' : text.data[i] == '_' ? '/' : text.data[i];
	if (r == 0)
		r = base64_decode(buf_text(&text), text.len, out);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_fini(&text);
	return r;
}

static int expiry(const struct buf *claims, int64_t *ret_s)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	int64_t s = -1;
	struct walk root;
	int r = walk_parse(buf_text(claims), claims->len, NULL, &tree, NULL);

	if (r < 0)
		return r;
	root = walk_root(tree);
	r = walk_int(&root, "exp", (struct walk_range){ 0, INT64_MAX }, &s, NULL);
	if (r < 0)
		return r;
	if (s < 0)
		return -ENOENT;
	*ret_s = s;
	return 0;
}

int token_expiry(const char *token, int64_t *ret_s)
{
	struct buf claims = BUF_INIT(TOKEN_MAX);
	const char *first = strchr(token, '.'), *second = first ? strchr(first + 1, '.') : NULL;
	int r = -EINVAL;

	if (second && strlen(token) <= TOKEN_MAX)
		r = claims_decode(first + 1, (size_t)(second - first - 1), &claims);
	if (r == 0)
		r = expiry(&claims, ret_s);
	if (claims.data)
		explicit_bzero(claims.data, claims.cap);
	buf_fini(&claims);
	return r == -EMSGSIZE ? -EINVAL : r;
}
