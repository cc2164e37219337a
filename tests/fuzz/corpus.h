/* SPDX-License-Identifier: Apache-2.0 */
/* corpus.h: the unit test of a fuzz target: the inputs in its corpus, each of them cut short at every length and with every byte
 * spoilt, give it nothing to stumble over.  Finding new inputs is the fuzzer's work (make fuzz).  Include it behind the
 * target's .c. */
#pragma once

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"

#define SPOIL_BYTES_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void corpus_feed(const char *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	if (len > 0)
		memcpy(copy, data, len);
	assert_int_equal(LLVMFuzzerTestOneInput(copy, len), 0);
	free(copy);
}

static inline void corpus_spoil(char *data, size_t len)
{
	static const char bytes[] = { '"', '\\', ']', '\xff' };

	for (size_t i = 0; i < len; i++) {
		char was = data[i];

		corpus_feed(data, i);
		for (size_t k = 0; k < sizeof(bytes); k++) {
			data[i] = bytes[k];
			corpus_feed(data, len);
		}
		data[i] = was;
	}
}

static inline void test_corpus(void **state)
{
	const char *corpus = *state;
	DIR *dir = opendir(corpus);
	const struct dirent *e;
	size_t n = 0;

	assert_non_null(dir); /* run from the top of the tree */
	while ((e = readdir(dir))) {
		struct buf b = BUF_INIT(1024 * 1024);
		char path[512];

		if (e->d_name[0] == '.')
			continue;
		assert_true(snprintf(path, sizeof(path), "%s/%s", corpus, e->d_name) < (int)sizeof(path));
		assert_int_equal(file_read(path, &b, NULL), 0);
		corpus_feed(b.data, b.len);
		if (b.len <= SPOIL_BYTES_MAX)
			corpus_spoil(b.data, b.len);
		buf_fini(&b);
		n++;
	}
	closedir(dir);
	assert_true(n >= 2);
}

/* For main(): 'corpus' is the folder, from the top of the tree. */
static inline int corpus_run(char *corpus)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_prestate(test_corpus, corpus) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
