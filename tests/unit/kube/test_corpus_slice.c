/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_slice.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/slice/fuzz_slice.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/slice/corpus";

	return corpus_run(corpus);
}
