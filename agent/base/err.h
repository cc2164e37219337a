/* SPDX-License-Identifier: Apache-2.0 */
/* err.h: what went wrong, for a person.  Functions that can fail return 0 or a negative errno and may
 * take a 'struct err_info *' as last parameter (NULL: not wanted).  The failing layer writes the text,
 * each layer above may put its own place in front of it with err_wrap(). */
#pragma once

#include "agent/base/auto.h"

#define ERR_TEXT_MAX 256

struct err_info {
	char text[ERR_TEXT_MAX]; /* NUL-terminated, cut with "..." when too long */
	int code;		 /* a code of the failing layer, e.g. an HTTP status; 0 = none */
};

#define ERR_INFO_INIT { .text = "", .code = 0 }

/* Writes the text and returns 'r' (a negative errno), so that "return err_set(err, -EINVAL, ...)" reads
 * as one statement. */
int err_set(struct err_info *err, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As err_set(), with ": <strerror(-r)>" behind the text. */
int err_errno(struct err_info *err, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "fmt: " in front of the present text and returns 'r'. */
int err_wrap(struct err_info *err, int r, const char *fmt, ...) PRINTF_LIKE(3, 4);
