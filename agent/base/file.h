/* SPDX-License-Identifier: Apache-2.0 */
/* file.h: whole small files in and out. */
#pragma once

#include "agent/base/buf.h"
#include "agent/base/err.h"

/* Appends the file's content to 'b' (whose bound limits it).  Negative errno of open or read, -EMSGSIZE when
 * larger than the bound, -ENOMEM; the text names the path. */
MUST_USE int file_read(const char *path, struct buf *b, struct err_info *err);

/* Creates or replaces the file atomically (written beside it, then renamed), mode 0600.  Negative errno. */
MUST_USE int file_write(const char *path, const void *data, size_t len, struct err_info *err);
