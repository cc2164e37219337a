/* SPDX-License-Identifier: Apache-2.0 */
/* token_json.h: when a bearer token ends.  A service account's is a JSON Web Token (RFC 7519); nothing of it is verified here:
 * the API server does.  Pure codec (jansson). */
#pragma once

#include <stdint.h>

#include "agent/base/auto.h"

#define TOKEN_MAX ((size_t)64 * 1024)

/* Claim "exp": seconds since 1970.  -EINVAL: no JSON Web Token, or longer than TOKEN_MAX; -ENOENT: it has no such claim;
 * -ENOMEM. */
MUST_USE int token_expiry(const char *token, int64_t *ret_s);
