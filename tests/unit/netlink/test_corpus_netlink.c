/* SPDX-License-Identifier: Apache-2.0 */
/* test_corpus_netlink.c: see tests/fuzz/corpus.h. */
#include "tests/fuzz/netlink/fuzz_netlink.c"

#include "tests/fuzz/corpus.h"

int main(void)
{
	static char corpus[] = "tests/fuzz/netlink/corpus";

	return corpus_run(corpus);
}
