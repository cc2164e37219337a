/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_watch.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/watch/fuzz_watch.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/watch/corpus";

	return corpus_run(corpus);
}
