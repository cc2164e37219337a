/* SPDX-License-Identifier: Apache-2.0 */
/* diag_if.c: a dump for each family and role; the kernel picks the ports, so that answers are short on a busy node, too. */
#include "netlink/diag_if.h"

#include <errno.h>

struct look {
	void (*each)(void *ctx, const struct diag_socket *socket);
	void *ctx;
};

static int on_socket(void *ctx, const struct nlmsghdr *nlh)
{
	const struct look *l = ctx;
	struct diag_socket s;

	if (diag_msg_parse(nlh, nlh->nlmsg_len, &s) == 0)
		l->each(l->ctx, &s);
	return 0;
}

int diag_if_tcp(struct nlsock *s, uint16_t port, void (*each)(void *ctx, const struct diag_socket *socket), void *ctx,
		struct err_info *err)
{
	const struct diag_query queries[] = {
		{ .family = IP_V4, .local_port = port, .listening = true }, { .family = IP_V6, .local_port = port, .listening = true },
		{ .family = IP_V4, .local_port = port },		    { .family = IP_V6, .local_port = port },
		{ .family = IP_V4, .peer_port = port },			    { .family = IP_V6, .peer_port = port },
	};
	unsigned char buf[DIAG_MSG_MAX] __attribute__((aligned(16)));
	struct look l = { each, ctx };
	const struct nlsock_reader reader = { on_socket, &l };
	int first = 0;

	for (size_t i = 0; i < ARRAY_LEN(queries) && first != -ETIMEDOUT; i++) {
		int r = nlsock_request(s, diag_msg_dump(buf, &queries[i]), &reader, first < 0 ? NULL : err);

		first = first < 0 ? first : r;
	}
	if (first == -ENOENT)
		return err_set(err, first, "this kernel cannot tell (CONFIG_INET_DIAG)");
	return first < 0 ? err_wrap(err, first, "reading TCP sockets") : 0;
}
