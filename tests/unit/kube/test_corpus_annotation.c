/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_annotation.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/annotation/fuzz_annotation.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/annotation/corpus";

	return corpus_run(corpus);
}
