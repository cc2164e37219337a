/* SPDX-License-Identifier: Apache-2.0 */
/* base64.h: standard base64 (RFC 4648 section 4) to bytes. */
#pragma once

#include <stddef.h>

#include "agent/base/buf.h"

/* Appends the decoded bytes to 'out'.  Strict: padded, no foreign character but line ends, unused bits zero.
 * -EINVAL otherwise; -ENOMEM, -EMSGSIZE (the bound of 'out').  After a failure 'out' holds a part. */
MUST_USE int base64_decode(const char *text, size_t len, struct buf *out);
