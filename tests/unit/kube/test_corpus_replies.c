/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_replies.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/replies/fuzz_replies.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/replies/corpus";

	return corpus_run(corpus);
}
