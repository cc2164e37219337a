/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_watch.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/watch/fuzz_watch.c"

#define CORPUS "tests/fuzz/watch/corpus"
#include "tests/fuzz/corpus.h"
