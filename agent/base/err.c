/* SPDX-License-Identifier: Apache-2.0 */
/* err.c: bounded error texts. */
#include "agent/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void err_finish(struct err_info *err, int len)
{
	if (len >= (int)sizeof(err->text))
		memcpy(err->text + sizeof(err->text) - 4, "...", 4);
}

int err_set(struct err_info *err, int r, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return r;
	va_start(ap, fmt);
	err_finish(err, vsnprintf(err->text, sizeof(err->text), fmt, ap));
	va_end(ap);
	err->code = 0;
	return r;
}

int err_errno(struct err_info *err, int r, const char *fmt, ...)
{
	char place[ERR_TEXT_MAX];
	va_list ap;

	if (!err)
		return r;
	va_start(ap, fmt);
	IGNORE(vsnprintf(place, sizeof(place), fmt, ap)); /* cut is fine: err_finish marks it below */
	va_end(ap);
	err_finish(err, snprintf(err->text, sizeof(err->text), "%s: %s", place, strerror(-r)));
	err->code = 0;
	return r;
}

int err_wrap(struct err_info *err, int r, const char *fmt, ...)
{
	char inner[ERR_TEXT_MAX], place[ERR_TEXT_MAX];
	va_list ap;

	if (!err)
		return r;
	memcpy(inner, err->text, sizeof(inner));
	va_start(ap, fmt);
	IGNORE(vsnprintf(place, sizeof(place), fmt, ap)); /* cut is fine: err_finish marks it below */
	va_end(ap);
	err_finish(err, snprintf(err->text, sizeof(err->text), "%s: %s", place, inner));
	return r;
}
