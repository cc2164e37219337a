/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_netlink.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/netlink/fuzz_netlink.c"

#define CORPUS "tests/fuzz/netlink/corpus"
#include "tests/fuzz/corpus.h"
