/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz.h: what the fuzz targets have in common.  A target is tests/fuzz/X/fuzz_X.c with its inputs in tests/fuzz/X/corpus; the
 * unit test that runs those inputs includes the very file. */
#pragma once

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/prng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy that ends where the bytes end, so that a sanitizer sees a read past them. */
static inline char *fuzz_copy(const void *data, size_t len)
{
	char *copy = malloc(len ? len : 1);

	assert(copy);
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

/* The same as a C string; what lies behind a NUL is cut off. */
static inline char *fuzz_string(const void *data, size_t len)
{
	char *text = strndup(data, len);

	assert(text);
	return text;
}

/* The length of the next piece of a stream with 'left' bytes: any, short ones more often. */
static inline size_t fuzz_piece(struct prng *p, size_t left)
{
	int64_t bits = prng_range(p, 0, 9);
	size_t n = (size_t)prng_range(p, 1, INT64_C(1) << bits);

	return n < left ? n : left;
}
