/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_replies.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/replies/fuzz_replies.c"

#define CORPUS "tests/fuzz/replies/corpus"
#include "tests/fuzz/corpus.h"
