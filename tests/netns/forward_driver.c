/* SPDX-License-Identifier: Apache-2.0 */
/* forward_driver.c: says what forward_if sees in this namespace, for tests/netns/test_forward.py.  One line a family: how
 * new connections to backends fare, the mark, the chain and the command, separated by tabs; then the generation. */
#include <linux/netlink.h>
#include <stdio.h>

#include "netlink/forward_if.h"

static void print(const char *family, const struct forward_family *f)
{
	static const char *const words[] = { "open", "by mark", "doubtful", "closed" };

	printf("%s\t%s\t%#x\t%s\t%s\n", family, words[f->pass], f->mark, f->place, f->command);
}

int main(void)
{
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct err_info err = ERR_INFO_INIT;
	struct forward_view view = { .seen = false };
	int r = nlsock_new(NETLINK_NETFILTER, &s, &err);

	if (r == 0)
		r = forward_if_look(s, &view, &err);
	if (r < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	print("ip", &view.v4);
	print("ip6", &view.v6);
	printf("generation\t%u\n", view.generation);
	return 0;
}
