/* SPDX-License-Identifier: Apache-2.0 */
/* diag_if.h: which TCP sockets of this network namespace are about a port, whoever's they are (sock_diag(7)). */
#pragma once

#include <stdint.h>

#include "netlink/diag_msg.h"
#include "netlink/nlsock.h"

/* Calls 'each' for every socket that listens on the port, and for every connection from or to it, in no order; for one both
 * from and to it twice.  s: NETLINK_SOCK_DIAG.  What one question is refused (of a family that this kernel has not) the others
 * tell none the less.  -ENOENT: this kernel cannot tell (CONFIG_INET_DIAG); else as nlsock_request(), the first error. */
MUST_USE int diag_if_tcp(struct nlsock *s, uint16_t port, void (*each)(void *ctx, const struct diag_socket *socket), void *ctx,
			 struct err_info *err);
