/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_slice.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/slice/fuzz_slice.c"

#define CORPUS "tests/fuzz/slice/corpus"
#include "tests/fuzz/corpus.h"
