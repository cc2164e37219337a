/* SPDX-License-Identifier: Apache-2.0 */
/* text.h: bounded parsing of the small texts that configuration and annotations are made of, and string
 * helpers.  No locale, no partial matches. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"

/* A decimal number 0..max, digits only, at least one.  -EINVAL: not a number; -ERANGE: above max. */
MUST_USE int text_to_u64(const char *text, uint64_t max, uint64_t *ret);

/* "600ms", "3s", "1m", "1h", "1.5s"; the unit is obligatory.  Whole milliseconds only.
 * -EINVAL: not of this form; -ERANGE: above 24 h. */
MUST_USE int text_to_ms(const char *text, int64_t *ret_ms);

/* "3s", "750ms" or "1m30s" into 'buf'; returns buf. */
char *text_of_ms(int64_t ms, char *buf, size_t size);

bool text_eq(const char *a, const char *b);
bool text_starts(const char *text, const char *prefix);

/* Whether 'text' is what the pattern says: '*' stands for any characters, '?' for one; all others for themselves. */
bool text_matches(const char *pattern, const char *text);

/* Copies with a terminating NUL; false when it did not fit (and the copy is cut). */
bool text_copy(char *dst, size_t size, const char *src);
