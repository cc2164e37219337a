/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_annotation.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/annotation/fuzz_annotation.c"

#define CORPUS "tests/fuzz/annotation/corpus"
#include "tests/fuzz/corpus.h"
