/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_service.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/service/fuzz_service.c"

#define CORPUS "tests/fuzz/service/corpus"
#include "tests/fuzz/corpus.h"
