/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_service.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/service/fuzz_service.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/service/corpus";

	return corpus_run(corpus);
}
