/* SPDX-License-Identifier: Apache-2.0 */
/* diag_msg.h: TCP sockets as sock_diag(7) tells of them (linux/inet_diag.h).  Pure. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

#define DIAG_MSG_MAX 128 /* bytes that a built message takes at most */

struct diag_query {
	enum ip_family family;	      /* of the socket: one of IPv6 may have IPv4 peers */
	uint16_t local_port, peer_port; /* host byte order; 0 = any */
	bool listening;		      /* these are asked for, not those that are connected */
};

struct diag_socket {
	struct ip_port local, peer; /* peer.ip: IP_NONE of one that listens */
	int ifindex;		    /* it is bound to; 0 = none */
};

/* Asks for all such sockets of the namespace; builds into 'buf' (aligned for any object) and returns it as a message without
 * sequence number. */
struct nlmsghdr *diag_msg_dump(unsigned char buf[static DIAG_MSG_MAX], const struct diag_query *q);

/* Reads an answer from data[0..len).  IPv4 addresses in IPv6 form come out as IPv4.  -EBADMSG: no such message, or cut;
 * -EAFNOSUPPORT: of a family that is neither IPv4 nor IPv6; -ENODATA: neither connected nor listening. */
MUST_USE int diag_msg_parse(const void *data, size_t len, struct diag_socket *ret);
