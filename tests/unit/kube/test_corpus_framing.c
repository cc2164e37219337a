/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_framing.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/framing/fuzz_framing.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/framing/corpus";

	return corpus_run(corpus);
}
