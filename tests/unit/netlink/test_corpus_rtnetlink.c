/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_rtnetlink.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/rtnetlink/fuzz_rtnetlink.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/rtnetlink/corpus";

	return corpus_run(corpus);
}
