/* SPDX-License-Identifier: Apache-2.0 */
/* credentials.h: one reading of all the credentials there are, and of the files they come from.  For auth.c and
 * kubeconfig.c alone. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

enum credential_kind {
	CREDENTIAL_CA,
	CREDENTIAL_CERT,
	CREDENTIAL_KEY,
	CREDENTIAL_TOKEN,
	CREDENTIAL_COUNT,
};

/* A file as stat(2) showed it before it was read; all zero: it was not there. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec written, changed;
};

struct credential {
	char *path; /* NULL: absent, or written in the kubeconfig itself */
	struct stamp stamp;
	struct buf data; /* empty = absent */
};

struct credentials {
	char *server;	       /* base URL without a slash at the end; NULL = not read */
	char *tls_server_name; /* "" = none; NULL = not read */
	struct stamp stamp;    /* of the kubeconfig */
	struct credential items[CREDENTIAL_COUNT];
};

void credentials_init(struct credentials *c);
void credentials_fini(struct credentials *c);

/* Never fails: a file that cannot be seen gives zeroes, and reading it tells why. */
void credential_stamp(const char *path, struct stamp *ret);
/* The file at 'path' (NULL: none, never changes) is no longer the one of the stamp. */
bool credential_file_changed(const char *path, const struct stamp *then);

/* NULL, or why the content cannot be what it should be, e.g. a file half written.  Cuts the blanks around a token. */
const char *credential_check(enum credential_kind kind, struct buf *b);

/* Reads it->path.  -EINVAL: not such a thing; else as file_read(). */
MUST_USE int credential_read(struct credential *it, enum credential_kind kind, struct err_info *err);

bool credential_eq(const struct credential *a, const struct credential *b);

/* The rule for names in URLs and certificates: letters, digits, '-', '.', '_' and ':', at most 253. */
bool credential_is_host(const char *name);
