/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_framing.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/framing/fuzz_framing.c"

#define CORPUS "tests/fuzz/framing/corpus"
#include "tests/fuzz/corpus.h"
