/* SPDX-License-Identifier: Apache-2.0 */
/* credentials.c: reads tokens and PEM files, tells a good one from a bad one and notices when a file has changed.  Where
 * they are is said by kubeconfig.c and auth.c. */
#include "agent/kube/credentials.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/file.h"

#define CREDENTIAL_SIZE_MAX (1024 * 1024)

void credentials_init(struct credentials *rd)
{
	memset(rd, 0, sizeof(*rd));
	for (int i = 0; i < CREDENTIAL_COUNT; i++)
		rd->items[i].data = (struct buf)BUF_INIT(CREDENTIAL_SIZE_MAX);
}

void credentials_fini(struct credentials *rd)
{
	free(rd->server);
	free(rd->tls_server_name);
	for (int i = 0; i < CREDENTIAL_COUNT; i++) {
		free(rd->items[i].path);
		buf_fini(&rd->items[i].data);
	}
	credentials_init(rd);
}

void credential_stamp(const char *path, struct stamp *ret)
{
	struct stat st;

	memset(ret, 0, sizeof(*ret));
	/* By path each time: kubelet swaps a symlink above the file.  A missing file gives zeroes; reading it tells. */
	if (stat(path, &st) < 0)
		return;
	ret->dev = st.st_dev;
	ret->ino = st.st_ino;
	ret->size = st.st_size;
	ret->written = st.st_mtim;
	ret->changed = st.st_ctim;
}

static bool time_eq(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool credential_file_changed(const char *path, const struct stamp *then)
{
	struct stamp now;

	if (!path)
		return false;
	credential_stamp(path, &now);
	return now.dev != then->dev || now.ino != then->ino || now.size != then->size ||
	       !time_eq(&now.written, &then->written) || !time_eq(&now.changed, &then->changed);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Cuts the blanks around a token.  NULL, or why it is none: it goes into a header as it is. */
static const char *token_trim(struct buf *b)
{
	size_t n = 0;

	while (n < b->len && is_blank(b->data[n]))
		n++;
	buf_consume(b, n);
	while (b->len && is_blank(b->data[b->len - 1]))
		b->data[--b->len] = '\0';
	for (size_t i = 0; i < b->len; i++)
		if (b->data[i] <= ' ' || b->data[i] > '~')
			return "not a token: it holds a blank or a control character";
	return b->len ? NULL : "empty";
}

const char *credential_check(enum credential_kind kind, struct buf *b)
{
	const char *mark = kind == CREDENTIAL_KEY ? "PRIVATE KEY-----" : "-----BEGIN CERTIFICATE-----";

	if (kind == CREDENTIAL_TOKEN)
		return token_trim(b);
	if (b->len && memmem(b->data, b->len, mark, strlen(mark)))
		return NULL;
	return kind == CREDENTIAL_KEY ? "no private key in PEM form" : "no certificate in PEM form";
}

int credential_read(struct credential *it, enum credential_kind kind, struct err_info *err)
{
	const char *reason;
	int r;

	credential_stamp(it->path, &it->stamp); /* before reading: a change in between is seen at the next look */
	r = file_read(it->path, &it->data, err);
	if (r < 0)
		return r;
	reason = credential_check(kind, &it->data);
	return reason ? err_set(err, -EINVAL, "%s: %s", it->path, reason) : 0;
}

bool credential_eq(const struct credential *a, const struct credential *b)
{
	return a->data.len == b->data.len && (!a->data.len || memcmp(a->data.data, b->data.data, a->data.len) == 0);
}

bool credential_is_host(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ||
		      strchr("-._:", *p)))
			return false;
	return *name && strlen(name) <= 253;
}
